"""Which rows and columns each table of the paper has, under this project's names."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from models.choice import choose
from results.columns import Column

PAPER = Path(__file__).parent / "paper.json"
PROTECTED_LABELS = "group-dro"  # trains on protected labels: never marked as the best
PUBLISHED = {"maple": "MAPLE", "diga": "DiGA"}  # rows of which only the paper's number is known
BASELINES = ("erm", "cvar-dro", "eiil", "lff", "jtt", "maple", "diga", "aim-fair", PROTECTED_LABELS)
SHARE = "_real-"  # in the name of a column that trains on a share of the real images
BLOCKS = ("stem", "1", "2", "3", "4", "fc")
PAIRS = ("Smiling_Male", "Smiling_Young", "Female_White")
BEST = {  # rows that choose among others, seed by seed
    "best random mask": r"random-mask(:.*)?",
    "best updated block": r"update-block-(stem|[1-4]|fc)|linear-probe",
    "best frozen block": r"freeze-block-(stem|[1-4]|fc)",
}


@dataclass(frozen=True)
class Table:
    """A table: its title, the paper's columns, its rows, and a note for its readers.

    A row that ends in * stands for every method that begins so and has no row of its own.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    note: str = ""


TABLES = {
    "table_1": Table(
        "Methods that train on real images alone, and AIM-Fair",
        ("Smiling_Male", "Smiling_Young", "Young_Male"),
        BASELINES,
    ),
    "table_2": Table(
        "With a share of the real images", tuple(f"Smiling_Male{SHARE}{n}" for n in (50, 25, 10)), BASELINES
    ),
    "table_3": Table(
        "Ways to use synthetic images",
        PAIRS,
        ("erm", "synthetic-only", "supplement", "repair", "linear-probe", "full", "aim-fair"),
    ),
    "table_4": Table(
        "Which tensors to fine-tune",
        PAIRS,
        (
            "erm",
            "random-mask*",
            "best random mask",
            *(f"update-block-{block}" for block in BLOCKS[:-1]),
            "linear-probe",
            "best updated block",
            *(f"freeze-block-{block}" for block in BLOCKS),
            "best frozen block",
            "cosine",
            "aim-fair",
        ),
        "A row of random masks takes in all draws of one share: a seed's value is the mean of its draws, the spread is "
        "over draws and seeds. `linear-probe` is the update of the block fc.",
    ),
    "table_5": Table(
        "Prompt sets, by training on their images alone",
        ("Smiling_Male", "Smiling_Young"),
        (
            "synthetic-only:prompt-type=plain",
            "synthetic-only:prompt-type=contextual-without-pose-25",
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
        ("erm", *(f"freeze-block-{b}" for b in BLOCKS)),
        "The paper's numbers were measured off a figure, to about 0.1; it has none for the stem.",
    ),
}


def read_paper() -> dict:
    """The paper's numbers in percent: table, column, row, metric."""
    return json.loads(PAPER.read_text(encoding="utf-8"))


def columns_of(table: Table, present: list[str]) -> list[str]:
    """The columns of a table that are there: the paper's, then those of other pairs."""
    shares = SHARE in table.columns[0]
    others = [name for name in sorted(present) if name not in table.columns and (SHARE in name) == shares]
    return [name for name in table.columns if name in present] + others


def expand_rows(table: Table, column: Column) -> list[str]:
    """The rows of a table in a column, a pattern replaced by the methods it stands for."""
    found = dict.fromkeys(map(without_draw, column.methods))
    rows = []
    for row in table.rows:
        if row.endswith("*"):
            rows += [method for method in found if method.startswith(row[:-1]) and method not in table.rows]
        else:
            rows.append(row)
    return rows


def without_draw(method: str) -> str:
    """The method without the number of a random mask's draw: draws of the same mask share a row."""
    return re.sub(r"(?<=[:,])draw=\d+,?", "", method).rstrip(":,")


def row_runs(row: str, column: Column) -> dict[int, list[dict]]:
    """The records of a row by seed, several where masks were drawn several times; empty where it was not run."""
    if row in BEST:
        return {seed: [record] for seed, record in best_runs(re.compile(BEST[row]), column).items()}
    runs = {}
    for record in column.records:
        if without_draw(record["method"]) == row:
            runs.setdefault(record["seed"], []).append(record)
    return dict(sorted(runs.items()))


def best_runs(pattern: re.Pattern, column: Column) -> dict[int, dict]:
    """For each seed the record that `models.choice.choose` takes among the methods of a pattern: never by the test set."""
    methods = [method for method in column.methods if pattern.fullmatch(method)]
    chosen = {}
    for seed in sorted({record["seed"] for record in column.records}):
        found = [column.runs(method).get(seed) for method in methods]
        found = [record for record in found if record and "held_out_metrics" in record]
        if found:
            accuracy = [record["val_metrics"]["accuracy"] for record in found]
            odds = [record["held_out_metrics"]["equalized_odds"] for record in found]
            chosen[seed] = found[choose(accuracy, odds)]
    return chosen


def row_label(row: str) -> str:
    """How a row is called in a table."""
    if row in PUBLISHED:
        return f"{PUBLISHED[row]} (published number)"
    return f"{row} (trains on protected labels)" if row == PROTECTED_LABELS else row
