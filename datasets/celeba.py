"""CelebA and everything in its layout: attributes, official split, the biased training list.

The root folder holds `img_align_celeba/`, `list_attr_celeba` and `list_eval_partition`, each list in
the original form (.txt) or in Kaggle's (.csv).
"""

from pathlib import Path

import pandas as pd

from datasets.bias import biased_cell_sizes, largest_biased_size
from datasets.pairs import cells_of
from utils.errors import UserError
from utils.paths import is_inside

SPLITS = ("train", "val", "test")
IMAGE_FOLDERS = ("img_align_celeba/img_align_celeba", "img_align_celeba")  # Kaggle's archive nests them


def read_attributes(root: Path) -> pd.DataFrame:
    """The attribute table: index the file names in id order, a column each attribute, values -1 and 1 (or 0 and 1).

    Raises `UserError` where the file is missing or holds anything else.
    """
    path = _find(root, "list_attr_celeba")
    try:
        if path.suffix == ".csv":
            table = pd.read_csv(path, index_col=0)
        else:
            table = pd.read_csv(path, skiprows=1, sep=r"\s+", index_col=0)
    except (ValueError, IndexError) as error:  # pandas' own errors are among the first
        raise UserError(f"{path}: cannot be read as CelebA's attribute list: {error}") from error
    values = set(pd.unique(table.to_numpy().ravel()))
    if table.empty or not (values <= {-1, 1} or values <= {0, 1}):
        found = ", ".join(map(str, sorted(values, key=str)[:5])) or "none"
        raise UserError(f"{path}: expected attribute values -1 and 1, or 0 and 1, found {found}")
    _check_names(path, table.index)
    return table


def read_partition(root: Path) -> pd.Series:
    """The official split of each file: "train", "val" or "test", index the file names."""
    path = _find(root, "list_eval_partition")
    options = {"index_col": 0} if path.suffix == ".csv" else {"sep": r"\s+", "header": None, "index_col": 0}
    try:
        table = pd.read_csv(path, **options)
    except (ValueError, IndexError) as error:
        raise UserError(f"{path}: cannot be read as CelebA's list of splits: {error}") from error
    if table.shape[1] != 1 or not table.iloc[:, 0].isin([0, 1, 2]).all():
        raise UserError(f"{path}: expected a file name and 0, 1 or 2 in each line")
    _check_names(path, table.index)
    return table.iloc[:, 0].map(dict(enumerate(SPLITS)))


def image_folder(root: Path) -> Path:
    """Where the images lie."""
    for name in IMAGE_FOLDERS:
        if (root / name).is_dir():
            return root / name
    raise UserError(f"no folder {root / 'img_align_celeba'}; {_LAYOUT}")


def split_attributes(root: Path) -> dict[str, pd.DataFrame]:
    """The attribute table of each split."""
    attributes, partition = read_attributes(root), read_partition(root)
    missing = attributes.index.difference(partition.index)
    if len(missing):
        raise UserError(f"{root}: list_eval_partition has no line for {missing[0]} and {len(missing) - 1} more files")
    split = partition.loc[attributes.index]
    return {name: attributes[(split == name).to_numpy()] for name in SPLITS}


def biased_subset(
    attributes: pd.DataFrame,
    target: str,
    protected: str | tuple[str, ...],
    size: int = 20000,
    bias_degree: str = "1/9",
) -> pd.DataFrame:
    """The rows of a training list in which the target goes with the absence of the protected attribute.

    Walks the table from the top and takes each image while its cell still has room (paper, section
    4.1); the cells' sizes are those of `datasets.bias.biased_cell_sizes`. The same list for every seed.

    `attributes` is indexed by file name in id order, with values -1/1 or 0/1; `protected` names one attribute
    or several. Returns the chosen rows
    in their order. Raises `UserError` where a cell cannot be filled, with the largest size that can.
    """
    names = (protected,) if isinstance(protected, str) else tuple(protected)
    cells = cell_names(attributes, target, names)
    sizes = biased_cell_sizes(size, bias_degree, cells_of(len(names)))
    available = {cell: int((cells == cell).sum()) for cell in sizes}
    short = [f"{cell} has {available[cell]} of {n}" for cell, n in sizes.items() if available[cell] < n]
    if short:
        largest = largest_biased_size(available, bias_degree)
        remedy = f"the largest size that works is {largest}" if largest else "no size works"
        raise UserError(
            f"cannot fill the biased list of {size} images at bias degree {bias_degree} for {target}/{'+'.join(names)} "
            f"(cells target_protected): {', '.join(short)}; {remedy} (--number-train-data-real)"
        )
    place_in_cell = cells.groupby(cells).cumcount()
    return attributes[place_in_cell < cells.map(sizes)]


def cell_names(attributes: pd.DataFrame, target: str, protected: str | tuple[str, ...]) -> pd.Series:
    """The cell of each row, "0_0" to "1_1" (target_protected), or "0_00" to "1_11"."""
    names = [protected] if isinstance(protected, str) else list(protected)
    positive = attributes[[target, *names]].gt(0).astype(int).astype(str)
    cells = positive[target] + "_"
    for name in names:
        cells += positive[name]
    return cells


_LAYOUT = (
    "--real-data-path must name a folder with img_align_celeba/, list_attr_celeba.txt (or .csv) "
    "and list_eval_partition.txt (or .csv)"
)


def _find(root: Path, stem: str) -> Path:
    for suffix in (".txt", ".csv"):
        if (root / f"{stem}{suffix}").is_file():
            return root / f"{stem}{suffix}"
    raise UserError(f"no {stem}.txt or {stem}.csv in {root}; {_LAYOUT}")


def _check_names(path: Path, names: pd.Index) -> None:
    if names.has_duplicates:
        raise UserError(f"{path}: {names[names.duplicated()][0]} is listed twice")
    for name in names:
        if not isinstance(name, str) or not is_inside(name):
            raise UserError(f"{path}: {name!r} is not the name of a file in the image folder")
