"""The pages of the evidence on real faces, from packed records: the same records give the same bytes.

    python -m results.real_faces --data data --weights FILE ...
    python -m results.real_faces_page --runs results/runs/real_faces      packs them into results/records/real_faces
    python -m results.real_faces_page                                     the pages, from the packed records

A study is a folder of records; in it a source of unbiased images is a folder, and so is each setting of fine-tuning in that.
For each study the tables and figures of `results.tables` are made from two columns a source: every method with the settings
that were chosen for it, and with the paper's.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from models.choice import choose
from models.options import AUTO_TOP_K
from results.columns import LABELS, Column, column_folders, pack_column, read_column, run_name
from results.figures import sweeps_k, write_figures
from results.real_faces import (
    FROM_START,
    GRID,
    LIKE_AIM_FAIR,
    NOTES,
    PAPER,
    REAL_ALONE,
    STUDIES,
    TUNED,
    UNTUNED,
    diverged,
)
from results.real_faces_figures import rank_correlations, write_drawings
from results.rows import FROM, row_label
from results.tables import Entry, column_accuracies, make_entries, warning, write_tables
from utils.errors import UserError, command_line
from utils.files import write_whole

RECORDS, PAGES = Path("results/records/real_faces"), Path("results/pages/real_faces")
ERM = "erm.json"
TABLES = ("table_1", "table_3", "table_4", "table_k")
NAMES = {
    "t2i": "faces by SDXL, FLUX and Stable Diffusion 3",
    "generated": "faces by a small Stable Diffusion that was trained on CelebA with its labels",
    "utkface": "UTKFace: photographs of another data set, smiles labelled by a machine",
    "rest": "real images of the same data that are in no list: no gap between domains",
}
HEADINGS = ("method", "settings", "n", "ACC", "WST", "EO", "ACC to ERM", "EO to ERM")
RULE = ["---"] * len(HEADINGS)
SIDE_BY_SIDE = ("synthetic-only", "linear-probe", "full", "random-mask:share=0.7", "surgical", "aim-fair")
NOTE = (
    "Percent on the test split; mean ± sample standard deviation over n seeds; EO is the larger gap. The differences to ERM have "
    "95 % intervals for other seeds and other test images, with one seed for other images alone (`results/intervals.py`). "
    "*chosen*: for each method on the first seed, without the test set, by accuracy on real val and equalized odds on held-out "
    "images of the source (`models/choice.py`); *paper*: 10 epochs at 0.06 in batches of 128, batch norm's statistics follow the "
    "unbiased images. A setting is what those statistics do, and the learning rate."
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
    """Pack every setting of every source of every study, and copy which biased model was chosen."""
    for study in (name for name in STUDIES if (runs / name).is_dir()):
        for place in ("", *STUDIES[study].sources):
            for folder in column_folders(runs / study / place):
                pack_column(read_column(folder), records / study / place / folder.name)
                copy_text(folder / NOTES, records / study / place / folder.name / NOTES)
        copy_text(runs / study / ERM, records / study / ERM)


def copy_text(source: Path, target: Path) -> None:
    """Copy a file of text, if there is one."""
    if source.exists():
        write_whole(target, source.read_text())


def make_pages(study: str, records: Path, output: Path) -> None:
    """Write the page of a study, its tables and figures."""
    lr = json.loads((records / ERM).read_text())["chosen"]
    alone = read_column(records / f"erm_{lr:g}")
    settings = {
        source: {folder.name: read_column(folder) for folder in column_folders(records / source)}
        for source in STUDIES[study].sources
        if column_folders(records / source)
    }
    notes = {source: {s: diverged(records / source / s) for s in found} for source, found in settings.items()}
    chosen = {source: choices(found) for source, found in settings.items()}
    columns = {}
    for source, found in settings.items():
        if "aim-fair" in chosen[source]:
            columns[f"{study}{FROM}{source}"] = compose(f"{study}{FROM}{source}", found, chosen[source], alone)
        if PAPER in found:
            columns[f"{study}{FROM}{source}_paper"] = replace(found[PAPER], name=f"{study}{FROM}{source}_paper")
    output.mkdir(parents=True, exist_ok=True)
    tables = write_tables(columns, output, TABLES)
    figures = write_drawings(study, columns, settings, output)
    figures += write_figures({name: column for name, column in columns.items() if not name.endswith("_paper")}, output)
    text = page(study, records, alone, settings, notes, chosen, columns, tables, figures)
    write_whole(output / "README.md", text)


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
    lines = [f"# Real faces: {study.replace('_', '/')}, ResNet-18 from ImageNet weights", "", NOTE, ""]
    lines += [f"{biased:,} biased real images for training; test images {shown}."]
    if hardly := warning(alone, list(entries_of(alone).values())):
        lines += ["", hardly]
    lines += ["", "## The biased model", "", *erm_table(records)]
    lines += ["", "## The sources side by side", "", *side_by_side(columns)]
    lines += ["", "## What k costs", "", K_NOTE, "", *k_table(columns)]
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


def erm_table(records: Path) -> list[str]:
    """The biased model with each learning rate that was tried."""
    found = json.loads((records / ERM).read_text())
    rows = [("learning rate", "accuracy on val, mean of the seeds", *HEADINGS[2:6])]
    for lr, accuracy in found["val_accuracy"].items():
        entry = entries_of(read_column(records / f"erm_{float(lr):g}"))["erm"]
        mark = " (chosen)" if float(lr) == found["chosen"] else ""
        rows.append((f"{lr}{mark}", f"{100 * accuracy:.1f}", *numbers(entry)[:4]))
    return as_table(rows)


def side_by_side(columns: dict[str, Column]) -> list[str]:
    """ACC / WST / EO of the main methods: a row for each, a column for each source and for the paper's settings."""
    entries = {name: entries_of(column) for name, column in columns.items()}
    heads = [name.partition(FROM)[2].replace("_paper", ", paper's settings") for name in columns]
    rows = [("method", *heads)]
    for method in ("erm", *SIDE_BY_SIDE):
        cells = [entries[name].get(method) for name in columns]
        if any(cells):
            rows.append((row_label(method), *(" / ".join(numbers(cell)[1:4]) if cell else "–" for cell in cells)))
    return ["ACC / WST / EO:", "", *as_table(rows)]


