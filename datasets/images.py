"""Images, decoded once into a memory-mapped file, and labelled sets of them."""

import hashlib
import json
import os
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from datasets.known import WHOLE
from datasets.pairs import GROUPS, group_labels
from datasets.reading import VERSION, ImageError, caught, read_image, together
from utils.errors import UserError
from utils.files import locked, whole
from utils.progress import progress

GPU_RESERVE = 8 * 2**30  # bytes of a GPU's memory reserved for the network


@dataclass(frozen=True)
class LabelledImages:
    """A set of n labelled images; image i is `pixels[rows[i]]`.

    pixels : uint8 (N, height, width, 3), memory-mapped and shared by several sets, or a tensor on a GPU
    rows : int64 (n,)
    target : int64 (n,), 0 or 1
    protected : int64 (n,), 0 or 1 with four groups, 0 to 3 with eight; -1 if the label is missing
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

    def subset(self, indices: np.ndarray) -> "LabelledImages":
        """Return the set of the images at `indices`, in that order."""
        parts = {name: getattr(self, name)[indices] for name in ("rows", "target", "protected")}
        return replace(self, **parts, names=tuple(self.names[i] for i in indices))

    def group_counts(self) -> dict[str, int]:
        """Return the number of images in each group; images without a protected label are not counted."""
        labels = {group: group_labels(group) for group in self.groups}
        return {group: int(np.sum((self.target == t) & (self.protected == p))) for group, (t, p) in labels.items()}

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


def decode_images(
    paths: list[Path], cache: Path, size: int | None = None, box: tuple[float, ...] = WHOLE
) -> np.ndarray:
    """Decode images once into a file in `cache` and return them: uint8 (N, height, width, 3), memory-mapped.

    size : resize to so many pixels a side (bilinear, without keeping the aspect ratio); None: keep the size
    box : the part of every image to keep, as fractions of its width and height

    The file's name is a digest of paths, file sizes, times of change and the version of the reading, so a change makes
    a new file. Raises `ImageError` if images cannot be read (for all of them at once), and `UserError` if their sizes
    differ.
    """
    target = cache_file(paths, cache, size, box)
    try:
        return np.load(target, mmap_mode="r")
    except (FileNotFoundError, ValueError, EOFError):  # not there, or cut off
        pass
    with locked(cache / ".lock", wait=True), quiet():  # of several processes one decodes
        with suppress(FileNotFoundError, ValueError, EOFError):
            return np.load(target, mmap_mode="r")
        _write_pixels(paths, target, size, box)
    return np.load(target, mmap_mode="r")


@contextmanager
def quiet() -> Iterator[None]:
    """Hide Pillow's warnings on damaged metadata and on large pictures, which `read_image` refuses.

    It must enclose the threads that read, because several threads must not enter it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
        yield


def cache_file(paths: list[Path], cache: Path, size: int | None = None, box: tuple[float, ...] = WHOLE) -> Path:
    """Return the path of the file for these decoded images. Raises `UserError` if an image is missing."""
    try:
        stats = [path.stat() for path in paths]
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror}") from error
    files = [[str(p.resolve()), s.st_size, s.st_mtime_ns] for p, s in zip(paths, stats, strict=True)]
    key = json.dumps([VERSION, size, files] + ([box] if box != WHOLE else []))
    return cache / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.npy"


def time_reading(
    paths: list[Path], size: int | None = None, box: tuple[float, ...] = WHOLE, number: int = 32
) -> tuple[np.ndarray, float]:
    """Read `number` images, evenly spread: uint8 (n, height, width, 3); also return the seconds for one."""
    chosen, start = _spread(paths, number), time.perf_counter()
    return read_images(chosen, size, box), (time.perf_counter() - start) / len(chosen)


def read_images(paths: list[Path], size: int | None = None, box: tuple[float, ...] = WHOLE) -> np.ndarray:
    """Read images as `decode_images` does, with its errors, but without a cache."""
    with quiet(), ThreadPoolExecutor(os.cpu_count()) as pool:
        images = together(pool.map(caught(lambda path: _read(path, size, box)), paths))
    for path, image in zip(paths, images, strict=True):
        _check_shape(path, image, paths[0], images[0])
    return np.stack(images)


def check_some(paths: list[Path], size: int | None = None, box: tuple[float, ...] = WHOLE, number: int = 32) -> None:
    """Read `number` images, evenly spread, so that a dry run finds common faults; raises as `decode_images` does."""
    read_images(_spread(paths, number), size, box)


def _spread(paths: list[Path], number: int) -> list[Path]:
    return [paths[i] for i in dict.fromkeys(np.linspace(0, len(paths) - 1, number, dtype=int))] if paths else []


def _write_pixels(paths: list[Path], target: Path, size: int | None, box: tuple[float, ...]) -> None:
    attempt = caught(lambda path: _read(path, size, box))
    reference, first = next(((p, i) for p in paths if not isinstance(i := attempt(p), ImageError)), (paths[0], None))
    if first is None:
        together(map(attempt, paths))
    shape = (len(paths), *first.shape)
    print(f"decoding {len(paths)} images once into {target} ({np.prod(shape) / 1e9:.2f} GB)")

    def fill(index):
        image = _read(paths[index], size, box)
        _check_shape(paths[index], image, reference, first)
        pixels[index] = image

    with whole(target, shared=True) as partial:
        pixels = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
        # allocate everything now, because a mapped file on a full disk would kill the process
        if hasattr(os, "posix_fallocate"):
            with open(partial, "r+b") as file:
                os.posix_fallocate(file.fileno(), 0, partial.stat().st_size)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            work = pool.map(caught(fill), range(len(paths)))
            together(progress(work, desc="decoding", total=len(paths), unit="image"))
        pixels.flush()


def _check_shape(path: Path, image: np.ndarray, first_path: Path, first: np.ndarray) -> None:
    if image.shape != first.shape:
        (h, w), (h0, w0) = image.shape[:2], first.shape[:2]
        raise UserError(f"{path} is {w}x{h} pixels, {first_path} is {w0}x{h0}; --decode-size N gives all one size")


def read_part(path: Path, box: tuple[float, ...]) -> Image.Image:
    """Read the part of an image in `box`, fractions of its width and height. Raises `UserError` if it has no pixel."""
    image = read_image(path)
    if box == WHOLE:
        return image
    left, top, right, bottom = (round(fraction * side) for fraction, side in zip(box, image.size * 2, strict=True))
    if left == right or top == bottom:
        raise UserError(f"{path} has {image.width}x{image.height} pixels: --real-crop leaves none of them")
    return image.crop((left, top, right, bottom))


def _read(path: Path, size: int | None, box: tuple[float, ...]) -> np.ndarray:
    image = read_part(path, box)
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR) if size else image)


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
