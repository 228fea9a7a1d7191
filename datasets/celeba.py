"""CelebA and other data in its layout: attributes, official split, the biased training list.

The root folder has `img_align_celeba/`, `list_attr_celeba` and `list_eval_partition`. The lists are .txt as in the
original, .csv as on Kaggle, or as a text editor or spreadsheet saved them (`datasets.lists`).
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from datasets.bias import biased_group_sizes, largest_biased_size
from datasets.lists import read_list
from datasets.pairs import TWO, Pair, parse_pair
from datasets.splits import NAMES, Splits
from utils.errors import UserError
from utils.files import first_names, is_inside

PAIRS = ("Smiling_Male", "Smiling_Young", "Young_Male")
PAPER_SIZE = 20000  # of the biased training list
IMAGE_FOLDERS = ("img_align_celeba/img_align_celeba", "img_align_celeba", "Img/img_align_celeba")  # Kaggle's first
LIST_FOLDERS = ("", "Anno", "Eval")  # the last two are those of the project page's drive


def read(path: Path, target_sensitive: str) -> Splits:
    """Read the official splits; the biased training list has the paper's size."""
    tables = split_attributes(path)
    return Splits(parse_pair(target_sensitive, tables["train"].columns), image_folder(path), tables, PAPER_SIZE)


def read_attributes(root: Path) -> pd.DataFrame:
    """Read the attribute table: indexed by file name, a column for each attribute, values -1 and 1, or 0 and 1.

    Raises `UserError` if the file is missing or has another form.
    """
    path = _find(root, "list_attr_celeba")
    form = "expected a line with the attributes' names, then a file name and its values, -1 or 1, in each line"
    heading, table = read_list(path, form)
    if heading is None:
        raise UserError(f"{path}: the line with the attributes' names is missing; {form}")
    names = heading[len(heading) - (table.shape[1] - 1) :] if table.shape[1] > 1 else []
    if len(names) + 1 != table.shape[1] or len(heading) - len(names) not in (0, 1):
        raise UserError(f"{path}: {len(heading)} names above lines of {table.shape[1]} fields; {form}")
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise UserError(f"{path}: two attributes are called {repeated[0]!r}")
    table = table.set_index(0).set_axis(names, axis=1)
    values = set(pd.unique(table.to_numpy().ravel()))
    if table.empty or not (values <= {-1, 1} or values <= {0, 1}):
        found = ", ".join(map(str, sorted(values, key=str)[:5])) or "none"
        wrong = np.argwhere(~table.isin([-1, 0, 1]).to_numpy(bool))
        place = f", the first for {table.index[wrong[0][0]]}, {names[wrong[0][1]]}" if len(wrong) else ""
        raise UserError(f"{path}: expected attribute values -1 and 1, or 0 and 1, found {found}{place}")
    _check_names(path, table.index)
    return table


def read_partition(root: Path) -> pd.Series:
    """Read the official split of each file: "train", "val" or "test", indexed by file name."""
    path = _find(root, "list_eval_partition")
    form = "expected a file name and 0, 1 or 2 in each line"
    _, table = read_list(path, form)
    if table.shape[1] != 2:
        raise UserError(f"{path}: {table.shape[1]} fields in a line; {form}")
    split = table.set_index(0)[1]
    wrong = split[~split.isin(range(len(NAMES)))]
    if len(wrong):
        raise UserError(f"{path}: {form}, found {wrong.iloc[0]} for {wrong.index[0]}")
    _check_names(path, split.index)
    return split.map(dict(enumerate(NAMES)))


def image_folder(root: Path) -> Path:
    """Return the folder of the images. Raises `UserError` if there is none."""
    for name in IMAGE_FOLDERS:
        if (root / name).is_dir():
            return root / name
    archive = "; unzip img_align_celeba.zip" if (root / "img_align_celeba.zip").is_file() else ""
    raise UserError(f"no folder {root / 'img_align_celeba'}{archive}; {_LAYOUT}")


def check_images(folder: Path, names: Iterable[str]) -> None:
    """Raise `UserError` if images are missing in `folder` or two names are one file; the message counts them."""
    names = list(names)
    found = first_names(folder, names)
    missing = [name for name, place in zip(names, found, strict=True) if place is None]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(names)} listed images are not in {folder}, the first is {missing[0]}; "
            f"{_remedy(folder, missing[0])}"
        )
    twice = [(names[place], names[index]) for index, place in enumerate(found) if place != index]
    if twice:
        raise UserError(
            f"{folder}: {len(twice)} images are listed twice, the first as {twice[0][0]} and {twice[0][1]}; "
            "take one of each out of the lists"
        )


