"""Values of the flags for real data: the data sets by name, the box that is all of an image, and what --values says."""

from importlib import import_module
from types import ModuleType

# A data set is a file with a function `read(path, target_sensitive)`, and an entry here. A keyword argument of the
# function, such as UTKFace's `age_limit`, takes the value of train.py's flag of that name. A constant `PAIRS` in the
# file names the pairs of the paper's tables; without one, results/table.sh asks for --pairs.
DATASETS = {"celeba": "celeba", "utkface": "utkface", "csv": "custom", "parquet": "parquet", "toy": "toy"}
WHOLE = (0.0, 0.0, 1.0, 1.0)  # left, top, right and bottom of a box, as fractions of an image's width and height
VALUES = "values of attributes with others than 0 and 1 (default: all): Race=White,Asian/Indian Age=0-17,18-39,40+"


def module_of(dataset: str) -> ModuleType:
    """Return the module of a data set of `DATASETS`."""
    return import_module(f"datasets.{DATASETS[dataset]}")
