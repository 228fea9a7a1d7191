"""The records of one column of a table: a folder of runs, or the same packed into four files for the repository.

    python -m results.columns --runs results/runs/tables/toy --output results/records/tables/toy

packs every column folder below --runs. Weights and images stay behind, and so do logits: of a prediction only its sign
is packed, which is all that the paper's tables need. `results.summary --metrics all` reads the runs themselves. Runs that
were packed before and are not below --runs stay, so that columns can grow on several machines.
"""

import argparse
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from results.whole_csv import read_csv
from utils.errors import UserError, command_line
from utils.metrics import positive
from utils.records import (
    check_alike,
    check_once,
    check_settings,
    folder_name,
    parse_record,
    read_record,
    record_folder,
    rerun,
)

PACKED = "records.jsonl"
LABELS = ["name", "target", "protected"]
RANKS = ["name", "domain_rank", "bias_rank", "chosen"]
PARTS = ("predictions", "curves", "sensitivity")
RESTORE = "take the file from where it was packed (git checkout)"
NEEDED = ("settings", "metrics.group_count", "val_metrics.accuracy")  # of a record, besides what each has


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

    Raises `UserError`, with the file and the remedy, where one is damaged or cut off, or where the runs were tested on
    different images or made with different settings.
    """
    column = _read_packed(folder) if (folder / PACKED).exists() else _read_runs(folder)
    groups = [list(record["metrics"]["group_accuracy"]) for record in column.records]
    if any(names != groups[0] for names in groups):
        raise UserError(f"{folder}: the records are of different groups; keep each pair's in a folder of its own")
    for record in column.records:
        if record["method"].split(":")[0] == "aim-fair" and "top_k" not in record["settings"]:
            raise UserError(
                f"the record of {_place(folder, record)} is damaged (its settings have no top_k); run it again"
            )
    check_alike({_place(folder, record): record for record in column.records})
    return column


def _place(folder: Path, record: dict) -> Path:
    return record_folder(folder, folder_name(record["method"]), record["seed"])


def pack_column(column: Column, folder: Path) -> None:
    """Write a column's four files into `folder`, in place of those of an earlier call.

    They are written beside the old ones first, which may be the only copy of some runs. Then `records.jsonl` goes first and
    comes last: a folder without it is no packed column, so a part is never read as if it were whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = {f"{name}.csv": getattr(column, name).to_csv(index=False) for name in PARTS}
    content[PACKED] = "".join(json.dumps(record) + "\n" for record in column.records)
    new = {name: folder / f".{name}.new" for name in content}
    try:
        for name, text in content.items():
            new[name].write_text(text, encoding="utf-8")
        (folder / PACKED).unlink(missing_ok=True)
        for name, path in new.items():
            os.replace(path, folder / name)
    finally:
        for path in new.values():
            path.unlink(missing_ok=True)


def with_packed(column: Column, folder: Path) -> Column:
    """A column and, of the runs that are packed in `folder`, those that it lacks.

    Raises `UserError` where the two don't belong together: made with other settings, tested on other images, or with an erm
    of the same seed that decides otherwise or isn't there, so that their methods may have begun with other biased models.
    """
    if not (folder / PACKED).exists():
        if left := [name for name in PARTS if (folder / f"{name}.csv").exists()]:
            raise UserError(f"{folder} holds {left[0]}.csv without {PACKED}; {RESTORE}, or delete the folder")
        return column
    packed = read_column(folder)
    here = {(record["method"], record["seed"]) for record in column.records}
    kept = [record for record in packed.records if (record["method"], record["seed"]) not in here]
    if not kept:
        return column
    for record in packed.records:  # erm counts also where none is kept: the others began with it
        if record in kept or record["method"] == "erm":
            for own in list(column.runs(record["method"]).values())[:1]:
                where = f"what is packed in {folder} ({run_name(record['method'], record['seed'])})"
                check_settings(record["settings"], own["settings"], where)
    seeds = {record["seed"] for record in column.records} & {record["seed"] for record in kept}
    _check_biased_models(column, packed, seeds, folder)
    for name in LABELS + [run_name("erm", seed) for seed in sorted(seeds)]:
        if not column.predictions[name].equals(packed.predictions[name]):
            what = "were tested on other images" if name in LABELS else f"began with another {name}"
            raise UserError(
                f"{folder}: the runs packed there {what} than those to be packed; pack into another folder. To share the work of "
                "several machines, copy the folder erm of --output to each before the other methods are trained"
            )
    stays = [run_name(record["method"], record["seed"]) for record in kept]
    records = sorted(column.records + kept, key=lambda record: (record["method"], record["seed"]))
    check_alike({_place(folder, record): record for record in records})
    names = LABELS + [run_name(record["method"], record["seed"]) for record in records]
    return Column(
        column.name,
        records,
        pd.concat([column.predictions, packed.predictions[stays]], axis=1)[names],
        _joined(column.curves, packed.curves, stays),
        _joined(column.sensitivity, packed.sensitivity, stays),
    )


