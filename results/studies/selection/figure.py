"""The figure of repeated fine-tunings: a mark for each, so that luck and the difference of methods can be seen side by side."""

from pathlib import Path
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np

from results.figures import DARK, GREY, STYLE
from results.records import RunSet
from results.studies.selection.methods import NAMES, SOURCES, plain
from results.studies.selection.spread import complete, of_repetitions
from results.studies.selection.tables import sources

TITLES = {  # of the sources that are drawn
    "t2i, val's threshold": "t2i, 8,000 biased faces,\nthe epoch that val chooses",
    "generated, val's threshold": "generated, 8,000 biased faces,\nthe epoch that val chooses",
    "late mean, val's threshold": "t2i, 4,000 biased faces,\nthe mean of the late epochs",
}


def make_pages(records: Path, output: Path) -> None:
    """Write `repetitions.svg` into `output`, the same bytes with the same matplotlib; its description holds the means drawn."""
    found = {
        name: runs for name, runs in sources(records).items() if name in TITLES and complete(runs, *SOURCES[name].rows)
    }
    if not found:
        return
    output.mkdir(parents=True, exist_ok=True)
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(1, len(found), figsize=(4.5 * len(found), 3.4), sharey=True, squeeze=False)
        said = [
            f"{name}: {draw(axes, name, runs)}" for axes, (name, runs) in zip(panels[0], found.items(), strict=True)
        ]
        highest = max(axes.dataLim.y1 for axes in panels[0])
        panels[0, 0].set(ylabel="equalized odds difference (%), val's threshold", ylim=(0, 1.1 * highest))
        figure.tight_layout()
        meta = {"Date": None, "Description": "\n".join(said)}
        figure.savefig(output / "repetitions.svg", metadata=meta, bbox_inches="tight")
        plt.close(figure)


def draw(axes: plt.Axes, name: str, runs: RunSet) -> str:
    """Draw a source: for each method its fine-tunings, a column for each complete biased model, and the mean; return the means as text."""
    seeds, said = complete(runs, *SOURCES[name].rows), []
    erm = np.mean([of_repetitions(runs, "erm", "EO")[seed] for seed in seeds])
    axes.axhline(erm, color="black", lw=0.8, ls=":")
    axes.annotate("ERM", (0.99, erm), xycoords=("axes fraction", "data"), ha="right", va="bottom")
    for place, row in enumerate(SOURCES[name].rows):
        models = [of_repetitions(runs, row, "EO")[seed] for seed in seeds]
        steps = np.linspace(-0.25, 0.25, len(models)) if len(models) > 1 else [0.0]
        for step, values in zip(steps, models, strict=True):
            axes.plot([place + step] * len(values), values, "o", ms=3.5, color=GREY, mec="black", mew=0.4)
            axes.plot(place + step, values.mean(), "_", ms=9, mew=2, color=DARK)
        mean = np.mean([values.mean() for values in models])
        axes.hlines(mean, place - 0.33, place + 0.33, color=DARK, lw=1)
        axes.annotate(f"{mean:.1f}", (place + 0.34, mean), va="center", color=DARK)
        said.append(f"{row} {mean:.1f}")
    axes.set(title=f"{TITLES[name]}: {len(seeds)} biased models", xlim=(-0.5, len(SOURCES[name].rows) - 0.4))
    axes.set_xticks(
        range(len(SOURCES[name].rows)),
        [fill(NAMES[plain(row)], 12, break_on_hyphens=False) for row in SOURCES[name].rows],
    )
    axes.grid(axis="y", alpha=0.3)
    return ", ".join(said)
