"""The record of a run: a folder that appears only when it is complete, and its content as a `Record`."""

import json
import math
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

from utils.errors import UserError
from utils.files import whole

if TYPE_CHECKING:  # it takes a second to load, which reading records should not wait for
    import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
METRICS = ("accuracy", "group_accuracy", "equalized_odds", "equalized_odds_mean")
REQUIRED = ("method", "seed", *(f"metrics.{key}" for key in METRICS))  # the keys of every record
IF_THERE = {  # what is needed as soon as a key is there: older records lack these keys
    "metrics.group_count": "metrics.group_count",
    "val_metrics": "val_metrics",
    "held_out_metrics": "held_out_metrics.equalized_odds",
    "settings": "settings",
}
ABSENT = object()
REPETITIONS = ("draw", "repeat")  # options that only number the draws of a random mask, or repetitions of a fine-tuning


@dataclass(frozen=True)
class Label:
    """A method and its options as text: `random-mask:share=0.7,draw=2`."""

    name: str
    options: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, text: str) -> "Label":
        """Return the label that a text holds."""
        name, _, rest = text.partition(":")
        return cls(name, dict(part.partition("=")[::2] for part in rest.split(",") if part))

    @property
    def row(self) -> str:
        """The row of a table: draws of a random mask of one size share it, and repetitions of one fine-tuning."""
        return self.without(*REPETITIONS)

    def without(self, *options: str) -> str:
        """Return the label's text without these options."""
        left = ",".join(f"{key}={value}" for key, value in self.options.items() if key not in options)
        return f"{self.name}:{left}" if left else self.name


@dataclass(frozen=True)
class Metrics:
    """Metrics of a run on one image set, fractions, as `utils.metrics.fairness_metrics` gives them; None if not recorded."""

    accuracy: float | None = None
    equalized_odds: float | None = None
    equalized_odds_mean: float | None = None
    group_accuracy: dict[str, float] = field(default_factory=dict)
    group_count: dict[str, int] | None = None

    @property
    def worst_group(self) -> float:
        """Return the lowest group accuracy."""
        return min(self.group_accuracy.values())

    @property
    def images(self) -> int:
        """Return the number of images."""
        return sum(self.group_count.values())


@dataclass(frozen=True)
class Record:
    """A run as its metrics.json tells it.

    `label` is `method` in parts. `val_metrics`, `held_out_metrics` and `settings` are empty, and `held_out_metrics` is None, if an older
    record lacks them. `content` is the whole of the file, and `folder` where it lies, None if the record is packed.
    """

    method: str
    label: Label
    seed: int
    metrics: Metrics
    val_metrics: Metrics
    held_out_metrics: Metrics | None
    settings: dict
    content: dict
    folder: Path | None = field(default=None, compare=False)

    @classmethod
    def of(cls, content: dict, folder: Path | None = None) -> "Record":
        """Return the record of a metrics.json's content, which has been checked."""
        names = {each.name for each in fields(Metrics)}
        test, val, held_out = (
            Metrics(**{name: value for name, value in content[key].items() if name in names})
            if key in content
            else None
            for key in ("metrics", "val_metrics", "held_out_metrics")
        )
        method = content["method"]
        own = method, Label.of(method), content["seed"], test, val or Metrics(), held_out
        return cls(*own, content.get("settings", {}), content, folder)

    @property
    def real_settings(self) -> dict:
        """Return the settings of the biased model, or of the one training that there was."""
        return self.settings.get("biased_model", self.settings)


def folder_name(label: str) -> str:
    """Return the name of a method's folder: its label without signs that some file systems refuse."""
    return re.sub(r"[:/]", "-", label.replace(":", "_", 1))


def record_folder(output: Path, method: str, seed: int) -> Path:
    """Return where the record of a method, by its folder's name, and seed lies."""
    return output / method / f"seed_{seed}"


def rerun(folder: Path) -> str:
    """Return what to do about a damaged record in a folder."""
    return f"remove {folder} and run it again"


