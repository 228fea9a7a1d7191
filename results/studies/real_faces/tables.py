"""The tables of the pages on real faces, as lines of Markdown."""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from models.choice import best_of
from results.entries import Entry, places
from results.intervals import difference
from results.records import RunSet, read_run_set
from results.rows import FROM, row_label, sweeps_k
from results.studies.real_faces.design import FROM_START, GRID, LIKE_AIM_FAIR, PAPER, TUNED, UNTUNED, accuracy_of_erm
from results.study_tables import HEADINGS, entries_of, numbers
from results.table_text import together
from results.text import MISSING, as_table, shown, shown_change

SIDE_BY_SIDE = ("synthetic-only", "linear-probe", "full", "random-mask:share=0.7", "surgical", "aim-fair")
AGAINST = ("full", "random-mask:share=0.7", "cosine", "surgical", "linear-probe")
AGAINST_NOTE = (
    "AIM-Fair less another method, each with its own settings of the column: points, with 95 % intervals for other seeds and other "
    "test images, from the n seeds that both have; with one seed for other images alone. * : still excludes 0 after Holm's correction "
    "for all comparisons of this table."
)


def erm_table(records: Path) -> list[str]:
    """Return the biased model with each learning rate that was tried."""
    rows, found = [("learning rate", "accuracy on val, mean of the seeds", *HEADINGS[:5])], accuracy_of_erm(records)
    for lr, accuracy in found.items():
        entry = entries_of(read_run_set(records / f"erm_{lr:g}"))["erm"]
        mark = " (chosen)" if accuracy == max(found.values()) and len(found) > 1 else ""
        rows.append((f"{lr:g}{mark}", f"{100 * accuracy:.1f}", *numbers(entry)[:5]))
    return as_table(rows)


def side_by_side(columns: dict[str, RunSet]) -> list[str]:
    """ACC / WST / EO of the main methods: a row for each, a column for each source and for the paper's settings."""
    entries = {name: entries_of(column) for name, column in columns.items()}
    heads = map(source_of, columns)
    rows = [("method", *heads)]
    for method in ("erm", *SIDE_BY_SIDE):
        cells = [entries[name].get(method) for name in columns]
        if any(cells):
            rows.append((row_label(method), *(" / ".join(three(cell)) if cell else MISSING for cell in cells)))
    return ["ACC / WST of means / EO (¹: one seed):", "", *as_table(rows)]


def three(entry: Entry) -> list[str]:
    """Return a row's accuracy, worst group of the mean groups, and equalized odds difference, as text; one seed is marked."""
    mark = "¹" if entry.n == 1 else ""
    return [shown(entry.ours[key], 1) + mark for key in ("ACC", "WST", "EO")]


def against_table(columns: dict[str, RunSet]) -> list[str]:
    """AIM-Fair's accuracy and equalized odds less those of the nearest methods, from the seeds that both have."""
    found, metrics = [], ("ACC", "WST", "EO")
    for name, column in columns.items():
        accuracies, ours = column.accuracies, places("aim-fair", column)
        for method in AGAINST:
            theirs = places(method, column)
            between = difference(accuracies, ours, theirs)
            if between:
                start = (source_of(name), row_label(method), len(ours.keys() & theirs.keys()))
                found.append((*start, [between[key] for key in metrics]))
    told, said = together([(n, each.p) for *_, n, three in found for each in three])
    marks, rows = iter(told), [("source", "less", "n", *metrics)]
    for source, method, n, three in found:
        changes = (shown_change([100 * value for value in each[:3]], 1) + "*" * next(marks) for each in three)
        rows.append((source, method, str(n), *changes))
    return [*as_table(rows), "", said]


def source_of(column: str) -> str:
    """The source in a column's name, and whether it is of the paper's settings."""
    return column.partition(FROM)[2].replace("_paper", ", paper's settings")


K_NOTE = (
    "Test accuracy and equalized odds of AIM-Fair for the k that `--top-k auto` takes for each seed without the test set, and for "
    "the fixed k that are best and worst by test equalized odds in the mean of the seeds."
)


