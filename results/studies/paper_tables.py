"""The paper's tables 2, 3, 6 and 7 on real faces, at 64 pixels and with a tenth of its images. Four hours on two CPU cores."""

from collections.abc import Callable
from pathlib import Path

from results.entries import warning
from results.records import read_run_set, run_set_folders
from results.rows import TABLES
from results.studies import Arm, Study, words
from results.table_text import NOTE, column_table, heading
from results.tables import entries_by_column

SEEDS = (600, 700, 800)
OF_TABLE_2 = (*TABLES["table_2"].methods, "full")
OF_OTHERS = tuple(dict.fromkeys(method for number in (3, 6, 7) for method in TABLES[f"table_{number}"].methods))


def table(name: str) -> Callable[[Path], list[str]]:
    """Return a function that shows one of the paper's tables, a part for each column that has records."""

    def lines(records: Path) -> list[str]:
        columns = {folder.name: read_run_set(folder) for folder in run_set_folders(records)}
        found = [f"## {heading(name)}", *(["", TABLES[name].note] if TABLES[name].note else [])]
        for column, entries in entries_by_column(name, columns).items():
            found += ["", f"### {column}", *column_table(entries, warning(columns[column], entries))]
        return found

    return lines


STUDY = Study(
    title="The paper's tables with fewer, smaller images",
    body=(
        """
CelebA at 64 pixels, ResNet-18 from ImageNet weights. The column `Smiling_Male` has 2,000 biased real images and as many balanced synthetic ones, so table 6's
ratios are the paper's. Its columns `real-50`, `real-25` and `real-10` have those percentages of 8,000 real images, with the same synthetic ones.""",
        table("table_2"),
        table("table_3"),
        table("table_6"),
        table("table_7"),
        "## How to read the tables",
        NOTE,
    ),
    common=words(
        "--weights {weights} --image-size 64 --pre-train-lr 0.03 --dataset celeba --real-data-path {data}/celeba "
        "--target-sensitive Smiling_Male --number-train-data-real 2000 --precision bf16 --synthetic-data-root {data}/generated "
        "--number-balanced-synthetic 500 --number-imbalanced-synthetic 2000 --number-held-out-synthetic 100"
    ),
    arms=(
        Arm("Smiling_Male", (), OF_OTHERS, SEEDS),
        Arm("Smiling_Male_real-50", words("--number-train-data-real 4000"), OF_TABLE_2, SEEDS),
        Arm("Smiling_Male_real-25", (), OF_TABLE_2, SEEDS),
        Arm("Smiling_Male_real-10", words("--number-train-data-real 800"), OF_TABLE_2, SEEDS),
        Arm("Young_Male", words("--target-sensitive Young_Male"), ("full", "linear-probe", "aim-fair"), SEEDS),
    ),
)
