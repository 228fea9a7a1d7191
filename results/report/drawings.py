"""The charts of the report, each from a column of records, with its numbers as a table."""

from collections.abc import Iterable

import numpy as np

from results.columns import Column
from results.entries import Entry
from results.figures import family
from results.report.charts import Axes, Chart, key, padded, place_labels
from results.rows import without_draw

WIDTH = 420  # about a phone's, so that text keeps its size there
SHAPE_OF = {  # of the families of results.figures: shape, class
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
    """How the report calls a method, with what is `said` of its runs (`results.remarks`)."""
    said = "; ".join(said)
    return NAMES.get(method, method) + (f" ({said})" if said else "")


def quoted(method: str) -> str:
    """How a sentence calls a method."""
    return NAMES.get(method, f"“{method}”")


def groups_chart(column: Column, method: str, words: dict[str, str]) -> Chart:
    """The accuracy of each group before (ERM) and after (`method`), with the standard deviation over seeds.

    `words` says what a group is.
    """
    names = list(column.records[0]["metrics"]["group_accuracy"])
    values = [
        100 * np.array([list(r["metrics"]["group_accuracy"].values()) for r in column.runs(part).values()])
        for part in ("erm", method)
    ]  # (seeds, groups) each
    means = [part.mean(axis=0) for part in values]
    said = "; ".join(f"{words[n]}: {means[0][i]:.1f} % before, {means[1][i]:.1f} % after" for i, n in enumerate(names))
    chart = Chart("groups", "Accuracy of each group, before and after", said, WIDTH, 312)
    axes = Axes(48, 46, WIDTH - 60, 214, (-0.5, len(names) - 0.5), (0, 100))
    axes.grid_y(chart, "accuracy on test (%)")
    bar = min(34, axes.width / len(names) * 0.36)
    chart.rows = [["group", "ERM", label_of(method)]]
    for i, name in enumerate(names):
        for part, label, kind, side in zip(values, chart.rows[0][1:], ("before", "after"), (-bar - 1, 1)):
            tip = f"{label}, {words[name]}: {_with_spread(part[:, i])} %"
            _draw_bar(chart, axes, axes.x(i) + side, bar, part[:, i], kind=f"bar {kind}", tip=tip)
        chart.write((axes.x(i), axes.bottom + 17), name, "label", "middle")
        chart.rows.append([f"{name}: {words[name]}", *(_with_spread(part[:, i]) for part in values)])
    legend = "group, target_protected; whiskers: ± sd of seeds"
    chart.write((axes.left + axes.width / 2, axes.bottom + 40), legend, "label", "middle")
    key(chart, [("rect", "bar before", "ERM"), ("rect", "bar after", label_of(method))], axes.left, 16)
    return chart


def _draw_bar(chart: Chart, axes: Axes, left: float, width: float, values: np.ndarray, *, kind: str, tip: str) -> None:
    """A bar as high as the mean of values over seeds, with the mean above it and a whisker for their spread."""
    average, spread = values.mean(), _spread(values)
    chart.box((left, axes.y(average)), (width, axes.bottom - axes.y(average)), kind, tip)
    middle, low, high = left + width / 2, max(average - spread, 0), min(average + spread, 100)
    if spread:
        chart.line((middle, axes.y(low)), (middle, axes.y(high)), "whisker")
    chart.write((middle, axes.y(high) - 5), f"{average:.0f}", "tick", "middle")


def odds_chart(column: Column, entries: list[Entry]) -> Chart:
    """Accuracy against equalized odds of all rows; whiskers are the intervals of their differences to ERM."""
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
    _draw_points(chart, axes, points, {row: SHAPE_OF[_family(column, row)] for row in points})
    return chart


def _whiskers(entries: list[Entry], erm: tuple) -> dict[str, list[tuple]]:
    """For each row with intervals their ends, laid off from ERM's place: (low, high) of equalized odds, then accuracy."""
    found = {}
    for entry in entries:
        if "EO" in entry.change and "ACC" in entry.change:
            ends = zip(erm, (entry.change["EO"], entry.change["ACC"]))
            found[entry.row] = [(start + low, start + high) for start, (_, low, high) in ends]
    return found


def _draw_points(chart: Chart, axes: Axes, points: dict[str, tuple], shapes: dict[str, tuple]) -> None:
    """A mark for each row, and its name where there is room; what the others are compared with lies on top."""
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


def families_key(column: Column, entries: list[Entry]) -> list[Chart]:
    """A small drawing of each shape in `odds_chart`, with what it stands for as its title."""
    keys = []
    for name, (shape, kind) in SHAPE_OF.items():
        if name in {_family(column, entry.row) for entry in entries}:
            keys.append(Chart(f"key-{len(keys)}", name, "", 16, 16))
            keys[-1].mark((8, 8), shape, kind)
    return keys


def curve_charts(column: Column, methods: list[str]) -> list[Chart]:
    """Accuracy on real val in each epoch, a chart for each of the first methods: a line a seed, their mean on top."""
    shown = [m for m in methods if (column.curves["method"] == m).any()][:PANELS]
    values = 100 * column.curves.loc[column.curves["method"].isin(shown), "val_accuracy"]
    low, high = padded(values.tolist(), least=10)
    span = max(low, 0), min(high, 100.5)
    return [_curve_chart(column, method, f"curve-{number}", span) for number, method in enumerate(shown)]


def _curve_chart(column: Column, method: str, name: str, span: tuple[float, float]) -> Chart:
    part = column.curves[column.curves["method"] == method]
    epochs = 100 * part.pivot_table(index="epoch", columns="seed", values="val_accuracy")
    average, last = epochs.mean(axis=1), max(int(epochs.index.max()), 2)
    said = (
        f"Mean over {epochs.shape[1]} seeds: {average.iloc[0]:.1f} % after the first epoch, {average.iloc[-1]:.1f} % after "
        f"the last, at best {average.max():.1f} %."
    )
    chart = Chart(name, label_of(method), said, 300, 210)
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
    chart.rows += [[str(epoch), *_numbers(row), f"{average[epoch]:.1f}"] for epoch, row in epochs.iterrows()]
    return chart


def _family(column: Column, row: str) -> str:
    return family(column, next(method for method in column.methods if without_draw(method) == row))


def _spread(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def _with_spread(values: np.ndarray) -> str:
    return f"{values.mean():.2f}" + (f" ± {_spread(values):.2f}" if len(values) > 1 else "")


def _numbers(values) -> list[str]:
    return ["–" if np.isnan(value) else f"{value:.1f}" for value in values]
