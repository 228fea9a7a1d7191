"""Train the rows of tables of the paper, column by column, and remake all pages.

bash results/table.sh --help        the flags, and what each table costs
"""

import argparse
import sys
import tempfile
from pathlib import Path

from datasets.real import DATASETS
from results.rows import FRACTION, TABLES, Table
from results.tables import make_pages
from utils.arguments import positive_int
from utils.cost import cost_table, read_rows
from utils.errors import UserError, command_line
from utils.processes import run_child
from utils.records import ROOT

TOY_SIZE = 1200  # biased real images
# What isn't here is as in runner.sh, such as the start weights and the crops. Far fewer images than the paper's, so smaller
# batches: it is the number of steps that a network needs, above all with a tenth of the real images. A group's toy faces
# are enough for ratio 2 and those held out; draws depend on how many there are, so all tables make the same.
TOY = (
    f"--synthetic-data-root {ROOT}/results/runs/toy/synthetic_of_tables --scheduler dpmpp --steps 6 --batch-size 16 "
    "--number-balanced-synthetic 300 --number-imbalanced-synthetic 800 --number-held-out-synthetic 200 "
    "--pre-train-epochs 8 --pre-train-lr 0.03 --milestones 7 --fine-tune-epochs 4 --fine-tune-lr 0.02 --precision fp32 --seeds 100 200 300"
).split()
TOY_IMAGES, TOY_IMAGES_OF_PROMPT_TYPES = 800, 400  # to generate of each group


def main() -> None:
    """Run the tables that the command line names."""
    names, args, flags = parse_args(sys.argv[1:])
    options = {"real": args.real, "methods": args.methods, "flags": flags}
    given = [args.dataset, args.output, args.pairs]
    calls = [call for name in names for call in runner_calls(TABLES[name], *given, **options)]
    if "--dry-run" in flags:
        print(dry_run(calls))
        return
    for call in calls:
        run(call)
    records = args.output.resolve().parent
    make_pages(records, records.with_name(f"{records.name}_made"))


def parse_args(arguments: list[str]) -> tuple[list[str], argparse.Namespace, list[str]]:
    """The tables' names, the flags listed here, and those for runner.sh. Raises `UserError` where a table isn't known."""
    parser = argparse.ArgumentParser(
        prog="results/table.sh",
        usage="bash results/table.sh N [N ...] [flags]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--dataset", choices=DATASETS, default="toy", help="where the real images come from (toy)")
    parser.add_argument("--pairs", nargs="+", metavar="PAIR", help="other columns than the table's own")
    parser.add_argument(
        "--output", type=Path, help="the records, a folder for each column (results/runs/tables/<dataset>)"
    )
    parser.add_argument(
        "--number-train-data-real", type=positive_int, metavar="N", dest="real", help=f"train.py's; toy: {TOY_SIZE}"
    )
    parser.add_argument("--methods", nargs="+", metavar="METHOD", help="in place of the table's own")
    count = next((i for i, text in enumerate(arguments) if text.startswith("-")), len(arguments))
    args, flags = parser.parse_known_args(arguments[count:])
    chosen = list(TABLES) if arguments[:count] == ["all"] else [f"table_{text}" for text in arguments[:count]]
    unknown = [short(name) for name in chosen if name not in TABLES]
    if unknown or not chosen:
        known = ", ".join(map(short, TABLES))
        raise UserError(
            f"results/table.sh: {f'no table {unknown[0]}' if unknown else 'name a table before the flags'}: {known} or all"
        )
    args.pairs = " ".join(args.pairs or []).split()
    args.output = args.output or ROOT / "results" / "runs" / "tables" / args.dataset
    return chosen, args, flags


def runner_calls(
    table: Table,
    dataset: str,
    output: Path,
    pairs: list[str],
    *,
    real: int | None,
    methods: list[str],
    flags: list[str],
) -> list[list[str]]:
    """The arguments of runner.sh, once for each column of a table and each prompt type in its rows.

    `real` is the number of real images, None where it is train.py's own. Raises `UserError` where nothing names a pair, or
    the number that a fraction is taken of.
    """
    calls = []
    toy = dataset == "toy"
    real = real or (TOY_SIZE if toy else None)
    for pair in pairs or own_pairs(table, dataset):
        for fraction in table.fractions:
            number = int(fraction) * whole_size(dataset, real) // 100 if fraction else real
            for prompt_type, own in by_prompt_type(methods or table.methods).items():
                call = ["--dataset", dataset, "--target-sensitive", pair]
                call += ["--output", str(output / (f"{pair}{FRACTION}{fraction}" if fraction else pair))]
                if toy:
                    call += ["--images-per-cell", str(TOY_IMAGES_OF_PROMPT_TYPES if prompt_type else TOY_IMAGES)]
                call += ["--methods", *own]
                call += ["--generation-prompt-type", prompt_type] if prompt_type else []
                call += ["--number-train-data-real", str(number)] if number else []
                calls.append([*call, *(TOY if toy else []), *flags])
    return calls


def own_pairs(table: Table, dataset: str) -> list[str]:
    """The pairs of the table's columns that the data set has; where it has none of them, its own.

    Raises `UserError` where it has no pairs of its own.
    """
    known = getattr(DATASETS[dataset], "PAIRS", ())
    if not known:
        raise UserError(f"--dataset {dataset} has no pairs of its own: name them with --pairs")
    return [pair for pair in table.pairs if pair in known] or list(known)


def whole_size(dataset: str, real: int | None) -> int:
    """The number of real images that a fraction is taken of. Raises `UserError` where the paper has none for the data set."""
    size = real or getattr(DATASETS[dataset], "PAPER_SIZE", None)
    if not size:
        raise UserError(f"--dataset {dataset}: say with --number-train-data-real of how many images to take a fraction")
    return size


def by_prompt_type(methods: list[str]) -> dict[str, list[str]]:
    """The methods by the prompt type that they name, whose images a run of their own generates; "" where they name none."""
    found = {}
    for method in methods:
        found.setdefault(method.partition("prompt-type=")[2].partition(",")[0], []).append(method)
    return found


def dry_run(calls: list[list[str]]) -> str:
    """Check what the calls of runner.sh ask for; returns what they cost together, what several of them need once."""
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows"
        rows.touch()
        for call in calls:
            run([*call, "--cost-rows", str(rows)])
        return cost_table(read_rows(rows)) if rows.stat().st_size else "nothing estimated"


def run(call: list[str]) -> None:
    """Run runner.sh; if it fails, leave with its status."""
    if status := run_child(["bash", ROOT / "runner.sh", *call]).returncode:
        sys.exit(status)


def short(name: str) -> str:
    """How the command line calls a table: 3 for table_3."""
    return name.removeprefix("table_")


if __name__ == "__main__":
    command_line(main)
