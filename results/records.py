"""Sets of runs and how they are read: from the folder that train.py wrote, or packed into a few files for the repository."""

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd
from pandas.api.types import is_numeric_dtype

from datasets.pairs import Pair
from results.group_accuracies import GroupAccuracies, group_accuracies
from results.logits import OF_IMAGE, logits_in, read_logits
from utils.errors import UserError
from utils.metrics import answers, logit_columns
from utils.records import Record, folder_name, parse, read_records, record_folder, rerun
from utils.same_settings import check_alike

PACKED = "records.jsonl"
PARTS = ("predictions", "curves", "sensitivity")
LATER = ("logits", "choices")  # parts that older packed records lack, and that are left out if they are empty
LABELS = ["name", "target", "protected"]
RANKS = ["name", "domain_rank", "bias_rank", "chosen"]
CURVE = ["epoch", "val_accuracy"]
ON_VAL = "val_accuracy"  # a column of curves that may be empty but in each run's last epoch: val is not evaluated after every one
CHOICE = ["candidate", "step", "val_accuracy", "held_out_equalized_odds", "chosen"]
PLACE = ["method", "seed"]
TEXTS = ("candidate", "name", "method", "split")  # the columns of CSV files that hold no numbers
RESTORE = "take the file from where it was packed (git checkout)"
NEEDED = ("settings", "metrics.group_count", "val_metrics.accuracy")  # of a record, besides what each has


@dataclass(frozen=True)
class RunSet:
    """Runs tested on the same images, sorted by method and seed.

    predictions : columns name, target, protected and, for each run, "<method>/seed_<n>", 0 or 1; a row for each test image.
    curves, sensitivity : the runs' epoch curves, and the rankings of the method aim-fair, one after another, with the columns
        method and seed in front.
    logits : see `results.logits.read_logits`; choices : the tables `choice` of the methods that choose, with method and seed. Both
        are empty if no run has them.
    """

    name: str
    records: list[Record]
    predictions: pd.DataFrame
    curves: pd.DataFrame
    sensitivity: pd.DataFrame
    logits: pd.DataFrame = field(default_factory=pd.DataFrame)
    choices: pd.DataFrame = field(default_factory=pd.DataFrame)

    @cached_property
    def by_method(self) -> dict[str, dict[int, Record]]:
        """Return the records by method and seed."""
        found = {}
        for record in self.records:
            found.setdefault(record.method, {})[record.seed] = record
        return found

    def runs(self, method: str) -> dict[int, Record]:
        """Return the records of a method by seed; empty if there is none."""
        return self.by_method.get(method, {})

    def first(self, method: str) -> Record:
        """Return the record of a method's first seed."""
        return next(iter(self.runs(method).values()))

    @property
    def methods(self) -> list[str]:
        """Return the methods that have a record."""
        return list(self.by_method)

    @property
    def seeds(self) -> list[int]:
        """Return the seeds that have a record, in order."""
        return sorted({record.seed for record in self.records})

    @cached_property
    def accuracies(self) -> GroupAccuracies:
        """Return the group accuracies of all runs, in the order of the records. Raises ValueError if a group has no image."""
        labels = (self.predictions[name].to_numpy() for name in LABELS[1:])
        return group_accuracies(*labels, self.predictions[names_of(self.records)].to_numpy(), tuple(self.groups))

    @property
    def groups(self) -> list[str]:
        """Return the names of the groups, all of target 0 first."""
        return list(self.records[0].metrics.group_accuracy)

    @property
    def group_count(self) -> dict[str, int]:
        """Return the number of test images of each group."""
        return self.records[0].metrics.group_count


def run_name(method: str, seed: int) -> str:
    """Return the name of a run's column in the predictions."""
    return f"{method}/seed_{seed}"


def names_of(records: Iterable[Record]) -> list[str]:
    """Return the names of runs' columns in the predictions."""
    return [run_name(record.method, record.seed) for record in records]


