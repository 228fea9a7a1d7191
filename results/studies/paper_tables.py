"""The paper's tables 2, 3, 6 and 7 on real faces, at 64 pixels and with a tenth of its images. Five hours on two CPU cores."""

from collections.abc import Callable, Iterable
from pathlib import Path

from results.entries import warning
from results.records import RunSet, read_run_set, run_set_folders
from results.rows import FRACTION, TABLES, row_label
from results.studies import Arm, Study, words
from results.study_tables import entries_of, less_table, missing
from results.table_text import NOTE, column_table, heading
from results.tables import entries_by_column
from results.text import shown_change

SEEDS = (600, 700, 800)
PAIR = "Smiling_Male"
WHOLE = 8000  # the real images that the percentages of table 2 are of
OF_TABLE_2 = (*TABLES["table_2"].methods, "full")
OF_OTHERS = tuple(dict.fromkeys(method for number in (3, 6, 7) for method in TABLES[f"table_{number}"].methods))
LESS = {  # method and what it is compared with, by table
    "table_3": [("aim-fair", other) for other in ("full", "repair", "supplement", "linear-probe")],
    "table_6": [(f"aim-fair:ratio={ratio}", "aim-fair") for ratio in (0.5, 1.5, 2.0)],
    "table_7": [(f"aim-fair:bias-degree={degree}", "aim-fair") for degree in ("4/6", "3/7", "2/8")],
}
IN_SENTENCES = {"aim-fair": "AIM-Fair", "full": "full fine-tuning", "linear-probe": "linear probing"}


def read(records: Path) -> dict[str, RunSet]:
    """Return the columns that have records."""
    return {folder.name: read_run_set(folder) for folder in run_set_folders(records)}


def changes(runs: RunSet, methods: Iterable[str], key: str) -> str:
    """Return by how many points methods change one of ERM's metrics, with intervals, as a list in a sentence."""
    entries = entries_of(runs)
    found = [(method, entries[method].change[key]) for method in methods if method in entries]
    return ", ".join(f"{IN_SENTENCES.get(method, f'`{method}`')} {shown_change(each, 1)}" for method, each in found)


def answers(records: Path) -> list[str]:
    """Return a point for each table: the changes to ERM in EO and accuracy."""
    columns, lines = read(records), []
    for name, runs in columns.items():
        if FRACTION in name:
            images = WHOLE * int(name.partition(FRACTION)[2]) // 100
            said = [f"{key} {changes(runs, ('aim-fair', 'full'), key)}" for key in ("EO", "ACC")]
            lines.append(f"- **{images:,} real images** (table 2), less ERM: {'; '.join(said)}.")
    if PAIR in columns:
        runs = columns[PAIR]
        lines.append(
            f"- **Ways to use synthetic images** (table 3), less ERM in EO: {changes(runs, TABLES['table_3'].methods, 'EO')}."
        )
        lines.append(
            f"- **Ratio of synthetic to real images** (table 6), less ERM in EO: {changes(runs, TABLES['table_6'].rows[1:], 'EO')}; `aim-fair` has ratio 1."
        )
    return lines


def table(name: str) -> Callable[[Path], list[str]]:
    """Return a function that shows one of the paper's tables: a part for each column, and the differences between its rows."""

    def lines(records: Path) -> list[str]:
        columns = read(records)
        found = [f"## {heading(name)}", *(["", TABLES[name].note] if TABLES[name].note else [])]
        for column, entries in entries_by_column(name, columns).items():
            found += ["", f"### {column}", *column_table(entries, warning(columns[column], entries))]
            pairs = [((row_label(one), row_label(two)), columns[column], one, two) for one, two in LESS.get(name, ())]
            found += ["", *less_table(("method", "less"), pairs)] if pairs else []
        return found

    return lines


ARMS = (
    Arm(PAIR, (), OF_OTHERS, SEEDS),
    Arm(f"{PAIR}{FRACTION}50", words("--number-train-data-real 4000"), OF_TABLE_2, SEEDS),
    Arm(f"{PAIR}{FRACTION}25", (), OF_TABLE_2, SEEDS),
    Arm(f"{PAIR}{FRACTION}10", words("--number-train-data-real 800"), OF_TABLE_2, SEEDS),
    Arm("Young_Male", words("--target-sensitive Young_Male"), ("full", "linear-probe", "aim-fair"), SEEDS),
)
STUDY = Study(
    title="The paper's tables with fewer, smaller images",
    body=(
        """
CelebA at 64 pixels, ResNet-18 from ImageNet weights, the paper's settings but for the learning rate of pre-training, 0.03. The synthetic images are by a small Stable Diffusion
**that was trained on CelebA with its labels**: 500 a group, 2,000 biased ones for the ranking. The columns `Smiling_Male` and `Young_Male` have 2,000 biased real images, a tenth of the paper's, so that the ratio of
synthetic to real images is the paper's, 1, and table 6 has the paper's ratios. `real-50`, `real-25` and `real-10` have these percentages of 8,000 real images, and the same
synthetic ones. Numbers in brackets are the paper's, at 224 pixels.

## Answers
""",
        answers,
        table("table_2"),
        table("table_3"),
        table("table_6"),
        table("table_7"),
        "## How to read the tables",
        NOTE,
        missing(ARMS),
    ),
    common=words(
        "--weights {weights} --image-size 64 --pre-train-lr 0.03 --dataset celeba --real-data-path {data}/celeba "
        "--target-sensitive Smiling_Male --number-train-data-real 2000 --precision bf16 --synthetic-data-root {data}/generated "
        "--number-balanced-synthetic 500 --number-imbalanced-synthetic 2000 --number-held-out-synthetic 100"
    ),
    arms=ARMS,
)
