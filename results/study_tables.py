"""Tables that several studies show, as lines of Markdown made from the records of their arms."""

from collections.abc import Callable
from pathlib import Path

from results.columns import Column, read_column
from results.rows import row_label
from results.table_text import MISSING, SHOWN, as_table, shown, shown_change
from results.tables import Entry, column_accuracies, make_entries

COLUMNS, CHANGES = ("ACC", "WST", "WST by seed", "EO"), ("ACC", "EO")
HEADINGS = ("n", *(SHOWN[key] for key in COLUMNS), *(f"{key} to ERM" for key in CHANGES))
NOTE = """
Percent on the test split; mean ± sample standard deviation over n seeds. EO is the equalized odds difference, the larger gap. WST is the
worst group accuracy: *of means*, of the groups averaged over seeds; *mean of*, of each seed. The differences to ERM have 95 % intervals for
other seeds and other test images; with one seed, for other images alone."""


def methods_table(*arms: str) -> Callable[[Path], list[str]]:
    """Return a function that shows every method of these arms, with its difference to ERM."""

    def table(records: Path) -> list[str]:
        several = len(arms) > 1
        rows = [(*(["arm"] if several else []), "method", *HEADINGS)]
        for arm in arms:
            entries = entries_of(read_column(records / arm))
            for method in sorted(entries, key="erm".__ne__):
                rows.append((*([arm] if several else []), row_label(method), *numbers(entries[method])))
        return as_table(rows)

    return table


def entries_of(column: Column) -> dict[str, Entry]:
    """Return a column's table entries by method."""
    entries = make_entries(column.methods, column, column_accuracies(column), {})
    return {entry.row: entry for entry in entries}


def numbers(entry: Entry) -> list[str]:
    """Return an entry's cells under `HEADINGS`."""
    changes = (shown_change(entry.change.get(key), 1) for key in CHANGES)
    return [str(entry.n), *(shown(entry.ours[key], 1) for key in COLUMNS), *changes]


def as_rows(entry: Entry | None) -> list[str]:
    """Return the cells of an entry, or dashes if there is none."""
    return numbers(entry) if entry else [MISSING] * len(HEADINGS)
