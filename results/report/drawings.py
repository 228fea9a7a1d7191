"""The charts of the report, each from a column of records, with its numbers as a table."""

import numpy as np
import pandas as pd

from models.choice import choose
from results.columns import Column
from results.figures import family, mean, record_k, sweeps_k
from results.report.charts import Axes, Chart, padded, place_labels
from results.rows import without_draw
from results.tables import Entry

WIDTH = 420  # about a phone's, so that text keeps its size there
SHAPE_OF = {  # of the families of results.figures: shape, class
    "ERM": ("square", "ink"),
    "AIM-Fair": ("star", "one"),
    "AIM-Fair, other options": ("star", "one hollow"),
    "fine-tuned on synthetic images": ("triangle", "grey"),
    "with synthetic images": ("circle", "two"),
    "on real images alone": ("cross", "ink"),
}
MANY = 12  # rows beyond which intervals would hide the points
PANELS = 6  # training curves shown
NAMES = {"erm": "ERM", "aim-fair": "AIM-Fair"}


def label_of(method: str) -> str:
    """How the report calls a method."""
    return NAMES.get(method, method)


def groups_chart(column: Column, method: str, words: dict[str, str]) -> Chart:
    """The accuracy of each group before (ERM) and after (`method`), with the standard deviation over seeds.

    `words` says what a group is.
    """
    names, parts = list(column.records[0]["metrics"]["group_accuracy"]), ("erm", method)
    values = {
        part: 100 * np.array([list(r["metrics"]["group_accuracy"].values()) for r in column.runs(part).values()])
        for part in parts
    }
    said = "; ".join(
        f"{words[n]}: {values['erm'][:, i].mean():.1f} % before, {values[method][:, i].mean():.1f} % after"
        for i, n in enumerate(names)
    )
    chart = Chart("groups", "Accuracy of each group, before and after", said, WIDTH, 300)
    axes = Axes(48, 34, WIDTH - 60, 214, (-0.5, len(names) - 0.5), (0, 100))
    axes.grid_y(chart, "accuracy on test (%)")
    bar = min(34, axes.width / len(names) * 0.36)
    for part, kind, side in (("erm", "before", -1), (method, "after", 1)):
        for i, name in enumerate(names):
            average, spread = values[part][:, i].mean(), _spread(values[part][:, i])
            left = axes.x(i) + (side - 1) * bar / 2 + side
            tip = f"{label_of(part)}, {words[name]}: {_with_spread(values[part][:, i])} %"
            chart.add("rect", f"bar {kind}", tip=tip, x=left, y=axes.y(average), width=bar, height=axes.bottom - axes.y(average))
            middle, low, high = left + bar / 2, max(average - spread, 0), min(average + spread, 100)
            if spread:
                chart.line((middle, axes.y(low)), (middle, axes.y(high)), "whisker")
            chart.write((middle, axes.y(high) - 5), f"{average:.0f}", "tick", "middle")
    for i, name in enumerate(names):
        chart.write((axes.x(i), axes.bottom + 17), name, "label", "middle")
    chart.write((axes.left + axes.width / 2, axes.bottom + 40), "group, target_protected; whiskers: ± sd of seeds", "label", "middle")
    _key(chart, [("rect", "bar before", "ERM"), ("rect", "bar after", label_of(method))], axes.left, 16)
    chart.rows = [["group", "is", "ERM", label_of(method)]]
    chart.rows += [[n, words[n], *(_with_spread(values[p][:, i]) for p in parts)] for i, n in enumerate(names)]
    return chart


