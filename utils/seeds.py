"""Independent random streams, each derived from a seed and what it is for."""

import zlib

import numpy as np
import torch


def derived_seed(seed: int, *place: int | str) -> int:
    """A 63-bit seed from a base seed and a place such as ("pre-train",) or (group, image): the same everywhere."""
    words = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in place]
    return int(np.random.SeedSequence([seed, *words]).generate_state(1, np.uint64)[0] >> 1)


def torch_generator(seed: int, *place: int | str) -> torch.Generator:
    """A CPU generator of its own for one place."""
    return torch.Generator().manual_seed(derived_seed(seed, *place))
