"""The paper's tables under this project's names (`tables.toml`): columns, rows, and the methods to train for them."""

import json
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from models.choice import best_of
from results.records import RunSet
from results.remarks import labels_of_name
from utils.records import Label, Record

PAPER, DEFINED = (Path(__file__).parent / name for name in ("paper.json", "tables.toml"))
PUBLISHED = {"maple": "MAPLE", "diga": "DiGA"}  # rows of which only the paper's number is known
RELATIVES = ("ffr", "last-layer", "surgical")  # rows that the paper's tables do not have
NOT_OF_PAPER = (*RELATIVES, "criterion", "blocks")
FRACTION = "_real-"  # in the name of a column that trains on a fraction of the real images
FROM = "_from-"  # in the name of a column that says where its unbiased images come from
# the methods to train for a row that ends in *
PATTERNS = {"random-mask*": tuple(f"random-mask:share={share}" for share in (0.4, 0.55, 0.7, 0.85))}
BEST = {  # rows that choose among others, seed by seed
    "best random mask": ("random-mask*",),
    "best updated block": ("update-block-*", "linear-probe"),
    "best frozen block": ("freeze-block-*",),
}
COMPETING = {"share", "draw"}  # options with which a method competes for the best


@dataclass(frozen=True)
class Table:
    """A table: its title, the paper's columns, its rows, and a note for its readers.

    A row that ends in * stands for every method that begins so and has no row of its own (`PATTERNS`: what to train for it). A column is a pair, or a pair,
    `FRACTION` and a percentage of the real images. The head of results/table.sh says what each table costs.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    note: str = ""

    @property
    def pairs(self) -> list[str]:
        """Return the pairs of the paper's columns."""
        return list(dict.fromkeys(column.partition(FRACTION)[0] for column in self.columns))

    @property
    def fractions(self) -> list[str]:
        """Return the percentages of the real images that it trains on; [""] if it is all of them."""
        return list(dict.fromkeys(column.partition(FRACTION)[2] for column in self.columns))

    @property
    def methods(self) -> list[str]:
        """Return what to train for it besides erm."""
        rows = [row for row in self.rows if row != "erm" and row not in PUBLISHED and row not in BEST]
        return [method for row in rows for method in (PATTERNS.get(row, ()) if row.endswith("*") else [row])]


OTHERS = "table_others"  # the page of what the columns hold besides
PAGES = {
    name: Table(**{key: value if isinstance(value, str) else tuple(value) for key, value in each.items()})
    for name, each in tomllib.loads(DEFINED.read_text(encoding="utf-8")).items()
}
TABLES = {name: table for name, table in PAGES.items() if name != OTHERS}  # the paper's


def read_paper() -> dict:
    """Return the paper's numbers in percent: table, column, row, metric."""
    return json.loads(PAPER.read_text(encoding="utf-8"))


def columns_of(table: Table, present: list[str]) -> list[str]:
    """Return the columns of a table that are there: the paper's, then those of other pairs; of the page of others, all."""
    others = [name for name in sorted(present) if name not in table.columns]
    if table.columns:
        others = [name for name in others if bool(name.partition(FRACTION)[2]) == bool(table.fractions[0])]
    return [name for name in table.columns if name in present] + others


def expand_rows(table: Table, runs: RunSet) -> list[str]:
    """Return the rows of a table in a column, a pattern replaced by the methods it stands for."""
    found = dict.fromkeys(map(row_of, runs.methods))
    if table == PAGES[OTHERS]:
        others = [each for each in TABLES.values() if columns_of(each, [runs.name])]
        known = {*table.rows, *(row for each in others for row in expand_rows(each, runs))}
        return [*table.rows, *(method for method in found if method not in known)]
    rows = []
    for row in table.rows:
        own = [method for method in found if stands_for(row, method) and method not in table.rows]
        rows += own if row.endswith("*") else [row]
    return rows


def stands_for(row: str, method: str) -> bool:
    """Return True if a row is a method's, or a pattern that takes it in."""
    return method.startswith(row[:-1]) if row.endswith("*") else method == row


def row_of(method: str) -> str:
    """Return a method's row (`utils.records.Label.row`)."""
    return Label.of(method).row


def row_runs(row: str, runs: RunSet) -> dict[int, list[Record]]:
    """Return the records of a row by seed, several if masks were drawn or fine-tunings repeated; empty if it was not run."""
    if row in BEST:
        return _best_runs(BEST[row], runs)
    found = {}
    for record in runs.records:
        if row_of(record.method) == row:
            found.setdefault(record.seed, []).append(record)
    return dict(sorted(found.items()))


def _best_runs(rows: tuple[str, ...], runs: RunSet) -> dict[int, list[Record]]:
    """Return for each seed the record that `models.choice` takes among the methods of rows."""
    chosen = {}
    for seed in runs.seeds:
        found = [r for r in runs.records if r.seed == seed and any(stands_for(row, r.method) for row in rows)]
        # repetitions and other settings don't compete: of more of them the best would be the luckier one
        if found := [r for r in found if r.held_out_metrics and r.label.options.keys() <= COMPETING]:
            chosen[seed] = [found[best_of(found)]]
    return chosen


def sweeps_k(method: str) -> bool:
    """Return True if a method is AIM-Fair with nothing changed but, at most, k."""
    label = Label.of(method)
    k = label.options.get("top-k", "auto")
    return label.name == "aim-fair" and label.options.keys() <= {"top-k"} and (k == "auto" or k.isdigit())


def methods_by_k(runs: RunSet) -> tuple[dict[int, str], str | None]:
    """Return the methods that sweep k by their k, in order, and the method whose k was chosen for each seed, None without one."""
    swept = {}
    for method in filter(sweeps_k, runs.methods):
        k = runs.first(method).settings["top_k"]
        swept["auto" if "auto" in (k, Label.of(method).options.get("top-k")) else int(k)] = method
    auto = swept.pop("auto", None)
    return dict(sorted(swept.items())), auto


def row_label(row: str, said: Iterable[str] | None = None) -> str:
    """Return a row's name in a table, with what is `said` of its runs (`results.remarks`), or of the method if it was not run."""
    if row in PUBLISHED:
        return f"{PUBLISHED[row]} (published number)"
    if Label.of(row).name in NOT_OF_PAPER:
        return f"{row} (not the paper's)"
    said = "; ".join(labels_of_name(row).values() if said is None else said)
    return f"{row} ({said})" if said else row
