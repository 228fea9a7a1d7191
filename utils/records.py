"""The record of a run: a folder that appears only when it is complete, and its content as a `Record`."""

import json
import math
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from utils.errors import UserError
from utils.files import whole

if TYPE_CHECKING:  # it takes a second to load, which reading records should not wait for
    import pandas as pd
    import torch

ROOT = Path(__file__).resolve().parent.parent
INSIDE = "biased_model."  # before the biased model's settings, if those of a method hold them
METRICS = ("accuracy", "group_accuracy", "equalized_odds", "equalized_odds_mean")
REQUIRED = ("method", "seed", *(f"metrics.{key}" for key in METRICS))  # the keys of every record
IF_THERE = {  # what is needed as soon as a key is there: older records lack these keys
    "metrics.group_count": "metrics.group_count",
    "val_metrics": "val_metrics",
    "held_out_metrics": "held_out_metrics.equalized_odds",
    "settings": "settings",
}
ABSENT = object()
PACKAGES = ("torch", "torchvision", "diffusers", "transformers", "numpy", "pandas", "Pillow")


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

    def without(self, option: str) -> str:
        """Return the label's text without an option."""
        left = ",".join(f"{key}={value}" for key, value in self.options.items() if key != option)
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

    # records were dictionaries: what still reads them so
    def __getitem__(self, key):
        return self.content[key]

    def __contains__(self, key):
        return key in self.content

    def keys(self):  # noqa: D102
        return self.content.keys()

    def get(self, key, default=None):  # noqa: D102
        return self.content.get(key, default)


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


OLDER = {  # what it says of a record if it lacks a setting, and the remedy
    "drop_last": "it is from before an epoch's last short batch was left out: add --keep-last-batch, or ",
    "inputs": "it is from before this network's inputs were scaled once, not twice: ",
}


def check_settings(found: dict, asked: dict, where: Path | str, besides: Iterable[str] = ()) -> None:
    """Raise UserError, naming the differences, if a record was made with other settings.

    `besides` names settings that are not compared. If both name the content of the weights that training starts from,
    their name or path may differ; older records have the name alone.
    """
    apart = _differences(found, asked, besides)
    if apart:
        differences = "; ".join(f"{key}: {there!r} there, {here!r} asked" for key, (there, here) in apart.items())
        lacking = {key.removeprefix(INSIDE) for key, (there, here) in apart.items() if there is None and here}
        hint = "".join(hint for key, hint in OLDER.items() if key in lacking)
        raise UserError(f"{where} was made with other settings ({differences}); {hint}choose another --output")


def check_alike(records: dict[Path | str, Record]) -> None:
    """Raise UserError if records of one table, by their folders, were made with different settings.

    The seeds of a method must agree in all settings, and every method with ERM in those of the biased model. Records
    without settings, which are of an early version, are not compared.
    """
    first = {}  # of each method the record that says most, since older ones lack what weights hold
    for place, record in sorted(records.items(), key=lambda item: -len(_flat(item[1].settings))):
        if "settings" in record.content:
            there, settings = first.setdefault(record.method, (place, record.settings))
            _check_pair(there, settings, place, record.settings)
    if "erm" in first:
        erm, biased = first.pop("erm")
        for place, settings in first.values():
            _check_pair(erm, biased, place, of_biased_model(settings, biased))


def check_once(records: dict[Path, Record]) -> None:
    """Raise UserError if two of these records, by their folders, are of one method and seed: a copy would count, too."""
    places = {}
    for place, record in records.items():
        run = record.method, record.seed
        if (other := places.setdefault(run, place)) != place:
            raise UserError(
                f"{other} and {place} both hold {run[0]} of seed {run[1]}; move the copy out of that folder"
            )


def of_biased_model(settings: dict, like: dict) -> dict:
    """Return the settings of the biased model in those of a method; of one trained from the start, those that are in `like`."""
    return settings.get("biased_model", {key: value for key, value in settings.items() if key in like})


def _check_pair(one: Path | str, settings: dict, other: Path | str, others: dict) -> None:
    if apart := _differences(settings, others):
        differences = "; ".join(f"{key}: {a!r} and {b!r}" for key, (a, b) in apart.items())
        raise UserError(
            f"{one} and {other} were made with different settings ({differences}), so they don't belong in one table; "
            "keep each kind in a folder of its own, or remove one and run it again with the settings of the other"
        )


def _differences(one: dict, other: dict, besides: Iterable[str] = ()) -> dict[str, tuple]:
    """Return the settings that differ, with both values."""
    one, other, besides = _flat(one), _flat(other), set(besides)
    inside = INSIDE if any(key.startswith(INSIDE) for key in one.keys() | other.keys()) else ""
    name, content = f"{inside}weights", f"{inside}weights_content"
    keys = (one.keys() | other.keys()) - {name if content in one and content in other else content}
    keys = sorted(key for key in keys if key.removeprefix(INSIDE) not in besides)
    return {key: (one.get(key), other.get(key)) for key in keys if one.get(key) != other.get(key)}


def _flat(settings: dict) -> dict:
    """Return the settings with those of the biased model, which a fine-tuned record holds inside, as "biased_model.lr"."""
    inner = settings.get("biased_model")
    if not isinstance(inner, dict):
        return settings
    own = {key: value for key, value in settings.items() if key != "biased_model"}
    return own | {f"{INSIDE}{key}": value for key, value in inner.items()}


def environment(device: "torch.device") -> dict:
    """Return versions, device, threads and commit, for a record."""
    import torch

    name = (
        torch.cuda.get_device_name(device) if device.type == "cuda" else f"{processor_name()}, {os.cpu_count()} cores"
    )
    return {
        "device": name,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in PACKAGES},
        "commit": commit(),
    }


def commit() -> str:
    """Return the commit of the code that runs, with "+" if it was changed since; "unknown" if no repository holds it."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}  # a hook sets its own
    try:
        options = {"cwd": ROOT, "env": own, "capture_output": True, "text": True, "check": True}
        # an unpacked archive may lie in a repository that doesn't hold it
        subprocess.run(["git", "ls-files", "--error-unmatch", Path(__file__).relative_to(ROOT)], **options)
        head = subprocess.run(["git", "rev-parse", "--short=10", "HEAD"], **options).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain", "--untracked-files=no"], **options).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if changed else "")


def processor_name() -> str:
    """Return the processor's name, from the system."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
