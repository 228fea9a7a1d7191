"""What published models have and the small ones of `test_families` have not: limits, sizes, files, failures."""

import shutil
from types import SimpleNamespace

import diffusers
import pytest
import sentencepiece
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
from support.generation import CPU, generated
from support.tiny_pipelines import save

from stable_diffusion.drawing.produce import halving, render_batch
from stable_diffusion.drawing.render import check_lengths, guard_decoder, render
from stable_diffusion.drawing.sampling import Sampling
from stable_diffusion.generator import learn
from stable_diffusion.loading.family import call_options, defaults
from stable_diffusion.loading.kind import Kind, kind_of
from stable_diffusion.loading.pipeline import check_precision, load_pipeline
from stable_diffusion.loading.scheduler import other_scheduler
from stable_diffusion.plan import Job
from stable_diffusion.recipe import Recipe
from utils.errors import UserError


def test_another_scheduler_never_clips_what_it_expects_of_latents():
    assert other_scheduler("m", "ddim", DPMSolverMultistepScheduler()).config.clip_sample is False
    clipping = DDIMScheduler(clip_sample=True)  # of a model of pixels
    assert other_scheduler("m", "ddim", clipping).config.clip_sample is True


def test_a_model_that_is_loaded_in_another_precision_is_refused():
    pipeline = SimpleNamespace(unet=torch.nn.Linear(1, 1))
    pipeline.unet.dtype = torch.float32
    check_precision("m", pipeline, "fp32")
    with pytest.raises(UserError, match="loaded in torch.float32, not in fp16"):
        check_precision("m", pipeline, "fp16")


def test_a_decoder_that_runs_out_of_memory_has_its_batch_halved(saved):
    pipeline = load_pipeline(str(saved("Sana")), None, CPU, "fp32")  # catches torch's own error, and fails of another
    decode = type(pipeline.vae).decode

    def small(latents, **options):
        if len(latents) > 1:
            raise torch.OutOfMemoryError("too many")
        return decode(pipeline.vae, latents, **options)

    pipeline.vae.decode = small
    guard_decoder(pipeline)
    jobs = [Job("0_0/000000.png", "0_0", "a man", 1), Job("0_0/000001.png", "0_0", "a woman", 2)]
    assert halving(lambda batch: render_batch(pipeline, batch, Sampling(2, 3.0, 32, 32)), jobs).shape == (2, 32, 32, 3)


def test_sana_draws_at_the_size_it_was_trained_for(saved):
    pipeline = load_pipeline(str(saved("Sana")), None, CPU, "fp32")
    recipe = Recipe("m", "", "own", 2, 4.5, None, 32, 42, "fp32")
    assert defaults("SanaPipeline").size is None
    assert learn(recipe, pipeline, None).size == 64  # 32 latents a side, two pixels each


@pytest.mark.slow
def test_a_schnell_reads_what_it_was_trained_with(tmp_path):
    folders = [save("FLUX", tmp_path / str(distilled), distilled=distilled) for distilled in (True, False)]
    few, many = (load_pipeline(str(folder), None, CPU, "fp32") for folder in folders)
    assert call_options(few, 0.0)["max_sequence_length"] == 256 and "max_sequence_length" not in call_options(many, 3.5)
    check_lengths(many, ["a face, " * 50])
    with pytest.raises(UserError, match="the model reads 256"):
        check_lengths(few, ["a face, " * 50])


def read_by(cls, **parts):
    """A pipeline that has tokenizers and nothing else; each letter is a token."""
    components = {name: Letters(part) if "tokenizer" in name else part for name, part in parts.items()}
    return type(cls.__name__, (), {"__call__": cls.__call__, "components": components})()


class Letters:
    """A tokenizer of letters."""

    def __init__(self, limit):
        self.model_max_length = limit

    def __call__(self, text):
        return SimpleNamespace(input_ids=list(text))


