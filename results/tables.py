"""Every table and figure of the paper, ours beside theirs, from the records alone.

    python -m results.tables                          the committed records
    python -m results.tables --records results/runs/tables --output results/runs/tables_made

--records holds a folder for each data set, and that one for each column, as results/table.sh writes them. Seconds,
without a GPU; the same records give the same bytes.
"""

import argparse
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from results.columns import Column, column_folders, read_column, run_name
from results.figures import write_figures
from results.group_accuracies import (
    LOWER_IS_BETTER,
    METRICS,
    GroupAccuracies,
    group_accuracies,
    pooled,
    statistics,
)
from results.intervals import difference
from results.rows import FROM, PAGES, PROTECTED_LABELS, columns_of, expand_rows, read_paper, row_runs
from results.table_text import NOTE, as_csv, as_latex, as_markdown
from utils.errors import UserError, command_line
from utils.metrics import hardly_learned

COMPARED = ("ACC", "WST", "EO")  # metrics whose difference to ERM is shown
BY_SEED = {"WST": "WST by seed", "STD": "STD by seed"}  # what the paper takes of mean groups, taken of each seed


@dataclass(frozen=True)
class Entry:
    """A row of a table in one column, in percent.

    ours : metric to (value, sample standard deviation over runs, or None). ACC, EO and those of `BY_SEED` are means of the
        seeds' values. WST and STD are of the mean group accuracies, as in the paper, and have no standard deviation.
    change : metric to (difference to ERM, low, high); p : metric to the p-value of that difference.
    n, runs : seeds, and runs, of which a seed may have several; n_compared : seeds that ERM has too.
    """

    row: str
    n: int
    ours: dict[str, tuple[float, float | None]]
    paper: dict[str, float]
    change: dict[str, tuple[float, float, float]]
    marked: frozenset[str] = frozenset()
    runs: int = 0
    p: dict[str, float] = field(default_factory=dict)
    n_compared: int = 0


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
        erm = places("erm", column) if row != "erm" else {}
        found = difference(accuracies, runs, erm)
        change = {key: tuple(100 * value for value in found[key][:3]) for key in COMPARED if key in found}
        entry = Entry(row, len(runs), own_values(accuracies, runs), paper.get(row, {}), change)
        more = {"runs": sum(map(len, runs.values())), "p": {key: found[key].p for key in change}}
        entries.append(replace(entry, **more, n_compared=len(runs.keys() & erm.keys())))
    return entries


def own_values(accuracies: GroupAccuracies, runs: dict[int, list[int]]) -> dict[str, tuple[float, float | None]]:
    """Return an `Entry`'s `ours` for the runs at these places of each seed; empty if there is none."""
    if not runs:
        return {}
    values = pooled(accuracies.observed, runs, accuracies.shares)
    every = [place for found in runs.values() for place in found]
    weights = np.concatenate([np.full(len(found), 1 / len(found) / len(runs)) for found in runs.values()])
    own = statistics(accuracies.observed[every][:, None, :], accuracies.shares)  # of each run alone

    def spread(metric):
        return 100 * float(own[metric].std(ddof=1)) if len(every) > 1 else None

    ours = {key: (100 * float(values[key]), None if key in BY_SEED else spread(key)) for key in METRICS}
    return ours | {name: (100 * float(weights @ own[key]), spread(key)) for key, name in BY_SEED.items()}


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
        ranked = [entry for entry in entries if entry.ours and entry.row != PROTECTED_LABELS]
        ranked.sort(key=lambda entry: -sign * entry.ours[metric][0])
        if len(ranked) > 1:
            best, second = (places(entry.row, column) for entry in ranked[:2])
            _, low, high, _ = difference(accuracies, best, second).get(metric, (0.0, 0.0, 0.0, 1.0))
            # the sign matters: over the seeds that both have, the second may well be the better one
            if (low if sign > 0 else -high) > 0:
                marked[ranked[0].row].add(metric)
    return [replace(entry, marked=frozenset(marked[entry.row])) for entry in entries]


def warning(column: Column, entries: list[Entry]) -> str:
    """What to say before a column whose ERM has hardly learned its task; "" where it has."""
    found = next((entry.ours["ACC"][0] / 100 for entry in entries if entry.row == "erm" and entry.ours), None)
    hardly = found is not None and hardly_learned(found, column.records[0]["metrics"]["group_count"])
    return f"**{hardly} This column shows that its rows run, and says nothing of the methods.**" if hardly else ""


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


if __name__ == "__main__":
    command_line(main)
