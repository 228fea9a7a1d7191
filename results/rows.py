"""What each table of the paper consists of, under this project's names: columns, rows, and so the methods to train."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from models.choice import choose
from results.columns import Column
from results.remarks import labels_of_name

PAPER = Path(__file__).parent / "paper.json"
PUBLISHED = {"maple": "MAPLE", "diga": "DiGA"}  # rows of which only the paper's number is known
RELATIVES = ("ffr", "last-layer", "surgical")  # rows that the paper's tables don't have
BASELINES = ("erm", "cvar-dro", "eiil", "lff", "jtt", *PUBLISHED, "aim-fair", "group-dro")
RELATIVES_NOTE = "A row marked as not the paper's is a near relative, from its own paper (`models/methods/`)."
FRACTION = "_real-"  # in the name of a column that trains on a fraction of the real images
FROM = "_from-"  # in the name of a column that tells where its unbiased images come from
PAIRS = ("Smiling_Male", "Smiling_Young", "Female_White")
MASKS = {
    "random-mask*": tuple(f"random-mask:share={share}" for share in (0.4, 0.55, 0.7, 0.85))
}  # what such a row runs
UPDATED = (*(f"update-block-{block}" for block in ("stem", 1, 2, 3, 4)), "linear-probe")
FROZEN = tuple(f"freeze-block-{block}" for block in ("stem", 1, 2, 3, 4, "fc"))
# rows that choose among others, seed by seed
BEST = {"best random mask": tuple(MASKS), "best updated block": UPDATED, "best frozen block": FROZEN}


@dataclass(frozen=True)
class Table:
    """A table: its title, the paper's columns, its rows, and a note for its readers.

    A row that ends in * stands for every method that begins so and has no row of its own. A column is a pair, or a pair,
    `FRACTION` and a percentage of the real images. The head of results/table.sh says what each table costs.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    note: str = ""

    @property
    def pairs(self) -> list[str]:
        """The pairs of the paper's columns."""
        return list(dict.fromkeys(column.partition(FRACTION)[0] for column in self.columns))

    @property
    def fractions(self) -> list[str]:
        """The percentages of the real images that it trains on; [""] where it is all of them."""
        return list(dict.fromkeys(column.partition(FRACTION)[2] for column in self.columns))

    @property
    def methods(self) -> list[str]:
        """What to train for it: erm always is."""
        rows = [row for row in self.rows if row != "erm" and row not in PUBLISHED and row not in BEST]
        return [method for row in rows for method in (MASKS.get(row, ()) if row.endswith("*") else [row])]


TABLES = {
    "table_1": Table(
        "Methods that train on real images alone, and AIM-Fair",
        ("Smiling_Male", "Smiling_Young", "Young_Male"),
        BASELINES,
    ),
    "table_2": Table(
        "With a fraction of the real images",
        tuple(f"Smiling_Male{FRACTION}{n}" for n in (50, 25, 10)),
        BASELINES,
    ),
    "table_3": Table(
        "Ways to use synthetic images",
        PAIRS,
        (
            *("erm", "synthetic-only", "supplement", "repair", "ffr"),
            *("linear-probe", "last-layer", "full", "surgical", "aim-fair"),
        ),
        RELATIVES_NOTE,
    ),
    "table_4": Table(
        "Which tensors to fine-tune",
        PAIRS,
        (
            "erm",
            *MASKS,
            "best random mask",
            *UPDATED,
            "best updated block",
            *FROZEN,
            "best frozen block",
            "cosine",
            "surgical",
            "aim-fair",
        ),
        "A row of random masks takes in all draws of one fraction: a seed's value is the mean of its draws, the spread is "
        "over draws and seeds. `linear-probe` is the update of the block fc. " + RELATIVES_NOTE,
    ),
    "table_5": Table(
        "Prompt sets, by training on their images alone",
        ("Smiling_Male", "Smiling_Young"),
        (
            *(f"synthetic-only:prompt-type={name}" for name in ("plain", "contextual-without-pose-25")),
            "synthetic-only:prompt-type=contextual-without-pose",
            "synthetic-only",
        ),
    ),
    "table_6": Table(
        "Synthetic images to real ones in the balanced set",
        ("Smiling_Male",),
        ("erm", "aim-fair:ratio=0.5", "aim-fair", "aim-fair:ratio=1.5", "aim-fair:ratio=2.0"),
        "At ratio 2 the paper misprints both group accuracies of target 1; the numbers shown here are not touched by it.",
    ),
    "table_7": Table(
        "Bias of the biased synthetic set",
        ("Smiling_Male",),
        ("erm", *(f"aim-fair:bias-degree={d}" for d in ("4/6", "3/7", "2/8")), "aim-fair", "full"),
    ),
    "table_k": Table(
        "Tensors that each ranking keeps",
        ("Smiling_Male",),
        (
            "erm",
            *(f"aim-fair:top-k={k}" for k in (40, 45, 50)),
            "aim-fair",
            "aim-fair:top-k=60",
            "aim-fair:top-k=*",
            "aim-fair:top-k=auto",
        ),
        "The paper's numbers were measured off a figure, to about 0.1; its `aim-fair` keeps 55.",
    ),
    "table_blocks": Table(
        "Freezing each block in turn",
        ("Smiling_Male",),
        ("erm", *FROZEN),
        "The paper's numbers were measured off a figure, to about 0.1; it has none for the stem.",
    ),
}
OTHERS = "table_others"  # the page of what the columns hold besides, made from records alone
PAGES = {
    **TABLES,
    OTHERS: Table(
        "Methods that stand in no table of the paper",
        (),
        ("erm", "aim-fair"),
        "Made from every record that has no row in another table; `erm` and `aim-fair` are there to compare with.",
    ),
}


