"""What published models have and the small ones of `test_families` have not: limits, sizes, files, failures."""

import shutil
from types import SimpleNamespace

import pytest
import sentencepiece
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
from tiny_pipelines import save

from stable_diffusion.pipeline import check_precision, load_pipeline, other_scheduler
from utils.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of PixArt's or Sana's small pipeline."""
    root = tmp_path_factory.mktemp("published")
    folders = {family: save(family, root / family) for family in ("PixArt", "Sana")}
    return folders.get


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


def test_a_tokenizer_of_a_sentencepiece_model_alone_is_read(saved, tmp_path):
    """PixArt's and HunyuanDiT's repositories hold no tokenizer.json."""
    folder = shutil.copytree(saved("PixArt"), tmp_path / "model")
    tokenizer = folder / "tokenizer"
    shutil.rmtree(tokenizer)
    tokenizer.mkdir()
    (tmp_path / "text.txt").write_text(
        "\n".join(f"a face of a {word} person, {i}" for i, word in enumerate("abcdef" * 20))
    )
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text.txt"), model_prefix=str(tokenizer / "spiece"), vocab_size=60, pad_id=0, eos_id=1,
        unk_id=2, bos_id=-1, hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    (tokenizer / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "T5Tokenizer", "model_max_length": 300, "extra_ids": 0}'
    )
    pipeline = load_pipeline(str(folder), None, CPU, "fp32")
    assert pipeline.tokenizer.decode(pipeline.tokenizer("a face").input_ids, skip_special_tokens=True) == "a face"
