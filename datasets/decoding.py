"""Reading images, and decoding them once into a memory-mapped file. Nothing here needs torch."""

import hashlib
import json
import os
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.known import WHOLE
from datasets.reading import VERSION, ImageError, caught, read_image, together
from utils.errors import UserError
from utils.files import locked, whole
from utils.progress import progress


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
