"""The figures beside the tables: PNG and PDF, readable without colour, the same bytes for the same records."""

from itertools import product
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from results.figure_data import family, group_values, mean, mean_ranks, metric_values  # noqa: E402
from results.records import RunSet  # noqa: E402
from results.remarks import protected_labels  # noqa: E402
from results.rows import methods_by_k, read_paper, row_label  # noqa: E402
from results.text import mean_and_deviation  # noqa: E402

STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,
    "svg.hashsalt": "aim-fair",
}
NO_DATES = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Producer": None, "Creator": None}}
DARK, LIGHT, GREY = "#0b4f6c", "#e08e45", "#8a8a8a"  # apart in lightness too
# the kinds of methods: marker, colour
FAMILIES = {
    "ERM": ("s", "black"),
    "AIM-Fair": ("*", DARK),
    "AIM-Fair, other options": ("*", "#6fa8c0"),
    "fine-tuned on synthetic images": ("^", GREY),
    "with synthetic images": ("o", LIGHT),
    "on real images alone": ("x", "black"),
}


def write_figures(columns: dict[str, RunSet], output: Path) -> list[str]:
    """Draw every figure that the records allow, for each column; return the names of those written."""
    written = []
    with plt.rc_context(STYLE):
        for name, runs in columns.items():
            for kind, draw in DRAWINGS.items():
                figure = draw(runs)
                if figure is not None:
                    save(figure, output, f"{kind}_{name}")
                    written.append(f"{kind}_{name}")
    return written


def save(figure: Figure, output: Path, name: str) -> None:
    """Write a figure as PNG and PDF, without a date, and close it."""
    for suffix, metadata in NO_DATES.items():
        figure.savefig(output / f"{name}.{suffix}", metadata=metadata, bbox_inches="tight")
    plt.close(figure)


def accuracy_and_odds(runs: RunSet) -> Figure | None:
    """Draw accuracy against equalized odds of all methods, each a mean over seeds; up and to the left is better."""
    if len(runs.methods) < 3:
        return None
    figure, axes = plt.subplots(figsize=(7, 4.2))
    points = {m: (mean(runs, m, "equalized_odds"), mean(runs, m, "accuracy")) for m in runs.methods}
    for label, (marker, color) in FAMILIES.items():
        members = [point for method, point in points.items() if family(runs, method) == label]
        if not members:
            continue
        line = {"linewidths": 1.5} if marker == "x" else {"edgecolors": "black", "linewidths": 0.5}
        first = label in ("ERM", "AIM-Fair")  # what the others are compared with: larger, and on top
        size, order = (150, 4) if first else (70, 3)
        axes.scatter(*zip(*members), s=size, marker=marker, c=color, label=label, zorder=order, **line)
    axes.set(xlabel="equalized odds, larger gap (%)", ylabel="accuracy (%)", title=runs.name)
    axes.grid(alpha=0.3)
    _legend_aside(axes)
    names = {m: row_label(m, protected_labels(runs.first(m)).values()) for m in points}
    name_points(axes, [method for method in points if method not in ("erm", "aim-fair")], points, names)
    return figure


def _legend_aside(axes: plt.Axes) -> None:
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)


def name_points(axes: plt.Axes, named: list[str], points: dict[str, tuple], names: dict | None = None) -> None:
    """Write the names of `named` beside their `points`, or other `names`, unless they would cover a point, a name or an edge.

    The right side is tried first for all, then for the rest the left, below and above.
    """

    def place(point):  # in 1/72 inch
        return axes.transData.transform(point) * 72 / axes.figure.dpi

    (left, bottom), (right, top) = (place(corner) for corner in zip(axes.get_xlim(), axes.get_ylim()))
    size, gap, high, names = 6.5, 6, 9, names or dict(zip(named, named))
    taken = [(x - gap, x + gap, y) for x, y in map(place, points.values())]
    offsets = [("left", gap, 0), ("right", -gap, 0)]
    offsets += [
        (align, aside, up) for up in (-10, 10) for align, aside in (("center", 0), ("left", -gap), ("right", gap))
    ]
    unnamed = list(named)
    for (align, aside, up), method in product(offsets, named):
        width = 0.6 * size * len(names[method])
        x, height = place(points[method]) + (aside, up)
        begin = x - {"left": 0, "center": 0.5, "right": 1}[align] * width
        crossed = any(begin < b and a < begin + width and abs(v - height) < high for a, b, v in taken)
        inside = left < begin and begin + width < right and bottom + high / 2 < height < top - high / 2
        if method in unnamed and inside and not crossed:
            more = {"textcoords": "offset points", "va": "center", "ha": align, "fontsize": size}
            axes.annotate(names[method], points[method], (aside, up), **more)
            taken.append((begin, begin + width, height))
            unnamed.remove(method)


