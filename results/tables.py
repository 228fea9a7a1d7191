"""Every table and figure of the paper, ours beside theirs, from the records alone.

    python -m results.tables                          the committed records
    python -m results.tables --records results/runs/tables --output results/runs/tables_made

--records holds a folder for each data set, and that one for each column, as results/table.sh writes them. Seconds,
without a GPU; the same records give the same bytes.
"""

import argparse
import csv
import io
from dataclasses import dataclass
from pathlib import Path

from results.columns import Column, column_folders, read_column, run_name
from results.figures import write_figures
from results.intervals import (
    LOWER_IS_BETTER,
    METRICS,
    GroupAccuracies,
    difference,
    group_accuracies,
    pooled,
    statistics,
)
from results.remarks import may_be_best, remarks
from results.rows import FROM, PAGES, columns_of, expand_rows, read_paper, row_label, row_runs
from results.summary import erm_warning
from utils.errors import UserError, command_line

MISSING = "–"
COMPARED = ("ACC", "WST", "EO")  # metrics whose difference to ERM is shown
NOTE = """\
Percent on the test split; mean ± sample standard deviation over n seeds, the paper's number in brackets beside it \
(CelebA and UTKFace at 224 pixels from ImageNet weights, whatever the data of this table). ACC, EO (the larger gap) \
and their spread are of the seeds' values; WST and STD are of the group accuracies averaged over seeds, as in the \
paper, and their spread is of the seeds' own. The differences to ERM have 95 % intervals for other seeds and other \
test images, from the seeds that both rows have (`results/intervals.py`, which says how far they cover in \
simulation; one seed: for other images alone). Noise lowers WST and raises EO and STD; the intervals correct for \
part of that and are not centred on the difference shown. Bold: best of the rows that take no protected labels \
of real images beyond ERM's and whose answers depend on the target in every seed, where the interval of its \
difference to the second best excludes 0. That holds for each number alone: of a \
hundred where no row is better, up to about five would be bold by chance. – : not run, or not printed in the paper. \
The rows "best ..." and top-k=auto choose for each seed without the test set, by accuracy on real val and equalized \
odds on held-out synthetic images (`models/choice.py`); how the paper chose its best is not stated."""


@dataclass(frozen=True)
class Entry:
    """A row of a table in one column, in percent: `ours[metric]` is (value, spread), `change[metric]` (value, low, high).

    `n` counts seeds; `runs` is more than that where a seed has several draws. `said` is what `results.remarks` says of them,
    None if there are none; `may_be_best` whether they may be marked.
    """

    row: str
    n: int
    ours: dict[str, tuple[float, float | None]]
    paper: dict[str, float]
    change: dict[str, tuple[float, float, float]]
    marked: frozenset[str] = frozenset()
    runs: int = 0
    said: tuple[str, ...] | None = None
    may_be_best: bool = True


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=Path, default=Path("results/records/tables"))
    parser.add_argument("--output", type=Path, default=Path("results/pages"))
    make_pages(**vars(parser.parse_args()))


def make_pages(records: Path, output: Path) -> None:
    """Write the tables, figures and page of each data set in `records` into `output`. Raises `UserError` without one."""
    datasets = [path for path in sorted(records.iterdir()) if column_folders(path)] if records.is_dir() else []
    if not datasets:
        raise UserError(
            f"--records {records}: no <dataset>/<column> folder with records; run bash results/table.sh 3 first"
        )
    for path in datasets:
        columns = {folder.name: read_column(folder) for folder in column_folders(path)}
        folder = output / path.name
        folder.mkdir(parents=True, exist_ok=True)
        tables = write_tables(columns, folder)
        figures = write_figures(columns, folder)
        (folder / "README.md").write_text(overview(path.name, columns, tables, figures), encoding="utf-8")
        print(f"{folder}: {len(tables)} tables, {len(figures)} figures")


def write_tables(columns: dict[str, Column], output: Path, names: tuple[str, ...] = tuple(PAGES)) -> list[str]:
    """Write each table of which a row beyond ERM and AIM-Fair was run, as .md, .csv and .tex; returns their names."""
    paper = read_paper()
    accuracies = {name: column_accuracies(column) for name, column in columns.items()}
    written = []
    for name in names:
        table, parts = PAGES[name], {}
        for key in columns_of(table, list(columns)):
            column = columns[key]
            rows = expand_rows(table, column)
            entries = make_entries(rows, column, accuracies[key], paper.get(name, {}).get(key.partition(FROM)[0], {}))
            if any(entry.n and entry.row not in ("erm", "aim-fair") for entry in entries):
                parts[key] = mark(entries, column, accuracies[key])
        if not parts:
            continue
        warnings = {key: warning(columns[key], entries) for key, entries in parts.items()}
        texts = {"md": as_markdown(name, parts, warnings), "csv": as_csv(parts), "tex": as_latex(parts, warnings)}
        for suffix, text in texts.items():
            (output / f"{name}.{suffix}").write_text(text, encoding="utf-8")
        written.append(name)
    return written


