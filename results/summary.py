"""The summary over seeds, made from the records alone.

python -m results.summary --runs DIR
python -m results.summary --runs DIR --metrics all     a second table, and metrics.csv with every seed's values
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from results.remarks import erm_warning, remarks
from results.text import as_table, mean_and_deviation, shown
from utils.errors import UserError, command_line
from utils.files import write_whole
from utils.metrics import classes_of
from utils.records import Record, read_records
from utils.same_settings import check_alike

MANY = 5  # methods beyond which a terminal is too narrow for a column each
NOTE = (
    "Percent, test split, mean ± sample standard deviation over n seeds. Groups are target_protected. WST: worst-group "
    "accuracy; STD: population standard deviation of the group accuracies; both of the mean group accuracies, as in "
    "the paper's tables, and as the mean of the seeds' own values. EO max: equalized odds as max(|TPR gap|, |FPR gap|), "
    "as in the paper's tables; EO mean: the mean of the two gaps, as the paper's published code prints."
)
MORE_NOTE = (
    "Percent, test split, mean ± sample standard deviation over n seeds; ACC to EO mean as above, but each seed's own "
    "value. BA: balanced accuracy; DP: demographic parity difference; EOpp: equal opportunity difference, the gap in "
    "TPR, both the largest between any two protected groups; ECE: expected calibration error, 15 equal-width bins of the "
    "confidence in the predicted class; AUROC: of all images and of each protected group."
)
SECOND_ROW = (
    "A method's second row is at the threshold (a probability) that gives the best balanced accuracy on val, chosen for each seed "
    "without protected labels. ECE and AUROC do not depend on it. – : undefined, or no val logits."
)


OF_MORE_TARGETS = (
    "Of more than two targets, the equalized odds difference is the largest gap of a target's accuracy between two protected groups, "
    "AUROC is the mean of each target against all others, and DP, EOpp and a threshold are undefined."
)


def write_summary(output: Path, metrics: str = "usual") -> str:
    """Write `summary.md` from the records in `output`; return it as text for a terminal.

    With `metrics` "all" it has a second table, and `metrics.csv` beside it has a line for each method, seed and metric, in
    percent: see `results.more_metrics`. That reads the recorded logits.

    Raises UserError if there is no record, or one is damaged, of other groups, or made with other settings.
    """
    records = read_records(output)
    if not records:
        raise UserError(f"no record (*/seed_*/metrics.json) in {output}")
    check_alike(records)
    records = sorted(records.values(), key=lambda record: record.method != "erm")
    groups = list(records[0].metrics.group_accuracy)
    if any(list(record.metrics.group_accuracy) != groups for record in records):
        raise UserError(f"{output}: the records are of different groups; keep each pair's in a folder of its own")
    methods = {}
    for record in records:
        methods.setdefault(record.method, []).append(record)
    rows = [headings(groups), *(summary_row(method, found) for method, found in methods.items())]
    said = [f"{method}: {'; '.join(told)}." for method, found in methods.items() if (told := remarks(found))]
    said += [text for text in [erm_warning(methods.get("erm", []))] if text]
    lines = [*as_table(rows), "", *(line for text in said for line in (f"**{text}**", "")), NOTE]
    lines += [] if classes_of(groups) == 2 or metrics == "all" else ["", OF_MORE_TARGETS]
    lines += _write_more(output, records) if metrics == "all" else []
    write_whole(output / "summary.md", "\n".join(lines) + "\n")
    return "\n".join([as_text(rows), *said])


def headings(groups: Sequence[str]) -> list[str]:
    """Return the headings of the summary for records of these groups."""
    spread = ("WST of means", "mean of WST", "STD of means", "mean of STD", "EO max", "EO mean")
    return ["Method", "n", "ACC", *(f"acc {group}" for group in groups), *spread]


def summary_row(name: str, records: Sequence[Record]) -> list[str]:
    """Return the cells of a method's row, as text, from the records of its seeds."""
    metrics = [record.metrics for record in records]
    groups = np.array([list(m.group_accuracy.values()) for m in metrics])  # (seeds, groups)
    means = groups.mean(axis=0)
    spreads = [
        *([m.accuracy for m in metrics], *groups.T, [means.min()], groups.min(axis=1), [means.std()]),
        *(groups.std(axis=1), [m.equalized_odds for m in metrics], [m.equalized_odds_mean for m in metrics]),
    ]
    return [name, str(len(metrics)), *(shown(mean_and_deviation(values)) for values in spreads)]


def _write_more(output: Path, records: list[Record]) -> list[str]:
    """Write `metrics.csv`; return the lines of the second table and what is to be said of it."""
    from results.more_metrics import all_scores  # scikit-learn and fairlearn take a second to load

    scores, binary = all_scores(records), classes_of(records[0].metrics.group_accuracy) == 2
    percent = scores.assign(**{key: 100 * scores[key] for key in ("value", "at_chosen_threshold")})
    write_whole(output / "metrics.csv", percent.to_csv(index=False, float_format="%.4f", lineterminator="\n"))
    rows, said = [["Method", "n", *scores["metric"].unique()]], []
    for method, found in scores.groupby("method", sort=False):
        usual, chosen = (
            found.pivot(index="seed", columns="metric", values=key)[rows[0][2:]]
            for key in ("value", "at_chosen_threshold")
        )
        has_val = chosen["threshold"].notna()
        second = () if not binary else ((f"{method}, threshold from val", chosen[has_val]),)
        for name, values in ((method, usual), *second):
            defined = [len(values) and values[metric].notna().all() for metric in values]
            cells = (shown(mean_and_deviation(values[m]) if good else None) for m, good in zip(values, defined))
            rows.append([name, str(len(values)), *cells])
        if binary and not has_val.all():
            said.append(f"{method} seed {', '.join(map(str, chosen.index[~has_val]))}")
    lines = ["", *as_table(rows), ""]
    if said:
        lines += [
            f"**No threshold from val for {'; '.join(said)}: older records lack val_predictions.csv, which a new run "
            "into another --output writes, or val has one class.**",
            "",
        ]
    return [*lines, f"{MORE_NOTE} {SECOND_ROW}" if binary else f"{MORE_NOTE} {OF_MORE_TARGETS}"]


def as_text(rows: list[list[str]]) -> str:
    """Return the summary for a terminal: a line for each metric, or, of many methods, a line for each with the paper's metrics."""
    if len(rows) - 1 <= MANY:
        lines = list(zip(*rows, strict=True))
    else:
        kept = [rows[0].index(name) for name in ("Method", "n", "ACC", "WST of means", "EO max", "STD of means")]
        lines = [[row[place] for place in kept] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def main() -> None:
    """Read the command line and write the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="folder with <method>/seed_<n>/metrics.json")
    parser.add_argument("--metrics", choices=("usual", "all"), default="usual", help="all: also from the logits")
    args = parser.parse_args()
    print(write_summary(args.runs, args.metrics))
    if args.metrics == "all":
        print(f"the second table: {args.runs / 'summary.md'}; each seed's values: {args.runs / 'metrics.csv'}")


if __name__ == "__main__":
    command_line(main)
