"""The record of a run: a folder that appears only when it is complete."""

import json
import math
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from utils.errors import UserError
from utils.files import whole

if TYPE_CHECKING:  # both take seconds to load, which a table made from records should not wait for
    import pandas as pd
    import torch

RECORD = ("method", "seed", "metrics.accuracy", "metrics.group_accuracy", "metrics.equalized_odds")
RECORD += ("metrics.equalized_odds_mean",)  # what every record holds
OPTIONAL = ("held_out_metrics.equalized_odds",)  # there as soon as what is before the dot is
IF_THERE = ("metrics.group_count",)  # older records lack it
PACKAGES = ("torch", "torchvision", "diffusers", "transformers", "numpy", "pandas", "Pillow")
INSIDE = "biased_model."  # before the biased model's settings, where those of a method hold them
ROOT = Path(__file__).resolve().parent.parent


def folder_name(label: str) -> str:
    """The name of a method's folder: its label without signs that some file systems refuse."""
    return re.sub(r"[:/]", "-", label.replace(":", "_", 1))


def record_folder(output: Path, method: str, seed: int) -> Path:
    """Where the record of a method and seed lies."""
    return output / method / f"seed_{seed}"


def read_record(folder: Path, *more: str) -> dict | None:
    """The content of metrics.json, or None where there is no record.

    `more` names keys that are needed besides those of every record, the inner ones after a dot ("val_metrics.accuracy").
    Raises `UserError` where the file is damaged or lacks any.
    """
    path = folder / "metrics.json"
    if not path.exists():
        return None
    return parse_record(path.read_bytes(), more, what=str(path), remedy=rerun(folder))


def rerun(folder: Path) -> str:
    """What to do about a damaged record in a folder."""
    return f"remove {folder} and run it again"


def parse_record(content: bytes, more: Iterable[str] = (), *, what: str, remedy: str) -> dict:
    """The record that a JSON text holds; raises `UserError`, with `what` and `remedy` in it, for anything less."""
    try:
        record = json.loads(content)
        fault = _fault(record, (*RECORD, *more))
    except (ValueError, RecursionError, OverflowError) as error:
        fault = str(error) or "no JSON"
    if fault:
        raise UserError(f"{what} is damaged ({fault}); {remedy}")
    return record


def _fault(record, keys: Iterable[str]) -> str | None:
    """What a record lacks; None where it has all keys, each with a value of its kind."""
    optional = [key for key in OPTIONAL if isinstance(record, dict) and key.partition(".")[0] in record]
    metrics = record.get("metrics") if isinstance(record, dict) else None
    optional += [key for key in IF_THERE if isinstance(metrics, dict) and key.partition(".")[2] in metrics]
    for key in (*keys, *optional):
        value = record
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is None:
            return f"it has no {key}"
        if not KINDS.get(key, _is_number)(value):
            return f"{key} is {repr(value)[:40]}"
    return None


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _has_groups(value) -> bool:
    return isinstance(value, dict) and len(value) > 3 and all(map(_is_number, value.values()))


KINDS = {  # of the values that are no numbers
    "method": lambda value: isinstance(value, str),
    "seed": lambda value: type(value) is int,
    "settings": lambda value: isinstance(value, dict),
    "metrics.group_accuracy": _has_groups,
    "metrics.group_count": _has_groups,
    "val_metrics.group_count": _has_groups,
}


def write_record(
    folder: Path, metrics: dict, tables: dict[str, "pd.DataFrame"], save_weights: Callable[[Path], None]
) -> None:
    """Write metrics.json, a CSV for each table and the weights into `folder`, which appears when it is complete."""
    with whole(folder) as partial:
        partial.mkdir()
        save_weights(partial / "model.safetensors")
        _write_tables(partial, metrics, tables)


def adopt_record(source: Path, folder: Path, metrics: dict, tables: dict[str, "pd.DataFrame"]) -> None:
    """Copy the record in `source` to `folder`, with these `metrics` instead of its own, and more `tables`.

    A model card stays behind: it names the other method, and may have been edited.
    """
    with whole(folder) as partial:
        shutil.copytree(source, partial, ignore=shutil.ignore_patterns("README.md"))
        _write_tables(partial, metrics, tables)


def copy_record(source: Path, folder: Path) -> None:
    """Copy a record as it is, whole or not at all, unless there is one: another output that shares the biased model."""
    if not folder.exists():
        with whole(folder) as partial:
            shutil.copytree(source, partial)