def column_accuracies(column: Column) -> GroupAccuracies:
    """The group accuracies of all runs of a column, in the order of its records."""
    names = tuple(column.records[0]["metrics"]["group_accuracy"])
    runs = [run_name(record["method"], record["seed"]) for record in column.records]
    images = column.predictions
    return group_accuracies(images["target"].to_numpy(), images["protected"].to_numpy(), images[runs].to_numpy(), names)


def make_entries(rows: list[str], column: Column, accuracies: GroupAccuracies, paper: dict) -> list[Entry]:
    """The entries of a table in one column, nothing marked yet."""
    entries = []
    for row in rows:
        runs = places(row, column)
        ours, change = {}, {}
        if runs:
            values = pooled(accuracies.observed, runs, accuracies.shares)
            every = [place for found in runs.values() for place in found]
            own = statistics(accuracies.observed[every][:, None, :], accuracies.shares)  # of each run alone
            spread = {key: 100 * float(own[key].std(ddof=1)) if len(every) > 1 else None for key in METRICS}
            ours = {key: (100 * float(values[key]), spread[key]) for key in METRICS}
            if row != "erm":
                found = difference(accuracies, runs, places("erm", column))
                change = {key: tuple(100 * value for value in found[key]) for key in COMPARED if key in found}
        found = [column.records[place] for part in runs.values() for place in part]
        said, best = tuple(remarks(found)) if found else None, may_be_best(found, list(column.runs("erm").values()))
        own = {"runs": len(found), "said": said, "may_be_best": best}
        entries.append(Entry(row, len(runs), ours, paper.get(row, {}), change, **own))
    return entries


def places(row: str, column: Column) -> dict[int, list[int]]:
    """For each seed of a row the places of its runs among the column's records."""
    order = {(record["method"], record["seed"]): i for i, record in enumerate(column.records)}
    return {seed: [order[r["method"], seed] for r in records] for seed, records in row_runs(row, column).items()}


def mark(entries: list[Entry], column: Column, accuracies: GroupAccuracies) -> list[Entry]:
    """The entries with the best values marked, where the interval of the difference to the second best excludes 0.

    That of the second best alone is enough, however many rows there are: Gutmann and Maymin, Annals of Statistics 15,
    456 (1987). It guards each metric of a column by itself, not all of them together.
    """
    marked = {entry.row: set() for entry in entries}
    for metric in METRICS:
        sign = -1 if metric in LOWER_IS_BETTER else 1
        ranked = [entry for entry in entries if entry.ours and entry.may_be_best]
        ranked.sort(key=lambda entry: -sign * entry.ours[metric][0])
        if len(ranked) > 1:
            best, second = (places(entry.row, column) for entry in ranked[:2])
            _, low, high = difference(accuracies, best, second).get(metric, (0.0, 0.0, 0.0))
            # the sign matters: over the seeds that both have, the second may well be the better one
            if (low if sign > 0 else -high) > 0:
                marked[ranked[0].row].add(metric)
    return [Entry(**{**vars(entry), "marked": frozenset(marked[entry.row])}) for entry in entries]


def warning(column: Column, entries: list[Entry]) -> str:
    """What to say before a column whose ERM has hardly learned its task or is hardly biased; else ""."""
    shown = any(entry.row == "erm" and entry.ours for entry in entries)
    nothing = " This column shows that its rows run, and says nothing of the methods."
    said = shown and erm_warning([record["metrics"] for record in column.runs("erm").values()], nothing)
    return f"**{said}**" if said else ""


