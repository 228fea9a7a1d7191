"""The tables of the pages on real faces, as lines of Markdown. `columns` are a pair's runs by what the page calls them."""

from pathlib import Path
from statistics import mean

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from models.choice import best_of
from results.entries import COMPARED, Entry
from results.records import RunSet, read_run_set
from results.rows import row_label
from results.studies.real_faces.design import FROM_START, GRID, LIKE_AIM_FAIR, PAPER, TUNED, UNTUNED, accuracy_of_erm
from results.study_tables import HEADINGS, entries_of, less_table, numbers, values
from results.text import MISSING, as_table, shown

SIDE_BY_SIDE = ("erm", "synthetic-only", "linear-probe", "full", "random-mask:share=0.7", "surgical", "aim-fair")
AGAINST = ("full", "random-mask:share=0.7", "cosine", "surgical", "linear-probe")
SWEPT = {
    k: "aim-fair" if k == 55 else f"aim-fair:top-k={k}" for k in (40, 45, 50, 55, 60)
}  # as `--top-k auto` tries them


def erm_table(records: Path) -> list[str]:
    """Return the biased model with each learning rate that was tried."""
    rows, found = [("learning rate", "accuracy on val, mean of the seeds", *HEADINGS[:5])], accuracy_of_erm(records)
    for lr, accuracy in found.items():
        entry = entries_of(read_run_set(records / f"erm_{lr:g}"))["erm"]
        mark = " (chosen)" if accuracy == max(found.values()) and len(found) > 1 else ""
        rows.append((f"{lr:g}{mark}", f"{100 * accuracy:.1f}", *numbers(entry)[:5]))
    return as_table(rows)


def side_by_side(entries: dict[str, dict[str, Entry]]) -> list[str]:
    """Return the main methods: a row for each, a column for each of the page's columns."""

    def cell(entry: Entry | None) -> str:
        mark = "¹" if entry and entry.n == 1 else ""
        return " / ".join(shown(entry.ours[key], 1) + mark for key in COMPARED) if entry else MISSING

    rows = {method: [found.get(method) for found in entries.values()] for method in SIDE_BY_SIDE}
    rows = [(row_label(method), *map(cell, found)) for method, found in rows.items() if any(found)]
    return as_table([("method", *entries), *rows])


def against_table(columns: dict[str, RunSet]) -> list[str]:
    """Return AIM-Fair less each of the nearest methods, from the seeds that both have."""
    every = [(name, column, method) for name, column in columns.items() for method in AGAINST]
    return less_table(
        ("source", "less"), [((name, row_label(method)), column, "aim-fair", method) for name, column, method in every]
    )


def k_table(columns: dict[str, RunSet]) -> list[str]:
    """Return what a fixed k costs against one that is chosen for each seed; nothing if k was not swept."""
    rows = [("source", "auto: ACC", "EO", "k taken", "best k: ACC", "EO", "k", "worst k: ACC", "EO", "k")]
    for name, column in columns.items():
        swept = {k: column.runs(method) for k, method in SWEPT.items() if method in column.methods}
        if len(swept) < 3:
            continue
        acc, eo = ({k: values(column, SWEPT[k], key) for k in swept} for key in ("accuracy", "equalized_odds"))
        taken = {}  # by seed, as `--top-k auto` takes it
        for seed in column.runs("aim-fair"):
            found = {k: runs[seed] for k, runs in swept.items() if seed in runs}
            taken[seed] = list(found)[best_of(list(found.values()))]
        order = sorted(swept, key=lambda k: mean(eo[k].values()))
        cells = [*(f"{mean(metric[k][seed] for seed, k in taken.items()):.1f}" for metric in (acc, eo))]
        cells.append(", ".join(map(str, taken.values())))
        for k in (order[0], order[-1]):
            cells += [*(f"{mean(metric[k].values()):.1f}" for metric in (acc, eo)), str(k)]
        rows.append((name, *cells))
    return as_table(rows) if len(rows) > 1 else []


def rank_table(settings: dict[str, dict[str, RunSet]]) -> list[str]:
    """Return how the rankings of each source agree: with each other, between seeds, and with those of the other sources."""
    heads = ("source", "seeds", "between the rankings", "domain, between seeds", "bias, between seeds")
    rows = [(*heads, "domain, other sources", "bias, other sources", "chosen", "chosen in all seeds")]
    found = {}
    for source, columns in settings.items():
        ranked = [column.sensitivity for column in columns.values() if not column.sensitivity.empty]
        if ranked:  # a seed's are the same in every setting
            found[source] = max(ranked, key=lambda table: table["seed"].nunique()).assign(source=source)
    every = pd.concat(found.values())
    alike = [
        every.pivot(index="name", columns=["source", "seed"], values=which).corr("spearman")
        for which in ("domain_rank", "bias_rank")
    ]
    for source, table in found.items():
        seeds = [each for _, each in table.groupby("seed")]
        own = mean(spearmanr(each["domain_gap"], each["bias_gap"]).statistic for each in seeds)
        pairs = [matrix.loc[source, source].to_numpy()[np.triu_indices(len(seeds), 1)] for matrix in alike]
        others = [matrix.loc[source].drop(columns=source, level=0).to_numpy() for matrix in alike]
        cells = [source, str(len(seeds)), f"{own:.3f}", *(f"{p.mean():.3f}" if len(p) else MISSING for p in pairs)]
        cells += [f"{o.min():.3f} to {o.max():.3f}" if o.size else MISSING for o in others]
        masks = [set(each["name"][each["chosen"].astype(bool)]) for each in seeds]
        sizes = sorted({str(len(mask)) for mask in masks})
        rows.append((*cells, ", ".join(sizes), str(len(set.intersection(*masks)))))
    return as_table(rows)


def settings_table(columns: dict[str, RunSet], lost: dict[str, dict], chosen: dict[str, str]) -> list[str]:
    """Return ERM, then for each method the chosen setting, the paper's, and all others that were run or diverged.

    columns, lost : by setting; `lost` holds the seeds of each method that diverged
    chosen : method to setting
    """
    entries = {setting: entries_of(column) for setting, column in columns.items()}
    erm = next(iter(entries.values()))["erm"]
    rows = [("method", "settings", *HEADINGS), ("erm", MISSING, *numbers(erm))]
    for method in (*TUNED, *LIKE_AIM_FAIR, *UNTUNED, *FROM_START):
        whose = "aim-fair" if method in LIKE_AIM_FAIR else method
        tried = [setting for setting in columns if whose in entries[setting] or whose in lost[setting]]
        best = chosen.get(whose) if len(tried) > 1 else None  # what was tried alone was not chosen
        for setting in sorted(columns, key=lambda one: (one != best, one != PAPER, [*GRID].index(one))):
            entry, seeds = entries[setting].get(method), lost[setting].get(method, ())
            if not entry and not seeds:
                continue
            words = [setting.replace("_", " ")] * (setting != PAPER)
            words += ["chosen"] * (setting == best) + ["paper"] * (setting == PAPER)
            name = MISSING if method in (*UNTUNED, *FROM_START) else ", ".join(words)
            name += f" (diverged: seed {', '.join(map(str, seeds))})" if seeds else ""
            cells = numbers(entry) if entry else [MISSING] * len(HEADINGS)
            rows.append((row_label(method, entry and entry.said), name, *cells))
    return as_table(rows)
