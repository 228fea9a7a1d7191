"""The accuracy of each group before and after, for more groups than bars side by side can show."""

from results.figure_data import group_values
from results.records import RunSet
from results.report.charts import Axes, Chart, key
from results.text import shown_seeds
from utils.metrics import widest_gap

ROW = 17  # pixels


def many_groups_chart(runs: RunSet, method: str, words: dict[str, str], label: str, width: float) -> Chart:
    """Draw a row for each group: its accuracy with ERM and with `method`, joined by a line.

    words : each group in words
    label : the method's name in the page
    """
    values = [group_values(runs, part) for part in ("erm", method)]  # (seeds, groups) each
    before, after = (dict(zip(runs.groups, part.mean(axis=0), strict=True)) for part in values)
    low, high = widest_gap(after)
    said = f"With {label} the widest gap is that between {words[low]} ({after[low]:.1f} %) and {words[high]} ({after[high]:.1f} %)."
    height = ROW * len(runs.groups)
    chart = Chart("groups", "Accuracy of each group, before and after", said, width, height + 70)
    axes = Axes(190, 26, width - 210, height, (0, 100), (len(runs.groups) - 0.5, -0.5))
    axes.grid_x(chart, "accuracy on test (%)")
    chart.rows = [["group", "ERM", label]]
    key(chart, [("circle", "hollow", "ERM"), ("diamond", "one", label)], axes.left, 16)
    for place, name in enumerate(runs.groups):
        y, spans = axes.y(place), [shown_seeds(part[:, place]) for part in values]
        chart.write((axes.left - 8, y + 4), shortened(words[name]), "label", "end")
        chart.line((axes.x(before[name]), y), (axes.x(after[name]), y), "whisker")
        chart.mark((axes.x(before[name]), y), "circle", "hollow", f"ERM, {words[name]}: {spans[0]} %")
        chart.mark((axes.x(after[name]), y), "diamond", "one", f"{label}, {words[name]}: {spans[1]} %")
        chart.rows.append([f"{name}: {words[name]}", *spans])
    return chart


def shortened(text: str, most: int = 30) -> str:
    """Return a text cut to a number of letters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
