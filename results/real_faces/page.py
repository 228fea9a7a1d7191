"""The pages of the evidence on real faces, from packed records: the same records give the same bytes.

    python -m results.real_faces --data data --weights FILE ...
    python -m results.real_faces.page --runs results/runs/real_faces      adds them to those packed in results/records/real_faces
    python -m results.real_faces.page                                     the pages, from the packed records

A study is a folder of records; in it a source of unbiased images is a folder, and so is each setting of fine-tuning in that.
For each study the tables and figures of `results.tables` are made from two columns a source: every method with the settings
that were chosen for it, and with the paper's.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from statistics import mean

import pandas as pd

from models.choice import choose
from results.columns import LABELS, Column, column_folders, pack_column, read_column, run_name, with_packed
from results.entries import warning
from results.figures import write_figures
from results.real_faces.evidence import diverged
from results.real_faces.figures import write_drawings
from results.real_faces.studies import (
    ERM,
    FROM_START,
    GRID,
    LIKE_AIM_FAIR,
    NOTES,
    PAPER,
    REAL_ALONE,
    STUDIES,
    TUNED,
    UNTUNED,
)
from results.real_faces.tables import (
    AGAINST_NOTE,
    K_NOTE,
    RANK_NOTE,
    against_table,
    entries_of,
    erm_table,
    k_table,
    rank_table,
    settings_table,
    side_by_side,
)
from results.rows import FROM
from results.tables import write_tables
from utils.errors import UserError, command_line
from utils.files import write_whole

RECORDS, PAGES = Path("results/records/real_faces"), Path("results/pages/real_faces")
TABLES = ("table_1", "table_3", "table_4", "table_k")
NAMES = {
    "t2i": "faces by SDXL, FLUX and Stable Diffusion 3",
    "generated": "faces by a small Stable Diffusion that was trained on CelebA with its labels",
    "utkface": "UTKFace: photographs of another data set, smiles labelled by a machine",
    "rest": "real images of the same data that are in no list: no gap between domains",
}
NOTE = (
    "Percent on the test split; mean ± sample standard deviation over n seeds; EO is the larger gap. WST is the lowest group accuracy: "
    "*of means* that of the groups averaged over seeds, as in the paper, which has no deviation over seeds; *mean of* that of each "
    "seed. The differences to ERM have 95 % intervals for other seeds and other test images, with one seed for other images alone "
    "(`results/intervals.py`); each holds for itself alone. "
    "*chosen*: for each method on the first seed, without the test set, by accuracy on real val and equalized odds on held-out "
    "images of the source (`models/choice.py`); *paper*: 10 epochs at 0.06 in batches of 128, batch norm's statistics follow the "
    "unbiased images. A setting is what those statistics do, and the learning rate; on t2i and rest all but paper and paper hold "
    "also have batches of 32. If a source or a method has one setting alone, nothing was chosen."
)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, help="pack these records first")
    parser.add_argument("--records", type=Path, default=RECORDS)
    parser.add_argument("--output", type=Path, default=PAGES)
    args = parser.parse_args()
    if args.runs:
        pack(args.runs, args.records)
    studies = [name for name in STUDIES if (args.records / name / ERM).exists()]
    if not studies:
        raise UserError(
            f"--records {args.records}: no <study>/{ERM} and records beside it; run results.real_faces first"
        )
    for name in studies:
        make_pages(name, args.records / name, args.output / name)
        print(args.output / name)


def pack(runs: Path, records: Path) -> None:
    """Pack every setting of every source of every study beside what was packed before, and which biased model was chosen."""
    for study in (name for name in STUDIES if (runs / name).is_dir()):
        for place in ("", *STUDIES[study].sources):
            for folder in column_folders(runs / study / place):
                target = records / study / place / folder.name
                pack_column(with_packed(read_column(folder), target), target)
                pack_notes(folder, target)
        pack_choice(runs / study, records / study)


def pack_notes(folder: Path, target: Path) -> None:
    """Add a setting's notes of what diverged to those packed before, less what has a record by now."""
    column, found = read_column(target), {}
    for method, seeds in (*diverged(target).items(), *diverged(folder).items()):
        left = {*found.get(method, ()), *seeds} - column.runs(method).keys()
        if left:
            found[method] = sorted(left)
    (target / NOTES).unlink(missing_ok=True)
    if found:
        write_whole(target / NOTES, json.dumps(found) + "\n")


