"""The figures of the study on real faces: the sources side by side, what batch norm's statistics do, stable rankings."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from results import figures
from results.figures import DARK, GREY, LIGHT, STYLE, mean
from results.records import RunSet
from results.rows import FROM

NORMS = {"follow": ("o-", LIGHT), "hold": ("s-", DARK), "real": ("^--", GREY)}
PAPER_LR = 0.06
# the settings of `design.GRID` that each norm's line goes through, by learning rate
LINES = {
    "follow": {0.002: "follow_0.002", 0.01: "follow_0.01", PAPER_LR: "paper"},
    "hold": {0.002: "hold_0.002", 0.01: "hold_0.01", PAPER_LR: "paper_hold"},
    "real": {0.002: "real_0.002", 0.01: "real_0.01"},
}
MARKS = {"linear-probe": ("D", "white"), "full": ("^", LIGHT), "aim-fair": ("*", DARK)}


def write_drawings(
    study: str, columns: dict[str, RunSet], settings: dict[str, dict[str, RunSet]], output: Path
) -> list[str]:
    """Draw what the records allow; returns the figures' names. `columns` by name, `settings` by source and setting."""
    written = []
    with plt.rc_context(STYLE):
        drawings = {f"sources_{study}": sources(columns), f"rank_stability_{study}": rank_stability(columns)}
        drawings |= {f"batch_norm_{study}{FROM}{source}": batch_norm(found) for source, found in settings.items()}
        for name, figure in drawings.items():
            if figure is not None:
                figures.save(figure, output, name)
                written.append(name)
    return written


def sources(columns: dict[str, RunSet]) -> Figure | None:
    """Accuracy against equalized odds, ERM and lines from it to the fine-tuned methods: a panel for each source.

    Above the chosen settings, below the paper's; or these alone.
    """
    names = list(dict.fromkeys(name.removesuffix("_paper") for name in columns))
    if not names:
        return None
    rows = {"": "chosen settings", "_paper": "the paper's settings"}
    if not any(name.endswith("_paper") for name in columns):  # then nothing was chosen among settings
        rows = {"": "the paper's settings"}
    size = (2.4 * len(names) + 0.8, 2.2 * len(rows) + 0.8)
    figure, grid = plt.subplots(len(rows), len(names), figsize=size, sharex=True, sharey=True, squeeze=False)
    for panels, (ending, settings) in zip(grid, rows.items(), strict=True):
        panels[0].set_ylabel(f"{settings}\naccuracy (%)")
        for axes, name in zip(panels, names, strict=True):
            axes.grid(alpha=0.3)
            if name + ending in columns:
                arrows(axes, columns[name + ending])
    for axes, name in zip(grid[0], names, strict=True):
        axes.set_title(name.partition(FROM)[2])
    for axes in grid[-1]:
        axes.set_xlabel("equalized odds (%)")
    figure.tight_layout()
    handles, labels = next(axes for axes in grid.flat if axes.collections).get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", bbox_to_anchor=(0.5, 0.98), ncols=len(labels), frameon=False)
    return figure


def arrows(axes: plt.Axes, column: RunSet) -> None:
    """ERM's point, and lines from it to those of the methods in `MARKS`."""
    start = mean(column, "erm", "equalized_odds"), mean(column, "erm", "accuracy")
    axes.scatter(*start, marker="s", c="black", label="erm", zorder=4)
    for method, (marker, color) in MARKS.items():
        if method in column.methods:
            end = mean(column, method, "equalized_odds"), mean(column, method, "accuracy")
            axes.plot(*zip(start, end, strict=True), color=GREY, linewidth=0.8)
            axes.scatter(*end, s=90, marker=marker, c=color, edgecolors="black", linewidths=0.6, label=method, zorder=5)


def batch_norm(settings: dict[str, RunSet]) -> Figure | None:
    """Draw accuracy and equalized odds of full fine-tuning and AIM-Fair over the learning rate, a line for each norm."""
    some, drawn = next(iter(settings.values())), 0
    figure, panels = plt.subplots(1, 4, figsize=(12, 3))
    panels_of = [(method, key) for key in ("equalized_odds", "accuracy") for method in ("full", "aim-fair")]
    for axes, (method, key) in zip(panels, panels_of, strict=True):
        for norm, (style, color) in NORMS.items():
            runs = {lr: settings[s].runs(method) for lr, s in LINES[norm].items() if s in settings}
            values = {
                lr: [100 * getattr(r.metrics, key) for r in found.values()] for lr, found in runs.items() if found
            }
            if len(values) > 1:
                spread = [np.std(v, ddof=1) if len(v) > 1 else 0 for v in values.values()]
                line = {"fmt": style, "color": color, "capsize": 3, "label": norm}
                axes.errorbar(list(values), [np.mean(v) for v in values.values()], spread, **line)
                drawn += 1
        axes.axhline(mean(some, "erm", key), color="black", linestyle=":", label="erm")
        label = f"{'EO' if key == 'equalized_odds' else 'ACC'} (%)"
        axes.set(xscale="log", xlabel="learning rate", ylabel=label, title=method)
        axes.set_xticks([0.002, 0.01, PAPER_LR], ["0.002", "0.01", "0.06"])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    figure.tight_layout()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", bbox_to_anchor=(0.5, 0.98), ncols=len(labels), frameon=False)
    if drawn:
        return figure
    plt.close(figure)
    return None


def rank_stability(columns: dict[str, RunSet]) -> Figure | None:
    """Spearman's correlation of the two rankings between all seeds and sources, as two matrices."""
    ranks = {}
    for name, column in columns.items():
        # the ranking comes before fine-tuning: a seed's is the same in all settings
        for seed, table in column.sensitivity.groupby("seed") if len(column.sensitivity) else ():
            ranks[f"{name.removesuffix('_paper').partition(FROM)[2]} {seed}"] = table.set_index("name")
    if len(ranks) < 2:
        return None
    figure, panels = plt.subplots(1, 2, figsize=(10.5, 4.6))
    for axes, which in zip(panels, ("domain_rank", "bias_rank"), strict=True):
        matrix = pd.DataFrame({label: table[which] for label, table in ranks.items()}).corr("spearman").to_numpy()
        image = axes.imshow(matrix, vmin=0, vmax=1, cmap="cividis")
        for (row, column), value in np.ndenumerate(matrix):
            look = {"ha": "center", "va": "center", "fontsize": 6, "color": "white" if value < 0.6 else "black"}
            axes.text(column, row, f"{100 * value:.0f}", **look)
        axes.set_xticks(range(len(ranks)), list(ranks), rotation=90, fontsize=7)
        axes.set_yticks(range(len(ranks)), list(ranks), fontsize=7)
        axes.set_title(which.replace("_", " "))
    figure.tight_layout()
    figure.colorbar(image, ax=panels, label="Spearman's rank correlation", shrink=0.8)
    return figure
