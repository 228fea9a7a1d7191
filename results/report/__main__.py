"""A report of a run as one HTML file, made from its records: it opens in any browser, without a network.

    python -m results.report --runs results/runs/toy/train/Smiling_Male
    python -m results.report --runs DIR --synthetic DIR --real DIR     with sheets of the faces

--runs holds <method>/seed_<n>/metrics.json, as train.py writes them, or the same packed by results.columns. The same
records and images give the same bytes.
"""

import argparse
from pathlib import Path

from results.records import read_run_set
from results.report.page import Pictures, check_output, make_page
from utils.errors import UserError, command_line
from utils.files import write_whole


def main() -> None:
    """Read the command line and write the report."""
    parser = argparse.ArgumentParser(
        prog="python -m results.report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, required=True, help="folder of the records")
    parser.add_argument("--output", type=Path, help="the file (default: report.html in --runs)")
    parser.add_argument(
        "--synthetic", type=Path, help="the --synthetic-data-root of the run, for a sheet of each group's images"
    )
    parser.add_argument("--real", type=Path, help="its --real-data-path, for a sheet of each group's test images")
    parser.add_argument(
        "--show-real",
        action="store_true",
        help="show real faces of data other than toy and csv too: CelebA's may not be passed on, and then nor may the report",
    )
    parser.add_argument(
        "--command",
        default="",
        help="the command that made the runs, as it was typed; the page shows it above those in the records (runner.sh gives its own)",
    )
    parser.add_argument(
        "--cards", action="store_true", help="also write a model card for every run (python -m results.card)"
    )
    args = parser.parse_args()
    output = args.output or args.runs / "report.html"
    check_output(output)
    if not args.runs.is_dir():
        raise UserError(f"--runs {args.runs}: no such folder; give the --output of train.py")
    pictures = Pictures(args.synthetic, args.real, args.show_real)
    write_whole(output, make_page(read_run_set(args.runs), pictures, args.command))
    print(f"report: {output} ({output.stat().st_size / 1e6:.1f} MB)")
    if args.cards:
        from results.card import write_cards

        print(write_cards(args.runs))


if __name__ == "__main__":
    command_line(main)
