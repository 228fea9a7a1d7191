"""Tables that several studies show, as lines of Markdown made from the records of their arms."""

from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import mean, stdev

from results.entries import COMPARED, Entry, make_entries, places
from results.intervals import difference
from results.records import RunSet, read_run_set
from results.rows import row_label, row_of
from results.studies import Arm
from results.study_run import diverged, read_measured
from results.table_text import SHOWN, together
from results.text import as_table, in_points, shown, shown_change

COLUMNS, CHANGES = ("ACC", "WST", "WST by seed", "EO"), ("ACC", "EO")
IN_SENTENCES = {
    "erm": "the biased model",
    "aim-fair": "AIM-Fair",
    "full": "full fine-tuning",
    "linear-probe": "linear probing",
}
HEADINGS = ("n", *(SHOWN[key] for key in COLUMNS), *(f"{key} to ERM" for key in CHANGES))
NOTE = """
Percent on the test split; mean ± sample standard deviation over n seeds. EO is the equalized odds difference, the larger gap. WST is the
worst group accuracy: *of means*, of the groups averaged over seeds; *mean of*, of each seed. Differences to ERM have 95 % intervals over
seeds and test images, or over test images alone if there is one seed."""


def as_page(blocks: list[str | list[str]]) -> str:
    """Return texts and lists of lines as one page of Markdown, with a blank line between them; empty ones are left out."""
    texts = ["\n".join(block) if isinstance(block, list) else block for block in blocks]
    return "\n\n".join(text.strip() for text in texts if text.strip()) + "\n"


def origin(records: list[dict]) -> list[str]:
    """Return a line each for the devices, versions and commits of records; nothing without records."""
    lines = []
    for title, key in (("Devices", "device"), ("Threads", "threads"), ("Commits", "commit")):
        if found := sorted({str(record[key]) for record in records if record.get(key) not in (None, "auto")}):
            lines.append(f"- {title}: {('; ' if key == 'device' else ', ').join(found)}")
    if versions := sorted({record["versions"]["torch"] for record in records if "versions" in record}):
        lines.append(f"- torch: {', '.join(versions)}")
    return ["The records name:", "", *lines] if lines else []


def methods_table(*arms: str, digits: int = 1, only: tuple[str, ...] = ()) -> Callable[[Path], list[str]]:
    """Return a function that shows every method of these arms, or `only` some besides ERM, with its difference to ERM."""

    def table(records: Path) -> list[str]:
        rows = [("arm", "method", *HEADINGS)]
        for arm in (arm for arm in arms if (records / arm).is_dir()):
            entries = entries_of(read_run_set(records / arm))
            for method in sorted(entries, key="erm".__ne__):
                if only and method not in ("erm", *only):
                    continue
                rows.append((arm, row_label(method, entries[method].said), *numbers(entries[method], digits)))
        return as_table(rows if len(arms) > 1 else [row[1:] for row in rows]) if len(rows) > 1 else []

    return table


def entries_of(column: RunSet) -> dict[str, Entry]:
    """Return a column's table entries by row; repetitions share one."""
    entries = make_entries(list(dict.fromkeys(map(row_of, column.methods))), column)
    return {entry.row: entry for entry in entries}


def numbers(entry: Entry, digits: int = 1) -> list[str]:
    """Return an entry's cells under `HEADINGS`."""
    changes = (shown_change(entry.change.get(key), digits) for key in CHANGES)
    return [str(entry.n), *(shown(entry.ours[key], digits) for key in COLUMNS), *changes]


