"""Train the rows of tables of the paper, column by column, and remake all pages.

bash results/table.sh --help        the flags, and what each table costs
"""

import argparse
import sys
import tempfile
from pathlib import Path

from datasets.known import DATASETS, module_of
from results.chosen import AUTO
from results.rows import FRACTION, TABLES, Table
from results.tables import make_pages
from utils.arguments import positive_int
from utils.cost import cost_table, read_rows
from utils.errors import UserError, command_line
from utils.processes import run_child
from utils.records import ROOT, Label

TOY_SIZE = 1200  # biased real images
# What is not here is as in runner.sh, such as the start weights and the crops. There are far fewer images than the paper's, so
# batches are smaller: a network needs a number of steps, above all with a tenth of the real images. A group's toy faces
# are enough for ratio 2 and those held out. Draws depend on how many there are, so all tables make the same.
TOY = (
    f"--synthetic-data-root {ROOT}/results/runs/toy/synthetic_of_tables --scheduler dpmpp --steps 6 --batch-size 16 "
    "--number-balanced-synthetic 300 --number-imbalanced-synthetic 800 --number-held-out-synthetic 200 "
    "--pre-train-epochs 8 --pre-train-lr 0.03 --milestones 7 --fine-tune-epochs 4 --fine-tune-lr 0.02 --precision fp32 --seeds 100 200 300"
).split()
TOY_IMAGES, TOY_IMAGES_OF_PROMPT_TYPES = 800, 400  # to generate of each group


def main() -> None:
    """Run the tables that the command line names and make the pages."""
    calls, output = runner_calls(sys.argv[1:])
    if "--dry-run" in calls[0]:
        print(dry_run(calls))
        return
    for call in calls:
        run(call)
    records = output.resolve().parent
    make_pages(records, records.with_name(f"{records.name}_made"))


def runner_calls(arguments: list[str]) -> tuple[list[list[str]], Path]:
    """Return the arguments of runner.sh for each call that is asked for, and the folder of the records.

    There is a call for each table, column and prompt type in the table's rows. Flags that are not listed here go on to runner.sh.
    Raises UserError if a table is not known, or if nothing names a pair or the number that a fraction is taken of.
    """
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
    parser.add_argument("--settings", choices=("paper", "auto"), default="paper", help="of fine-tuning (paper)")
    count = next((i for i, text in enumerate(arguments) if text.startswith("-")), len(arguments))
    args, flags = parser.parse_known_args(arguments[count:])
    ending = AUTO if args.settings == "auto" else ""
    flags += ["--settings", "auto"] if ending else []
    output = args.output or ROOT / "results" / "runs" / "tables" / f"{args.dataset}{ending}"
    if output.name.endswith(AUTO) != bool(ending):
        raise UserError(f"--output {output}: its name must end in {AUTO} with --settings auto, and only then")
    pairs = " ".join(args.pairs or []).split()
    real = args.real or (TOY_SIZE if args.dataset == "toy" else None)
    calls = [
        [*call_of(args.dataset, pair, fraction, output, methods, real), *flags]
        for table in tables_of(arguments[:count])
        for pair in pairs or own_pairs(table, args.dataset)
        for fraction in table.fractions
        for methods in by_prompt_type(args.methods or table.methods)
    ]
    return calls, output


def tables_of(names: list[str]) -> list[Table]:
    """Return the tables that the command line names. Raises UserError if one is not known, or without a name."""
    known = {short(name): table for name, table in TABLES.items()}
    unknown = [name for name in names if name not in known] if names != ["all"] else []
    if unknown or not names:
        said = f"no table {unknown[0]}" if unknown else "name a table before the flags"
        raise UserError(f"results/table.sh: {said}: {', '.join(known)} or all")
    return list(known.values()) if names == ["all"] else [known[name] for name in names]


def call_of(dataset: str, pair: str, fraction: str, output: Path, methods: list[str], real: int | None) -> list[str]:
    """Return the arguments of runner.sh for methods of one prompt type, less the flags that were given.

    `fraction` is a percentage of the `real` images, "" for all; `real` is None if train.py's own number is meant.
    """
    toy, prompt_type = dataset == "toy", prompt_type_of(methods[0])
    number = int(fraction) * whole_size(dataset, real) // 100 if fraction else real
    call = ["--dataset", dataset, "--target-sensitive", pair]
    call += ["--output", str(output / (f"{pair}{FRACTION}{fraction}" if fraction else pair))]
    call += ["--images-per-cell", str(TOY_IMAGES_OF_PROMPT_TYPES if prompt_type else TOY_IMAGES)] if toy else []
    call += ["--methods", *methods]
    call += ["--generation-prompt-type", prompt_type] if prompt_type else []
    call += ["--number-train-data-real", str(number)] if number else []
    return [*call, *(TOY if toy else [])]


def own_pairs(table: Table, dataset: str) -> list[str]:
    """Return the pairs of the table's columns that the data set has; if it has none of them, its own.

    Raises UserError if it has no pairs of its own.
    """
    known = getattr(module_of(dataset), "PAIRS", ())
    if not known:
        raise UserError(f"--dataset {dataset} has no pairs of its own: name them with --pairs")
    return [pair for pair in table.pairs if pair in known] or list(known)


def whole_size(dataset: str, real: int | None) -> int:
    """Return the number of real images that a fraction is taken of. Raises UserError if the paper has none for the data set."""
    size = real or getattr(module_of(dataset), "PAPER_SIZE", None)
    if not size:
        raise UserError(f"--dataset {dataset}: say with --number-train-data-real of how many images to take a fraction")
    return size


def prompt_type_of(method: str) -> str:
    """Return the prompt type that a method names, "" without one."""
    return Label.of(method).options.get("prompt-type", "")


def by_prompt_type(methods: list[str]) -> list[list[str]]:
    """Return the methods in a list for each prompt type that they name, whose images a call of its own generates."""
    found = {}
    for method in methods:
        found.setdefault(prompt_type_of(method), []).append(method)
    return list(found.values())


def dry_run(calls: list[list[str]]) -> str:
    """Check what the calls of runner.sh ask for; return what they cost together, counting once what several of them need."""
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
    """Return a table's name on the command line: 3 for table_3."""
    return name.removeprefix("table_")


if __name__ == "__main__":
    command_line(main)
