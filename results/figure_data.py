"""Numbers of a set of runs that figures and the report draw."""

import numpy as np
import pandas as pd

from results.records import RunSet
from results.rows import row_runs
from results.text import mean_and_deviation
from utils.records import Label


def family(runs: RunSet, method: str) -> str:
    """Return the one of `results.figures.FAMILIES` that a method belongs to, by its name for ERM and AIM-Fair, by its settings for all others."""
    record = runs.first(method)
    if method == "erm":
        return "ERM"
    if record.label.name == "aim-fair":
        return "AIM-Fair, other options" if Label.of(record.label.row).options else "AIM-Fair"
    if "biased_model" in record.settings:
        return "fine-tuned on synthetic images"
    return "with synthetic images" if "synthetic_data" in record.settings else "on real images alone"


def group_values(runs: RunSet, row: str) -> np.ndarray:
    """Return a row's group accuracies, float (seeds, groups), percent; a seed's repetitions are averaged."""
    return 100 * np.array(
        [
            np.mean([list(record.metrics.group_accuracy.values()) for record in records], axis=0)
            for records in row_runs(row, runs).values()
        ]
    )


def mean_ranks(ranks: pd.DataFrame) -> pd.DataFrame:
    """Return both ranks of each tensor and how often it was chosen, means over seeds, in the network's order."""
    order = ranks["name"].drop_duplicates()
    return ranks.groupby("name")[["domain_rank", "bias_rank", "chosen"]].mean().loc[order]


def metric_values(runs: RunSet, method: str, key: str) -> list[float]:
    """Return a metric, a field of `utils.records.Metrics`, of each of a method's seeds: fractions."""
    return [getattr(record.metrics, key) for record in runs.runs(method).values()]


def mean(runs: RunSet, method: str, key: str) -> float:
    """Return the mean of a metric over a method's seeds, in percent."""
    return mean_and_deviation(metric_values(runs, method, key))[0]
