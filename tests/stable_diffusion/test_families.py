"""Every family of generators that diffusers draws with, as small random pipelines: the table of docs/data.md."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.generation import CPU, drawn, flags, generated, images, refused, settings
from support.tiny_pipelines import FAMILIES, save

from stable_diffusion.drawing.render import check_lengths, render
from stable_diffusion.loading.family import PAPER_PIPELINE, call_options, check_class, defaults, text_to_image_classes
from stable_diffusion.loading.kind import Kind, kind_of
from stable_diffusion.loading.pipeline import _place, load_pipeline
from utils.errors import UserError

ALL = ("SD 1, 2", *FAMILIES)
FAST = ("SD 1, 2", "PixArt", "Sana")  # the others take seconds each


def slow_but(families):
    return [family if family in FAST else pytest.param(family, marks=pytest.mark.slow) for family in families]


@pytest.mark.slow
@pytest.mark.parametrize("family", slow_but(ALL))
def test_it_loads_draws_restarts_to_the_same_bytes_and_refuses_other_settings(family, saved, tmp_path):
    folder = shutil.copytree(saved(family), tmp_path / "model")
    drawn(tmp_path / "out", folder)
    made = images(tmp_path / "out")
    assert len(made) == 8 and len(set(made.values())) == 8
    noted = settings(tmp_path / "out")
    if family == "SD 1, 2":
        assert "pipeline" not in noted and (noted["scheduler"], noted["guidance_scale"]) == ("ddim", 9.0)
    else:
        own = defaults(noted["pipeline"])
        assert noted["scheduler"] == "own" and noted["schedule"]["num_train_timesteps"] == 1000
        assert noted["guidance_scale"] == own.guidance_scale > 1 and noted["size"] == 32

    for image in ("0_1/000000.png", "1_1/000001.png"):  # one in each of two batches
        next((tmp_path / "out").rglob(image)).unlink()
    drawn(tmp_path / "out", folder)
    assert images(tmp_path / "out") == made
    assert "8 of 8 images are there" in drawn(tmp_path / "out", folder).stdout

    for more, part in ((["--guidance-scale", 2.5], "guidance_scale 2.5"), (["--steps", 3], "steps 3")):
        refused(flags(tmp_path / "out", folder, *more), part, "--outdir")
    config = folder / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "timestep_spacing": "trailing", "shift": 2.5}))
    next((tmp_path / "out").rglob("0_0/000000.png")).unlink()
    if family != "LCM":  # its scheduler knows neither
        refused(flags(tmp_path / "out", folder), "schedule", "--outdir")


@pytest.mark.parametrize("family", slow_but(ALL))
def test_each_image_has_noise_of_its_own_whatever_stands_beside_it(family, saved):
    own = "ddim" if family == "SD 1, 2" else None
    pipeline = load_pipeline(str(saved(family)), own, CPU, "fp32")
    options = {"steps": 2, "guidance_scale": 3.0, "size": 32}
    together = render(pipeline, ["Portrait of a man"] * 3, [7, 8, 7], **options).astype(int)
    alone = render(pipeline, ["Portrait of a man"], [8], **options)[0]
    # the places of a batch may round differently
    assert abs(together[0] - together[2]).max() <= 1 and abs(together[0] - together[1]).max() > 10
    assert abs(together[1] - alone).max() <= 1


@pytest.mark.parametrize("name", sorted(text_to_image_classes()))
def test_every_class_says_how_to_call_it(name):
    own = defaults(name)
    assert own.steps > 0 and own.precision == ("fp16" if name == PAPER_PIPELINE else "bf16")
    cls = text_to_image_classes()[name]
    options = call_options(object.__new__(cls), own.guidance_scale)
    assert own.guidance_scale is None or own.guidance_scale in options.values()
    assert "clean_caption" not in options or options["clean_caption"] is False


def test_the_papers_settings_are_those_of_stable_diffusion_alone():
    own = defaults(PAPER_PIPELINE)
    assert (own.scheduler, own.steps, own.guidance_scale, own.size, own.precision) == ("ddim", 50, 9.0, 512, "fp16")
    flux = defaults("FluxPipeline")
    assert (flux.scheduler, flux.steps, flux.guidance_scale, flux.size, flux.precision) == (None, 28, 3.5, None, "bf16")


@pytest.mark.slow
def test_a_distilled_flux_takes_four_steps(tmp_path):
    kinds = [kind_of(str(save("FLUX", tmp_path / str(few), distilled=few))) for few in (False, True)]
    assert kinds == [Kind("FluxPipeline"), Kind("FluxPipeline", distilled=True)]
    dry = generated(["--model", tmp_path / "True", "--outdir", tmp_path / "out", "--device", "cpu", "--dry-run"])
    assert "FluxPipeline, 4 steps, guidance 3.5, its own size" in dry.stdout


def test_without_a_size_it_draws_at_the_models_own(saved, tmp_path):
    arguments = [part for part in flags(tmp_path, saved("PixArt"), per_group=1) if part not in ("--size", 32)]
    generated(arguments)
    assert settings(tmp_path)["size"] == 32  # 16 latents a side, two pixels each
    assert "4 of 4 images are there" in generated(arguments).stdout


# ---- schedulers


@pytest.mark.parametrize(("family", "scheduler"), [("PixArt", "ddim"), ("Sana", "dpmpp"), ("Sana", "unipc")])
def test_another_scheduler_keeps_the_models_schedule(family, scheduler, saved):
    own = load_pipeline(str(saved(family)), None, CPU, "fp32").scheduler.config
    other = load_pipeline(str(saved(family)), scheduler, CPU, "fp32").scheduler.config
    assert other["beta_end"] == own["beta_end"] and other.get("use_flow_sigmas", False) == own["use_flow_sigmas"]
    assert other["prediction_type"] == own["prediction_type"]


@pytest.mark.parametrize(
    ("family", "scheduler"),
    [("Sana", "ddim"), ("Sana", "euler"), pytest.param("FLUX", "dpmpp", marks=pytest.mark.slow)],
)
def test_a_scheduler_that_does_not_fit_is_one_line(family, scheduler, saved, tmp_path):
    parts = [f"--scheduler {scheduler}", "can't replace the", "leave the flag out"]
    refused(flags(tmp_path, saved(family), "--scheduler", scheduler), *parts)
    assert not images(tmp_path)


# ---- what is refused


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("FluxPipelin", ["knows no FluxPipelin", "FluxPipeline", "newer diffusers"]),
        ("DDPMPipeline", ["a DDPMPipeline does not draw an image from a text alone"]),
        ("StableVideoDiffusionPipeline", ["does not draw an image from a text alone"]),
        ("WanPipeline", ["does not draw an image from a text alone"]),
        ("StableDiffusionXLControlNetPipeline", ["does not draw", "StableDiffusionXLPipeline"]),
        ("StableDiffusionXLImg2ImgPipeline", ["does not draw", "StableDiffusionXLPipeline"]),
        (["mine", "MyPipeline"], ["code of its own"]),
        (None, ["code of its own (None)"]),
    ],
)
def test_what_draws_no_image_from_a_text_is_named_with_what_does(name, parts):
    with pytest.raises(UserError) as caught:
        check_class("someone/model", name)
    assert all(part in str(caught.value) for part in parts), caught.value


def test_flags_that_a_model_does_not_know_are_one_line(saved, tmp_path):
    folder = saved("PixArt")
    for more, part in (
        (["--prediction", "epsilon"], "--prediction epsilon: only of Stable Diffusion"),
        (["--offload", "model"], "--offload model: keeps a GPU's memory free"),
        (["--size", 33], "--size 33: must be a multiple of 4"),
    ):
        refused(flags(tmp_path, folder, *more), part)
    assert not images(tmp_path)


def test_a_part_or_a_file_of_several_that_is_missing_is_named(saved, tmp_path):
    folder = shutil.copytree(saved("PixArt"), tmp_path / "model")
    part = folder / "transformer"
    (part / "diffusion_pytorch_model.safetensors").rename(part / "diffusion_pytorch_model-00002-of-00003.safetensors")
    with pytest.raises(UserError, match="transformer/ lacks 2 of the 3 files of its weights, number 1 the first"):
        kind_of(str(folder))
    shutil.rmtree(folder / "text_encoder")
    with pytest.raises(UserError, match="text_encoder/ is missing"):
        kind_of(str(folder))


def spoiled(folder, to, *gone, **index):
    """A copy of a model without some parts' folders and with other entries in its index; None removes one."""
    folder = shutil.copytree(folder, to)
    for part in gone:
        shutil.rmtree(folder / part)
    path = folder / "model_index.json"
    content = json.loads(path.read_text()) | index
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    return folder


