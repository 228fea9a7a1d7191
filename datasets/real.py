"""The real images of a run, from any of the known data sets: which pair, where the images lie, what each split holds."""

from pathlib import Path

import numpy as np
import pandas as pd

from datasets.bias import largest_biased_size
from datasets.celeba import biased_subset, cell_names, image_folder, split_attributes
from datasets.custom import read_table
from datasets.images import FaceSet, decode_images
from datasets.pairs import Pair, parse_pair
from datasets.utkface import read_utkface, split_balanced
from utils.errors import UserError

DATASETS = ("celeba", "utkface", "csv", "toy")
PAPER_SIZE = 20000  # of the biased list on CelebA


def read_real(
    dataset: str, path: Path, target_sensitive: str, age_limit: int = 40
) -> tuple[Pair, Path, dict[str, pd.DataFrame]]:
    """The pair that `target_sensitive` names in a data set, its image folder, and the table of train, val and test.

    A table is indexed by file name relative to the folder and has a column for each attribute, -1/1 or 0/1.
    `age_limit` (years) is the age at which UTKFace's Young ends. Raises `UserError` for whatever is wrong with the data.
    """
    if dataset == "utkface":
        folder, table = read_utkface(path, age_limit)
        pair = parse_pair(target_sensitive, table.columns)
        return pair, folder, split_balanced(table, pair)
    if dataset == "csv":
        pair, splits = read_table(path, target_sensitive)
        return pair, path.parent, splits
    splits = split_attributes(path)
    return parse_pair(target_sensitive, splits["train"].columns), image_folder(path), splits


def training_list(dataset: str, train: pd.DataFrame, pair: Pair, size: int | None, bias_degree: str) -> pd.DataFrame:
    """The rows of `train` to train on: the biased list of `size` images.

    Without a size it is the paper's on CelebA (20,000), the largest that can be made on UTKFace, and one's own
    images as they are. Raises `UserError` where a cell cannot be filled or the protected labels that it takes are missing.
    """
    if size is None and dataset == "csv":
        return train
    if train[list(pair.protected)].isna().any(axis=None):
        raise UserError(
            "--number-train-data-real makes a biased list, which takes protected labels in train; leave it out to train "
            "on all images as they are"
        )
    if size is None and dataset == "utkface":
        counts = cell_names(train, pair.target, pair.protected).value_counts()
        size = largest_biased_size({cell: int(counts.get(cell, 0)) for cell in pair.cells}, bias_degree)
    return biased_subset(train, pair.target, pair.protected, PAPER_SIZE if size is None else size, bias_degree)


def real_faces(folder: Path, table: pd.DataFrame, pair: Pair, cache: Path, decode_size: int | None = None) -> FaceSet:
    """The images that an attribute table lists, in its order, with the labels of a pair; the group -1 where it is unknown."""
    target = table[pair.target].gt(0).to_numpy(np.int64)
    group = np.zeros(len(table), np.int64)
    for name in pair.protected:
        group = 2 * group + table[name].gt(0).to_numpy(np.int64)
    group[table[list(pair.protected)].isna().any(axis=1).to_numpy()] = -1
    pixels = decode_images([folder / name for name in table.index], cache, decode_size)
    return FaceSet(pixels, np.arange(len(table)), target, group, tuple(map(str, table.index)), pair.cells)


def check_evaluation_splits(splits: dict[str, pd.DataFrame], pair: Pair) -> None:
    """Raise `UserError` where a cell has no image in val or test, naming it: its accuracy would be undefined."""
    for split in ("val", "test"):
        present = set(cell_names(splits[split], pair.target, pair.protected)) if len(splits[split]) else set()
        empty = [cell for cell in pair.cells if cell not in present]
        if empty:
            raise UserError(
                f"the {split} split has no image of cell {', '.join(empty)} ({pair.name}, target_protected); its accuracy "
                "is undefined: choose another pair or add images to the data"
            )
