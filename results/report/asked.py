"""What a run was asked for: its pair, its data with the counts of each group, its settings, and what it ran on."""

from collections.abc import Iterable

import pandas as pd

from datasets.bias import biased_group_sizes
from datasets.pairs import Pair, group_values
from results.columns import Column
from results.report.drawings import label_of
from utils.errors import UserError

DATASETS = {"toy": "toy faces", "csv": "your own images", "celeba": "CelebA", "utkface": "UTKFace"}
DATASETS |= {"parquet": "CelebA or FairFace from the hub"}
ELSEWHERE = ("data", "target", "protected", "dataset", "biased_model")  # where the page shows them
BIASED = ("toy", "celeba", "utkface", "parquet")  # data whose training list is always drawn by the bias degree
UNKNOWN = "–"


def real_settings(column: Column, method: str | None = None) -> dict:
    """The settings of the real data and of training on it, of a method's first run; ERM's, or any, without one."""
    runs = column.runs(method or "erm")
    settings = next(iter(runs.values()), column.records[0])["settings"]
    return settings.get("biased_model", settings)


def method_settings(column: Column, method: str | None) -> dict:
    """A method's own settings."""
    return next(iter(column.runs(method).values()))["settings"] if method else {}


def pair_of(column: Column) -> Pair:
    """The pair. Raises `UserError` where the record doesn't name it or its groups are not the pair's."""
    settings, groups = real_settings(column), list(column.records[0]["metrics"]["group_accuracy"])
    try:
        pair = Pair(str(settings["target"]), tuple(map(str, settings["protected"])))
    except (KeyError, TypeError):
        pair = None
    if pair is None or list(pair.groups) != groups:
        raise UserError(
            f"the records of {column.name} don't name the pair that their groups {', '.join(groups)} are of; run them again"
        )
    return pair


def seeds_of(column: Column) -> list[int]:
    """The seeds that have a record, in order."""
    return sorted({record["seed"] for record in column.records})


def group_words(pair: Pair) -> dict[str, str]:
    """What each group is: {"1_0": "Smiling, not Male"}."""
    return {
        group: ", ".join(name if value else f"not {name}" for name, value in zip(pair.attributes, group_values(group)))
        for group in pair.groups
    }


def counts(column: Column, method: str | None, pair: Pair, train: dict[str, int] | None) -> list[list[str]]:
    """The images of each group in each set, as rows of text, the heading first; `train`: those of the training list, if known."""
    real, own = real_settings(column), method_settings(column, method)
    record = next(iter(column.runs(method or "erm").values()), column.records[0])
    if train is None and real.get("dataset") in BIASED:
        train = biased_list(real["number_train_data_real"], real["bias_degree"], pair)
    sets = {
        "real, train": train or {"": real["number_train_data_real"]},
        "real, val": record["val_metrics"].get("group_count"),
        "real, test": record["metrics"]["group_count"],
    }
    balanced, biased = own.get("number_balanced_synthetic"), own.get("number_imbalanced_synthetic")
    if balanced:
        sets["synthetic, balanced"] = balanced if isinstance(balanced, dict) else dict.fromkeys(pair.groups, balanced)
    if biased:
        degree = own.get("bias_degree", real["bias_degree"])  # old records have that of the real images alone
        sets["synthetic, biased"] = biased_group_sizes(biased, degree, pair.groups)
    if own.get("held_out_synthetic"):
        sets["synthetic, held out"] = dict.fromkeys(pair.groups, own["held_out_synthetic"])
    rows = [["images", *pair.groups, "all"]]
    for name, found in sets.items():
        found = found or {}
        counts = [f"{found[group]:,}" if group in found else UNKNOWN for group in pair.groups]
        rows.append([name, *counts, f"{sum(found.values()):,}" if found else UNKNOWN])
    return rows


def settings_tables(column: Column, method: str | None) -> dict[str, list[tuple[str, str]]]:
    """The recorded settings as names and values: of the biased model, and of `method`."""
    tables = {"Biased model (ERM)": real_settings(column)}
    if method:
        tables[label_of(method)] = method_settings(column, method)
    return {
        title: [(name, _shown(value)) for name, value in settings.items() if name not in ELSEWHERE]
        for title, settings in tables.items()
    }


def environment(records: Iterable[dict]) -> list[tuple[str, list[str]]]:
    """What the runs ran on, and how they were called: names, each with every value that occurs."""
    found = {
        "Device": _values(record.get("device") for record in records),
        "Commit": _values(record.get("commit") for record in records),
        "Python": _values(record.get("python") for record in records),
        "Packages": _values(
            ", ".join(f"{name} {version}" for name, version in (record.get("versions") or {}).items())
            for record in records
        ),
        "Command": _values(record.get("command") for record in records),
    }
    return [(name, values) for name, values in found.items() if values]


def training_minutes(records: Iterable[dict]) -> float:
    """How long all trainings took together, as far as the records say."""
    seconds = [(record.get("seconds") or {}).get("train") for record in records]
    return sum(value for value in seconds if isinstance(value, (int, float))) / 60


def training_groups(table: pd.DataFrame, pair: Pair, real: dict) -> dict[str, int] | None:
    """The groups of the training list of recorded settings `real`, drawn from `table`; None where labels are missing."""
    from datasets.celeba import group_names

    if table[list(pair.protected)].isna().any(axis=None):
        return None
    if len(table) != real["number_train_data_real"]:
        return biased_list(real["number_train_data_real"], real["bias_degree"], pair)
    found = group_names(table, pair.target, pair.protected).value_counts()
    return {group: int(found.get(group, 0)) for group in pair.groups}


def biased_list(number: int, bias_degree: str, pair: Pair) -> dict[str, int] | None:
    """The groups of a biased list that holds `number` images; None where no list of that degree does.

    Its groups were rounded down, so the size that was asked for may be larger by less than one a group. No group of a larger
    list is smaller, so lists of the same number are the same.
    """
    sizes = (
        biased_group_sizes(size, bias_degree, pair.groups) for size in range(number, number + len(pair.groups) + 1)
    )
    return next((groups for groups in sizes if sum(groups.values()) == number), None)


def _values(values: Iterable) -> list[str]:
    return sorted({str(value) for value in values if value})


def _shown(value) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {inner}" for key, inner in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