def read_record(folder: Path, *more: str) -> Record | None:
    """Return the record in a folder, or None if there is none.

    `more` names keys that are needed besides those of every record, the inner ones after a dot ("val_metrics.accuracy").
    Raises UserError if the file is damaged or lacks any.
    """
    path = folder / "metrics.json"
    if not path.exists():
        return None
    return Record.of(parse(path.read_bytes(), more, what=str(path), remedy=rerun(folder)), folder)


def read_records(output: Path, *more: str) -> dict[Path, Record]:
    """Return every record in an --output of train.py by its folder, sorted by method and seed; see `read_record`.

    Raises UserError if one is damaged, or if two are of the same run.
    """
    records = {path.parent: read_record(path.parent, *more) for path in output.glob("*/seed_*/metrics.json")}
    check_once(records)
    return dict(sorted(records.items(), key=lambda item: (item[1].method, item[1].seed)))


def check_once(records: dict[Path, Record]) -> None:
    """Raise UserError if two of these records, by their folders, are of one method and seed: a copy would count, too."""
    places = {}
    for place, record in records.items():
        run = record.method, record.seed
        if (other := places.setdefault(run, place)) != place:
            raise UserError(
                f"{other} and {place} both hold {run[0]} of seed {run[1]}; move the copy out of that folder"
            )


def parse(content: bytes, more: Iterable[str] = (), *, what: str, remedy: str) -> dict:
    """Return the content of a metrics.json. Raises UserError, with `what` and `remedy` in it, if it is damaged."""
    try:
        record = json.loads(content)
        fault = _fault(record, (*REQUIRED, *more))
    except (ValueError, RecursionError, OverflowError) as error:
        fault = str(error) or "no JSON"
    if fault:
        raise UserError(f"{what} is damaged ({fault}); {remedy}")
    return record


def _fault(record, keys: Iterable[str]) -> str | None:
    """Return what a record lacks; None if it has all keys, each with a value of its kind."""
    for key in (*keys, *(needed for key, needed in IF_THERE.items() if _value(record, key) is not ABSENT)):
        value = _value(record, key)
        if value is ABSENT or value is None:
            return f"it has no {key}"
        if not KINDS.get(key, _is_number)(value):
            return f"{key} is {repr(value)[:40]}"
    return None


def _value(record, key: str):
    for part in key.split("."):
        record = record.get(part, ABSENT) if isinstance(record, dict) else ABSENT
    return record


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _is_dict(value) -> bool:
    return isinstance(value, dict)


def _has_groups(value) -> bool:
    return isinstance(value, dict) and len(value) > 3 and all(map(_is_number, value.values()))


KINDS = {  # of the values that are no numbers
    "method": lambda value: isinstance(value, str),
    "seed": lambda value: type(value) is int,
    "settings": _is_dict,
    "val_metrics": _is_dict,
    "metrics.group_accuracy": _has_groups,
    "metrics.group_count": _has_groups,
    "val_metrics.group_count": _has_groups,
}


def write_record(
    folder: Path, content: dict, tables: dict[str, "pd.DataFrame"], save_weights: Callable[[Path], None]
) -> None:
    """Write metrics.json with this content, a CSV file for each table and the weights; `folder` appears when it is complete."""
    with whole(folder) as partial:
        partial.mkdir()
        save_weights(partial / "model.safetensors")
        _write_tables(partial, content, tables)


def adopt_record(source: Path, folder: Path, content: dict, tables: dict[str, "pd.DataFrame"]) -> None:
    """Copy the record in `source` to `folder`, with this `content` of metrics.json instead of its own, and more `tables`.

    A model card stays behind: it names the other method, and may have been edited.
    """
    with whole(folder) as partial:
        shutil.copytree(source, partial, ignore=shutil.ignore_patterns("README.md"))
        _write_tables(partial, content, tables)


def copy_record(source: Path, folder: Path) -> None:
    """Copy a record as it is, whole or not at all, unless `folder` is there: another output shares the biased model."""
    if not folder.exists():
        with whole(folder) as partial:
            shutil.copytree(source, partial)


def _write_tables(partial: Path, content: dict, tables: dict[str, "pd.DataFrame"]) -> None:
    for name, table in tables.items():
        table.to_csv(partial / f"{name}.csv", index=False, float_format="%.8g")
    (partial / "metrics.json").write_text(json.dumps(content, indent=1) + "\n")
