"""The pages of the study on real faces: a folder of results/pages/real_faces for each pair, from its packed records.

In a pair's records a source of unbiased images is a folder, and in it each setting of fine-tuning. The tables and figures of
`results.tables` are made from two columns a source: every method with its chosen setting, and with the paper's.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from results import figures
from results.entries import warning
from results.records import LABELS, RunSet, read_run_set, run_name, run_set_folders
from results.rows import FROM
from results.studies.real_faces.design import (
    FROM_START,
    LIKE_AIM_FAIR,
    PAIRS,
    PAPER,
    REAL_ALONE,
    SOURCES,
    UNTUNED,
    accuracy_of_erm,
    choices,
)
from results.studies.real_faces.figures import PANELS, PICTURE, draw, entries, write_picture
from results.studies.real_faces.tables import (
    SIDE_BY_SIDE,
    against_table,
    erm_table,
    k_table,
    rank_table,
    settings_table,
    side_by_side,
)
from results.study_run import diverged
from results.study_tables import NOTE, as_page, entries_of, origin
from results.tables import write_tables
from utils.errors import UserError
from utils.files import write_whole
from utils.records import Record
from utils.same_settings import check_alike

TABLES = ("table_1", "table_3", "table_4", "table_k")
WITH_PAPERS = ", paper's settings"  # how the second column of a source is called
SETTINGS_NOTE = """
Each interval is for one comparison. A *setting* of fine-tuning is what batch norm's running statistics do, and the learning rate. They
follow the unbiased images, hold their values, or are estimated anew on real images. *paper*: they follow, for 10 epochs at 0.06 in batches of
128. *chosen*: taken for each method on the first seed, without the test set, by accuracy on real val and equalized odds difference on held-out
images of the source (`models/choice.py`). If a source or a method has one setting alone, nothing was chosen."""
SIDE_NOTE = "ACC / WST of means / EO (¹: one seed):"
AGAINST_NOTE = """
AIM-Fair less another method, each with its own settings of the column: points, with 95 % intervals for other seeds and other
test images, from the n seeds that both have; with one seed for other images alone. * : still excludes 0 after Holm's correction
for all comparisons of this table."""
K_NOTE = """
Test accuracy and equalized odds of AIM-Fair for the k that `--top-k auto` takes for each seed without the test set, and for
the fixed k that are best and worst by test equalized odds in the mean of the seeds."""
RANK_NOTE = """
*between the rankings*: Spearman's correlation, over the network's tensors, of the gap that the domain makes with the gap that the bias makes,
as the mean of the seeds. Were it 1, the two rankings would be each other's reverse, and k of n tensors in both would leave 2k - n of them.
*between seeds*: the same correlation of two seeds' rankings of one kind, as the mean of the pairs. *other sources*: of a ranking of this source with
one of another source, over all seeds."""


def make_pages(records: Path, output: Path) -> None:
    """Write the page, tables and figures of every pair that has records."""
    output.mkdir(parents=True, exist_ok=True)
    write_picture({name: entries(records / name) for name in PANELS}, output / PICTURE)
    for name in (name for name in PAIRS if (records / name).is_dir()):
        evidence, folder = read(name, records / name), output / name
        folder.mkdir(parents=True, exist_ok=True)
        rows = {key: entries_of(column) for key, column in evidence.columns.items()}
        tables = write_tables({column.name: column for column in evidence.columns.values()}, folder, TABLES)
        own = [column for key, column in evidence.columns.items() if not key.endswith(WITH_PAPERS)]
        drawn = figures.write_figures({column.name: column for column in own}, folder)
        if len(own) > 1:
            write_sources(f"sources_{name}", rows, folder)
        write_whole(folder / "README.md", page(evidence, rows, tables, drawn))


def write_sources(name: str, rows: dict[str, dict], folder: Path) -> None:
    """Draw the page's columns side by side, those with the paper's settings in the second row."""
    order = sorted(rows, key=lambda key: key.endswith(WITH_PAPERS))
    with plt.rc_context(figures.STYLE):
        panels = {key: {method: rows[key][method] for method in SIDE_BY_SIDE if method in rows[key]} for key in order}
        figures.save(draw(panels, rows=2, size=(2.8, 2.6)), folder, name)


@dataclass(frozen=True)
class Evidence:
    """The records of a pair.

    alone : runs that train on real images alone
    settings : source to setting of fine-tuning to runs; chosen : source to method to setting
    columns : each source with the chosen settings, and with the paper's, by what the page calls it
    """

    name: str
    folder: Path
    alone: RunSet
    settings: dict[str, dict[str, RunSet]]
    chosen: dict[str, dict[str, str]]
    columns: dict[str, RunSet]


def read(name: str, folder: Path) -> Evidence:
    """Read the packed records of a pair. Raises `UserError` if they do not belong together."""
    accuracy = accuracy_of_erm(folder)
    alone = read_run_set(folder / f"erm_{max(accuracy, key=accuracy.get):g}")
    folders = {source: run_set_folders(folder / source) for source in PAIRS[name].sources}
    settings = {source: {f.name: read_run_set(f) for f in found} for source, found in folders.items() if found}
    check_alike(biased_models([alone, *(column for found in settings.values() for column in found.values())]))
    chosen, columns = {source: choices(found) for source, found in settings.items()}, {}
    for source, found in settings.items():
        key = f"{PAIRS[name].pair}{FROM}{source}"  # the tables find the paper's numbers by the pair
        if "aim-fair" in chosen[source]:
            columns[source] = compose(key, found, chosen[source], alone)
        if PAPER in found and len(found) > 1:  # alone it is what was chosen
            columns[source + WITH_PAPERS] = replace(found[PAPER], name=f"{key}_paper")
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
    """Return one column of every method with its own settings; those that have none come from the paper's, or from `alone`."""
    of_method = {"erm": PAPER, **dict.fromkeys((*UNTUNED, *FROM_START), PAPER), **chosen}
    of_method |= dict.fromkeys(LIKE_AIM_FAIR, chosen["aim-fair"])
    parts = {method: settings[setting] for method, setting in of_method.items() if setting in settings}
    parts |= dict.fromkeys(REAL_ALONE, alone)
    parts = {method: column for method, column in parts.items() if method in column.methods}
    labels = next(iter(settings.values())).predictions[LABELS]
    if other := [method for method, column in parts.items() if not column.predictions[LABELS].equals(labels)]:
        raise UserError(f"{name}: {other[0]} was tested on other images than the rest")
    runs = {method: column.runs(method) for method, column in parts.items()}
    decided = [parts[method].predictions[[run_name(method, seed) for seed in runs[method]]] for method in parts]
    curves = [column.curves[column.curves["method"] == method] for method, column in parts.items()]
    ranks = parts["aim-fair"].sensitivity if "aim-fair" in parts else pd.DataFrame()
    records = [record for found in runs.values() for record in found.values()]
    return RunSet(name, records, pd.concat([labels, *decided], axis=1), pd.concat(curves, ignore_index=True), ranks)


