"""Pack columns of tables, each a folder of runs, into a few files each for the repository.

    python -m results.columns --runs results/runs/tables/toy --output results/records/tables/toy

packs every column folder in --runs. Weights and images stay behind. Logits of val and test are packed in hundredths, so that another
threshold can be asked for later; `results.summary --metrics all` reads the runs themselves. Runs that were packed before and are not
in --runs stay, so columns can grow on several machines.
"""

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path

import pandas as pd

from results.logits import joined_logits
from results.records import (
    LABELS,
    LATER,
    PACKED,
    PARTS,
    PLACE,
    RESTORE,
    RunSet,
    by_place,
    names_of,
    read_run_set,
    run_name,
    run_set_folders,
)
from utils.errors import UserError, command_line
from utils.same_settings import check_alike, check_settings


def pack_column(runs: RunSet, folder: Path) -> None:
    """Write the files of a set of runs into `folder`, in place of those of an earlier call.

    They are written beside the old ones first, which may be the only copy of some runs. Then `records.jsonl` goes first and
    comes last: a folder without it is not packed, so a part is never read as if it were whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = {name: getattr(runs, name) for name in (*PARTS, *LATER)}
    content = {f"{name}.csv": part.to_csv(index=False) for name, part in parts.items() if name in PARTS or len(part)}
    content[PACKED] = "".join(json.dumps(record.content) + "\n" for record in runs.records)
    new = {name: folder / f".{name}.new" for name in content}
    try:
        for name, text in content.items():
            new[name].write_text(text, encoding="utf-8")
        for name in (PACKED, *(f"{part}.csv" for part in LATER)):
            (folder / name).unlink(missing_ok=True)
        for name, path in new.items():
            os.replace(path, folder / name)
    finally:
        for path in new.values():
            path.unlink(missing_ok=True)


def with_packed(runs: RunSet, folder: Path) -> RunSet:
    """Return these runs and those that are packed in `folder` and not among them.

    Raises UserError if the two do not belong together: made with other settings, tested on other images, or with an erm of the
    same seed that decides otherwise or is not there, so that their methods may have begun with other biased models.
    """
    if not (folder / PACKED).exists():
        if left := [name for name in PARTS if (folder / f"{name}.csv").exists()]:
            raise UserError(f"{folder} holds {left[0]}.csv without {PACKED}; {RESTORE}, or delete the folder")
        return runs
    packed, here = read_run_set(folder), names_of(runs.records)
    kept = [record for record in packed.records if run_name(record.method, record.seed) not in here]
    if not kept:
        return runs
    for record in packed.records:  # erm counts even if none of it is kept, because the others began with it
        if runs.runs(record.method) and (record in kept or record.method == "erm"):
            where = f"what is packed in {folder} ({run_name(record.method, record.seed)})"
            check_settings(record.settings, runs.first(record.method).settings, where)
    _check_biased_models(runs, packed, {*runs.seeds} & {record.seed for record in kept}, folder)
    records = sorted(runs.records + kept, key=lambda record: (record.method, record.seed))
    check_alike(by_place(folder, records))
    stays = names_of(kept)
    predictions = pd.concat([runs.predictions, packed.predictions[stays]], axis=1)[LABELS + names_of(records)]
    stacked = {
        part: _joined(getattr(runs, part), getattr(packed, part), stays)
        for part in ("curves", "sensitivity", "choices")
    }
    logits = joined_logits(runs.logits, packed.logits, names_of(records), stays)
    return replace(runs, records=records, predictions=predictions, logits=logits, **stacked)


def _check_biased_models(runs: RunSet, packed: RunSet, seeds: set[int], folder: Path) -> None:
    """Raise UserError if the erm of one of these seeds is missing on one side, or if the two sides differ in it or in the images."""
    for part, how in ((runs, "to be packed"), (packed, "packed")):
        if left := seeds - part.runs("erm").keys():
            run = next(run_name(record.method, record.seed) for record in part.records if record.seed in left)
            erm = f"erm/{run.rpartition('/')[2]}"
            raise UserError(
                f"{folder}: {run} is {how} without the {erm} that it began with, and the methods in the other place may have begun "
                f"with another; put that {erm} back beside it, or remove {run} and run it again"
            )
    for name in LABELS + [run_name("erm", seed) for seed in sorted(seeds)]:
        if not runs.predictions[name].equals(packed.predictions[name]):
            what = "were tested on other images" if name in LABELS else f"began with another {name}"
            raise UserError(
                f"{folder}: the runs packed there {what} than those to be packed; pack into another folder. To share the work of "
                "several machines, copy the folder erm of --output to each before the other methods are trained"
            )


def _joined(frame: pd.DataFrame, packed: pd.DataFrame, stays: list[str]) -> pd.DataFrame:
    """Return the rows of `frame` and, for the runs that stay, of `packed`, sorted by method and seed."""
    stay = [] if packed.empty else [run_name(*place) in stays for place in zip(packed["method"], packed["seed"])]
    if not any(stay):
        return frame
    return pd.concat([frame, packed[stay]]).sort_values(PLACE, kind="stable", ignore_index=True)


def main() -> None:
    """Read the command line and pack what it names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="folder with a folder for each column")
    parser.add_argument("--output", type=Path, required=True, help="folder for the packed columns")
    args = parser.parse_args()
    folders = run_set_folders(args.runs)
    if not folders:
        raise UserError(f"--runs {args.runs}: no folder in it holds records (*/seed_*/metrics.json)")
    for folder in folders:
        target = args.output / folder.name
        own = read_run_set(folder)
        runs = with_packed(own, target)
        pack_column(runs, target)
        stay = f"; {before} of them were packed before" if (before := len(runs.records) - len(own.records)) else ""
        print(f"{target}: {len(runs.records)} records of {len(runs.methods)} methods{stay}")


if __name__ == "__main__":
    command_line(main)
