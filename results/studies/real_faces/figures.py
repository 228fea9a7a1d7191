"""The figures of the study on real faces: accuracy against equalized odds difference, in several panels.

`PICTURE` is the README's. The file's description holds the numbers that are drawn, for readers who can't see them and for a test.
"""

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from results.entries import Entry
from results.figures import DARK, GREY, LIGHT, STYLE
from results.records import read_run_set
from results.study_tables import entries_of

PICTURE = "real_faces.svg"
PANELS = {
    "Smiling_Male": "20,000 biased faces, 112 pixels",
    "Smiling_Male_64": "8,000 biased faces, 64 pixels, with baselines",
}
SEEDS = 3  # the picture leaves out a method with fewer
# method: name, marker, colour
MARKS = {
    "erm": ("ERM", "s", "black"),
    "supplement": ("data supplementation", "o", GREY),
    "linear-probe": ("linear probing", "D", GREY),
    "cvar-dro": ("CVaR DRO", "p", GREY),
    "eiil": ("EIIL", "X", GREY),
    "jtt": ("JTT", "P", GREY),
    "lff": ("LfF", "v", GREY),
    "group-dro": ("group DRO (trains on protected labels)", "h", GREY),
    "random-mask:share=0.7": ("random mask of 70 %", "o", LIGHT),
    "full": ("full fine-tuning", "^", LIGHT),
    "aim-fair": ("AIM-Fair", "*", DARK),
}


def entries(records: Path) -> dict[str, Entry]:
    """Return the rows of a pair's methods by name, fine-tuned with the paper's settings on faces of text-to-image models."""
    found = {**entries_of(read_run_set(records / "erm_0.03")), **entries_of(read_run_set(records / "t2i" / "paper"))}
    return {method: found[method] for method in MARKS if method in found and found[method].n == SEEDS}


def write_picture(values: dict[str, dict[str, Entry]], path: Path) -> None:
    """Write the picture of `values` (pair to method to row) as SVG: the same bytes with the same matplotlib."""
    with plt.rc_context(STYLE):
        figure = draw({PANELS[pair]: rows for pair, rows in values.items()})
        figure.savefig(path, metadata={"Date": None, "Description": described(values)}, bbox_inches="tight")
        plt.close(figure)


def described(values: dict[str, dict[str, Entry]]) -> str:
    """Return what is drawn in words: percent, mean ± sample standard deviation over three seeds."""
    lines = []
    for pair, rows in values.items():
        lines.append(f"{pair}, accuracy / equalized odds difference:")
        for method, entry in rows.items():
            acc, eo = (f"{mean:.1f} ± {sd:.1f}" for mean, sd in (entry.ours["ACC"], entry.ours["EO"]))
            lines.append(f"{method} {acc} / {eo}")
    return "\n".join(lines)


def draw(panels: dict[str, dict[str, Entry]], rows: int = 1, size: tuple[float, float] = (4.5, 4)) -> Figure:
    """Draw a panel of `size` inches for each title: a mark at each method's means, bars of one standard deviation over seeds."""
    columns = len(panels) // rows
    whole = (columns * size[0], rows * size[1])
    figure, grid = plt.subplots(rows, columns, figsize=whole, sharex=True, sharey=True, squeeze=False)
    handles = {}
    for axes, (title, found) in zip(grid.flat, panels.items(), strict=True):
        for method in (method for method in MARKS if method in found):
            handles[method] = add_point(axes, method, found[method], named=rows == 1)
        axes.set_title(title)
        axes.grid(alpha=0.3)
    for axes in grid[-1]:
        axes.set(xlabel="equalized odds difference (%)", xlim=(0, None))
    for axes in grid[:, 0]:
        axes.set_ylabel("accuracy (%)")
    grid[0, 0].annotate(
        "better", (0.02, 0.5), (0.16, 0.32), "axes fraction", arrowprops={"arrowstyle": "->"}, color=GREY
    )
    handles = [handles[method] for method in MARKS if method in handles]
    figure.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=4, frameon=False)
    figure.tight_layout()
    return figure


def add_point(axes: plt.Axes, method: str, entry: Entry, named: bool) -> ErrorbarContainer:
    """Draw a method's mark and bars; if `named`, ERM and AIM-Fair have their names beside them."""
    name, marker, color = MARKS[method]
    (y, dy), (x, dx) = entry.ours["ACC"], entry.ours["EO"]
    style = {"markersize": 14 if marker == "*" else 8, "markeredgecolor": "black", "markeredgewidth": 0.6}
    style |= {"elinewidth": 1, "zorder": 4 if marker == "*" else 3}
    if named and method in ("erm", "aim-fair"):
        axes.annotate(name, (x, y), (9, -13), textcoords="offset points", weight="bold")
    return axes.errorbar(x, y, dy, dx, fmt=marker, color=color, label=name, **style)
