"""The choice of settings: what the rule saw of each candidate, and what became of the candidates on the test set."""

import pandas as pd

from results.records import RunSet, choice_of
from results.report.charts import Axes, Chart, padded
from results.report.drawings import PANELS, WIDTH, label_of
from utils.records import Record

BIASED = "erm"


def choice_charts(runs: RunSet) -> list[Chart]:
    """Return two charts for each run that chose among candidates, of the first runs; none if there are no such runs."""
    charts = []
    found = [(record, choice_of(runs, record)) for record in runs.records]
    for number, (record, table) in enumerate([each for each in found if len(each[1])][: PANELS // 2]):
        charts += [_seen(table, record, number), _tested(table, record, runs, number)]
    return charts


def chosen_rows(runs: RunSet) -> list[list[str]]:
    """Return what each run chose, as rows of text, the heading first; only the heading if none did."""
    rows = [["", "candidate", "step"]]
    for record in runs.records:
        if found := record.content.get("chosen"):
            name = f"{label_of(record.method)}, seed {record.seed}"
            rows.append([name, label_of(found["candidate"]), f"{found['step']:g}"])
    return rows


def _seen(table: pd.DataFrame, record: Record, number: int) -> Chart:
    """Draw every candidate as the rule saw it, a line for the steps towards it."""
    names = [f"{label_of(name)}, step {step:g}" for name, step in zip(table["candidate"], table["step"], strict=True)]
    points = [
        (100 * odds, 100 * accuracy) for odds, accuracy in zip(table["held_out_equalized_odds"], table["val_accuracy"])
    ]
    title = f"{label_of(record.method)}, seed {record.seed}: what the rule saw"
    chart, axes = _empty(
        f"choice-{number}", title, points, ("accuracy on val (%)", "equalized odds, held-out images (%)")
    )
    biased = [place for place, name in zip(points, table["candidate"], strict=True) if name == BIASED]
    for _, steps in table[table["candidate"] != BIASED].groupby("candidate", sort=False):
        way = [(axes.x(x), axes.y(y)) for x, y in [*biased, *(points[i] for i in steps.index)]]
        chart.path(way, "curve thin one")
    on_top = table.assign(biased=table["candidate"] == BIASED).sort_values(["chosen", "biased"], kind="stable").index
    for i in on_top:
        _mark(chart, axes, points[i], names[i], table.loc[i, "candidate"], table.loc[i, "chosen"])
    chart.rows = [["candidate", "accuracy on val", "equalized odds, held out", ""]]
    for (odds, accuracy), name, chosen in zip(points, names, table["chosen"], strict=True):
        chart.rows.append([name, f"{accuracy:.1f}", f"{odds:.1f}", "chosen" if chosen else ""])
    return chart


def _tested(table: pd.DataFrame, record: Record, runs: RunSet, number: int) -> Chart:
    """Draw the recorded candidates, and what was taken, on the test set."""
    found = {name: runs.runs(name).get(record.seed) for name in table["candidate"].unique()} | {record.method: record}
    found = {name: each.metrics for name, each in found.items() if each}
    points = {name: (100 * metrics.equalized_odds, 100 * metrics.accuracy) for name, metrics in found.items()}
    title = f"{label_of(record.method)}, seed {record.seed}: what came of it"
    chart, axes = _empty(
        f"chosen-{number}", title, list(points.values()), ("accuracy on test (%)", "equalized odds, test (%)")
    )
    for name in sorted(points, key=lambda name: (name == record.method, name == BIASED)):
        _mark(chart, axes, points[name], label_of(name), name, name == record.method)
    chart.rows = [["candidate", "accuracy on test", "equalized odds, test"]]
    chart.rows += [[label_of(name), f"{accuracy:.1f}", f"{odds:.1f}"] for name, (odds, accuracy) in points.items()]
    return chart


def _empty(key: str, title: str, points: list[tuple], labels: tuple[str, str]) -> tuple[Chart, Axes]:
    """Return a chart with axes for points of (equalized odds, accuracy) in percent."""
    said = (
        f"{len(points)} points; up and to the left is better. The square is the biased model, the star what was taken."
    )
    chart = Chart(key, title, said, WIDTH, 300)
    ranges = [padded([point[i] for point in points], least=4) for i in (0, 1)]
    axes = Axes(48, 14, WIDTH - 62, 240, (max(ranges[0][0], -2.0), ranges[0][1]), ranges[1])
    axes.grid_y(chart, labels[0])
    axes.grid_x(chart, labels[1])
    return chart, axes


def _mark(chart: Chart, axes: Axes, place: tuple, name: str, candidate: str, chosen: bool) -> None:
    shape, kind = ("star", "one") if chosen else ("square", "ink") if candidate == BIASED else ("circle", "grey")
    tip = f"{name}: accuracy {place[1]:.1f} %, equalized odds {place[0]:.1f} %"
    chart.mark((axes.x(place[0]), axes.y(place[1])), shape, kind, tip, scale=1.5 if chosen else 0.8)