def pack_choice(runs: Path, records: Path) -> None:
    """Note which biased model was chosen, beside the accuracy of each on val, the mean of all seeds that are packed.

    Raises `UserError` where another one was chosen before: what is packed began with it.
    """
    found = [json.loads((place / ERM).read_text())["chosen"] for place in (records, runs) if (place / ERM).exists()]
    if len(set(found)) > 1:
        raise UserError(
            f"{records / ERM}: {found[0]:g} was chosen, in {runs} it is {found[1]:g}; pack into other --records"
        )
    if found:
        folders = [folder for folder in column_folders(records) if folder.name.startswith("erm_")]
        accuracy = {
            folder.name.removeprefix("erm_"): mean(
                record["val_metrics"]["accuracy"] for record in read_column(folder).runs("erm").values()
            )
            for folder in folders
            if "erm" not in diverged(folder)
        }
        write_whole(records / ERM, json.dumps({"chosen": found[0], "val_accuracy": accuracy}, indent=1) + "\n")


def make_pages(study: str, records: Path, output: Path) -> None:
    """Write the page of a study, its tables and figures."""
    lr = json.loads((records / ERM).read_text())["chosen"]
    alone = read_column(records / f"erm_{lr:g}")
    settings = {
        source: {folder.name: read_column(folder) for folder in column_folders(records / source)}
        for source in STUDIES[study].sources
        if column_folders(records / source)
    }
    check_alike(study, [alone, *(column for found in settings.values() for column in found.values())], lr)
    notes = {source: {s: diverged(records / source / s) for s in found} for source, found in settings.items()}
    chosen = {source: choices(found) for source, found in settings.items()}
    columns = {}
    for source, found in settings.items():
        name = f"{STUDIES[study].pair}{FROM}{source}"  # the tables find the paper's numbers by the pair
        if "aim-fair" in chosen[source]:
            columns[name] = compose(name, found, chosen[source], alone)
        if PAPER in found and len(found) > 1:  # alone it is what was chosen
            columns[f"{name}_paper"] = replace(found[PAPER], name=f"{name}_paper")
    output.mkdir(parents=True, exist_ok=True)
    tables = write_tables(columns, output, TABLES)
    figures = write_drawings(study, columns, settings, output)
    figures += write_figures({name: column for name, column in columns.items() if not name.endswith("_paper")}, output)
    text = page(study, records, alone, settings, notes, chosen, columns, tables, figures)
    write_whole(output / "README.md", text)


def check_alike(study: str, columns: list[Column], lr: float) -> None:
    """Raise `UserError` unless all biased models of a study are of one size and learning rate."""
    found = set()
    for record in (record for column in columns for record in column.records):
        biased = record["settings"].get("biased_model", record["settings"] if record["method"] == "erm" else None)
        if biased:
            found.add((biased["image_size"], biased["number_train_data_real"], biased["lr"]))
    if len(found) > 1 or any(own != lr for _, _, own in found):
        raise UserError(
            f"{study}: the biased models differ in pixels, number of images or learning rate ({sorted(found)}; {lr:g} was chosen); "
            "keep runs that differ in these in folders of their own"
        )


