"""The charts of the report, each from a set of runs, with its numbers as a table."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from results.entries import Entry
from results.figure_data import family, group_values
from results.records import RunSet
from results.report.charts import MANY_GROUPS, Axes, Chart, key, padded, place_labels
from results.report.many_groups import many_groups_chart
from results.rows import row_of
from results.text import MISSING, shown, shown_seeds

WIDTH = 420  # about a phone's, so that text keeps its size there
SHAPE_OF = {  # by family of `results.figures`: shape, class
    "ERM": ("square", "ink"),
    "AIM-Fair": ("star", "one"),
    "AIM-Fair, other options": ("star", "one hollow"),
    "fine-tuned on synthetic images": ("triangle", "grey"),
    "with synthetic images": ("circle", "two"),
    "on real images alone": ("cross", "ink stroke"),
}
MANY = 12  # rows beyond which intervals would hide the points
PANELS = 6  # training curves shown
NAMES = {"erm": "ERM", "aim-fair": "AIM-Fair"}


def label_of(method: str, said: Iterable[str] = ()) -> str:
    """Return a method's name in the report, with what is `said` of its runs (`results.remarks`)."""
    said = "; ".join(said)
    return NAMES.get(method, method) + (f" ({said})" if said else "")


def quoted(method: str) -> str:
    """Return a method's name in a sentence."""
    return NAMES.get(method, f"“{method}”")


def groups_chart(runs: RunSet, method: str, words: dict[str, str]) -> Chart:
    """Draw the accuracy of each group before (ERM) and after (`method`), with the standard deviation over seeds.

    `words` has each group in words. Many groups have a row each in place of bars.
    """
    if len(runs.groups) > MANY_GROUPS:
        return many_groups_chart(runs, method, words, label_of(method), WIDTH)
    values = [group_values(runs, part) for part in ("erm", method)]  # (seeds, groups) each
    means = zip(runs.groups, *(part.mean(axis=0) for part in values))
    said = "; ".join(f"{words[name]}: {before:.1f} % before, {after:.1f} % after" for name, before, after in means)
    chart = Chart("groups", "Accuracy of each group, before and after", said, WIDTH, 312)
    axes = Axes(48, 46, WIDTH - 60, 214, (-0.5, len(runs.groups) - 0.5), (0, 100))
    axes.grid_y(chart, "accuracy on test (%)")
    bar = min(34, axes.width / len(runs.groups) * 0.36)
    chart.rows = [["group", "ERM", label_of(method)]]
    for i, name in enumerate(runs.groups):
        for part, label, kind, side in zip(values, chart.rows[0][1:], ("before", "after"), (-bar - 1, 1)):
            tip = f"{label}, {words[name]}: {shown_seeds(part[:, i])} %"
            _draw_bar(chart, axes, axes.x(i) + side, bar, part[:, i], kind=f"bar {kind}", tip=tip)
        chart.write((axes.x(i), axes.bottom + 17), name, "label", "middle")
        chart.rows.append([f"{name}: {words[name]}", *(shown_seeds(part[:, i]) for part in values)])
    legend = "group, target_protected; whiskers: ± sd of seeds"
    chart.write((axes.left + axes.width / 2, axes.bottom + 40), legend, "label", "middle")
    key(chart, [("rect", "bar before", "ERM"), ("rect", "bar after", label_of(method))], axes.left, 16)
    return chart


def _draw_bar(chart: Chart, axes: Axes, left: float, width: float, values: np.ndarray, *, kind: str, tip: str) -> None:
    """Draw a bar as high as the mean of values over seeds, with the mean above it and a whisker for their spread."""
    average, spread = values.mean(), values.std(ddof=1) if len(values) > 1 else 0.0
    chart.box((left, axes.y(average)), (width, axes.bottom - axes.y(average)), kind, tip)
    middle, low, high = left + width / 2, max(average - spread, 0), min(average + spread, 100)
    if spread:
        chart.line((middle, axes.y(low)), (middle, axes.y(high)), "whisker")
    chart.write((middle, axes.y(high) - 5), f"{average:.0f}", "tick", "middle")


def odds_chart(runs: RunSet, entries: list[Entry]) -> Chart:
    """Draw accuracy against equalized odds of all rows; whiskers are the intervals of their differences to ERM."""
    points = {e.row: (e.ours["EO"][0], e.ours["ACC"][0]) for e in entries}
    erm = points.get("erm")
    whiskers = _whiskers(entries, erm) if erm and len(entries) <= MANY else {}
    ends = [[p[i] for p in points.values()] + [v for w in whiskers.values() for v in w[i]] for i in (0, 1)]
    ranges = [padded(values, least=4) for values in ends]
    ranges[0] = max(ranges[0][0], -2.0), ranges[0][1]
    said = f"{len(points)} methods; up and to the left is better."
    if best := min((entry.row for entry in entries if entry.may_be_best), key=lambda row: points[row][0], default=""):
        said += f" Lowest equalized odds: {label_of(best)}, {points[best][0]:.1f} % at an accuracy of {points[best][1]:.1f} %."
    said += f" ERM: {erm[0]:.1f} % at {erm[1]:.1f} %." if erm else ""
    chart = Chart("odds", "Accuracy against equalized odds", said, WIDTH, 330)
    axes = Axes(48, 14, WIDTH - 62, 270, *ranges)
    axes.grid_y(chart, "accuracy on test (%)")
    axes.grid_x(chart, "equalized odds, larger gap (%)")
    if erm:
        chart.line((axes.x(erm[0]), axes.top), (axes.x(erm[0]), axes.bottom), "reference")
        chart.line((axes.left, axes.y(erm[1])), (axes.right, axes.y(erm[1])), "reference")
    for row, (of_odds, of_accuracy) in whiskers.items():
        x, y = axes.x(points[row][0]), axes.y(points[row][1])
        low, high = (axes.x(max(value, ranges[0][0])) for value in of_odds)
        kind = "whisker" if row in NAMES else "whisker soft"
        chart.line((low, y), (high, y), kind)
        chart.line((x, axes.y(of_accuracy[0])), (x, axes.y(of_accuracy[1])), kind)
    _draw_points(chart, axes, points, {row: SHAPE_OF[_family(runs, row)] for row in points})
    return chart