def groups(runs: RunSet) -> Figure | None:
    """Draw the accuracy of each group before and after, with the sample standard deviation over seeds."""
    if not runs.runs("erm") or not runs.runs("aim-fair"):
        return None
    figure, axes = plt.subplots(figsize=(6, 3.4))
    top, places = 100.0, np.arange(len(runs.groups))
    for method, offset, look in (
        ("erm", -0.2, {"label": "ERM", "color": LIGHT, "hatch": "//"}),
        ("aim-fair", 0.2, {"label": "AIM-Fair", "color": DARK, "hatch": ""}),
    ):
        values = group_values(runs, method)
        spread = values.std(axis=0, ddof=1) if len(values) > 1 else None
        top = max(top, (values.mean(axis=0) + (0 if spread is None else spread)).max() + 1)
        axes.bar(places + offset, values.mean(axis=0), 0.38, yerr=spread, capsize=3, edgecolor="black", **look)
    axes.set_xticks(places, runs.groups)
    axes.set(xlabel="group, target_protected", ylabel="accuracy (%), ± sd of seeds", ylim=(0, top), title=runs.name)
    _legend_aside(axes)
    return figure


def rankings(runs: RunSet) -> Figure | None:
    """Draw both rankings of the tensors, averaged over seeds, in the network's order; shaded by how often each was chosen."""
    if runs.sensitivity.empty:
        return None
    average = mean_ranks(runs.sensitivity)
    names = [name.replace("layer", "L").replace("downsample", "down") for name in average.index]
    figure, axes = plt.subplots(figsize=(11, 4.6))
    places = np.arange(len(names))
    for x, fraction in zip(places, average["chosen"], strict=True):
        axes.axvspan(x - 0.5, x + 0.5, color=str(1 - 0.22 * fraction), linewidth=0, zorder=0)
    axes.plot(places, average["domain_rank"], "o-", color=DARK, markersize=4, label="domain (1: least sensitive)")
    axes.plot(places, average["bias_rank"], "s--", color=LIGHT, markersize=4, label="bias (1: most sensitive)")
    axes.fill_between([], [], color=str(1 - 0.22), label="chosen in every seed (lighter: in some)")
    axes.set_xticks(places, names, rotation=90, fontsize=6.5)
    axes.set(ylabel="mean rank over seeds", xlim=(-0.5, len(names) - 0.5), title=runs.name)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.06), ncols=3, frameon=False)
    return figure


def k_sweep(runs: RunSet) -> Figure | None:
    """Draw equalized odds and accuracy over k, the number of tensors that each ranking keeps; the paper's dashed.

    Bars are the sample standard deviation over seeds.
    """
    swept, auto = methods_by_k(runs)
    if len(swept) < 3:
        return None
    figure, panels = plt.subplots(1, 2, figsize=(8.5, 3.4))
    paper = read_paper()["table_k"]["Smiling_Male"] if runs.name == "Smiling_Male" else {}
    paper = {55 if row == "aim-fair" else int(row.rpartition("=")[2]): values for row, values in paper.items()}
    for axes, key, short in zip(panels, ("equalized_odds", "accuracy"), ("EO", "ACC"), strict=True):
        values = [mean_and_deviation(metric_values(runs, method, key)) for method in swept.values()]
        means, spread = zip(*((mean, deviation or 0) for mean, deviation in values))
        axes.errorbar(list(swept), means, spread, fmt="o-", color=DARK, capsize=3, label="ours, ± sd of seeds")
        if auto:
            style = {"color": LIGHT, "linestyle": ":", "linewidth": 2, "label": "ours, k chosen by itself"}
            axes.axhline(mean(runs, auto, key), **style)
        if paper:
            style = {"color": GREY, "label": "paper, measured off its figure (CelebA, 224 pixels)"}
            axes.plot(sorted(paper), [paper[k][short] for k in sorted(paper)], "s--", **style)
        axes.set(xlabel="k", ylabel=f"{short} (%)", xticks=list(swept))
        axes.grid(alpha=0.3)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.tight_layout()
    figure.legend(handles, labels, loc="lower center", bbox_to_anchor=(0.5, 0.98), ncols=3, frameon=False)
    figure.suptitle(runs.name, y=1.12)
    return figure


def curves(runs: RunSet) -> Figure | None:
    """Draw accuracy on real val in each epoch: pre-training, then fine-tuning; the band is the range over seeds."""
    parts = [runs.curves[runs.curves["method"] == method] for method in ("erm", "aim-fair")]
    if any(part.empty for part in parts):
        return None
    figure, panels = plt.subplots(1, 2, figsize=(8, 3.2), sharey=True)
    titles = ("pre-training (ERM)", "fine-tuning (AIM-Fair)")
    for axes, part, color, title in zip(panels, parts, (LIGHT, DARK), titles, strict=True):
        epochs = part.pivot(index="epoch", columns="seed", values="val_accuracy") * 100
        axes.fill_between(epochs.index, epochs.min(axis=1), epochs.max(axis=1), color=color, alpha=0.3, linewidth=0)
        axes.plot(epochs.index, epochs.mean(axis=1), "o-", color=color, markersize=4)
        axes.set(xlabel="epoch", title=title)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("accuracy on real val (%),\nmean and range of seeds")
    figure.suptitle(runs.name)
    figure.tight_layout()
    return figure


DRAWINGS = {
    "accuracy_odds": accuracy_and_odds,
    "groups": groups,
    "rankings": rankings,
    "k_sweep": k_sweep,
    "curves": curves,
}