def reads(pipeline):
    with pytest.raises(UserError, match="the model reads") as caught:
        check_lengths(pipeline, ["x" * 10**5])
    return int(str(caught.value).split("the model reads ")[1].split(";")[0])


def test_a_prompt_is_as_long_as_what_the_pipeline_itself_reads():
    assert reads(read_by(diffusers.IFPipeline, tokenizer=512, text_encoder=1)) == 77
    assert reads(read_by(diffusers.Kandinsky3Pipeline, tokenizer=10**30, text_encoder=1)) == 128
    both = {"tokenizer": 77, "text_encoder": 1, "tokenizer_3": 512}
    assert reads(read_by(diffusers.StableDiffusion3Pipeline, **both, text_encoder_3=1)) == 256
    assert reads(read_by(diffusers.StableDiffusion3Pipeline, **both, text_encoder_3=None)) == 77  # T5 left out
    processor = read_by(diffusers.Flux2Pipeline, text_encoder=1)
    processor.components["tokenizer"] = SimpleNamespace(tokenizer=Letters(10**6))
    assert reads(processor) == 512
    processor.system_message = "y" * 100
    assert reads(processor) < 412


def test_a_pipeline_that_seeds_a_batch_by_its_first_image_draws_them_one_by_one():
    asked = []

    class GlmImagePipeline:
        def __call__(self, prompt, generator, num_inference_steps, height, width, output_type):
            asked.append((prompt, [one.initial_seed() for one in generator]))
            noise = torch.rand((len(prompt), height, width, 3), generator=generator[0])
            return SimpleNamespace(images=noise.numpy())

    assert render(GlmImagePipeline(), ["a", "b"], [5, 6], steps=2, guidance_scale=None, size=8).shape == (2, 8, 8, 3)
    assert asked == [(["a"], [5]), (["b"], [6])]


def test_a_tokenizer_beside_a_configuration_needs_no_weights(saved, tmp_path):
    folder = shutil.copytree(saved("PixArt"), tmp_path / "model")
    (folder / "tokenizer" / "config.json").write_text("{}")
    assert kind_of(str(folder)) == Kind("PixArtSigmaPipeline")


def test_a_tokenizer_of_a_sentencepiece_model_alone_is_read(saved, tmp_path):
    """T5's in PixArt's folders comes as a spiece.model, without a tokenizer.json."""
    folder = shutil.copytree(saved("PixArt"), tmp_path / "model")
    tokenizer = folder / "tokenizer"
    shutil.rmtree(tokenizer)
    tokenizer.mkdir()
    text = "\n".join(f"a face of a {word} person, {i}" for i, word in enumerate("abcdef" * 20))
    (tmp_path / "text.txt").write_text(text)
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text.txt"), model_prefix=str(tokenizer / "spiece"), vocab_size=60, pad_id=0, eos_id=1,
        unk_id=2, bos_id=-1, hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    config = '{"tokenizer_class": "T5Tokenizer", "model_max_length": 300, "extra_ids": 0}'
    (tokenizer / "tokenizer_config.json").write_text(config)
    pipeline = load_pipeline(str(folder), None, CPU, "fp32")
    assert pipeline.tokenizer.decode(pipeline.tokenizer("a face").input_ids, skip_special_tokens=True) == "a face"


@pytest.mark.slow
def test_a_name_that_tells_of_few_steps_is_noted(saved, tmp_path):
    folder = shutil.copytree(saved("PixArt"), tmp_path / "PixArt-Turbo")
    arguments = ["--model", folder, "--outdir", tmp_path / "out", "--device", "cpu", "--dry-run"]
    assert "the name suggests a distilled model" in generated(arguments).stdout
    assert "distilled" not in generated([*arguments, "--steps", 4]).stdout


def test_a_set_of_a_pipeline_that_diffusers_lost_is_one_line():
    with pytest.raises(UserError, match="the set was made with a GonePipeline"):
        defaults("GonePipeline")
