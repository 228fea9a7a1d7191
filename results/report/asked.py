"""The report's part on a run's input: group counts of its data, its settings, and the machine."""

from collections.abc import Iterable

import pandas as pd

from datasets.bias import biased_group_sizes
from datasets.pairs import Pair
from results.records import RunSet
from results.report.charts import MANY_GROUPS
from results.report.drawings import label_of
from results.text import MISSING
from utils.records import Record

DATASETS = {"toy": "toy faces", "csv": "your own images", "celeba": "CelebA", "utkface": "UTKFace"}
DATASETS |= {"parquet": "CelebA or FairFace from the hub"}
ELSEWHERE = ("data", "target", "protected", "dataset", "biased_model")  # settings that the page shows in other places
BIASED = ("toy", "celeba", "utkface", "parquet")  # data whose training list is always drawn by the bias degree


def first_record(runs: RunSet, method: str | None = None) -> Record:
    """Return the record of a method's first seed, of ERM's without one; any record if there is none of it."""
    return next(iter(runs.runs(method or "erm").values()), runs.records[0])


def method_settings(runs: RunSet, method: str | None) -> dict:
    """Return a method's own settings, none without a method."""
    return runs.first(method).settings if method else {}


def counts(runs: RunSet, method: str | None, pair: Pair, train: dict[str, int] | None) -> list[list[str]]:
    """Return the images of each group in each set, as rows of text, the heading first.

    `train` are those of the training list, None if they are not known.
    """
    real, own, record = first_record(runs).real_settings, method_settings(runs, method), first_record(runs, method)
    if train is None and real.get("dataset") in BIASED:
        train = biased_list(real["number_train_data_real"], real["bias_degree"], pair)
    sets = {
        "real, train": train or {"": real["number_train_data_real"]},
        "real, val": record.val_metrics.group_count,
        "real, test": record.metrics.group_count,
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
        numbers = [*map((found or {}).get, pair.groups), sum(found.values()) if found else None]
        rows.append([name, *(MISSING if number is None else f"{number:,}" for number in numbers)])
    return rows if len(pair.groups) <= MANY_GROUPS else list(map(list, zip(*rows, strict=True)))


def settings_tables(runs: RunSet, method: str | None) -> dict[str, list[tuple[str, str]]]:
    """Return the recorded settings as names and values: of the biased model, and of `method`."""
    tables = {"Biased model (ERM)": first_record(runs).real_settings}
    if method:
        tables[label_of(method)] = method_settings(runs, method)
    return {
        title: [(name, _shown(value)) for name, value in settings.items() if name not in ELSEWHERE]
        for title, settings in tables.items()
    }


def environment(records: Iterable[Record]) -> list[tuple[str, list[str]]]:
    """Return what the runs ran on and their commands: names, each with every value that occurs."""
    found = {name: [r.content.get(name.lower()) for r in records] for name in ("Device", "Commit", "Python")}
    versions = [(record.content.get("versions") or {}).items() for record in records]
    found["Packages"] = [", ".join(f"{name} {version}" for name, version in each) for each in versions]
    found["Command"] = [record.content.get("command") for record in records]
    values = {name: sorted({str(value) for value in each if value}) for name, each in found.items()}
    return [(name, each) for name, each in values.items() if each]


def training_minutes(records: Iterable[Record]) -> float:
    """Return how long all trainings took together, as far as the records say."""
    seconds = [(record.content.get("seconds") or {}).get("train") for record in records]
    return sum(value for value in seconds if isinstance(value, (int, float))) / 60


def training_groups(table: pd.DataFrame, pair: Pair, real: dict) -> dict[str, int] | None:
    """Return the groups of the training list of recorded settings `real`, drawn from `table`; None if labels are missing."""
    from datasets.celeba import group_names

    if table[list(pair.protected)].isna().any(axis=None):
        return None
    if len(table) != real["number_train_data_real"]:
        return biased_list(real["number_train_data_real"], real["bias_degree"], pair)
    found = group_names(table, pair).value_counts()
    return {group: int(found.get(group, 0)) for group in pair.groups}


def biased_list(number: int, bias_degree: str, pair: Pair) -> dict[str, int] | None:
    """Return the groups of a biased list that holds `number` images; None if no list of that degree does.

    Its groups were rounded down, so the size that was asked for may be larger by less than one image a group. No group of a
    larger list is smaller, so lists of the same number are the same.
    """
    sizes = (
        biased_group_sizes(size, bias_degree, pair.groups) for size in range(number, number + len(pair.groups) + 1)
    )
    return next((groups for groups in sizes if sum(groups.values()) == number), None)


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {inner}" for key, inner in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
