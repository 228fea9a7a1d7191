"""Every table and figure of the paper, ours beside theirs, from the records alone.

    python -m results.tables                          the committed records
    python -m results.tables --records results/runs/tables --output results/runs/tables_made

--records holds a folder for each data set, and that one for each column, as results/table.sh writes them. In a folder whose name
ends in _auto, methods stand with chosen settings. It takes seconds, without a GPU. The same records give the same bytes.
"""

import argparse
from pathlib import Path

from results.chosen import AUTO, with_chosen_settings
from results.entries import Entry, make_entries, mark, warning
from results.figures import write_figures
from results.records import RunSet, read_run_set, run_set_folders
from results.rows import FROM, PAGES, columns_of, expand_rows, read_paper
from results.table_text import NOTE, as_csv, as_latex, as_markdown
from utils.errors import UserError, command_line

CHOSEN = "The settings of every method that is fine-tuned in one go were chosen (`--settings auto`, docs/new_pair.md), the biased model included."


def main() -> None:
    """Read the command line and make the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=Path, default=Path("results/records/tables"))
    parser.add_argument("--output", type=Path, default=Path("results/pages"))
    make_pages(**vars(parser.parse_args()))


def make_pages(records: Path, output: Path) -> None:
    """Write the tables, figures and page of each data set in `records` into `output`. Raises UserError if there is none."""
    datasets = [path for path in sorted(records.iterdir()) if run_set_folders(path)] if records.is_dir() else []
    if not datasets:
        raise UserError(
            f"--records {records}: no <dataset>/<column> folder with records; run bash results/table.sh 3 first"
        )
    for path in datasets:
        columns = {folder.name: read_run_set(folder) for folder in run_set_folders(path)}
        if path.name.endswith(AUTO):
            columns = {name: with_chosen_settings(runs) for name, runs in columns.items()}
        folder = output / path.name
        folder.mkdir(parents=True, exist_ok=True)
        tables = write_tables(columns, folder)
        figures = write_figures(columns, folder)
        (folder / "README.md").write_text(overview(path.name, columns, tables, figures), encoding="utf-8")
        print(f"{folder}: {len(tables)} tables, {len(figures)} figures")


def write_tables(columns: dict[str, RunSet], output: Path, names: tuple[str, ...] = tuple(PAGES)) -> list[str]:
    """Write each table of which a row beyond ERM and AIM-Fair was run, as .md, .csv and .tex; return their names."""
    written = []
    for name in names:
        found = entries_by_column(name, columns)
        parts = {key: entries for key, entries in found.items() if has_more_than(("erm", "aim-fair"), entries)}
        if not parts:
            continue
        warnings = {key: warning(columns[key], entries) for key, entries in parts.items()}
        texts = {"md": as_markdown(name, parts, warnings), "csv": as_csv(parts), "tex": as_latex(parts, warnings)}
        for suffix, text in texts.items():
            (output / f"{name}.{suffix}").write_text(text, encoding="utf-8")
        written.append(name)
    return written


def entries_by_column(name: str, columns: dict[str, RunSet]) -> dict[str, list[Entry]]:
    """Return a table's entries in each column that belongs to it, with or without runs."""
    table, paper, parts = PAGES[name], read_paper().get(name, {}), {}
    for key in columns_of(table, list(columns)):
        entries = make_entries(expand_rows(table, columns[key]), columns[key], paper.get(key.partition(FROM)[0], {}))
        parts[key] = mark(entries, columns[key])
    return parts


def has_more_than(rows: tuple[str, ...], entries: list[Entry]) -> bool:
    """Return True if a row besides these has runs."""
    return any(entry.n and entry.row not in rows for entry in entries)


def overview(dataset: str, columns: dict[str, RunSet], tables: list[str], figures: list[str]) -> str:
    """Return the page that names the tables, the figures, and where the records come from."""
    lines = [f"# Tables and figures: {dataset}", "", NOTE, "", *([CHOSEN, ""] if dataset.endswith(AUTO) else [])]
    lines += ["## Tables", ""]
    lines += [f"- [{name}]({name}.md): {PAGES[name].title} ([CSV]({name}.csv), [LaTeX]({name}.tex))" for name in tables]
    lines += ["", "## Figures", "", *(f"![{name}]({name}.png)" for name in figures), "", "## Records", ""]
    for name, runs in columns.items():
        seeds, images = ", ".join(map(str, runs.seeds)), ", ".join(f"{g} {n}" for g, n in runs.group_count.items())
        lines.append(f"- {name}: {len(runs.methods)} methods, seeds {seeds}; test images {images}")
    for key, title in (("device", "Devices"), ("commit", "Commits"), ("command", "Commands")):
        values = {str(record.content.get(key)) for runs in columns.values() for record in runs.records}
        lines += ["", f"{title}:", "", *(f"- `{value}`" for value in sorted(values))]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    command_line(main)