def compose(name: str, settings: dict[str, Column], chosen: dict[str, str], alone: Column) -> Column:
    """One column of every method with its own settings; those that have none come from the paper's, or from `alone`."""
    of_method = {"erm": PAPER, **dict.fromkeys((*UNTUNED, *FROM_START), PAPER), **chosen}
    of_method |= dict.fromkeys(LIKE_AIM_FAIR, chosen["aim-fair"])
    places = [(method, settings[setting]) for method, setting in of_method.items() if setting in settings]
    places += [(method, alone) for method in REAL_ALONE]
    first = next(iter(settings.values()))
    records, decisions, curves, ranks = [], [first.predictions[LABELS]], [], []
    for method, column in places:
        if method not in column.methods:
            continue
        if not column.predictions[LABELS].equals(first.predictions[LABELS]):
            raise UserError(f"{name}: {method} was tested on other images than the rest")
        records += column.runs(method).values()
        decisions.append(column.predictions[[run_name(method, seed) for seed in column.runs(method)]])
        curves.append(column.curves[column.curves["method"] == method])
        if method == "aim-fair":
            ranks.append(column.sensitivity)
    table = pd.concat(decisions, axis=1)
    return Column(name, records, table, pd.concat(curves, ignore_index=True), pd.concat([*ranks, pd.DataFrame()]))


def choices(settings: dict[str, Column]) -> dict[str, str]:
    """The setting that `models.choice` takes for each method: from the records of the first seed, in `GRID`'s order."""
    chosen = {}
    for method in TUNED:
        found = {}
        for setting in (setting for setting in GRID if setting in settings):
            runs = settings[setting].runs(method)
            if record := runs.get(min(record["seed"] for record in settings[setting].records)):
                found[setting] = record["val_metrics"]["accuracy"], record["held_out_metrics"]["equalized_odds"]
        if found:
            accuracy, odds = zip(*found.values(), strict=True)
            chosen[method] = list(found)[choose(list(accuracy), list(odds))]
    return chosen


def page(study, records, alone, settings, notes, chosen, columns, tables, figures) -> str:
    """The page of a study in Markdown."""
    counts = alone.records[0]["metrics"]["group_count"]
    biased = alone.records[0]["settings"]["number_train_data_real"]
    shown = ", ".join(f"{cell} {count}" for cell, count in counts.items())
    pixels = ", ".join(sorted({str(record["settings"]["image_size"]) for record in alone.records}))
    cropped = ", cropped" if "--real-crop" in STUDIES[study].flags else ""
    title = f"{STUDIES[study].pair.replace('_', '/')}, {pixels} pixels{cropped}, ResNet-18 from ImageNet weights"
    lines = [f"# Real faces: {title}", "", NOTE, ""]
    lines += [f"{biased:,} biased real images for training, at {pixels} pixels; test images {shown}."]
    if hardly := warning(alone, list(entries_of(alone).values())):
        lines += ["", hardly]
    lines += ["", "## The biased model", "", *erm_table(records)]
    lines += ["", "## The sources side by side", "", *side_by_side(columns)]
    lines += ["", "## AIM-Fair beside the nearest methods", "", AGAINST_NOTE, "", *against_table(columns)]
    if len(of_k := k_table(columns)) > 2:  # more than its heading
        lines += ["", "## What k costs", "", K_NOTE, "", *of_k]
    lines += ["", "## The rankings", "", RANK_NOTE, "", *rank_table(settings)]
    lines += ["", "## Figures", "", *(f"![{name}]({name}.png)" for name in figures if FROM not in name)]
    for source, found in settings.items():
        lines += ["", f"## {source}: {NAMES[source]}", "", *settings_table(found, notes[source], chosen[source])]
        lines += ["", *(f"![{name}]({name}.png)" for name in figures if name.endswith(f"{FROM}{source}"))]
    lines += ["", "## The paper's tables", ""]
    lines += [f"- [{name}]({name}.md) ([CSV]({name}.csv), [LaTeX]({name}.tex))" for name in tables]
    every = [r for found in settings.values() for column in found.values() for r in column.records] + alone.records
    for title, values in (
        ("Devices", {record["device"] for record in every}),
        ("torch", {record["versions"]["torch"] for record in every}),
        ("Precision", {record["settings"].get("biased_model", record["settings"])["precision"] for record in every}),
    ):
        lines += ["", f"{title}: {', '.join(sorted(values))}."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    command_line(main)