K_NOTE = (
    "Test accuracy and equalized odds of AIM-Fair for the k that `--top-k auto` takes for each seed without the test set, and for "
    "the fixed k that are best and worst by test equalized odds in the mean of the seeds."
)


def k_table(columns: dict[str, Column]) -> list[str]:
    """What a fixed k costs against one that is chosen for each seed, from the records of the sweep."""
    rows = [("source", "auto: ACC", "EO", "k taken", "best k: ACC", "EO", "k", "worst k: ACC", "EO", "k")]
    for name, column in columns.items():
        swept = [m for m in column.methods if sweeps_k(m) and int(k_of(m)) in AUTO_TOP_K]
        if len(swept) < 3:
            continue
        means = {m: [mean_of(column.runs(m).values(), key) for key in ("accuracy", "equalized_odds")] for m in swept}
        taken = [best_of_seed(column, swept, seed) for seed in column.runs("aim-fair")]
        auto = [mean_of(taken, key) for key in ("accuracy", "equalized_odds")]
        order = sorted(swept, key=lambda method: means[method][1])
        shown = [name.partition(FROM)[2].replace("_paper", ", paper's settings")]
        ks = ", ".join(str(record["settings"]["top_k"]) for record in taken)
        for values, k in ((auto, ks), *((means[m], k_of(m)) for m in (order[0], order[-1]))):
            shown += [*(f"{value:.1f}" for value in values), k]
        rows.append(tuple(shown))
    return as_table(rows)


RANK_NOTE = (
    "Means over the seeds. *between the rankings*: Spearman's correlation, over the network's tensors, of the gap that the domain "
    "makes with the gap that the bias makes. Were it 1, the two rankings would be each other's reverse, and k of n tensors in both "
    "would leave 2k - n of them. *between seeds*: the same correlation of two seeds' rankings of one kind."
)