def page(evidence: Evidence, rows: dict[str, dict], tables: list[str], drawn: list[str]) -> str:
    """Return the page of a pair in Markdown; `rows` are the table entries of its columns."""
    pair, alone, settings = PAIRS[evidence.name], evidence.alone, evidence.settings
    counts, biased = alone.records[0].metrics, alone.records[0].settings
    groups = ", ".join(f"{group} {count}" for group, count in counts.group_count.items())
    pixels = ", ".join(sorted({str(record.settings["image_size"]) for record in alone.records}))
    small = " and ".join(f"`{name}`" for name, source in pair.sources.items() if source.batch)
    blocks = [
        f"# Real faces: {pair.pair.replace('_', '/')}, {pixels} pixels, ResNet-18 from ImageNet weights",
        f"{biased['number_train_data_real']:,} biased real images for training, at {pixels} pixels; test images {groups}.",
        f"Sources of unbiased images: {'; '.join(f'`{source}`, {SOURCES[source]}' for source in settings)}.",
        NOTE + SETTINGS_NOTE + (f" On {small} all but paper and paper hold have batches of 32." if small else ""),
        warning(alone, list(entries_of(alone).values())),
        *("## The biased model", erm_table(evidence.folder)),
        *("## The sources side by side", SIDE_NOTE, side_by_side(rows)),
        [f"![sources_{evidence.name}](sources_{evidence.name}.png)"] * (len(settings) > 1),
        *("## AIM-Fair beside the nearest methods", AGAINST_NOTE, against_table(evidence.columns)),
        *(("## What k costs", K_NOTE, of_k) if (of_k := k_table(evidence.columns)) else ()),
        *("## The rankings", RANK_NOTE, rank_table(settings)),
    ]
    for source, found in settings.items():
        lost = {setting: diverged(evidence.folder / source / setting) for setting in found}
        blocks += [f"## {source}: {SOURCES[source]}", settings_table(found, lost, evidence.chosen[source])]
        blocks.append([f"![{name}]({name}.png)" for name in drawn if name.endswith(f"{FROM}{source}")])
    blocks += ["## The paper's tables"]
    blocks.append([f"- [{name}]({name}.md) ([CSV]({name}.csv), [LaTeX]({name}.tex))" for name in tables])
    every = [column for found in settings.values() for column in found.values()]
    return as_page([*blocks, origin([record.content for column in (*every, alone) for record in column.records])])