def _write_tables(partial: Path, metrics: dict, tables: dict[str, "pd.DataFrame"]) -> None:
    for name, table in tables.items():
        table.to_csv(partial / f"{name}.csv", index=False, float_format="%.8g")
    (partial / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")


OLDER = {  # what a record says that lacks a setting, and the remedy
    "drop_last": "it is from before an epoch's last short batch was left out: add --keep-last-batch, or ",
    "inputs": "it is from before this network's inputs were scaled once, not twice: ",
}


def check_settings(found: dict, asked: dict, where: Path | str, besides: Iterable[str] = ()) -> None:
    """Raise `UserError`, naming the differences, where a record was made with other settings.

    `besides` names settings that aren't compared. Where both name the content of the weights that training starts from,
    their name or path may differ; older records have the name alone.
    """
    apart = _differences(found, asked, besides)
    if apart:
        differences = "; ".join(f"{key}: {there!r} there, {here!r} asked" for key, (there, here) in apart.items())
        lacking = {key.removeprefix(INSIDE) for key, (there, here) in apart.items() if there is None and here}
        hint = "".join(hint for key, hint in OLDER.items() if key in lacking)
        raise UserError(f"{where} was made with other settings ({differences}); {hint}choose another --output")


def check_alike(records: dict[Path | str, dict]) -> None:
    """Raise `UserError` if records of one table, by their folders, were made with different settings.

    The seeds of a method must agree in all settings, and every method with ERM in those of the biased model. Records
    without settings, which are of an early version, aren't compared.
    """
    first = {}  # of each method the record that says most, since older ones lack what weights hold
    for place, record in sorted(records.items(), key=lambda item: -len(_flat(item[1].get("settings", {})))):
        if "settings" in record:
            there, settings = first.setdefault(record["method"], (place, record["settings"]))
            _check_pair(there, settings, place, record["settings"])
    if "erm" in first:
        erm, biased = first.pop("erm")
        for place, settings in first.values():
            _check_pair(erm, biased, place, of_biased_model(settings, biased))


def check_once(records: dict[Path | str, dict]) -> None:
    """Raise `UserError` if two of these records, by their folders, are of one method and seed: a copy would count, too."""
    places = {}
    for place, record in records.items():
        run = record["method"], record["seed"]
        if (other := places.setdefault(run, place)) != place:
            raise UserError(
                f"{other} and {place} both hold {run[0]} of seed {run[1]}; move the copy out of that folder"
            )


def of_biased_model(settings: dict, like: dict) -> dict:
    """The settings of the biased model in those of a method; of one trained from the start, those that are in `like`."""
    return settings.get("biased_model", {key: value for key, value in settings.items() if key in like})


def _check_pair(one: Path | str, settings: dict, other: Path | str, others: dict) -> None:
    if apart := _differences(settings, others):
        differences = "; ".join(f"{key}: {a!r} and {b!r}" for key, (a, b) in apart.items())
        raise UserError(
            f"{one} and {other} were made with different settings ({differences}), so they don't belong in one table; "
            "keep each kind in a folder of its own, or remove one and run it again with the settings of the other"
        )


def _differences(one: dict, other: dict, besides: Iterable[str] = ()) -> dict[str, tuple]:
    """The settings that differ, with both values."""
    one, other, besides = _flat(one), _flat(other), set(besides)
    inside = INSIDE if any(key.startswith(INSIDE) for key in one.keys() | other.keys()) else ""
    name, content = f"{inside}weights", f"{inside}weights_content"
    keys = (one.keys() | other.keys()) - {name if content in one and content in other else content}
    keys = sorted(key for key in keys if key.removeprefix(INSIDE) not in besides)
    return {key: (one.get(key), other.get(key)) for key in keys if one.get(key) != other.get(key)}


def _flat(settings: dict) -> dict:
    """Settings in which those of the biased model, which a fine-tuned record holds inside, are called "biased_model.lr"."""
    inner = settings.get("biased_model")
    if not isinstance(inner, dict):
        return settings
    own = {key: value for key, value in settings.items() if key != "biased_model"}
    return own | {f"{INSIDE}{key}": value for key, value in inner.items()}


def environment(device: "torch.device") -> dict:
    """Versions, device, threads and commit, for a record."""
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
    """The commit of the code that runs, with "+" if it was changed since; "unknown" if no repository holds it."""
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
    """The processor's name, from the system."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
