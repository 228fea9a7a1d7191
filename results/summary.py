"""The summary over seeds, made from the records alone.

python -m results.summary --runs DIR
"""

import argparse
from pathlib import Path

import numpy as np

from utils.errors import UserError, command_line
from utils.files import write_whole
from utils.metrics import hardly_learned
from utils.records import read_record

MANY = 5  # methods beyond which a terminal is too narrow for a column each
NOTE = (
    "Percent, test split, mean ± sample standard deviation over n seeds. Groups are target_protected. WST: worst-group "
    "accuracy; STD: population standard deviation of the group accuracies; both of the mean group accuracies, as in "
    "the paper's tables, and as the mean of the seeds' own values. EO max: equalized odds as max(|TPR gap|, |FPR gap|), "
    "as in the paper's tables; EO mean: the mean of the two gaps, as the paper's published code prints."
)


def write_summary(runs: Path) -> str:
    """Write `summary.md` from the records under `runs`; returns it as text for a terminal."""
    by_method = read_metrics(runs)
    groups = list(next(iter(by_method.values()))[0]["group_accuracy"])
    if any(list(m["group_accuracy"]) != groups for metrics in by_method.values() for m in metrics):
        raise UserError(f"{runs}: the records are of different groups; keep each pair's in a folder of its own")
    columns = headings(groups)
    rows = [summary_row(method, metrics) for method, metrics in by_method.items()]
    markdown = [_markdown(columns), _markdown(["---"] * len(columns)), *map(_markdown, rows)]
    said = erm_warning(by_method.get("erm", []))
    write_whole(runs / "summary.md", "\n".join([*markdown, "", *([f"**{said}**", ""] if said else []), NOTE]) + "\n")
    return as_text(columns, rows) + (f"\n{said}" if said else "")


def erm_warning(metrics: list[dict]) -> str:
    """A sentence where ERM, by the metrics of its seeds, has hardly learned its task; "" where it has, or has no record."""
    if not metrics or "group_count" not in metrics[0]:
        return ""
    return hardly_learned(float(np.mean([m["accuracy"] for m in metrics])), metrics[0]["group_count"])


def read_metrics(runs: Path) -> dict[str, list[dict]]:
    """The test metrics of every record under `runs`, by method (erm first) and in the order of the seeds.

    Raises `UserError` where there is none or one is damaged.
    """
    records = [read_record(path.parent) for path in runs.glob("*/seed_*/metrics.json")]
    if not records:
        raise UserError(f"no record (*/seed_*/metrics.json) in {runs}")
    records.sort(key=lambda record: (record["method"] != "erm", record["method"], record["seed"]))
    methods = dict.fromkeys(record["method"] for record in records)
    return {method: [record["metrics"] for record in records if record["method"] == method] for method in methods}


def headings(groups: list[str]) -> list[str]:
    """The headings of the summary for records of these groups."""
    spread = ("WST of means", "mean of WST", "STD of means", "mean of STD", "EO max", "EO mean")
    return ["Method", "n", "ACC", *(f"acc {group}" for group in groups), *spread]


def summary_row(method: str, metrics: list[dict]) -> list[str]:
    """The cells of a method's row, as text, from the metrics of its seeds."""
    groups = np.array([list(m["group_accuracy"].values()) for m in metrics])  # (n, groups)
    mean_groups = groups.mean(axis=0)
    return [
        method,
        str(len(metrics)),
        _spread([m["accuracy"] for m in metrics]),
        *(_spread(column) for column in groups.T),
        _percent(mean_groups.min()),
        _spread(groups.min(axis=1)),
        _percent(mean_groups.std()),
        _spread(groups.std(axis=1)),
        _spread([m["equalized_odds"] for m in metrics]),
        _spread([m["equalized_odds_mean"] for m in metrics]),
    ]


def as_text(columns: list[str], rows: list[list[str]]) -> str:
    """The summary for a terminal: a line each metric, or, of many methods, a line each with the metrics of the paper's tables."""
    if len(rows) <= MANY:
        lines = list(zip(columns, *rows, strict=True))
    else:
        shown = [columns.index(name) for name in ("Method", "n", "ACC", "WST of means", "EO max", "STD of means")]
        lines = [[line[i] for i in shown] for line in (columns, *rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def _markdown(cells) -> str:
    return "| " + " | ".join(cells) + " |"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2f}"


def _spread(fractions) -> str:
    if len(fractions) < 2:
        return _percent(fractions[0])
    return f"{_percent(np.mean(fractions))} ± {_percent(np.std(fractions, ddof=1))}"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="folder with <method>/seed_<n>/metrics.json")
    print(write_summary(parser.parse_args().runs))


if __name__ == "__main__":
    command_line(main)
