"""The paper's tables as text: Markdown, CSV and LaTeX."""

from itertools import compress

import pandas as pd

from results.entries import COMPARED, Entry
from results.group_accuracies import METRICS
from results.intervals import LEVEL, holm
from results.rows import PAGES, row_label
from results.text import MISSING, as_table, shown, shown_change

SHOWN = {  # metrics of an entry and their headings
    "ACC": "ACC",
    "WST": "WST of means",
    "WST by seed": "mean of WST",
    "EO": "EO",
    "STD": "STD of means",
    "STD by seed": "mean of STD",
}
NOTE = """\
Percent on the test split; mean ± sample standard deviation over n seeds. The paper's number stands in brackets (CelebA and \
UTKFace at 224 pixels from ImageNet weights, whatever the data of this table). EO is the larger gap. WST and STD are the \
lowest and the population standard deviation of the group accuracies. *Of means* takes them of the group accuracies averaged \
over seeds, as the paper does, which has no deviation over seeds; *mean of* takes them of each seed. The differences to ERM \
(WST: of means) have 95 % intervals for other seeds and other test images, from the seeds that both rows have \
(`results/intervals.py`; docs/intervals.md says how often they cover). With one seed they are for other images alone. Noise \
lowers WST and raises EO and STD. The intervals correct for part of that, so they are not centred on the difference shown. \
Each interval is for one comparison; a line below each table says what is left if all of them together may err with 5 %, \
by Holm's correction, and * marks those. Bold: best of the rows that take no protected labels of real images \
beyond ERM's and whose answers depend on the target in every seed, if the interval of its difference to the second best \
excludes 0; this is not corrected. – : not run, or not printed in the paper. \
The rows "best ..." and top-k=auto choose for each seed without the test set, by accuracy on real val and equalized \
odds on held-out synthetic images (`models/choice.py`); how the paper chose its best is not stated."""


def as_markdown(name: str, parts: dict[str, list[Entry]], warnings: dict[str, str]) -> str:
    """Return a page with a table for each column under its own heading, after the column's warning if it has one."""
    lines = [f"# {heading(name)}", *(["", PAGES[name].note] if PAGES[name].note else [])]
    for column, entries in parts.items():
        lines += ["", f"## {column}", *column_table(entries, warnings.get(column, ""))]
    return "\n".join([*lines, "", NOTE]) + "\n"


def heading(name: str) -> str:
    """Return a table's name and title."""
    return f"{name.replace('_', ' ').capitalize()}: {PAGES[name].title}"


def column_table(entries: list[Entry], warning: str) -> list[str]:
    """Return the lines of one column's table, beginning with a blank one: a warning, the rows, and what all differences say together."""
    compared = list(dict.fromkeys(key for entry in entries for key in entry.change)) or COMPARED
    values = {(entry.row, key): (entry.n_compared, entry.p[key]) for entry in entries for key in entry.change}
    told, said = together(list(values.values()))
    stars = set(compress(values, told))
    heads = ["method", "n", *(f"{SHOWN[key]} [paper]" if key in METRICS else SHOWN[key] for key in SHOWN)]
    rows = [[*heads, *(f"{key} to ERM" for key in compared)], *(_cells(entry, compared, stars) for entry in entries)]
    return [*(["", warning] if warning else []), "", *as_table(rows), *(["", said] if said else [])]


def together(found: list[tuple[int, float]]) -> tuple[list[bool], str]:
    """Return which differences are told from 0 after Holm's correction, and a sentence on all of them, "" without any.

    `found` are the seeds and the p-value of each. Differences of one seed say nothing of other seeds, so they do not count.
    """
    counted = [p for seeds, p in found if seeds > 1]
    told, alone = iter(holm(counted)), sum(p < 1 - LEVEL for p in counted)
    every = [seeds > 1 and next(told) for seeds, _ in found]
    said = (
        f"Of {len(counted)} differences, {f'the intervals of {alone} exclude' if alone else 'no interval excludes'} 0 (about {(1 - LEVEL) * len(counted):.1f} would by chance if "
        f"no method differed), and {sum(every) or 'none'} after Holm's correction."
    )
    single = f"{len(found) - len(counted)} of one seed, for other images alone, are not counted."
    return every, " ".join([said] * bool(counted) + [single] * (len(found) > len(counted)))


def as_csv(parts: dict[str, list[Entry]]) -> str:
    """Return one line for each column, row and metric; percent, four decimals."""
    rows = []
    for column, entries in parts.items():
        for entry in entries:
            for key in SHOWN:
                numbers = *entry.ours.get(key, (None, None)), *entry.change.get(key, (None,) * 3), entry.p.get(key)
                own, spread, *change = ("" if number is None else f"{number:.4f}" for number in numbers)
                paper, marked = entry.paper.get(key, ""), int(key in entry.marked)
                rows.append((column, entry.row, entry.n, key, own, spread, paper, *change, marked))
    heads = ["column", "row", "n", "metric", "ours", "sd", "paper", "to_erm", "low", "high", "p", "marked"]
    return pd.DataFrame(rows, columns=heads).to_csv(index=False, lineterminator="\n")


def as_latex(parts: dict[str, list[Entry]], warnings: dict[str, str]) -> str:
    """Return a booktabs tabular: ours, and the paper's in brackets; a block of rows for each column, a warning as a comment."""
    width = 1 + len(METRICS)
    lines = [r"% WST and STD are of the group accuracies averaged over seeds, as in the paper"]
    lines += [r"\begin{tabular}{l" + "l" * len(METRICS) + "}", r"\toprule", " & ".join(["Method", *METRICS]) + r" \\"]
    for column, entries in parts.items():
        lines += [r"\midrule", rf"\multicolumn{{{width}}}{{l}}{{{_escape(column)}}} \\"]
        lines += [f"% {warnings[column].strip('*')}"] if warnings.get(column) else []
        for entry in entries:
            cells = [_escape(row_label(entry.row, entry.said))]
            for key in METRICS:
                value = shown(entry.ours.get(key)).replace("±", r"$\pm$").replace(MISSING, "--")
                value = rf"\textbf{{{value}}}" if key in entry.marked else value
                cells.append(_beside(value, entry.paper.get(key)))
            lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _cells(entry: Entry, compared: list[str], stars: set[tuple[str, str]]) -> list[str]:
    cells = [row_label(entry.row, entry.said), seeds_and_runs(entry)]
    for key in SHOWN:
        value = shown(entry.ours.get(key))
        cells.append(_beside(f"**{value}**" if key in entry.marked else value, entry.paper.get(key)))
    return cells + [shown_change(entry.change.get(key)) + "*" * ((entry.row, key) in stars) for key in compared]


def seeds_and_runs(entry: Entry) -> str:
    """Return a row's number of seeds as text, with its number of runs if a seed has several."""
    if not entry.n:
        return MISSING
    return f"{entry.n} ({entry.runs} runs)" if entry.runs > entry.n else str(entry.n)


def _beside(ours: str, paper: float | None) -> str:
    return ours if paper is None else f"{ours} [{paper:.2f}]"


def _escape(text: str) -> str:
    signs = {sign: f"\\{sign}" for sign in "_&%#${}"}
    signs |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return text.translate(str.maketrans(signs))