def _check_biased_models(column: Column, packed: Column, seeds: set[int], folder: Path) -> None:
    """Raise `UserError` if one of the two lacks its erm of a seed whose methods would be joined."""
    for part, how in ((column, "to be packed"), (packed, "packed")):
        if left := seeds - part.runs("erm").keys():
            run = next(run_name(record["method"], record["seed"]) for record in part.records if record["seed"] in left)
            erm = f"erm/{run.rpartition('/')[2]}"
            raise UserError(
                f"{folder}: {run} is {how} without the {erm} that it began with, and the methods in the other place may have begun "
                f"with another; put that {erm} back beside it, or remove {run} and run it again"
            )


def _joined(frame: pd.DataFrame, packed: pd.DataFrame, stays: list[str]) -> pd.DataFrame:
    """The rows of `frame`, and of `packed` those of the runs that stay, sorted by method and seed."""
    stay = [] if packed.empty else [run_name(*place) in stays for place in zip(packed["method"], packed["seed"])]
    if not any(stay):
        return frame
    return pd.concat([frame, packed[stay]]).sort_values(["method", "seed"], kind="stable", ignore_index=True)


def _read_packed(folder: Path) -> Column:
    remedy = f"{RESTORE}, or delete the folder and pack all runs again (python -m results.columns)"
    lines = (folder / PACKED).read_bytes().splitlines()
    if not lines:
        raise UserError(f"{folder / PACKED} is damaged (it is empty); {remedy}")
    records = [
        parse_record(line, NEEDED, what=f"{folder / PACKED} line {number}", remedy=remedy)
        for number, line in enumerate(lines, 1)
    ]
    runs = [run_name(record["method"], record["seed"]) for record in records]
    path = folder / "predictions.csv"
    predictions = read_csv(path, [*LABELS, *runs], remedy, rows=_images(records[0]))
    more = [name for name in predictions.columns if name not in (*LABELS, *runs)]
    if more:
        raise UserError(f"{folder / PACKED} is damaged (it lacks {more[0]}, which {path.name} has); {remedy}")
    curves = read_csv(folder / "curves.csv", ["method", "seed", "epoch", "val_accuracy"], remedy)
    short = sorted(set(runs) - {run_name(*place) for place in zip(curves["method"], curves["seed"])})
    if short:
        raise UserError(f"{folder / 'curves.csv'} is damaged (it lacks {short[0]}); {remedy}")
    path = folder / "sensitivity.csv"
    empty = path.is_file() and not path.read_bytes().strip()
    sensitivity = pd.DataFrame() if empty else read_csv(path, ["method", "seed", *RANKS], remedy)
    return Column(folder.name, records, predictions, curves, sensitivity)


def _read_runs(folder: Path) -> Column:
    paths = {path.parent: read_record(path.parent, *NEEDED) for path in folder.glob("*/seed_*/metrics.json")}
    if not paths:
        raise UserError(f"no record (*/seed_*/metrics.json) in {folder}")
    check_once(paths)
    paths = dict(sorted(paths.items(), key=lambda item: (item[1]["method"], item[1]["seed"])))
    predictions, curves, sensitivity = {}, [], []
    for path, record in paths.items():
        method, seed, remedy = record["method"], record["seed"], rerun(path)
        test = read_csv(path / "test_predictions.csv", [*LABELS, "logit"], remedy, rows=_images(record))
        if not predictions:
            labels = test[LABELS]
        elif not labels.equals(test[LABELS]):
            raise UserError(f"{path}: not tested on the images of the other runs in {folder}; keep them apart")
        predictions[run_name(method, seed)] = positive(test["logit"]).astype(np.int64)
        place = {"method": method, "seed": seed}
        curves.append(read_csv(path / "curve.csv", ["epoch", "val_accuracy"], remedy).assign(**place))
        if method == "aim-fair" and (path / "sensitivity.csv").exists():
            sensitivity.append(read_csv(path / "sensitivity.csv", RANKS, remedy).assign(**place))

    def stack(frames):
        return _places_first(pd.concat(frames, ignore_index=True)) if frames else pd.DataFrame()

    predictions = pd.concat([labels, pd.DataFrame(predictions)], axis=1)
    return Column(folder.name, list(paths.values()), predictions, stack(curves), stack(sensitivity))


def _images(record: dict) -> int:
    """The number of test images of a record."""
    return sum(record["metrics"]["group_count"].values())


def _places_first(frame: pd.DataFrame) -> pd.DataFrame:
    places = ["method", "seed"]
    return frame[places + [name for name in frame.columns if name not in places]]


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
        target = args.output / folder.name
        own = read_column(folder)
        column = with_packed(own, target)
        pack_column(column, target)
        stay = f", of which {before} were packed before" if (before := len(column.records) - len(own.records)) else ""
        print(f"{target}: {len(column.records)} records of {len(column.methods)} methods{stay}")


if __name__ == "__main__":
    command_line(main)
