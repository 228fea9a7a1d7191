"""The pixels and labels of a run's real images, by their lists."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from datasets.celeba import numbers
from datasets.decoding import decode_images, read_images
from datasets.images import LabelledImages, fingerprint, in_fingerprint
from datasets.known import WHOLE
from datasets.pairs import Pair
from datasets.reading import caught, together
from datasets.real import split_sizes
from datasets.splits import Splits


def load_faces(lists: Splits, settings) -> dict[str, LabelledImages]:
    """Load the images of each split, on the GPU if it has room.

    Val and test are resized once, to the network's size.
    """
    sizes = split_sizes(lists, settings)

    def load(split: str) -> LabelledImages:
        box, cache = settings.real_crop, settings.cache_folder
        return real_faces(lists.folder, lists.tables[split], lists.pair, cache, sizes[split], box=box)

    faces = dict(zip(lists.tables, together(map(caught(load), lists.tables)), strict=True))
    return {split: images.on(settings.compute.device) for split, images in faces.items()}


def fingerprints(lists: Splits, settings) -> dict[str, str]:
    """Return the fingerprint of each split by reading only the images that it depends on."""
    sizes, found = split_sizes(lists, settings), {}
    for split, table in lists.tables.items():
        places, rows = in_fingerprint(len(table)), np.zeros(len(table), np.int64)
        pixels = read_images([lists.folder / name for name in table.index[places]], sizes[split], settings.real_crop)
        rows[places] = np.arange(len(places))
        found[split] = fingerprint(replace(labelled(pixels, table, lists.pair), rows=rows))
    return found


def real_faces(
    folder: Path,
    table: pd.DataFrame,
    pair: Pair,
    cache: Path,
    decode_size: int | None = None,
    *,
    box: tuple[float, ...] = WHOLE,
) -> LabelledImages:
    """Return the images of an attribute table, in its order, with the labels of a pair.

    `decode_size` and `box` are the size and box of `datasets.decoding.decode_images`.
    """
    return labelled(decode_images([folder / name for name in table.index], cache, decode_size, box), table, pair)


def labelled(pixels: np.ndarray, table: pd.DataFrame, pair: Pair) -> LabelledImages:
    """Return images, uint8 (n, height, width, 3), with the labels of a pair from their table of n rows."""
    values, protected = pair.values_of, np.zeros(len(table), np.int64)
    target = numbers(table[pair.target], values[pair.target])
    for name in pair.protected:
        protected = len(values[name]) * protected + numbers(table[name], values[name])
    protected[table[list(pair.protected)].isna().any(axis=1).to_numpy()] = -1
    return LabelledImages(pixels, np.arange(len(table)), target, protected, tuple(map(str, table.index)), pair.groups)
