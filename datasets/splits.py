"""What every data set is read into."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from datasets.pairs import Pair

NAMES = ("train", "val", "test")
ALL, LARGEST = "all", "largest"  # sizes of a training list: all images as they are; the largest biased list there is


class Splits(NamedTuple):
    """The lists of a data set.

    `tables` holds a table for each of train, val and test, indexed by file name relative to `folder`, with a column for
    each attribute, -1/1 or 0/1, and NaN for a protected value that is missing in train. `default_size` is the number of
    training images where none is asked for, or `ALL` or `LARGEST`.
    """

    pair: Pair
    folder: Path
    tables: dict[str, pd.DataFrame]
    default_size: int | str
