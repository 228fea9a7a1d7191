"""Independent random streams, each derived from a seed and its purpose."""

import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derived_seed(seed: int, *place: int | str) -> int:
    """Return a 63-bit seed from a base seed and a purpose such as ("pre-train",), the same on all machines."""
    words = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in place]
    return int(np.random.SeedSequence([seed, *words]).generate_state(1, np.uint64)[0] >> 1)


def torch_generator(seed: int, *place: int | str) -> "torch.Generator":
    """Return a CPU generator that starts at the derived seed."""
    import torch

    return torch.Generator().manual_seed(derived_seed(seed, *place))
