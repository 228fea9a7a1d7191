"""What a device without float64 can't do, as Apple's GPUs: tensors on torch's `meta` stand for those on it."""

import contextlib

import pytest
import torch
from support.scores import score
from support.small import TINY, trained
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import utils.device
from stable_diffusion import faithfulness

ATEN = torch.ops.aten
NUMBERS = (ATEN._local_scalar_dense, ATEN.item, ATEN.is_nonzero)
COPIES = (ATEN._to_copy, ATEN.to)


class NoFloat64(TorchDispatchMode):
    """Refuses float64 on the device, as MPS does. What comes back from there runs from 0 to 1."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        options = kwargs or {}
        if args and isinstance(args[0], torch.Tensor) and args[0].is_meta:
            if func.overloadpacket in NUMBERS:
                return 0.5 if args[0].dtype.is_floating_point else 0
            if func.overloadpacket in COPIES and options.get("device") == torch.device("cpu"):
                found = torch.linspace(0, 1, args[0].numel()).reshape(args[0].shape)
                return found.to(options.get("dtype") or args[0].dtype)
        found = func(*args, **options)
        if any(isinstance(x, torch.Tensor) and x.is_meta and x.dtype == torch.float64 for x in tree_leaves(found)):
            raise TypeError(
                "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64."
            )
        return found


@pytest.fixture
def device(monkeypatch):
    """Have the scripts choose it."""
    for script in (faithfulness, utils.device):
        monkeypatch.setattr(script, "choose_device", lambda name: torch.device("meta"))
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # which knows no such device
    with NoFloat64():
        yield


def test_clip_scores(device, clip, made):
    done = score(made, "--clip", clip)
    assert done.returncode == 0, done.stderr


def test_a_judge_learns_and_scores(device, toy, made, tmp_path):
    flags = ["--data", toy, "--epochs", 1, "--image-size", 32, "--cache", tmp_path / "cache"]
    done = score(made, *flags)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_training_ranking_and_fine_tuning(device, toy, made, tmp_path):
    trained(
        toy,
        tmp_path / "made",
        tmp_path / "out",
        *TINY,
        "--number-imbalanced-synthetic",
        8,
        "--methods",
        "aim-fair",
        "criterion",
    )
