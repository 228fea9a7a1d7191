"""Argument types and the choice of a device, for all command lines."""

import argparse
import os
import warnings
from types import NoneType
from typing import Annotated, Literal, TypeVar, get_args, get_origin

import torch

from utils.errors import UserError
from utils.processes import place

PRECISIONS = {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32"}  # our names for types of torch
Number = TypeVar("Number", int, float)


def positive_int(text: str) -> int:
    """Return an integer from 1 to a million, which is more than any count, size or batch here."""
    return _checked(text, int(text), lambda n: 1 <= n <= 1_000_000, "between 1 and 1000000")


def pixels(text: str) -> int:
    """Return pixels a side, an integer from 1 to 16384: a larger image would fill any memory."""
    return _checked(text, positive_int(text), lambda n: n <= 16_384, "between 1 and 16384 pixels")


def network_width(text: str) -> float:
    """Return a multiple of a network's channels, above 0 and at most 8."""
    return positive_fraction(text, whole=8)


def seed_number(text: str) -> int:
    """Return an integer from 0 to 2^63 - 1."""
    return _checked(text, int(text), lambda n: 0 <= n < 2**63, "between 0 and 2^63 - 1")


def non_negative_float(text: str) -> float:
    """Return a finite number of at least 0."""
    return _checked(text, float(text), lambda n: 0 <= n < float("inf"), "a number of at least 0")


def positive_float(text: str) -> float:
    """Return a finite number above 0."""
    return _checked(text, non_negative_float(text), bool, "above 0")


def fraction(text: str) -> float:
    """Return a number from 0 to 1."""
    return _checked(text, float(text), lambda n: 0 <= n <= 1, "between 0 and 1")


def positive_fraction(text: str, whole: int = 1) -> float:
    """Return a number above 0 and at most `whole`."""
    return _checked(text, float(text), lambda n: 0 < n <= whole, f"above 0 and at most {whole}")


def _checked(text: str, value: Number, fits, wanted: str) -> Number:
    if not fits(value):
        raise argparse.ArgumentTypeError(f"{text} is not {wanted}")
    return value


def be_deterministic() -> None:
    """Allow torch only algorithms that repeat their result. Call this before the first use of a GPU."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


def choose_device(name: str) -> torch.device:
    """Return the device called `name`; "auto" is a GPU (each process gets its own), or the CPU if there is none.

    Raises `UserError` if this torch or this machine lacks the device.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda", place().local_rank % gpus) if gpus else torch.device("cpu")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of device types that it no longer supports
            device = torch.device(name)
            torch.zeros(1, device=device).item()  # fails on a device without memory, such as meta
    except (RuntimeError, AssertionError, ImportError, AttributeError) as error:
        reason = _why_no_device(name, gpus, error)
        raise UserError(f"--device {name}: {reason}; pass --device cpu or leave it out") from error
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


def read_option(kind, text: str):
    """Read a value of type `kind` from a text.

    Raises `ValueError` or argparse's own error if the text stands for none.
    """
    if get_origin(kind) is Annotated:
        return kind.__metadata__[0](text)
    if get_origin(kind) is Literal:
        values = {str(value): value for value in get_args(kind)}
        if text not in values:
            raise ValueError(f"{text} is none of {', '.join(values)}")
        return values[text]
    if kind is bool:
        return read_option(Literal["true", "false"], text.lower()) == "true"
    inner = [part for part in get_args(kind) if part is not NoneType]
    return read_option(inner[0], text) if inner else kind(text)
