"""The summary over seeds, made from the records alone.

python -m results.summary --runs DIR
python -m results.summary --runs DIR --metrics all     a second table, and metrics.csv with every seed's values
"""

import argparse
from pathlib import Path

import numpy as np

from results.remarks import remarks, sentence
from utils.errors import UserError, command_line
from utils.files import write_whole
from utils.metrics import hardly_biased, hardly_learned
from utils.records import check_alike, check_once, read_record

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
    "confidence in the predicted class; AUROC: of all images and of each protected group. A method's second row is at "
    "the threshold (a probability) that gives the best balanced accuracy on val, chosen for each seed without protected "
    "labels. ECE and AUROC do not depend on it. – : undefined, or no val logits."
)
UNDEFINED = "–"


def write_summary(runs: Path, metrics: str = "usual") -> str:
    """Write `summary.md` from the records under `runs`; returns it as text for a terminal.

    With `metrics` "all" it has a second table, and `metrics.csv` beside it a line for each method, seed and metric, in
    percent: see `results.more_metrics`. That reads the recorded logits.
    """
    records = read_records(runs)
    by_method = by_methods(records)
    groups = list(next(iter(by_method.values()))[0]["group_accuracy"])
    if any(list(m["group_accuracy"]) != groups for found in by_method.values() for m in found):
        raise UserError(f"{runs}: the records are of different groups; keep each pair's in a folder of its own")
    columns = headings(groups)
    rows = [summary_row(method, found) for method, found in by_method.items()]
    runs_of = {method: [r for r in records.values() if r["method"] == method] for method in by_method}
    said = [sentence(method, remarks(found)) for method, found in runs_of.items()]
    said = [text for text in (*said, erm_warning(by_method.get("erm", []))) if text]
    lines = [*_table(columns, rows), "", *(line for text in said for line in (f"**{text}**", "")), NOTE]
    lines += _write_more(runs, records) if metrics == "all" else []
    write_whole(runs / "summary.md", "\n".join(lines) + "\n")
    return "\n".join([as_text(columns, rows), *said])


def erm_warning(metrics: list[dict], consequence: str = "") -> str:
    """A sentence if ERM, by the metrics of its seeds, has hardly learned its task, and the `consequence`; or if it is hardly biased.

    Else, or without records of ERM, "".
    """
    learned = not_learned(metrics)
    return learned + consequence if learned else not_biased(metrics)


def not_learned(metrics: list[dict]) -> str:
    """`utils.metrics.hardly_learned` of the mean over ERM's seeds; "" without their counts."""
    if not metrics or "group_count" not in metrics[0]:
        return ""
    return hardly_learned(float(np.mean([m["accuracy"] for m in metrics])), metrics[0]["group_count"])


def not_biased(metrics: list[dict]) -> str:
    """`utils.metrics.hardly_biased` of the means over ERM's seeds; "" without their counts."""
    if not metrics or "group_count" not in metrics[0]:
        return ""
    counts = metrics[0]["group_count"]
    groups = {name: float(np.mean([m["group_accuracy"][name] for m in metrics])) for name in counts}
    return hardly_biased(float(np.mean([m["equalized_odds"] for m in metrics])), groups, counts)


def read_records(runs: Path) -> dict[Path, dict]:
    """Every record under `runs` by its folder, erm first, then by method, in the order of the seeds.

    Raises `UserError` if there is none, one is damaged, a run is there twice, or two of one method were made with different
    settings.
    """
    records = {path.parent: read_record(path.parent) for path in runs.glob("*/seed_*/metrics.json")}
    if not records:
        raise UserError(f"no record (*/seed_*/metrics.json) in {runs}")
    records = dict(
        sorted(records.items(), key=lambda item: (item[1]["method"] != "erm", item[1]["method"], item[1]["seed"]))
    )
    check_once(records)
    check_alike(records)
    return records


def by_methods(records: dict[Path, dict]) -> dict[str, list[dict]]:
    """The test metrics of the records of each method, in their order."""
    methods = dict.fromkeys(record["method"] for record in records.values())
    return {method: [r["metrics"] for r in records.values() if r["method"] == method] for method in methods}


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


def _write_more(runs: Path, records: dict[Path, dict]) -> list[str]:
    """Write `metrics.csv`; returns the lines of the second table and what is to be said of it."""
    from results.more_metrics import all_scores  # scikit-learn and fairlearn take a second to load

    scores = all_scores(records)
    percent = scores.assign(**{key: 100 * scores[key] for key in ("value", "at_chosen_threshold")})
    write_whole(runs / "metrics.csv", percent.to_csv(index=False, float_format="%.4f", lineterminator="\n"))
    metrics = list(dict.fromkeys(scores["metric"]))
    rows, said = [], []
    for method, found in scores.groupby("method", sort=False):
        usual, chosen = (found[key].to_numpy().reshape(-1, len(metrics)) for key in ("value", "at_chosen_threshold"))
        has_val = ~np.isnan(chosen[:, 0])  # the threshold itself
        rows += [_more_row(method, usual), _more_row(f"{method}, threshold from val", chosen[has_val])]
        if not has_val.all():
            seeds = found["seed"].to_numpy().reshape(-1, len(metrics))[~has_val, 0]
            said.append(f"{method} seed {', '.join(map(str, seeds))}")
    lines = ["", *_table(["Method", "n", *metrics], rows), ""]
    if said:
        lines += [
            f"**No threshold from val for {'; '.join(said)}: older records lack val_predictions.csv, which a new run "
            "into another --output writes, or val has one class.**",
            "",
        ]
    return [*lines, MORE_NOTE]


def _more_row(name: str, values: np.ndarray) -> list[str]:
    """A row of the second table from `values`, (seeds, metrics); undefined is what is so for any seed."""
    defined = [len(column) and not np.isnan(column).any() for column in values.T]
    return [name, str(len(values)), *(_spread(v) if good else UNDEFINED for v, good in zip(values.T, defined))]


def as_text(columns: list[str], rows: list[list[str]]) -> str:
    """The summary for a terminal: a line each metric, or, of many methods, a line each with the metrics of the paper's tables."""
    if len(rows) <= MANY:
        lines = list(zip(columns, *rows, strict=True))
    else:
        shown = [columns.index(name) for name in ("Method", "n", "ACC", "WST of means", "EO max", "STD of means")]
        lines = [[line[i] for i in shown] for line in (columns, *rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def _table(columns: list[str], rows: list[list[str]]) -> list[str]:
    return [_markdown(columns), _markdown(["---"] * len(columns)), *map(_markdown, rows)]


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
    parser.add_argument("--metrics", choices=("usual", "all"), default="usual", help="all: also from the logits")
    args = parser.parse_args()
    print(write_summary(args.runs, args.metrics))
    if args.metrics == "all":
        print(f"the second table: {args.runs / 'summary.md'}; each seed's values: {args.runs / 'metrics.csv'}")


if __name__ == "__main__":
    command_line(main)