def odds_chart(column: Column, entries: list[Entry]) -> Chart:
    """Accuracy against equalized odds of all rows; whiskers are the intervals of their differences to ERM."""
    points = {e.row: (e.ours["EO"][0], e.ours["ACC"][0]) for e in entries}
    erm = points.get("erm")
    whiskers = {}
    for entry in entries if erm and len(entries) <= MANY else ():
        if "EO" in entry.change and "ACC" in entry.change:
            whiskers[entry.row] = [erm[i] + np.array(entry.change[key][1:]) for i, key in enumerate(("EO", "ACC"))]
    ends = [[p[i] for p in points.values()] + [v for w in whiskers.values() for v in w[i]] for i in (0, 1)]
    ranges = [padded(values, least=4) for values in ends]
    ranges[0] = max(ranges[0][0], -2.0), ranges[0][1]
    best = min(points, key=lambda row: points[row][0])
    said = f"{len(points)} methods. Up and to the left is better. Lowest equalized odds: {label_of(best)}, {points[best][0]:.1f} % "
    said += f"at an accuracy of {points[best][1]:.1f} %."
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
        low, high = (axes.x(np.clip(value, *ranges[0])) for value in of_odds)
        chart.line((low, y), (high, y), "whisker soft")
        chart.line((x, axes.y(of_accuracy[0])), (x, axes.y(of_accuracy[1])), "whisker soft")
    order = sorted(points, key=lambda row: row in NAMES)  # what the others are compared with lies on top
    places = {row: (axes.x(points[row][0]), axes.y(points[row][1])) for row in order}
    for row in order:
        shape, kind = SHAPE_OF[_family(column, row)]
        tip = f"{label_of(row)}: accuracy {points[row][1]:.1f} %, equalized odds {points[row][0]:.1f} %"
        chart.mark(places[row], shape, kind, tip, scale=1.3 if row in NAMES else 1)
    named = order[::-1]
    for row, place in zip(named, place_labels([places[r] for r in named], [label_of(r) for r in named], axes), strict=True):
        if place:
            chart.write(place[:2], label_of(row), "name strong" if row in NAMES else "name", place[2])
    return chart


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
    charts = []
    for number, method in enumerate(shown):
        part = column.curves[column.curves["method"] == method]
        epochs = 100 * part.pivot_table(index="epoch", columns="seed", values="val_accuracy")
        average = epochs.mean(axis=1)
        said = f"Mean over {epochs.shape[1]} seeds: {average.iloc[0]:.1f} % after the first epoch, {average.iloc[-1]:.1f} % after the last, at best {average.max():.1f} %."
        chart = Chart(f"curve-{number}", label_of(method), said, 300, 210)
        last = max(int(epochs.index.max()), 2)
        axes = Axes(46, 12, 244, 152, (1 - 0.03 * last, last * 1.03), (max(low, 0), min(high, 100.5)))
        axes.grid_y(chart, "accuracy on val (%)")
        axes.grid_x(chart, "epoch", whole=True, lines=False)
        kind = "ink" if method == "erm" else "one"
        for seed in epochs:
            chart.path([(axes.x(e), axes.y(v)) for e, v in epochs[seed].dropna().items()], f"curve thin {kind}", f"seed {seed}")
        chart.path([(axes.x(e), axes.y(v)) for e, v in average.items()], f"curve {kind}", "mean")
        for epoch, value in average.items():
            chart.mark((axes.x(epoch), axes.y(value)), "circle", kind, f"epoch {epoch}: mean {value:.1f} %", scale=0.8)
        chart.rows = [["epoch", *(f"seed {seed}" for seed in epochs), "mean"]]
        chart.rows += [[str(e), *_numbers(row), f"{average[e]:.1f}"] for e, row in epochs.iterrows()]
        charts.append(chart)
    return charts


