"""UTKFace: attributes from the file names, and a split of our own, for the paper publishes none.

A name is age_gender_race_date.jpg.chip.jpg, with gender 1 for female and race 0 for White.
"""

import re
from pathlib import Path

import pandas as pd

from datasets.celeba import cell_names
from datasets.duplicates import digests
from datasets.pairs import Pair
from utils.errors import UserError

NAME = re.compile(r"(?P<age>\d{1,3})_(?P<gender>[01])_(?P<race>[0-4])_\d{17}\.jpg(\.chip\.jpg)?")
TEST_SHARE, VAL_SHARE = 0.2, 0.1  # of the smallest cell, from every cell


def read_utkface(root: Path, age_limit: int) -> tuple[Path, pd.DataFrame]:
    """The folder of the images, and a table indexed by file name with the 0/1 columns Female, White and Young.

    Young is an age below `age_limit` years. Names that don't parse are left out and listed; of files with the
    same bytes the first by name is kept, so that none straddles a split. The rows are in the order of the
    contents' SHA-256, which no file system and no attribute has a hand in. Raises `UserError` where no image is found.
    """
    folder = root / "UTKFace" if (root / "UTKFace").is_dir() else root
    files = sorted(path.name for path in folder.glob("*.jpg")) if folder.is_dir() else []
    matches = {name: NAME.fullmatch(name) for name in files}
    names = [name for name, match in matches.items() if match]
    if not names:
        raise UserError(
            f"no UTKFace image (age_gender_race_date.jpg.chip.jpg) in {folder}; --real-data-path must name their folder"
        )
    unclear = [name for name, match in matches.items() if not match]
    if unclear:
        print(f"UTKFace: {len(unclear)} files left out, their names don't parse: {', '.join(unclear)}")
    table = pd.DataFrame([matches[name].groupdict() for name in names], index=names).astype(int)
    table["digest"] = digests([folder / name for name in names])
    repeated = table["digest"].duplicated()
    labels = table.drop_duplicates()
    if repeated.any():
        contradicting = int(labels["digest"].duplicated().sum())
        print(
            f"UTKFace: {int(repeated.sum())} files left out, each the copy of another "
            f"({contradicting} of them under other labels)"
        )
    table = table[~repeated].sort_values("digest")
    attributes = {"Female": table["gender"] == 1, "White": table["race"] == 0, "Young": table["age"] < age_limit}
    return folder, pd.DataFrame(attributes).astype(int)


def split_balanced(table: pd.DataFrame, pair: Pair) -> dict[str, pd.DataFrame]:
    """Train, val and test: val and test hold as many images of each cell, train the rest.

    Test takes the first fifth of the smallest cell's number from every cell, val the next tenth, in the order
    of the table. Raises `UserError` where the smallest cell is too small for that.
    """
    cells = cell_names(table, pair.target, pair.protected)
    counts = cells.value_counts().reindex(pair.cells, fill_value=0)
    n_test, n_val = int(counts.min() * TEST_SHARE), int(counts.min() * VAL_SHARE)
    if n_val < 1:
        raise UserError(
            f"UTKFace cannot be split for {pair.name}: cell {counts.idxmin()} (target_protected) has {counts.min()} images "
            "and 10 are needed; choose another pair or --age-limit"
        )
    place = cells.groupby(cells).cumcount()
    return {
        "train": table[place >= n_test + n_val],
        "val": table[(place >= n_test) & (place < n_test + n_val)],
        "test": table[place < n_test],
    }
