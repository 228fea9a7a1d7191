"""The pages of the study on real faces: a folder of results/pages/real_faces for each pair, from its packed records.

In a pair's records a source of unbiased images is a folder, and in it each setting of fine-tuning. The tables and figures of
`results.tables` are made from two columns a source: every method with its chosen setting, and with the paper's.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from results.entries import warning
from results.figures import write_figures
from results.records import LABELS, RunSet, read_run_set, run_name, run_set_folders
from results.rows import FROM
from results.studies.real_faces.design import (
    FROM_START,
    LIKE_AIM_FAIR,
    PAIRS,
    PAPER,
    REAL_ALONE,
    UNTUNED,
    accuracy_of_erm,
    choices,
)
from results.studies.real_faces.figures import write_drawings
from results.studies.real_faces.picture import PANELS, PICTURE, entries, write_picture
from results.studies.real_faces.tables import (
    AGAINST_NOTE,
    K_NOTE,
    RANK_NOTE,
    against_table,
    erm_table,
    k_table,
    rank_table,
    settings_table,
    side_by_side,
)
from results.study_run import diverged
from results.study_tables import entries_of
from results.tables import write_tables
from utils.errors import UserError
from utils.files import write_whole
from utils.records import Record
from utils.same_settings import check_alike

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


def make_pages(records: Path, output: Path) -> None:
    """Write the page, tables and figures of every pair that has records."""
    output.mkdir(parents=True, exist_ok=True)
    write_picture({name: entries(records / name) for name in PANELS}, output / PICTURE)
    for name in (name for name in PAIRS if (records / name).is_dir()):
        evidence, folder = read(name, records / name), output / name
        folder.mkdir(parents=True, exist_ok=True)
        tables = write_tables(evidence.columns, folder, TABLES)
        figures = write_drawings(name, evidence.columns, evidence.settings, folder)
        chosen = {key: column for key, column in evidence.columns.items() if not key.endswith("_paper")}
        figures += write_figures(chosen, folder)
        write_whole(folder / "README.md", page(evidence, tables, figures))


@dataclass(frozen=True)
class Evidence:
    """The records of a pair. `settings` : source, setting of fine-tuning, column; `alone` : what trains on real images alone."""

    name: str
    folder: Path
    alone: RunSet
    settings: dict[str, dict[str, RunSet]]
    chosen: dict[str, dict[str, str]]  # source, method, setting
    columns: dict[str, RunSet]  # each source with the chosen settings, and with the paper's


def read(name: str, folder: Path) -> Evidence:
    """Read the packed records of a pair. Raises `UserError` if they do not belong together."""
    accuracy = accuracy_of_erm(folder)
    lr = max(accuracy, key=accuracy.get)
    alone = read_run_set(folder / f"erm_{lr:g}")
    folders = {source: run_set_folders(folder / source) for source in PAIRS[name].sources}
    settings = {source: {f.name: read_run_set(f) for f in found} for source, found in folders.items() if found}
    check_alike(biased_models([alone, *(column for found in settings.values() for column in found.values())]))
    chosen, columns = {source: choices(found) for source, found in settings.items()}, {}
    for source, found in settings.items():
        key = f"{PAIRS[name].pair}{FROM}{source}"  # the tables find the paper's numbers by the pair
        if "aim-fair" in chosen[source]:
            columns[key] = compose(key, found, chosen[source], alone)
        if PAPER in found and len(found) > 1:  # alone it is what was chosen
            columns[f"{key}_paper"] = replace(found[PAPER], name=f"{key}_paper")
    return Evidence(name, folder, alone, settings, chosen, columns)


def biased_models(columns: list[RunSet]) -> dict[str, Record]:
    """Return the records of a pair's biased models, as ERM's, by run."""
    found = ((column.name, record) for column in columns for record in column.records)
    return {
        f"{name}/{run_name(record.method, record.seed)}": replace(record, method="erm", settings=record.real_settings)
        for name, record in found
        if record.method == "erm" or "biased_model" in record.settings
    }


def compose(name: str, settings: dict[str, RunSet], chosen: dict[str, str], alone: RunSet) -> RunSet:
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
    return RunSet(name, records, table, pd.concat(curves, ignore_index=True), pd.concat([*ranks, pd.DataFrame()]))


def page(evidence: Evidence, tables: list[str], figures: list[str]) -> str:
    """Return the page of a pair in Markdown."""
    alone, columns, settings = evidence.alone, evidence.columns, evidence.settings
    counts, biased = alone.records[0].metrics, alone.records[0].settings
    shown = ", ".join(f"{group} {count}" for group, count in counts.group_count.items())
    pixels = ", ".join(sorted({str(record.settings["image_size"]) for record in alone.records}))
    lines = [
        f"# Real faces: {PAIRS[evidence.name].pair.replace('_', '/')}, {pixels} pixels, ResNet-18 from ImageNet weights"
    ]
    lines += [
        "",
        NOTE,
        "",
        f"{biased['number_train_data_real']:,} biased real images for training, at {pixels} pixels; test images {shown}.",
    ]
    if hardly := warning(alone, list(entries_of(alone).values())):
        lines += ["", hardly]
    lines += ["", "## The biased model", "", *erm_table(evidence.folder)]
    lines += ["", "## The sources side by side", "", *side_by_side(columns)]
    lines += ["", "## AIM-Fair beside the nearest methods", "", AGAINST_NOTE, "", *against_table(columns)]
    if len(of_k := k_table(columns)) > 2:  # more than its heading
        lines += ["", "## What k costs", "", K_NOTE, "", *of_k]
    lines += ["", "## The rankings", "", RANK_NOTE, "", *rank_table(settings)]
    lines += ["", "## Figures", "", *(f"![{name}]({name}.png)" for name in figures if FROM not in name)]
    for source, found in settings.items():
        notes = {setting: diverged(evidence.folder / source / setting) for setting in found}
        lines += ["", f"## {source}: {NAMES[source]}", "", *settings_table(found, notes, evidence.chosen[source])]
        lines += ["", *(f"![{name}]({name}.png)" for name in figures if name.endswith(f"{FROM}{source}"))]
    lines += ["", "## The paper's tables", ""]
    lines += [f"- [{name}]({name}.md) ([CSV]({name}.csv), [LaTeX]({name}.tex))" for name in tables]
    every = [r for found in settings.values() for column in found.values() for r in column.records] + alone.records
    for title, values in (
        ("Devices", {record.content["device"] for record in every}),
        ("torch", {record.content["versions"]["torch"] for record in every}),
        ("Precision", {record.real_settings["precision"] for record in every}),
    ):
        lines += ["", f"{title}: {', '.join(sorted(values))}."]
    return "\n".join(lines) + "\n"