def as_markdown(name: str, parts: dict[str, list[Entry]], warnings: dict[str, str]) -> str:
    """A table of each column under its own heading, and what `warning` says of it."""
    lines = [f"# {name.replace('_', ' ').capitalize()}: {PAGES[name].title}"]
    lines += ["", PAGES[name].note] if PAGES[name].note else []
    heads = ["method", "n", *(f"{key} [paper]" for key in METRICS), *(f"{key} to ERM" for key in COMPARED)]
    for column, entries in parts.items():
        lines += ["", f"## {column}", *(["", warnings[column]] if warnings.get(column) else [])]
        lines += ["", _row(heads), _row(["---"] * len(heads))]
        for entry in entries:
            cells = [row_label(entry.row, entry.said), _count(entry)]
            for key in METRICS:
                value = _ours(entry.ours.get(key))
                value = f"**{value}**" if key in entry.marked else value
                cells.append(_beside(value, entry.paper.get(key)))
            cells += [_change(entry.change.get(key)) for key in COMPARED]
            lines.append(_row(cells))
    return "\n".join([*lines, "", NOTE]) + "\n"


def as_csv(parts: dict[str, list[Entry]]) -> str:
    """One line for each column, row and metric; percent, four decimals."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["column", "row", "n", "metric", "ours", "sd", "paper", "to_erm", "low", "high", "marked"])

    def number(value):
        return "" if value is None else f"{value:.4f}"

    for column, entries in parts.items():
        for entry in entries:
            for key in METRICS:
                ours = (*entry.ours.get(key, (None, None)), *entry.change.get(key, (None,) * 3))
                value, spread, *change = map(number, ours)
                place = [column, entry.row, entry.n, key]
                writer.writerow([*place, value, spread, entry.paper.get(key, ""), *change, int(key in entry.marked)])
    return buffer.getvalue()


def as_latex(parts: dict[str, list[Entry]], warnings: dict[str, str]) -> str:
    """A booktabs tabular: ours, and the paper's in brackets; a block of rows for each column, a `warning` as a comment."""
    width = 1 + len(METRICS)
    lines = [r"\begin{tabular}{l" + "l" * len(METRICS) + "}", r"\toprule", " & ".join(["Method", *METRICS]) + r" \\"]
    for column, entries in parts.items():
        lines += [r"\midrule", rf"\multicolumn{{{width}}}{{l}}{{{_escape(column)}}} \\"]
        lines += [f"% {warnings[column].strip('*')}"] if warnings.get(column) else []
        for entry in entries:
            cells = [_escape(row_label(entry.row, entry.said))]
            for key in METRICS:
                value = _ours(entry.ours.get(key)).replace("±", r"$\pm$").replace(MISSING, "--")
                value = rf"\textbf{{{value}}}" if key in entry.marked else value
                cells.append(_beside(value, entry.paper.get(key)))
            lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def overview(dataset: str, columns: dict[str, Column], tables: list[str], figures: list[str]) -> str:
    """The page that names the tables, the figures, and where the records come from."""
    records = [record for column in columns.values() for record in column.records]
    lines = [f"# Tables and figures: {dataset}", "", NOTE, "", "## Tables", ""]
    lines += [f"- [{name}]({name}.md): {PAGES[name].title} ([CSV]({name}.csv), [LaTeX]({name}.tex))" for name in tables]
    lines += ["", "## Figures", "", *(f"![{name}]({name}.png)" for name in figures), "", "## Records", ""]
    for name, column in columns.items():
        seeds = sorted({record["seed"] for record in column.records})
        counts = column.records[0]["metrics"]["group_count"]
        shown = ", ".join(f"{cell} {count}" for cell, count in counts.items())
        lines.append(
            f"- {name}: {len(column.methods)} methods, seeds {', '.join(map(str, seeds))}; test images {shown}"
        )
    for key, title in (("device", "Devices"), ("commit", "Commits"), ("command", "Commands")):
        values = sorted({str(record.get(key)) for record in records})
        lines += ["", f"{title}:", "", *(f"- `{value}`" for value in values)]
    return "\n".join(lines) + "\n"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _count(entry: Entry) -> str:
    if not entry.n:
        return MISSING
    return f"{entry.n} ({entry.runs} runs)" if entry.runs > entry.n else str(entry.n)


def _ours(pair: tuple[float, float | None] | None) -> str:
    if pair is None:
        return MISSING
    value, spread = pair
    return f"{value:.2f}" if spread is None else f"{value:.2f} ± {spread:.2f}"


def _beside(ours: str, paper: float | None) -> str:
    return ours if paper is None else f"{ours} [{paper:.2f}]"


def _change(triple: tuple[float, float, float] | None) -> str:
    return MISSING if triple is None else "{:+.2f} ({:+.2f} to {:+.2f})".format(*triple)


def _escape(text: str) -> str:
    signs = {sign: f"\\{sign}" for sign in "_&%#${}"}
    signs |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return text.translate(str.maketrans(signs))


if __name__ == "__main__":
    command_line(main)