def k_table(columns: dict[str, RunSet]) -> list[str]:
    """What a fixed k costs against one that is chosen for each seed, from the records of the sweep."""
    from models.options import AUTO_TOP_K  # loads torch

    rows = [("source", "auto: ACC", "EO", "k taken", "best k: ACC", "EO", "k", "worst k: ACC", "EO", "k")]
    for name, column in columns.items():
        swept = [m for m in column.methods if sweeps_k(m) and int(k_of(m)) in AUTO_TOP_K]
        if len(swept) < 3:
            continue
        means = {m: [mean_of(column.runs(m).values(), key) for key in ("accuracy", "equalized_odds")] for m in swept}
        seeds = [[runs[seed] for runs in map(column.runs, swept) if seed in runs] for seed in column.runs("aim-fair")]
        taken = [found[best_of(found)] for found in seeds]  # as `--top-k auto` takes them
        auto = [mean_of(taken, key) for key in ("accuracy", "equalized_odds")]
        order = sorted(swept, key=lambda method: means[method][1])
        shown = [source_of(name)]
        ks = ", ".join(str(record.settings["top_k"]) for record in taken)
        for values, k in ((auto, ks), *((means[m], k_of(m)) for m in (order[0], order[-1]))):
            shown += [*(f"{value:.1f}" for value in values), k]
        rows.append(tuple(shown))
    return as_table(rows)


RANK_NOTE = (
    "Means over the seeds. *between the rankings*: Spearman's correlation, over the network's tensors, of the gap that the domain "
    "makes with the gap that the bias makes. Were it 1, the two rankings would be each other's reverse, and k of n tensors in both "
    "would leave 2k - n of them. *between seeds*: the same correlation of two seeds' rankings of one kind."
)


def rank_table(settings: dict[str, dict[str, RunSet]]) -> list[str]:
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
            matrix = pd.DataFrame({seed: table[which] for seed, table in seeds.items()}).corr("spearman").to_numpy()
            pairs = matrix[np.triu_indices(len(seeds), 1)]
            shown.append(f"{pairs.mean():.3f}" if len(pairs) else "–")
        masks = [set(table.index[table["chosen"].astype(bool)]) for table in seeds.values()]
        shown += [", ".join(sorted({str(len(mask)) for mask in masks})), str(len(set.intersection(*masks)))]
        rows.append(tuple(shown))
    return as_table(rows)


def k_of(method: str) -> str:
    """The k in a method's name; the paper's where it has none."""
    return method.partition("=")[2] or "55"


def mean_of(records, key: str) -> float:
    """The mean of a metric over records, in percent."""
    values = [getattr(record.metrics, key) for record in records]
    return 100 * sum(values) / len(values)


def settings_table(columns: dict[str, RunSet], notes: dict[str, dict], chosen: dict[str, str]) -> list[str]:
    """ERM, then for each method the chosen setting, the paper's, and all others that were run or diverged."""
    entries = {setting: entries_of(column) for setting, column in columns.items()}
    first = next(iter(entries.values()))
    rows = [("method", "settings", *HEADINGS), ("erm", MISSING, *numbers(first["erm"]))]
    for method in dict.fromkeys((*TUNED, *LIKE_AIM_FAIR, *UNTUNED, *FROM_START)):
        whose = "aim-fair" if method in LIKE_AIM_FAIR else method
        tried = [setting for setting in columns if whose in entries[setting] or whose in notes.get(setting, {})]
        best = chosen.get(whose) if len(tried) > 1 else None  # what was tried alone was not chosen
        for setting in sorted(GRID, key=lambda setting: (setting != best, setting != PAPER)):
            lost = notes.get(setting, {}).get(method, ())
            if method in entries.get(setting, {}) or lost:
                marks = [mark for mark, is_so in (("chosen", setting == best), ("paper", setting == PAPER)) if is_so]
                name = ", ".join([setting.replace("_", " ") if setting != PAPER else "", *marks]).strip(", ")
                name = "–" if method in (*UNTUNED, *FROM_START) else name
                name += f" (diverged: seed {', '.join(map(str, lost))})" if lost else ""
                found = entries[setting].get(method)
                label = row_label(method, found and found.said)
                rows.append((label, name, *(numbers(found) if found else [MISSING] * len(HEADINGS))))
    return as_table(rows)