def run_set_folders(root: Path) -> list[Path]:
    """Return the folders in `root` that hold records, sorted by name."""
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    return [path for path in folders if (path / PACKED).exists() or any(path.glob("*/seed_*/metrics.json"))]


def read_run_set(folder: Path) -> RunSet:
    """Return the runs in a folder, packed or as train.py wrote them.

    Raises UserError, with the file and the remedy, if a file is damaged, or if the runs were tested on different images or
    made with different settings.
    """
    runs = _read_packed(folder) if (folder / PACKED).exists() else _read_runs(folder)
    _check_groups(folder, runs.records)
    places = by_place(folder, runs.records)
    for place, record in places.items():
        if record.label.name == "aim-fair" and "top_k" not in record.settings:
            raise UserError(f"the record of {place} is damaged (its settings have no top_k); run it again")
    check_alike(places)
    return runs


def by_place(folder: Path, records: Iterable[Record]) -> dict[Path, Record]:
    """Return records by the folders that they have, or had before they were packed, below `folder`."""
    return {record_folder(folder, folder_name(record.method), record.seed): record for record in records}


def choice_of(runs: RunSet, record: Record) -> pd.DataFrame:
    """Return the table `choice` of a run that chose among candidates; empty if it was packed without it."""
    table = runs.choices
    if table.empty:
        return table
    return table[(table["method"] == record.method) & (table["seed"] == record.seed)].reset_index(drop=True)


def pair_of(record: Record) -> Pair:
    """Return the pair of a record. Raises UserError if the record does not name it, or if its groups are not the pair's."""
    groups = list(record.metrics.group_accuracy)
    try:
        names, values = record.real_settings, record.real_settings.get("values", ())
        pair = Pair(str(names["target"]), tuple(map(str, names["protected"])), tuple(map(tuple, values)))
    except (KeyError, TypeError):
        pair = None
    if pair is None or list(pair.groups) != groups:
        raise UserError(
            f"the record of {record.method}, seed {record.seed} does not name the pair that its groups {', '.join(groups)} are of; "
            "run it again"
        )
    return pair


def _read_packed(folder: Path) -> RunSet:
    remedy = f"{RESTORE}, or delete the folder and pack all runs again (python -m results.columns)"
    lines = (folder / PACKED).read_bytes().splitlines()
    if not lines:
        raise UserError(f"{folder / PACKED} is damaged (it is empty); {remedy}")
    records = [
        Record.of(parse(line, NEEDED, what=f"{folder / PACKED} line {number}", remedy=remedy))
        for number, line in enumerate(lines, 1)
    ]
    names, path = names_of(records), folder / "predictions.csv"
    predictions = read_csv(path, [*LABELS, *names], remedy, rows=records[0].metrics.images)
    if more := [name for name in predictions.columns if name not in (*LABELS, *names)]:
        raise UserError(f"{folder / PACKED} is damaged (it lacks {more[0]}, which {path.name} has); {remedy}")
    curves = read_csv(folder / "curves.csv", [*PLACE, *CURVE], remedy, last_only=ON_VAL)
    if short := sorted(set(names) - {run_name(*place) for place in zip(curves["method"], curves["seed"])}):
        raise UserError(f"{folder / 'curves.csv'} is damaged (it lacks {short[0]}); {remedy}")
    path = folder / "sensitivity.csv"
    empty = path.is_file() and not path.read_bytes().strip()
    sensitivity = pd.DataFrame() if empty else read_csv(path, [*PLACE, *RANKS], remedy)
    kept = {"logits": OF_IMAGE, "choices": [*PLACE, *CHOICE]}
    later = {
        name: read_csv(folder / f"{name}.csv", kept[name], remedy)
        if (folder / f"{name}.csv").exists()
        else pd.DataFrame()
        for name in LATER
    }
    return RunSet(folder.name, records, predictions, curves, sensitivity, **later)