NONE = [None, None]  # how an index says that a part was left out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gone", "index"),
    [
        (["text_encoder_3", "tokenizer_3"], {"text_encoder_3": NONE, "tokenizer_3": NONE}),
        (["text_encoder_3", "tokenizer_3"], {"text_encoder_3": None, "tokenizer_3": None}),
        (["text_encoder_3"], {"text_encoder_3": NONE}),
    ],
    ids=["as saved", "not named", "its tokenizer stayed"],
)
def test_a_stable_diffusion_3_without_its_t5_draws(saved, tmp_path, gone, index):
    folder = spoiled(saved("SD 3"), tmp_path / "model", *gone, **index)
    drawn(tmp_path / "out", folder, per_group=1)
    assert len(images(tmp_path / "out")) == 4
    with pytest.raises(UserError, match="the model reads 77"):
        check_lengths(load_pipeline(str(folder), None, CPU, "fp32"), ["a face, " * 30])


@pytest.mark.parametrize(
    ("index", "parts"),
    [
        ({"tokenizer": NONE}, ["names no tokenizer", "saved without", "PixArtSigmaPipeline can't draw from a text"]),
        ({"tokenizer": None}, ["names no tokenizer"]),
        ({"vae": NONE, "scheduler": NONE}, ["names no vae and no scheduler"]),
        ({"text_encoder": ["transformers", "NewOne"]}, ["text_encoder is a NewOne, which transformers ", "know"]),
        ({"scheduler": ["diffusers", "NewScheduler"]}, ["scheduler is a NewScheduler, which diffusers ", "know"]),
        ({"vae": ["diffusers", 3]}, ["names no vae"]),
        ({"transformer": ["mine", "Model"]}, ["transformer is code of its own (mine.Model)"]),
    ],
    ids=str,
)
def test_a_part_that_cannot_be_loaded_is_named_with_the_reason(saved, tmp_path, index, parts):
    with pytest.raises(UserError) as caught:
        kind_of(str(spoiled(saved("PixArt"), tmp_path / "model", **index)))
    assert all(part in str(caught.value) for part in parts) and "fetch" not in str(caught.value), caught.value