def _whiskers(entries: list[Entry], erm: tuple[float, float]) -> dict[str, list[tuple[float, float]]]:
    """Return the ends of each row's intervals, laid off from ERM's place: (low, high) of equalized odds, then of accuracy."""
    return {
        entry.row: [
            (start + low, start + high) for start, (_, low, high) in zip(erm, (entry.change["EO"], entry.change["ACC"]))
        ]
        for entry in entries
        if {"EO", "ACC"} <= entry.change.keys()
    }


def _draw_points(chart: Chart, axes: Axes, points: dict[str, tuple], shapes: dict[str, tuple]) -> None:
    """Draw a mark for each row, and its name if there is room; what the others are compared with lies on top."""
    rows = sorted(points, key=lambda row: row in NAMES)
    places = {row: (axes.x(points[row][0]), axes.y(points[row][1])) for row in rows}
    for row in rows:
        tip = f"{label_of(row)}: accuracy {points[row][1]:.1f} %, equalized odds {points[row][0]:.1f} %"
        chart.mark(places[row], *shapes[row], tip, scale=1.3 if row in NAMES else 1)
    rows.reverse()  # those are named first
    free = place_labels([places[row] for row in rows], [label_of(row) for row in rows], axes)
    for row, place in zip(rows, free, strict=True):
        if place:
            chart.write(place[:2], label_of(row), "name strong" if row in NAMES else "name", place[2])


def families_key(runs: RunSet, entries: list[Entry]) -> list[Chart]:
    """Return a small drawing of each shape in `odds_chart`, with its meaning as the title."""
    there, keys = {_family(runs, entry.row) for entry in entries}, []
    for name in (name for name in SHAPE_OF if name in there):
        keys.append(Chart(f"key-{len(keys)}", name, "", 16, 16))
        keys[-1].mark((8, 8), *SHAPE_OF[name])
    return keys


def curve_charts(runs: RunSet, methods: list[str]) -> list[Chart]:
    """Draw accuracy on real val in each epoch, a chart for each of the first methods: a line a seed, their mean on top."""
    found = dict(iter(runs.curves.groupby("method")))
    parts = {method: found[method] for method in [m for m in methods if m in found][:PANELS]}
    low, high = padded([100 * value for part in parts.values() for value in part["val_accuracy"].dropna()], least=10)
    span = max(low, 0), min(high, 100.5)
    return [_curve_chart(part, method, f"curve-{number}", span) for number, (method, part) in enumerate(parts.items())]


def _curve_chart(curves: pd.DataFrame, method: str, name: str, span: tuple[float, float]) -> Chart:
    epochs = 100 * curves.pivot_table(index="epoch", columns="seed", values="val_accuracy")
    average, last = epochs.dropna().mean(axis=1), max(int(epochs.index.max()), 2)  # of the epochs that all seeds have
    said = f"Mean over {epochs.shape[1]} seeds: {average.iloc[-1]:.1f} % after the last epoch"
    if len(average) > 1:
        said += f", {average.iloc[0]:.1f} % after the first, at best {average.max():.1f} %"
    chart = Chart(name, label_of(method), f"{said}.", 300, 210)
    axes = Axes(46, 12, 244, 152, (1 - 0.03 * last, last * 1.03), span)
    axes.grid_y(chart, "accuracy on val (%)")
    axes.grid_x(chart, "epoch", whole=True, lines=False)
    kind = "ink" if method == "erm" else "one"
    for seed in epochs:
        line = [(axes.x(epoch), axes.y(value)) for epoch, value in epochs[seed].dropna().items()]
        chart.path(line, f"curve thin {kind}", f"seed {seed}")
    chart.path([(axes.x(epoch), axes.y(value)) for epoch, value in average.items()], f"curve {kind}", "mean")
    for epoch, value in average.items():
        chart.mark((axes.x(epoch), axes.y(value)), "circle", kind, f"epoch {epoch}: mean {value:.1f} %", scale=0.8)
    chart.rows = [["epoch", *(f"seed {seed}" for seed in epochs), "mean"]]
    for epoch, row in epochs.iterrows():
        numbers = (shown(None if np.isnan(value) else (value, None), 1) for value in row)
        chart.rows.append([str(epoch), *numbers, f"{average[epoch]:.1f}" if epoch in average else MISSING])
    return chart


def _family(runs: RunSet, row: str) -> str:
    return family(runs, next(method for method in runs.methods if row_of(method) == row))
