"""The record of a run: a folder that appears only when it is complete."""

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import torch

from utils.errors import UserError

PACKAGES = ("torch", "torchvision", "diffusers", "transformers", "numpy", "pandas", "Pillow")
ROOT = Path(__file__).resolve().parent.parent


def record_folder(output: Path, method: str, seed: int) -> Path:
    """Where the record of a method and seed lies."""
    return output / method / f"seed_{seed}"


def read_record(folder: Path) -> dict | None:
    """The content of metrics.json, or None where there is no record."""
    path = folder / "metrics.json"
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); remove {folder} to run it again") from error


def write_record(
    folder: Path, metrics: dict, tables: dict[str, pd.DataFrame], save_weights: Callable[[Path], None]
) -> None:
    """Write metrics.json, a CSV for each table and the weights beside `folder`, then rename them into place."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_weights(partial / "model.safetensors")
    _finish(partial, folder, metrics, tables)


def adopt_record(source: Path, folder: Path, metrics: dict, tables: dict[str, pd.DataFrame]) -> None:
    """Copy the record in `source` to `folder`, with `metrics` in place of its own and `tables` besides."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial)
    _finish(partial, folder, metrics, tables)


def _finish(partial: Path, folder: Path, metrics: dict, tables: dict[str, pd.DataFrame]) -> None:
    for name, table in tables.items():
        table.to_csv(partial / f"{name}.csv", index=False, float_format="%.8g")
    (partial / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    os.replace(partial, folder)


def check_settings(found: dict, asked: dict, where: Path) -> None:
    """Raise `UserError`, naming the differences, where a record was made with other settings."""
    keys = sorted(found.keys() | asked.keys())
    differences = [f"{k}: {found.get(k)!r} there, {asked.get(k)!r} asked" for k in keys if found.get(k) != asked.get(k)]
    if differences:
        raise UserError(f"{where} was made with other settings ({'; '.join(differences)}); choose another --output")


def environment(device: torch.device) -> dict:
    """Versions, device and commit, for a record."""
    name = (
        torch.cuda.get_device_name(device) if device.type == "cuda" else f"{processor_name()}, {os.cpu_count()} cores"
    )
    return {
        "device": name,
        "python": platform.python_version(),
        "versions": {package: version(package) for package in PACKAGES},
        "commit": commit(),
    }


def commit() -> str:
    """The commit of the code that runs, with "+" where it was changed since; "unknown" outside git."""
    try:
        options = {"cwd": ROOT, "capture_output": True, "text": True, "check": True}
        head = subprocess.run(["git", "rev-parse", "--short=10", "HEAD"], **options).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain", "--untracked-files=no"], **options).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if changed else "")


def processor_name() -> str:
    """The processor's name as the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