def _remedy(folder: Path, name: str) -> str:
    """Return the remedy for a missing image, which may lie elsewhere or in another format."""
    alike = sorted(path.name for path in folder.glob("*") if path.stem == Path(name).stem and path.is_file())
    if alike:
        return f"there is {alike[0]} in its place: take the archive with the files that the lists name"
    below = sorted(path for path in folder.glob("*") if path.is_dir())
    for place in (*below, folder.parent):
        if (place / name).is_file():
            return f"it lies in {place}: move the images from there"
    return "unpack the images there again (of CelebA: img_align_celeba.zip), or take them out of the lists"


def split_attributes(root: Path) -> dict[str, pd.DataFrame]:
    """Return the attribute table of each split."""
    attributes, partition = read_attributes(root), read_partition(root)
    missing = attributes.index.difference(partition.index)
    if len(missing):
        raise UserError(f"{root}: list_eval_partition has no line for {missing[0]} and {len(missing) - 1} more files")
    split = partition.loc[attributes.index]
    return {name: attributes[(split == name).to_numpy()] for name in NAMES}


def biased_subset(attributes: pd.DataFrame, pair: Pair, size: int = 20000, bias_degree: str = "1/9") -> pd.DataFrame:
    """Return the rows of a biased training list, in which the target goes with the absence of the protected attribute.

    From the top of the table each image is taken until its group is full (paper, section 4.1), so the list is the same
    for every seed. The groups have the sizes of `datasets.bias.biased_group_sizes`.

    attributes : indexed by file name in id order, with values -1 and 1, or 0 and 1, or the numbers of the pair's values

    Raises `UserError` if a group cannot be filled; the message gives the largest size that works.
    """
    groups = group_names(attributes, pair)
    sizes = biased_group_sizes(size, bias_degree, pair.groups)
    available = {group: int((groups == group).sum()) for group in sizes}
    short = [f"{group} has {available[group]} of {n}" for group, n in sizes.items() if available[group] < n]
    if short:
        largest = largest_biased_size(available, bias_degree)
        remedy = f"the largest size that works is {largest}" if largest else "no size works"
        raise UserError(
            f"cannot fill the biased list of {size} images at bias degree {bias_degree} for {pair.target}/{'+'.join(pair.protected)} "
            f"(groups target_protected): {', '.join(short)}; {remedy} (--number-train-data-real)"
        )
    place_in_group = groups.groupby(groups).cumcount()
    return attributes[place_in_group < groups.map(sizes)]


def group_names(attributes: pd.DataFrame, pair: Pair) -> pd.Series:
    """Return the group of each row, such as "0_0" or "1_Asian" (target_protected).

    A column of two values may have -1 for 0, and a missing value counts as 0; other columns have the numbers of the pair's values.
    """
    place = np.zeros(len(attributes), np.int64)
    for name, values in pair.values_of.items():
        place = len(values) * place + numbers(attributes[name], values)
    return pd.Series(np.array(pair.groups, dtype=object)[place], attributes.index)


def numbers(column: pd.Series, values: tuple[str, ...]) -> np.ndarray:
    """Return the number of each row's value, int64 (n,); 0 if it is missing."""
    return (column.gt(0) if values == TWO else column.fillna(0)).to_numpy(np.int64)


_LAYOUT = (
    "--real-data-path must name a folder with img_align_celeba/, list_attr_celeba.txt (or .csv) "
    "and list_eval_partition.txt (or .csv)"
)


def _find(root: Path, stem: str) -> Path:
    for folder in LIST_FOLDERS:
        for suffix in (".txt", ".csv"):
            if (root / folder / f"{stem}{suffix}").is_file():
                return root / folder / f"{stem}{suffix}"
    raise UserError(f"no {stem}.txt or {stem}.csv in {root}; {_LAYOUT}")


def _check_names(path: Path, names: pd.Index) -> None:
    if names.has_duplicates:
        raise UserError(f"{path}: {names[names.duplicated()][0]} is listed twice")
    for name in names:
        if not isinstance(name, str) or not is_inside(name):
            raise UserError(f"{path}: {name!r} is not the name of a file in the image folder")