@pytest.mark.parametrize("family", ["SD 1, 2", "PixArt"])
def test_a_tokenizer_without_its_vocabulary_is_refused(family, saved, tmp_path):
    """transformers makes one of the configuration alone, to which every word is the same."""
    folder = shutil.copytree(saved(family), tmp_path / "model")
    for path in (folder / "tokenizer").iterdir():
        if path.name != "tokenizer_config.json":
            path.unlink()
    refused(flags(tmp_path / "out", folder), "its tokenizer reads every word alike", "vocabulary", "fetch it again")


def test_numbers_of_a_transformer_that_are_not_finite_are_one_line(saved, tmp_path):
    folder = shutil.copytree(saved("PixArt"), tmp_path / "model")
    path = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights["proj_out.bias"] = torch.full_like(weights["proj_out.bias"], float("inf"))
    save_file(weights, path)
    refused(flags(tmp_path / "out", folder), "the transformer gives numbers that are not finite", "damaged")
    assert not images(tmp_path / "out")


@pytest.mark.slow
def test_a_prompt_is_too_long_where_no_text_encoder_reads_it_whole(saved):
    text = "a face, " * 30  # 91 tokens of CLIP, 240 of this T5
    check_lengths(load_pipeline(str(saved("SD 3")), None, CPU, "fp32"), [text])
    with pytest.raises(UserError, match="the model reads 256"):
        check_lengths(load_pipeline(str(saved("SD 3")), None, CPU, "fp32"), [text * 2])
    with pytest.raises(UserError, match="the model reads 77"):
        check_lengths(load_pipeline(str(saved("SDXL")), None, CPU, "fp32"), [text])


# ---- memory


def test_slices_change_no_image_but_by_rounding(saved):
    options = {"steps": 2, "guidance_scale": 3.0, "size": 32}
    folder = str(saved("PixArt"))
    pipelines = [load_pipeline(folder, None, CPU, "fp32", vae_slicing=slicing) for slicing in (False, True)]
    plain, sliced = (render(pipeline, ["a", "b"], [1, 2], **options) for pipeline in pipelines)
    assert np.abs(plain.astype(int) - sliced).max() <= 1


@pytest.mark.parametrize(
    ("offload", "call"),
    [("none", "to"), ("model", "enable_model_cpu_offload"), ("sequential", "enable_sequential_cpu_offload")],
)
def test_offloading_is_left_to_diffusers(offload, call):
    asked = []

    def note(name):
        return lambda *args, **options: asked.append((name, *args, *options.values()))

    names = ("to", "enable_model_cpu_offload", "enable_sequential_cpu_offload")
    pipeline = SimpleNamespace(**{name: note(name) for name in names})
    device = torch.device("cuda:1")
    _place(pipeline, device, offload, vae_slicing=False, vae_tiling=False)
    assert asked == [(call, device)]


def test_a_decoder_that_cannot_be_sliced_is_one_line():
    pipeline = SimpleNamespace(to=lambda _: None, vae=object())
    with pytest.raises(UserError, match="--vae-slicing"):
        _place(pipeline, CPU, "none", vae_slicing=True, vae_tiling=False)
