"""The records of one column of a table: a folder of runs, or the same packed into four files for the repository.

    python -m results.columns --runs results/runs/tables/toy --output results/reported/tables/toy

packs every column folder below --runs. Weights and images stay behind.
"""

import argparse
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from utils.errors import UserError, command_line

PACKED = "records.jsonl"
LABELS = ["name", "target", "protected"]


@dataclass(frozen=True)
class Column:
    """The runs of a column, sorted by method and seed.

    `records` are the contents of their metrics.json. `predictions` has the columns name, target, protected and, for
    each run, "<method>/seed_<n>", 0 or 1, a row for each test image. `curves` is the runs' epoch curves one after
    another, with the columns method and seed in front; so is `sensitivity`, of the method aim-fair alone.
    """

    name: str
    records: list[dict]
    predictions: pd.DataFrame
    curves: pd.DataFrame
    sensitivity: pd.DataFrame

    def runs(self, method: str) -> dict[int, dict]:
        """The records of a method by seed; empty where there is none."""
        return {record["seed"]: record for record in self.records if record["method"] == method}

    @property
    def methods(self) -> list[str]:
        """The methods that have a record."""
        return list(dict.fromkeys(record["method"] for record in self.records))


def run_name(method: str, seed: int) -> str:
    """The name of a run's column in the predictions."""
    return f"{method}/seed_{seed}"


def column_folders(root: Path) -> list[Path]:
    """The folders below `root` that hold records, sorted by name."""
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    return [path for path in folders if (path / PACKED).exists() or any(path.glob("*/seed_*/metrics.json"))]


def read_column(folder: Path) -> Column:
    """The column in a folder, packed or as train.py wrote it.

    Raises `UserError` where a file is damaged or the runs were tested on different images.
    """
    try:
        return _read_packed(folder) if (folder / PACKED).exists() else _read_runs(folder)
    except (OSError, ValueError, KeyError, pd.errors.ParserError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{folder}: a record is damaged or incomplete ({error}); remove it and run it again") from error


def pack_column(column: Column, folder: Path) -> None:
    """Write a column's four files into `folder`, in place of those of an earlier call.

    `records.jsonl` goes first and comes last: a folder without it is no packed column, so one that was interrupted is
    never read as if it were whole.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    (partial / PACKED).write_text("".join(json.dumps(record) + "\n" for record in column.records))
    for name in ("predictions", "curves", "sensitivity"):
        getattr(column, name).to_csv(partial / f"{name}.csv", index=False)
    folder.mkdir(exist_ok=True)
    (folder / PACKED).unlink(missing_ok=True)
    for name in ("predictions.csv", "curves.csv", "sensitivity.csv", PACKED):
        os.replace(partial / name, folder / name)
    partial.rmdir()


def _read_packed(folder: Path) -> Column:
    records = [json.loads(line) for line in (folder / PACKED).read_text().splitlines()]
    tables = {name: pd.read_csv(folder / f"{name}.csv") for name in ("predictions", "curves")}
    runs = {run_name(record["method"], record["seed"]) for record in records}
    missing = sorted(runs - set(tables["predictions"].columns))
    if missing:
        raise UserError(f"{folder / 'predictions.csv'}: no column {missing[0]} for a record; pack the runs again")
    text = (folder / "sensitivity.csv").read_text().strip()
    return Column(
        folder.name, records, **tables, sensitivity=pd.read_csv(folder / "sensitivity.csv") if text else pd.DataFrame()
    )


def _read_runs(folder: Path) -> Column:
    paths = {path.parent: json.loads(path.read_text()) for path in folder.glob("*/seed_*/metrics.json")}
    if not paths:
        raise UserError(f"no record (*/seed_*/metrics.json) in {folder}")
    paths = dict(sorted(paths.items(), key=lambda item: (item[1]["method"], item[1]["seed"])))
    predictions, curves, sensitivity = {}, [], []
    for path, record in paths.items():
        method, seed = record["method"], record["seed"]
        test = pd.read_csv(path / "test_predictions.csv")
        if not predictions:
            labels = test[LABELS]
        elif not labels.equals(test[LABELS]):
            raise UserError(f"{path}: not tested on the images of the other runs in {folder}; keep them apart")
        predictions[run_name(method, seed)] = test["logit"].gt(0).astype(np.int64)
        place = {"method": method, "seed": seed}
        curves.append(pd.read_csv(path / "curve.csv").assign(**place))
        if method == "aim-fair" and (path / "sensitivity.csv").exists():
            sensitivity.append(pd.read_csv(path / "sensitivity.csv").assign(**place))

    def stack(tables):
        return _places_first(pd.concat(tables, ignore_index=True)) if tables else pd.DataFrame()

    table = pd.concat([labels, pd.DataFrame(predictions)], axis=1)
    return Column(folder.name, list(paths.values()), table, stack(curves), stack(sensitivity))


def _places_first(table: pd.DataFrame) -> pd.DataFrame:
    places = ["method", "seed"]
    return table[places + [name for name in table.columns if name not in places]]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="folder with a folder for each column")
    parser.add_argument("--output", type=Path, required=True, help="folder for the packed columns")
    args = parser.parse_args()
    folders = column_folders(args.runs)
    if not folders:
        raise UserError(f"--runs {args.runs}: no folder in it holds records (*/seed_*/metrics.json)")
    for folder in folders:
        column = read_column(folder)
        pack_column(column, args.output / folder.name)
        print(f"{args.output / folder.name}: {len(column.records)} records of {len(column.methods)} methods")


if __name__ == "__main__":
    command_line(main)