def less_table(heads: tuple[str, ...], compared: list[tuple[tuple[str, ...], RunSet, str, str]]) -> list[str]:
    """Return one method less another in points, for each pair that has seeds in common: a table, and what all its differences say together.

    compared : the cells below `heads`, the runs, the method, and the one to subtract; without any in common nothing is returned
    """
    found = []
    for cells, runs, method, other in compared:
        one, two = places(method, runs), places(other, runs)
        if between := difference(runs.accuracies, one, two):
            found.append((cells, len(one.keys() & two.keys()), [between[key] for key in COMPARED]))
    told, said = together([(n, change.p) for _, n, changes in found for change in changes])
    stars, rows = iter(told), [(*heads, "n", *COMPARED)]
    for cells, n, changes in found:
        changed = (in_points(each) + "*" * next(stars) for each in changes)
        rows.append((*cells, str(n), *changed))
    return [*as_table(rows), "", said] if found else []


def findings(records: Path, arm: str) -> dict[str, object]:
    """Return the values that a measured arm found, by what they are; none without a record."""
    path = records / f"{arm}.json"
    return {row["what"]: row["value"] for row in read_measured(path)["rows"]} if path.exists() else {}


def findings_tables(*arms: str) -> Callable[[Path], list[str]]:
    """Return a function that shows all that these measured arms found: a heading and a table for each with a record."""

    def tables(records: Path) -> list[str]:
        lines = []
        for arm in arms:
            if not (path := records / f"{arm}.json").exists():
                continue
            found = read_measured(path)
            lines += ["", f"### {arm}: {found['status']}, {found['seconds']:.0f} s", ""]
            marks = {True: "yes", False: "**no**", None: ""}
            rows = [(as_cell(row["what"]), as_cell(row["value"]), marks[row.get("holds")]) for row in found["rows"]]
            lines += as_table([("", "", "holds"), *rows]) if rows else []
            lines += ["", "The last it printed:", "", "```", *found["said"], "```"] if found.get("said") else []
        return lines[1:]

    return tables


def missing(arms: tuple[Arm, ...]) -> Callable[[Path], list[str]]:
    """Return a function that says which of these arms lack records, methods, or seeds, all or some, of the methods that they have."""

    def lines(records: Path) -> list[str]:
        found = []
        for arm in arms:
            if not any((records / name).exists() for name in (arm.name, f"{arm.name}.json")):
                found.append(f"- {arm.name}")
            if not (records / arm.name).is_dir():
                continue
            runs, lost = read_run_set(records / arm.name), diverged(records / arm.name)
            found += [
                f"- {arm.name}: `{method}` diverged, seeds {', '.join(map(str, lost[method]))}" for method in lost
            ]
            there = [method for method in arm.methods if runs.runs(method)]
            left = [f"`{method}`" for method in arm.methods if method not in (*there, *lost)]
            for seed in arm.seeds:
                lack = [each for each in there if seed not in (*runs.runs(each), *lost.get(each, ()))]
                which = "" if lack == there else f" of {', '.join(f'`{method}`' for method in lack)}"
                left += [f"seed {seed}{which}"] if lack else []
            found += [f"- {arm.name}: {'; '.join(left)}"] if left else []
        return ["## What is missing", "", *found] if found else []

    return lines


def as_cell(value: object) -> str:
    """Return a finding's value as a cell: four digits of a number, parts of a list or dictionary one after the other."""
    if isinstance(value, dict):
        return "; ".join(f"{key} {as_cell(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(as_cell, value)) or "none"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def values(column: RunSet, method: str, metric: str) -> dict[int, float]:
    """Return a metric of each seed in percent; `metric` is a field of `utils.records.Metrics`, or "worst_group"."""
    return {seed: 100 * getattr(record.metrics, metric) for seed, record in column.runs(method).items()}


def mean_and_spread(numbers: Iterable[float], digits: int = 2) -> str:
    """Return the mean and the sample standard deviation of numbers as text."""
    found = list(numbers)
    return shown((mean(found), stdev(found) if len(found) > 1 else None), digits)


def metrics_of(column: RunSet, method: str) -> list[str]:
    """Return accuracy, equalized odds difference and worst group of each seed, as means and spreads in percent."""
    return [
        mean_and_spread(values(column, method, key).values()) for key in ("accuracy", "equalized_odds", "worst_group")
    ]