def read_paper() -> dict:
    """The paper's numbers in percent: table, column, row, metric."""
    return json.loads(PAPER.read_text(encoding="utf-8"))


def columns_of(table: Table, present: list[str]) -> list[str]:
    """The columns of a table that are there: the paper's, then those of other pairs; of the page of others, all."""
    others = [name for name in sorted(present) if name not in table.columns]
    if table.columns:
        others = [name for name in others if bool(name.partition(FRACTION)[2]) == bool(table.fractions[0])]
    return [name for name in table.columns if name in present] + others


def expand_rows(table: Table, column: Column) -> list[str]:
    """The rows of a table in a column, a pattern replaced by the methods it stands for."""
    found = dict.fromkeys(map(without_draw, column.methods))
    if table == PAGES[OTHERS]:
        shown = [t for t in TABLES.values() if columns_of(t, [column.name])]
        known = {*table.rows, *(row for t in shown for row in expand_rows(t, column))}
        return [*table.rows, *(method for method in found if method not in known)]
    rows = []
    for row in table.rows:
        if row.endswith("*"):
            rows += [method for method in found if stands_for(row, method) and method not in table.rows]
        else:
            rows.append(row)
    return rows


def stands_for(row: str, method: str) -> bool:
    """Whether a row is a method's, or a pattern that takes it in."""
    return method.startswith(row[:-1]) if row.endswith("*") else method == row


def without_draw(method: str) -> str:
    """The method without the number of a random mask's draw: draws of the same mask share a row."""
    return re.sub(r"(?<=[:,])draw=\d+,?", "", method).rstrip(":,")


def row_runs(row: str, column: Column) -> dict[int, list[dict]]:
    """The records of a row by seed, several where masks were drawn several times; empty where it was not run."""
    if row in BEST:
        return {seed: [record] for seed, record in best_runs(BEST[row], column).items()}
    runs = {}
    for record in column.records:
        if without_draw(record["method"]) == row:
            runs.setdefault(record["seed"], []).append(record)
    return dict(sorted(runs.items()))


def best_runs(rows: tuple[str, ...], column: Column) -> dict[int, dict]:
    """For each seed the record that `models.choice.choose` takes among the methods of rows: never by the test set."""
    methods = [method for method in column.methods if any(stands_for(row, method) for row in rows)]
    chosen = {}
    for seed in sorted({record["seed"] for record in column.records}):
        found = [column.runs(method).get(seed) for method in methods]
        found = [record for record in found if record and "held_out_metrics" in record]
        if found:
            accuracy = [record["val_metrics"]["accuracy"] for record in found]
            odds = [record["held_out_metrics"]["equalized_odds"] for record in found]
            chosen[seed] = found[choose(accuracy, odds)]
    return chosen


def row_label(row: str, said: Iterable[str] | None = None) -> str:
    """How a row is called in a table, with what is `said` of its runs (`results.remarks`), or of the method if it wasn't run."""
    if row in PUBLISHED:
        return f"{PUBLISHED[row]} (published number)"
    if row.partition(":")[0] in RELATIVES:
        return f"{row} (not the paper's)"
    said = "; ".join(labels_of_name(row).values() if said is None else said)
    return f"{row} ({said})" if said else row
