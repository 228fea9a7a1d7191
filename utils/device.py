"""The choice of a device, and algorithms that repeat their result on it."""

import os
import warnings

import torch

from utils.errors import UserError
from utils.processes import place


def be_deterministic() -> None:
    """Allow torch only algorithms that repeat their result. Call this before the first use of a GPU."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


def choose_device(name: str) -> torch.device:
    """Return the device called `name`; "auto" is a GPU, or the CPU if there is none; of "auto" and "cuda" each process gets its own.

    Raises `UserError` if this torch or this machine lacks the device.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto" or (name == "cuda" and gpus):
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
