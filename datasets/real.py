"""The lists of a run's real images, from any known data set: the pair, and train, val and test. Nothing here needs torch."""

import inspect
from pathlib import Path

import pandas as pd

from datasets.bias import largest_biased_size
from datasets.celeba import biased_subset, check_images, group_names, numbers
from datasets.known import module_of
from datasets.pairs import TWO, Pair
from datasets.splits import ALL, LARGEST, Splits, check_splits
from utils.errors import UserError


def read_real(dataset: str, path: Path, target_sensitive: str, **flags) -> Splits:
    """Read the lists of a data set; `flags` are the keyword arguments that its reader may take.

    Raises `UserError` if they have a fault.
    """
    read = module_of(dataset).read
    asked = [p.name for p in inspect.signature(read).parameters.values() if p.kind is p.KEYWORD_ONLY]
    if flags.get("values") and "values" not in asked:
        raise UserError(f"--values: all attributes of --dataset {dataset} have the values 0 and 1; leave it out")
    return read(path, target_sensitive, **{name: flags[name] for name in asked if name in flags})


def read_lists(settings) -> Splits:
    """Return the lists of a run of train.py; the train split is the biased training list.

    Raises `UserError` if a list has a fault, a group cannot be filled or evaluated, or an image is missing.
    """
    flags = {**vars(settings)}
    found = read_real(flags.pop("dataset"), flags.pop("real_data_path"), flags.pop("target_sensitive"), **flags)
    check_splits(found, settings.dataset)
    size = settings.number_train_data_real or found.default_size
    train = training_list(found.tables["train"], found.pair, size, settings.bias_degree)
    tables = {**found.tables, "train": train}
    check_evaluation_splits(tables, found.pair)
    check_images(found.folder, [name for table in tables.values() for name in table.index])
    return found._replace(tables=tables)


def split_sizes(lists: Splits, settings) -> dict[str, int | None]:
    """Return the pixels a side to which each split is resized on reading; None: it keeps its size."""
    return dict.fromkeys(lists.tables, settings.decode_size or settings.image_size) | {"train": settings.decode_size}


def training_list(train: pd.DataFrame, pair: Pair, size: int | str, bias_degree: str) -> pd.DataFrame:
    """Return the biased training list of `size` images (`LARGEST`: as many as possible; `ALL`: all rows, as they are).

    Raises `UserError` if a group cannot be filled, protected labels are missing, or all images have one target value.
    """
    if size == ALL:
        values = pair.values_of[pair.target]
        missing = set(range(len(values))) - set(numbers(train[pair.target], values).tolist())
        if missing:
            names = ", ".join(values[number] for number in sorted(missing))
            raise UserError(
                f"train has no image with {pair.target} {names}: add some, or leave the value out{'' if values == TWO else ' with --values'}"
            )
        return train
    if train[list(pair.protected)].isna().any(axis=None):
        raise UserError(
            "--number-train-data-real makes a biased list, which takes protected labels in train; leave it out to "
            "train on all images as they are"
        )
    if size == LARGEST:
        counts = group_names(train, pair).value_counts()
        size = largest_biased_size({group: int(counts.get(group, 0)) for group in pair.groups}, bias_degree)
    return biased_subset(train, pair, size, bias_degree)


def check_evaluation_splits(splits: dict[str, pd.DataFrame], pair: Pair) -> None:
    """Raise `UserError` if a group has no image in val or test, because its accuracy would be undefined."""
    for split in ("val", "test"):
        present = set(group_names(splits[split], pair)) if len(splits[split]) else set()
        empty = [group for group in pair.groups if group not in present]
        if empty:
            raise UserError(
                f"the {split} split has no image of group {', '.join(empty[:5])}{', ...' if len(empty) > 5 else ''} ({pair.name}, "
                "target_protected); its accuracy is undefined: choose another pair, or add images to the data"
                + (", or join values or leave one out with --values" if pair.values else "")
            )