def _read_runs(folder: Path) -> RunSet:
    records = list(read_records(folder, *NEEDED).values())
    if not records:
        raise UserError(f"no record (*/seed_*/metrics.json) in {folder}")
    _check_groups(folder, records)
    logits = logit_columns(records[0].metrics.group_accuracy)
    tests = [
        read_csv(r.folder / "test_predictions.csv", [*LABELS, *logits], rerun(r.folder), rows=r.metrics.images)
        for r in records
    ]
    for record, test in zip(records, tests, strict=True):
        if not test[LABELS].equals(tests[0][LABELS]):
            raise UserError(f"{record.folder}: not tested on the images of the other runs in {folder}; keep them apart")
    said = [answers(logits_in(test)) for test in tests]
    predictions = pd.concat([tests[0][LABELS], pd.DataFrame(dict(zip(names_of(records), said)))], axis=1)
    stacked = (
        _stack(records, "curve.csv", CURVE, last_only=ON_VAL),
        _stack(_ranked(records), "sensitivity.csv", RANKS),
    )
    chosen = [r for r in records if (r.folder / "choice.csv").exists()]
    later = {
        "logits": read_logits(dict(zip(names_of(records), records)), read_csv),
        "choices": _stack(chosen, "choice.csv", CHOICE),
    }
    return RunSet(folder.name, records, predictions, *stacked, **later)


def _check_groups(folder: Path, records: list[Record]) -> None:
    if len({tuple(record.metrics.group_accuracy) for record in records}) > 1:
        raise UserError(f"{folder}: the records are of different groups; keep each pair's in a folder of its own")


def _ranked(records: list[Record]) -> list[Record]:
    """Return the records whose rankings a set keeps: those of aim-fair, or without it those of its first variant."""
    found = [r for r in records if r.label.name == "aim-fair" and (r.folder / "sensitivity.csv").exists()]
    first = "aim-fair" if any(r.method == "aim-fair" for r in found) else found[0].method if found else None
    return [r for r in found if r.method == first]


def _stack(records: list[Record], name: str, columns: list[str], last_only: str | None = None) -> pd.DataFrame:
    """Return a CSV file of each record one after another, with the columns method and seed in front."""
    if not records:
        return pd.DataFrame()
    frames = [
        read_csv(r.folder / name, columns, rerun(r.folder), last_only=last_only).assign(method=r.method, seed=r.seed)
        for r in records
    ]
    frame = pd.concat(frames, ignore_index=True)
    return frame[PLACE + [column for column in frame.columns if column not in PLACE]]


def _has_gaps(frame: pd.DataFrame, last_only: str | None) -> bool:
    last = frame.groupby(PLACE).tail(1) if {*PLACE} <= {*frame.columns} else frame.tail(1)
    return bool(frame.drop(columns=last_only or []).isna().any(axis=None) or last.isna().any(axis=None))


def read_csv(
    path: Path, columns: list[str], remedy: str, rows: int | None = None, *, last_only: str | None = None
) -> pd.DataFrame:
    """Return a CSV file of a record: with these columns, no gap in them, a line's end at its end, and that many rows.

    `last_only` is a column in which only each run's last row must not be empty.

    Raises UserError, ending in the remedy, if it is missing or anything else.
    """
    try:
        content = path.read_bytes()
        frame = pd.read_csv(io.BytesIO(content), float_precision="round_trip")  # written again as it was
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        reason = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
        raise UserError(f"{path} is damaged or incomplete ({reason}); {remedy}") from error
    missing = [name for name in columns if name not in frame.columns]
    texts = [name for name in columns if name not in (*TEXTS, *missing) and not is_numeric_dtype(frame[name])]
    if missing:
        fault = f"it has no column {missing[0]}"
    elif texts:
        fault = f"not all of {texts[0]} are numbers"
    elif not content.endswith(b"\n") or frame.empty or _has_gaps(frame[columns], last_only):
        fault = "it was cut off"
    elif rows is not None and len(frame) != rows:
        fault = f"it has {len(frame)} rows in place of {rows}"
    else:
        return frame
    raise UserError(f"{path} is damaged or incomplete ({fault}); {remedy}")
