"""The charts of the report that show which tensors were chosen, and with which k."""

import pandas as pd

from models.choice import choose
from results.figure_data import mean, mean_ranks
from results.records import RunSet
from results.report.charts import Axes, Chart, key, padded
from results.report.drawings import WIDTH
from results.rows import methods_by_k

STEP = 14  # pixels a tensor
SHADE = 0.13  # opacity of the row of a tensor that was chosen in every seed
LONGEST = 24  # characters of a tensor's name that fit


def rankings_chart(runs: RunSet) -> Chart | None:
    """Return both ranks of every tensor, averaged over seeds, in the network's order; shaded by how often it was chosen."""
    if runs.sensitivity.empty:
        return None
    average, seeds = mean_ranks(runs.sensitivity), runs.sensitivity["seed"].nunique()
    always, never = (average.index[average["chosen"] == fraction].tolist() for fraction in (1, 0))
    said = f"Of {len(average)} tensors {len(always)} were chosen in each of {seeds} seeds. "
    said += f"Chosen in none: {', '.join(never) or 'none'}."
    height = STEP * len(average)
    chart = Chart("rankings", "The two rankings, tensor by tensor", said, WIDTH, 76 + height)
    axes = Axes(146, 38, WIDTH - 190, height, (0, len(average) + 1), (0, 1))
    key(chart, [("circle", "one", "domain (1: reacts least)"), ("square", "two", "bias (1: reacts most)")], 70, 14)
    chart.write((WIDTH - 4, 30), "chosen", "tick", "end")
    axes.grid_x(chart, "rank, mean over seeds", whole=True)
    chart.rows = [["tensor", "domain rank", "bias rank", "chosen"]]
    for i, (name, row) in enumerate(average.iterrows()):
        times, ranked = round(row["chosen"] * seeds), [row["domain_rank"], row["bias_rank"]]
        _draw_tensor(chart, axes, axes.top + STEP * (i + 0.5), name, ranked, times=times, seeds=seeds)
        chart.rows.append([name, *(f"{rank:.1f}" for rank in ranked), f"{times} of {seeds}"])
    return chart


def _draw_tensor(chart: Chart, axes: Axes, y: float, name: str, ranks: list[float], *, times: int, seeds: int) -> None:
    """Draw a tensor's line: its name, both ranks and how often it was chosen."""
    tip = f"{name}: domain rank {ranks[0]:.1f}, bias rank {ranks[1]:.1f}, chosen in {times} of {seeds}"
    if times:
        opacity = f"{SHADE * times / seeds:.3f}"
        chart.box((0, y - STEP / 2), (WIDTH, STEP), "chosen", tip, fill_opacity=opacity)
    short = name.replace("downsample", "down")
    short = short if len(short) <= LONGEST else f"…{short[1 - LONGEST :]}"
    chart.write((axes.left - 8, y + 4), short, "tick", "end")
    chart.line((axes.x(ranks[0]), y), (axes.x(ranks[1]), y), "link")
    chart.mark((axes.x(ranks[0]), y), "circle", "one", tip)
    chart.mark((axes.x(ranks[1]), y), "square", "two", tip)
    chart.write((WIDTH - 4, y + 4), f"{times}/{seeds}", "tick", "end")


def block_rows(runs: RunSet) -> list[list[str]]:
    """Return how many tensors of each block of the network were chosen, a number for each seed; the headings first."""
    if runs.sensitivity.empty:
        return []
    ranks = runs.sensitivity.assign(block=runs.sensitivity["name"].str.partition(".")[0])
    chosen = ranks.pivot_table(index="block", columns="seed", values="chosen", aggfunc="sum", sort=False)
    sizes = ranks.drop_duplicates("name")["block"].value_counts()
    rows = [["block", "tensors", *(f"chosen, seed {seed}" for seed in chosen)]]
    return rows + [[block, str(sizes[block]), *(f"{count:.0f}" for count in row)] for block, row in chosen.iterrows()]


def k_charts(runs: RunSet) -> list[Chart]:
    """Return equalized odds and accuracy on test over k; none if fewer than three k were run."""
    swept, _ = methods_by_k(runs)
    charts, ks = [], list(swept)
    for metric, label in (("equalized_odds", "equalized odds"), ("accuracy", "accuracy")) if len(ks) > 2 else ():
        points = {k: mean(runs, method, metric) for k, method in swept.items()}
        said = "; ".join(f"k {k}: {value:.1f} %" for k, value in points.items())
        chart = Chart(f"k-{metric}", f"{label.capitalize()} over k, on test", said, 300, 210)
        axes = Axes(46, 12, 244, 152, padded(ks), padded(list(points.values()), 0.15, 4))
        axes.grid_y(chart, f"{label} (%)")
        axes.grid_x(chart, "k", whole=True, lines=False)
        chart.path([(axes.x(k), axes.y(value)) for k, value in points.items()], "curve one")
        for k, value in points.items():
            chart.mark((axes.x(k), axes.y(value)), "circle", "one", f"k {k}: {value:.1f} %")
        charts.append(chart)
    return charts


def k_rows(table: pd.DataFrame) -> list[list[str]]:
    """Return the candidates of a `top_k.csv` as rows: k, both numbers in percent, and what became of each."""
    accuracy, odds = table["val_accuracy"].tolist(), table["held_out_equalized_odds"].tolist()
    best = choose(accuracy, odds)
    rows = []
    for i, k in enumerate(table["top_k"]):
        near = choose([accuracy[i], max(accuracy)], [0.0, 1.0]) == 0  # by the same rule: is it near enough to the best?
        fate = "chosen" if i == best else "accurate enough, less fair" if near else "not accurate enough"
        rows.append([str(k), f"{100 * accuracy[i]:.1f}", f"{100 * odds[i]:.1f}", fate])
    return rows
