"""Argument types and the device choice that the command lines share."""

import argparse
import os
import warnings

import torch

from utils.errors import UserError
from utils.processes import place

PRECISIONS = {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32"}  # our names for types of torch


def positive_int(text: str) -> int:
    """An argparse type: an integer from 1 to a million, more than any count, size or batch here can use."""
    value = int(text)
    if not 1 <= value <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text} is not between 1 and 1000000")
    return value


def pixels(text: str) -> int:
    """An argparse type: pixels a side, an integer from 1 to 16384; an image of more would fill any memory."""
    value = positive_int(text)
    if value > 16_384:
        raise argparse.ArgumentTypeError(f"{text} is not between 1 and 16384 pixels")
    return value


def network_width(text: str) -> float:
    """An argparse type: a multiple of the channels of a network, above 0 and at most 8."""
    value = positive_float(text)
    if value > 8:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 8")
    return value


def seed_number(text: str) -> int:
    """An argparse type: an integer from 0 to 2^63 - 1."""
    value = int(text)
    if not 0 <= value < 2**63:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 2^63 - 1")
    return value


def non_negative_float(text: str) -> float:
    """An argparse type: a finite number of at least 0."""
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number of at least 0")
    return value


def positive_float(text: str) -> float:
    """An argparse type: a finite number above 0."""
    value = non_negative_float(text)
    if not value:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def fraction(text: str) -> float:
    """An argparse type: a number from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def positive_fraction(text: str, whole: int = 1) -> float:
    """An argparse type: a number above 0 and at most `whole`."""
    value = float(text)
    if not 0 < value <= whole:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most {whole}")
    return value


def be_deterministic() -> None:
    """Allow torch only algorithms that give the same result each time; call it before the first use of a GPU."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


def choose_device(name: str) -> torch.device:
    """The device of that name; "auto" is a GPU (each process gets its own), or the CPU where there is none.

    Raises `UserError` where this torch or this machine doesn't have the device.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda", place().local_rank % gpus) if gpus else torch.device("cpu")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of device types that torch no longer knows what to do with
            device = torch.device(name)
            torch.zeros(1, device=device).item()  # a device without memory, such as meta, has no value to give
    except (RuntimeError, AssertionError, ImportError, AttributeError) as error:
        raise UserError(
            f"--device {name}: {_why_no_device(name, gpus, error)}; pass --device cpu or leave it out"
        ) from error
    return device


def _why_no_device(name: str, gpus: int, error: Exception) -> str:
    kind = name.partition(":")[0]
    if kind == "cuda" and gpus:
        return f"this machine has {gpus} GPU{'s' if gpus > 1 else ''}, numbered from 0"
    if kind == "cuda":
        built = "" if torch.version.cuda or torch.version.hip else ", and this torch is built without CUDA"
        return f"this machine has no usable GPU{built}"
    if "device type" in str(error) or "device string" in str(error).lower():
        return "no such device; there are auto, cpu, cuda, cuda:1, mps, ..."
    return "this torch or this machine doesn't have it"
