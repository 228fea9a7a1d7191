"""Standard deviations between biased models and between repetitions, and the difference that a design tells from 0.

One-way random effects, balanced: Searle, Casella and McCulloch, Variance Components, 1992, chapter 3.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from results.records import RunSet
from results.rows import row_runs

POWER = 0.8


class Spread(NamedTuple):
    """Standard deviations in points: between biased models, of what many repetitions would give; between a model's repetitions."""

    models: float
    repetitions: float


def of_repetitions(runs: RunSet, row: str, metric: str) -> dict[int, np.ndarray]:
    """Return a row's values of each seed, in percent and in the order of its repetitions; `metric` is "ACC" or "EO"."""
    found = {}
    for seed, records in row_runs(row, runs).items():
        numbered = sorted(records, key=lambda record: int(record.label.options.get("repeat", 1)))
        found[seed] = np.array([100 * value_of(record, metric) for record in numbered])
    return found


def value_of(record, metric: str) -> float:
    """Return a record's accuracy or equalized odds difference, a fraction."""
    return record.metrics.accuracy if metric == "ACC" else record.metrics.equalized_odds


def differences(runs: RunSet, first: str, second: str, metric: str) -> np.ndarray:
    """Return first - second in points, float (models, repetitions), of the seeds that have all repetitions of both."""
    one, two = (of_repetitions(runs, row, metric) for row in (first, second))
    full = max((len(values) for values in one.values()), default=0)
    whole = [seed for seed in one if len(one[seed]) == full == len(two.get(seed, ()))]
    return np.array([one[seed] - two[seed] for seed in whole])


def spread(values: np.ndarray) -> Spread | None:
    """Return the spread of values, float (models, repetitions); None unless there are two of each."""
    if min(values.shape, default=0) < 2 or values.ndim < 2:
        return None
    repetitions = values.var(axis=1, ddof=1).mean()
    models = values.mean(axis=1).var(ddof=1) - repetitions / values.shape[1]
    return Spread(max(0.0, models) ** 0.5, repetitions**0.5)


def least_told(found: Spread, models: int, repetitions: int) -> float:
    """Return the difference, in points, that a t test of the models' means tells from 0 with a probability of `POWER`, about."""
    error = ((found.models**2 + found.repetitions**2 / repetitions) / models) ** 0.5
    return float((stdtrit(models - 1, 0.975) + stdtrit(models - 1, POWER)) * error)


def t_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Return the mean of models' values and its 95 % interval by the t distribution; it needs two values."""
    half = stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / len(values) ** 0.5
    return float(values.mean()), float(values.mean() - half), float(values.mean() + half)
