"""UTKFace: attributes from the file names, and our own splits, because the paper publishes none.

A name is age_gender_race_date.jpg.chip.jpg; gender 1 is female, races are numbered as in `RACES`.
"""

import re
from pathlib import Path

import pandas as pd

from datasets.celeba import group_names
from datasets.pairs import Pair, parse_pair
from datasets.splits import LARGEST, Splits
from datasets.values import with_values
from utils.errors import UserError
from utils.files import digests

PAIRS = ("Female_White",)
RACES = ("White", "Black", "Asian", "Indian", "Others")
NAME = re.compile(
    r"(?P<age>\d{1,3})_(?P<gender>[01])_(?P<race>[0-4])_\d{17}\.(jpe?g|png)(\.chip\.(jpe?g|png))?", re.IGNORECASE
)
PLACES = ("UTKFace", "", "utkface_aligned_cropped/UTKFace")  # folders of the archives; the last is Kaggle's
PARTS = (("",), ("part1", "part2", "part3"), ("crop_part1",))  # below them: aligned, in the wild, an older selection
TEST_FRACTION, VAL_FRACTION = 0.2, 0.1  # of the smallest group's size, taken from every group
SHOWN = 10  # names in a message


def read(path: Path, target_sensitive: str, *, age_limit: int = 40, values: tuple[str, ...] = ()) -> Splits:
    """Read our own splits, with the largest possible biased training list; Young is an age below `age_limit` years.

    `values` are the entries of --values (`datasets.values`).
    """
    folder, table = read_utkface(path, age_limit)
    pair, table = with_values(parse_pair(target_sensitive, table.columns), table, values)
    return Splits(pair, folder, split_balanced(table, pair), LARGEST)


def read_utkface(root: Path, age_limit: int) -> tuple[Path, pd.DataFrame]:
    """Return the folder of the images, and a table indexed by file name.

    Its columns are Female, White and Young, 0 or 1; Race, one of `RACES`; and Age in years.

    Files whose name doesn't parse are left out, with a message. Of files with equal bytes the first by name is kept, so
    that no image is in two splits. The rows are in the order of the contents' SHA-256, which depends neither on the
    file system nor on attributes. Raises `UserError` if there is no image.
    """
    folder, files = find_images(root)
    matches = {name: NAME.fullmatch(name.rpartition("/")[2]) for name in files}
    names = [name for name, match in matches.items() if match]
    unclear = [name for name, match in matches.items() if not match]
    if unclear:
        more = ", ..." if len(unclear) > SHOWN else ""
        print(f"UTKFace: {len(unclear)} files left out, whose names don't parse: {', '.join(unclear[:SHOWN])}{more}")
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
    races = pd.Categorical.from_codes(table["race"], RACES)
    return folder, pd.DataFrame(attributes).astype(int).assign(Race=races, Age=table["age"])


def find_images(root: Path) -> tuple[Path, list[str]]:
    """Return the first folder of UTKFace's archives with images, and their names relative to it, sorted.

    Aligned images and images in the wild are never mixed; other folders are left out, with a message. Raises
    `UserError` if no name parses.
    """
    found = {}
    for parts in PARTS:
        for folder in (root / place for place in PLACES):
            files = sorted(f"{part}/{name}".lstrip("/") for part in parts for name in _images(folder / part))
            if any(NAME.fullmatch(name.rpartition("/")[2]) for name in files):
                found[folder, parts] = files
    if not found:
        raise UserError(
            f"no UTKFace image (age_gender_race_date.jpg.chip.jpg) in {root}; --real-data-path must name their folder"
        )
    (chosen, _), files = next(iter(found.items()))
    others = [str(folder / part) for folder, parts in list(found)[1:] for part in parts if (folder / part).is_dir()]
    if others:
        print(f"UTKFace: read from {chosen}; left out: {', '.join(others)}")
    return chosen, files


def _images(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return [
        path.name
        for path in folder.iterdir()
        if path.suffix.lower() in (".jpg", ".jpeg", ".png") and not path.name.startswith(".")
    ]


def split_balanced(table: pd.DataFrame, pair: Pair) -> dict[str, pd.DataFrame]:
    """Split a table into train, val and test; val and test have equally many images of each group, train has the rest.

    Test takes from every group a fifth of the smallest group's size, val the next tenth, in the order of the table.
    Raises `UserError` if the smallest group is too small.
    """
    groups = group_names(table, pair)
    counts = groups.value_counts().reindex(pair.groups, fill_value=0)
    n_test, n_val = int(counts.min() * TEST_FRACTION), int(counts.min() * VAL_FRACTION)
    if n_val < 1:
        raise UserError(
            f"UTKFace cannot be split for {pair.name}: group {counts.idxmin()} (target_protected) has {counts.min()} "
            f"images and 10 are needed; choose another pair{', or join or leave out values with --values' if pair.values else ' or --age-limit'}"
        )
    place = groups.groupby(groups).cumcount()
    return {
        "train": table[place >= n_test + n_val],
        "val": table[(place >= n_test) & (place < n_test + n_val)],
        "test": table[place < n_test],
    }