def rank_table(settings: dict[str, dict[str, Column]]) -> list[str]:
    """How the two rankings of a source agree with each other and between seeds, and what is chosen."""
    rows = [
        (
            "source",
            "seeds",
            "between the rankings",
            "domain, between seeds",
            "bias, between seeds",
            "chosen",
            "chosen in all seeds",
        )
    ]
    for source, found in settings.items():
        ranked = [column.sensitivity for column in found.values() if not column.sensitivity.empty]
        if not ranked:
            continue
        ranks = max(ranked, key=lambda table: table["seed"].nunique())  # a seed's are the same in every setting
        seeds = {seed: table.set_index("name") for seed, table in ranks.groupby("seed")}
        own = [spearmanr(table["domain_gap"], table["bias_gap"]).statistic for table in seeds.values()]
        shown = [source, str(len(seeds)), f"{np.mean(own):.3f}"]
        for which in ("domain_rank", "bias_rank"):
            matrix = rank_correlations(pd.DataFrame({seed: table[which] for seed, table in seeds.items()}))
            pairs = matrix[np.triu_indices(len(seeds), 1)]
            shown.append(f"{pairs.mean():.3f}" if len(pairs) else "–")
        masks = [set(table.index[table["chosen"].astype(bool)]) for table in seeds.values()]
        shown += [", ".join(sorted({str(len(mask)) for mask in masks})), str(len(set.intersection(*masks)))]
        rows.append(tuple(shown))
    return as_table(rows)


def best_of_seed(column: Column, methods: list[str], seed: int) -> dict:
    """The record that `--top-k auto` takes."""
    found = [column.runs(method)[seed] for method in methods if seed in column.runs(method)]
    accuracy = [record["val_metrics"]["accuracy"] for record in found]
    return found[choose(accuracy, [record["held_out_metrics"]["equalized_odds"] for record in found])]


def k_of(method: str) -> str:
    """The k in a method's name; the paper's where it has none."""
    return method.partition("=")[2] or "55"


def mean_of(records, key: str) -> float:
    """The mean of a metric over records, in percent."""
    values = [record["metrics"][key] for record in records]
    return 100 * sum(values) / len(values)


def settings_table(columns: dict[str, Column], notes: dict[str, dict], chosen: dict[str, str]) -> list[str]:
    """ERM, then for each method the chosen setting, the paper's, and all others that were run or diverged."""
    entries = {setting: entries_of(column) for setting, column in columns.items()}
    first = next(iter(entries.values()))
    rows = [HEADINGS, ("erm", "–", *numbers(first["erm"]))]
    for method in dict.fromkeys((*TUNED, *LIKE_AIM_FAIR, *UNTUNED, *FROM_START)):
        best = chosen.get("aim-fair" if method in LIKE_AIM_FAIR else method)
        for setting in sorted(GRID, key=lambda setting: (setting != best, setting != PAPER)):
            lost = notes.get(setting, {}).get(method, ())
            if method in entries.get(setting, {}) or lost:
                marks = [mark for mark, is_so in (("chosen", setting == best), ("paper", setting == PAPER)) if is_so]
                name = ", ".join([setting.replace("_", " ") if setting != PAPER else "", *marks]).strip(", ")
                name = "–" if method in (*UNTUNED, *FROM_START) else name
                name += f" (diverged: seed {', '.join(map(str, lost))})" if lost else ""
                found = entries[setting].get(method)
                rows.append((row_label(method), name, *(numbers(found) if found else ["–"] * 6)))
    return as_table(rows)


def as_table(rows: list[tuple]) -> list[str]:
    """Rows as lines of Markdown, the first being the heading."""
    return ["| " + " | ".join(row) + " |" for row in (rows[0], ["---"] * len(rows[0]), *rows[1:])]


def entries_of(column: Column) -> dict[str, Entry]:
    """A column's rows by method."""
    accuracies = column_accuracies(column)
    return {entry.row: entry for entry in make_entries(column.methods, column, accuracies, {})}


def numbers(entry: Entry) -> list[str]:
    """The cells of a row behind its name and setting."""
    shown = []
    for key in ("ACC", "WST", "EO"):
        value, spread = entry.ours[key]
        shown.append(f"{value:.1f}" if spread is None else f"{value:.1f} ± {spread:.1f}")
    for key in ("ACC", "EO"):
        change = entry.change.get(key)
        shown.append("{:+.1f} ({:+.1f} to {:+.1f})".format(*change) if change else "–")
    return [str(entry.n), *shown]


if __name__ == "__main__":
    command_line(main)
