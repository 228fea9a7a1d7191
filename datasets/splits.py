"""The form into which every data set is read."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from datasets.pairs import TWO, Pair
from utils.errors import UserError

NAMES = ("train", "val", "test")
ALL, LARGEST = "all", "largest"  # sizes of a training list: all images as they are; the largest biased list there is


class Splits(NamedTuple):
    """The lists of a data set.

    tables : one each for train, val and test, indexed by file name relative to `folder`; attribute columns of -1 and 1,
        or 0 and 1, or of the numbers, from 0, of the pair's values; NaN for a missing protected label in train
    default_size : number of training images if no flag gives it, or `ALL` or `LARGEST`
    """

    pair: Pair
    folder: Path
    tables: dict[str, pd.DataFrame]
    default_size: int | str


def check_splits(found: Splits, name: str) -> None:
    """Raise `UserError` if a reader's result is no valid `Splits`; `name` is the data set's."""
    fault = _fault(found)
    if fault:
        raise UserError(
            f"--dataset {name}: {fault}; its reader in datasets/ must return what datasets/splits.py describes"
        )


def _fault(found: Splits) -> str:
    pair, _, tables, size = found
    if list(tables) != list(NAMES):
        return f"the splits are {', '.join(tables)}, not {', '.join(NAMES)}"
    if not (size in (ALL, LARGEST) or isinstance(size, int)):
        return f"its default size is {size!r}"
    for split, table in tables.items():
        missing = [column for column in pair.attributes if column not in table.columns]
        if missing:
            return f"{split} has no column {missing[0]}"
        if table.empty:
            return f"{split} has no image"
        values = table[list(pair.attributes)]
        unknown = values.isna()
        allowed = list(pair.protected) if split == "train" else []  # may be missing
        for column, names in pair.values_of.items():
            known = [-1, 0, 1] if names == TWO else [*range(len(names))]
            if not (values[column].isin(known) | unknown[column]).all() or unknown.drop(columns=allowed).any(axis=None):
                return f"{split} has other labels than {', '.join(map(str, known[:-1]))} and {known[-1]}"
    names = [image for table in tables.values() for image in table.index]
    return "an image is listed twice" if len(set(names)) < len(names) else ""