def rankings_chart(column: Column) -> Chart | None:
    """Both ranks of every tensor, averaged over seeds, in the network's order; shaded by how often it was chosen."""
    ranks = column.sensitivity
    if ranks.empty:
        return None
    order = ranks["name"].drop_duplicates().tolist()
    average = ranks.groupby("name")[["domain_rank", "bias_rank", "chosen"]].mean().loc[order]
    seeds, step, left = ranks["seed"].nunique(), 15, 166
    often = int((average["chosen"] > 0.5).sum())
    said = f"Of {len(order)} tensors {often} were chosen in more than half of {seeds} seeds. Chosen in none: "
    never = average.index[average["chosen"] == 0].tolist()
    said += ", ".join(never) + "." if never else "none."
    chart = Chart("rankings", "The two rankings, tensor by tensor", said, WIDTH, 64 + step * len(order))
    axes = Axes(left, 38, WIDTH - left - 44, step * len(order), (0, len(order) + 1), (0, 1))
    _key(chart, [("circle", "one", "domain (1: reacts least)"), ("square", "two", "bias (1: reacts most)")], 70, 14)
    chart.write((WIDTH - 4, 30), "chosen", "tick", "end")
    axes.grid_x(chart, whole=True)
    for i, (name, row) in enumerate(average.iterrows()):
        y, times = axes.top + step * (i + 0.5), round(row["chosen"] * seeds)
        tip = f"{name}: domain rank {row['domain_rank']:.1f}, bias rank {row['bias_rank']:.1f}, chosen in {times} of {seeds}"
        if times:
            chart.add("rect", "chosen", tip=tip, x=0, y=y - step / 2, width=WIDTH, height=step, fill_opacity=_share(times, seeds))
        chart.write((left - 8, y + 4), name if len(name) < 30 else f"…{name[-28:]}", "tick", "end")
        chart.line((axes.x(row["domain_rank"]), y), (axes.x(row["bias_rank"]), y), "link")
        chart.mark((axes.x(row["domain_rank"]), y), "circle", "one", tip)
        chart.mark((axes.x(row["bias_rank"]), y), "square", "two", tip)
        chart.write((WIDTH - 4, y + 4), f"{times}/{seeds}", "tick", "end")
    chart.rows = [["tensor", "domain rank", "bias rank", "chosen"]]
    chart.rows += [
        [name, f"{row['domain_rank']:.1f}", f"{row['bias_rank']:.1f}", f"{round(row['chosen'] * seeds)} of {seeds}"]
        for name, row in average.iterrows()
    ]
    return chart


def k_charts(column: Column) -> list[Chart]:
    """Equalized odds and accuracy on test over k; none where fewer than three k were run."""
    swept = {record_k(column, method): method for method in column.methods if sweeps_k(method)}
    swept.pop("auto", None)
    charts, ks = [], sorted(swept)
    for key, label in (("equalized_odds", "equalized odds"), ("accuracy", "accuracy")) if len(ks) > 2 else ():
        means = [mean(column, swept[k], key) for k in ks]
        said = "; ".join(f"k {k}: {value:.1f} %" for k, value in zip(ks, means))
        chart = Chart(f"k-{key}", f"{label.capitalize()} over k, on test", said, 300, 210)
        axes = Axes(46, 12, 244, 152, padded(ks), padded(means, 0.15, 4))
        axes.grid_y(chart, f"{label} (%)")
        axes.grid_x(chart, "k", whole=True, lines=False)
        chart.path([(axes.x(k), axes.y(v)) for k, v in zip(ks, means)], "curve one")
        for k, value in zip(ks, means):
            chart.mark((axes.x(k), axes.y(value)), "circle", "one", f"k {k}: {value:.1f} %")
        charts.append(chart)
    return charts


def k_rows(table: pd.DataFrame) -> list[list[str]]:
    """The candidates of a `top_k.csv` as rows: k, both numbers in percent, and what became of each."""
    accuracy, odds = table["val_accuracy"].tolist(), table["held_out_equalized_odds"].tolist()
    best = choose(accuracy, odds)
    rows = []
    for i, k in enumerate(table["top_k"]):
        near = choose([accuracy[i], max(accuracy)], [0.0, 1.0]) == 0  # by the same rule: is it near enough to the best?
        fate = "chosen" if i == best else "accurate enough, less fair" if near else "not accurate enough"
        rows.append([str(k), f"{100 * accuracy[i]:.1f}", f"{100 * odds[i]:.1f}", fate])
    return rows


def _key(chart: Chart, entries: list[tuple[str, str, str]], x: float, y: float) -> None:
    for shape, kind, text in entries:
        if shape == "rect":
            chart.add("rect", kind, x=x, y=y - 9, width=14, height=11)
        else:
            chart.mark((x + 7, y - 4), shape, kind)
        chart.write((x + 20, y), text, "label")
        x += 34 + 6.4 * len(text)


def _family(column: Column, row: str) -> str:
    return family(column, next(method for method in column.methods if without_draw(method) == row))


def _spread(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def _with_spread(values: np.ndarray) -> str:
    return f"{values.mean():.2f}" + (f" ± {_spread(values):.2f}" if len(values) > 1 else "")


def _numbers(values) -> list[str]:
    return ["–" if np.isnan(value) else f"{value:.1f}" for value in values]


def _share(times: int, seeds: int) -> str:
    return f"{0.12 * times / seeds:.3f}"
