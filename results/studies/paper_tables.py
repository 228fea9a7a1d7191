"""The paper's tables 1, 2, 3, 6 and 7 on real faces, at 64 pixels and with fewer images. Seven hours on two CPU cores."""

from collections.abc import Callable
from pathlib import Path

from results.entries import places, warning
from results.intervals import difference
from results.records import RunSet, read_run_set, run_set_folders
from results.rows import FRACTION, TABLES, row_label
from results.studies import Arm, Study, words
from results.study_tables import IN_SENTENCES, entries_of, less_table, missing
from results.table_text import NOTE, column_table, heading
from results.tables import entries_by_column, has_more_than
from results.text import in_points, shown_change

SEEDS = (600, 700, 800)
PAIR, OTHER = "Smiling_Male", "Young_Male"
WHOLE = 8000  # the real images that the percentages of table 2 are of
FRACTIONS = {f"{PAIR}{FRACTION}{percent}": WHOLE * percent // 100 for percent in (50, 25, 10)}
COLUMNS = {"table_1": (OTHER,), "table_2": (*FRACTIONS,)}  # the other tables are of PAIR
OF_FRACTIONS = (*TABLES["table_2"].methods, "full")
OF_WHOLE = tuple(dict.fromkeys(method for number in (3, 6, 7) for method in TABLES[f"table_{number}"].methods))
DIFFERENCES = {  # by table: a method, and the one to subtract
    "table_1": [("aim-fair", "full")],
    "table_2": [("aim-fair", "full")],
    "table_3": [("aim-fair", other) for other in ("full", "repair", "supplement", "linear-probe")],
    "table_6": [(f"aim-fair:ratio={ratio}", "aim-fair") for ratio in (0.5, 1.5, 2.0)],
    "table_7": [(f"aim-fair:bias-degree={degree}", "aim-fair") for degree in ("4/6", "3/7", "2/8")],
}
REPAIRED = ("aim-fair", "full")
POINTS = {  # by title: a column, and the methods to name
    "Ways to use synthetic images, with 2,000 real ones": (PAIR, TABLES["table_3"].methods),
    "Real images alone, 2,000": (f"{PAIR}{FRACTION}25", [name for name in OF_FRACTIONS if name not in REPAIRED]),
    "4,000 real images": (f"{PAIR}{FRACTION}50", REPAIRED),
    "800 real images": (f"{PAIR}{FRACTION}10", REPAIRED),
    "Young/Male, with 2,000 real images": (OTHER, REPAIRED),
}
NOTES = {  # in place of the table's own
    "table_2": "ERM, AIM-Fair and full fine-tuning of Smiling_Male_real-25 are the runs of table 3.",
    "table_7": "If the rankings choose the same tensors with two bias degrees, both have the same fine-tuning, order and crops included.",
}


def read(records: Path) -> dict[str, RunSet]:
    """Return the columns that have records, those of `FRACTIONS` in their order."""
    folders = {folder.name: folder for folder in run_set_folders(records)}
    return {name: read_run_set(folders[name]) for name in (PAIR, OTHER, *FRACTIONS) if name in folders}


def changes(runs: RunSet, methods: tuple[str, ...]) -> str:
    """Return by how many points methods differ from ERM in EO and accuracy; "" if none has two seeds in common with it."""
    found = [entry for entry in map(entries_of(runs).get, methods) if entry and entry.change and entry.n_compared > 1]
    return "; ".join(
        f"{IN_SENTENCES.get(entry.row, f'`{entry.row}`')} EO {shown_change(entry.change['EO'], 1)}, accuracy {shown_change(entry.change['ACC'], 1)}"
        for entry in found
    )


def answers(records: Path) -> list[str]:
    """Return a point for each of `POINTS` that has records, and one for AIM-Fair minus full fine-tuning; none on models that hardly learned their task."""
    columns = read(records)
    good = {name: runs for name, runs in columns.items() if not warning(runs, list(entries_of(runs).values()))}
    found = {title: changes(good[name], methods) for title, (name, methods) in POINTS.items() if name in good}
    lines, said = [f"- **{title}**: {text}." for title, text in found.items() if text], []
    for name, runs in good.items():
        one, two = (places(row, runs) for row in REPAIRED)
        if len(one.keys() & two.keys()) > 1 and name != f"{PAIR}{FRACTION}25":  # those are PAIR's
            less = difference(runs.accuracies, one, two)
            said.append(f"{name} EO {in_points(less['EO'])}, accuracy {in_points(less['ACC'])}")
    lines += [f"- **AIM-Fair minus full fine-tuning**: {'; '.join(said)}."] if said else []
    weak = [f"- **{name}** says nothing: ERM hardly learned its task there." for name in columns if name not in good]
    return lines + weak


def table(name: str) -> Callable[[Path], list[str]]:
    """Return a function that shows one of the paper's tables: a part for each column, and the differences between its rows."""

    def lines(records: Path) -> list[str]:
        columns, found = read(records), []
        for column, entries in entries_by_column(name, columns).items():
            if column not in COLUMNS.get(name, (PAIR,)) or not has_more_than(("erm",), entries):
                continue
            runs = columns[column]
            pairs = [((row_label(one), row_label(two)), runs, one, two) for one, two in DIFFERENCES[name]]
            differences = less_table(("method", "minus"), pairs)
            found += ["", f"### {column}", *column_table(entries, warning(runs, entries)), "", *differences]
        note = NOTES.get(name, TABLES[name].note)
        return [f"## {heading(name)}", *(["", note] if note else []), *found] if found else []

    return lines


ARMS = (
    Arm(PAIR, (), OF_WHOLE, SEEDS),
    Arm(OTHER, words(f"--target-sensitive {OTHER}"), (*TABLES["table_1"].methods, "full"), SEEDS),
    *(
        Arm(name, words(f"--number-train-data-real {images}"), OF_FRACTIONS, SEEDS)
        for name, images in FRACTIONS.items()
    ),
)
STUDY = Study(
    title="The paper's tables with fewer, smaller images",
    body=(
        """
CelebA, Smiling/Male and Young/Male, at 64 pixels: a ResNet-18 from ImageNet weights, the paper's settings but for the learning rate of pre-training, 0.03. The synthetic images are by a small Stable Diffusion
**that was trained on CelebA with its labels**: 500 a group, and 2,000 biased ones for the ranking. Tables 1, 3, 6 and 7 have 2,000 biased real images, a tenth of the paper's, and as many synthetic ones, so
that the ratios of table 6 are the paper's. Table 2 has 50, 25 and 10 % of 8,000 real images, two fifths of the paper's numbers, and always the same 2,000 synthetic ones. Numbers in brackets are the paper's,
at 224 pixels and with more images.

## Answers

Differences from ERM, the biased model, in points of EO, the equalized odds difference, and of accuracy, with 95 % intervals for other seeds and other test images, each for one comparison. The list of
Young/Male may have faces that the generator was trained on; that of Smiling/Male has none.
""",
        answers,
        *(table(name) for name in DIFFERENCES),
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
    note="[The commands of the study of real faces](../real_faces/README.md#commands) make `generated/`; those of Young/Male are drawn in the same way, 1,200 a group, with [its prompts](prompts_Young_Male.json).",
)
