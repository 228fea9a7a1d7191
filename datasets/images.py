"""Labelled sets of images."""

import hashlib
import os
from dataclasses import dataclass, replace

import numpy as np
import torch

from datasets.pairs import GROUPS, labels_in
from utils.metrics import classes_of

GPU_RESERVE = 8 * 2**30  # bytes of a GPU's memory reserved for the network


@dataclass(frozen=True)
class LabelledImages:
    """A set of n labelled images; image i is `pixels[rows[i]]`.

    pixels : uint8 (N, height, width, 3), memory-mapped and shared by several sets, or a tensor on a GPU
    rows : int64 (n,)
    target : int64 (n,), numbers from 0 of the target values
    protected : int64 (n,), numbers from 0 of the protected values taken together; -1 if the label is missing
    names : n file names
    groups : all possible groups, as target_protected
    """

    pixels: np.ndarray | torch.Tensor
    rows: np.ndarray
    target: np.ndarray
    protected: np.ndarray
    names: tuple[str, ...]
    groups: tuple[str, ...] = GROUPS

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def targets(self) -> int:
        """The number of target values."""
        return classes_of(self.groups)

    def subset(self, indices: np.ndarray) -> "LabelledImages":
        """Return the set of the images at `indices`, in that order."""
        parts = {name: getattr(self, name)[indices] for name in ("rows", "target", "protected")}
        return replace(self, **parts, names=tuple(self.names[i] for i in indices))

    def group_counts(self) -> dict[str, int]:
        """Return the number of images in each group; images without a protected label are not counted."""
        labels = labels_in(self.groups).items()
        return {group: int(np.sum((self.target == t) & (self.protected == p))) for group, (t, p) in labels}

    def take(self, indices: np.ndarray) -> list[tuple[torch.Tensor, np.ndarray]]:
        """Return the images at `indices` as one block, uint8 (n, height, width, 3), and their places 0 to n - 1."""
        return [(self._block(self.rows[indices]), np.arange(len(indices)))]

    def on(self, device: torch.device) -> "LabelledImages":
        """Return the set with its pixels on a GPU, if `device` is one with enough memory; else this set."""
        if device.type != "cuda" or isinstance(self.pixels, torch.Tensor):
            return self
        if torch.cuda.mem_get_info(device)[0] < 2 * self.pixels.nbytes + GPU_RESERVE:
            return self
        return replace(self, pixels=upload(self.pixels, device))

    def _block(self, rows: np.ndarray) -> torch.Tensor:
        if isinstance(self.pixels, torch.Tensor):
            return self.pixels[torch.from_numpy(rows).to(self.pixels.device)]
        return torch.from_numpy(self.pixels[rows])


@dataclass(frozen=True)
class MixedSet:
    """A training set of several parts, such as real and synthetic images, which may differ in size."""

    parts: tuple[LabelledImages, ...]

    def __len__(self) -> int:
        return len(self.target)

    @property
    def target(self) -> np.ndarray:
        """The targets of all parts, in order: int64 (n,)."""
        return np.concatenate([part.target for part in self.parts])

    def take(self, indices: np.ndarray) -> list[tuple[torch.Tensor, np.ndarray]]:
        """Return the images at `indices` as `LabelledImages.take` does, in a block for each part."""
        blocks, start = [], 0
        for part in self.parts:
            places = np.flatnonzero((indices >= start) & (indices < start + len(part)))
            if len(places):
                [(block, _)] = part.take(indices[places] - start)
                blocks.append((block, places))
            start += len(part)
        return blocks


def upload(pixels: np.ndarray, device: torch.device, chunk: int = 4096) -> torch.Tensor:
    """Copy an array, which may be memory-mapped, to a device, `chunk` rows at a time."""
    result = torch.empty(pixels.shape, dtype=torch.uint8, device=device)
    for start in range(0, len(pixels), chunk):
        result[start : start + chunk] = torch.from_numpy(np.array(pixels[start : start + chunk]))
    return result


def in_fingerprint(number: int) -> np.ndarray:
    """Return the indices of the images whose pixels enter the fingerprint of `number` images: int64."""
    return np.arange(0, number, max(1, number // 64))


def fingerprint(faces: LabelledImages) -> str:
    """Return a short text that identifies a set: a digest of all names and labels, and of the pixels of some images."""
    digest = hashlib.sha256(os.fsencode("\n".join(faces.names)))
    digest.update(np.stack([faces.target, faces.protected]).tobytes())
    [(some, _)] = faces.take(in_fingerprint(len(faces)))
    digest.update(some.cpu().numpy().tobytes())
    return f"{len(faces)} images, {digest.hexdigest()[:12]}"
