"""Standard deviations between biased models and between repetitions, and the difference that a design tells from 0.

One-way random effects, balanced: Searle, Casella and McCulloch, Variance Components, 1992, chapter 3.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import stdtr, stdtrit
from scipy.stats import f, nct

from results.records import RunSet
from results.rows import row_runs
from utils.records import Record

POWER, LEVEL = 0.8, 0.95
Value = Callable[[Record, str], float]  # a record and "ACC" or "EO" -> a fraction


class Spread(NamedTuple):
    """Standard deviations in points: between biased models, of what many repetitions would give; between a model's repetitions.

    most : upper end of the one-sided 95 % interval of `models`
    """

    models: float
    repetitions: float
    most: float = 0.0


def of_repetitions(runs: RunSet, row: str, metric: str, value: Value | None = None) -> dict[int, np.ndarray]:
    """Return a row's values of each seed, in percent and in the order of its repetitions; `metric` is "ACC" or "EO".

    `value` gives a record's metric, by default the recorded one, `value_of`.
    """
    found, value = {}, value or value_of
    for seed, records in row_runs(row, runs).items():
        numbered = sorted(records, key=lambda record: int(record.label.options.get("repeat", 1)))
        found[seed] = np.array([100 * value(record, metric) for record in numbered])
    return found


def value_of(record: Record, metric: str) -> float:
    """Return a record's accuracy ("ACC") or equalized odds difference ("EO"), a fraction."""
    return getattr(record.metrics, {"ACC": "accuracy", "EO": "equalized_odds"}[metric])


def complete(runs: RunSet, *rows: str) -> list[int]:
    """Return the seeds that have all repetitions of these rows: as many as any seed has of the first."""
    found = [of_repetitions(runs, row, "EO") for row in rows]
    most = max((len(values) for values in found[0].values()), default=0)
    return [seed for seed in runs.seeds if all(len(each.get(seed, ())) == most for each in found)] if most else []


def differences(runs: RunSet, first: str, second: str, metric: str, value: Value | None = None) -> np.ndarray:
    """Return first - second in points, float (models, repetitions), of the seeds that have all repetitions of both."""
    one, two = (of_repetitions(runs, row, metric, value) for row in (first, second))
    return np.array([one[seed] - two[seed] for seed in complete(runs, first, second)])


def spread(values: np.ndarray) -> Spread | None:
    """Return the spread of values, float (models, repetitions); None unless there are two of each."""
    if values.ndim < 2 or min(values.shape) < 2:
        return None
    models, times = values.shape
    repetitions, of_means = values.var(axis=1, ddof=1).mean(), values.mean(axis=1).var(ddof=1)
    low = f.ppf(1 - LEVEL, models - 1, models * (times - 1))
    most = of_means / low - repetitions / times
    return Spread(*(max(0.0, part) ** 0.5 for part in (of_means - repetitions / times, repetitions, most)))


def least_told(models: float, repetitions: float, number: int, times: int) -> float:
    """Return the difference, in points, that a t test of the models' means tells from 0 with a probability of `POWER`.

    `models` and `repetitions` are standard deviations, as in `Spread`; `number` of models, repeated `times` times.
    """
    error, least = ((models**2 + repetitions**2 / times) / number) ** 0.5, stdtrit(number - 1, (1 + LEVEL) / 2)
    return float(error * brentq(lambda shift: nct.sf(least, number - 1, shift) - POWER, 0, 100))


def t_interval(values: np.ndarray) -> tuple[float, float, float, float]:
    """Return the mean of models' values, its 95 % interval by the t distribution, and p; it needs two values."""
    mean, error = float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5)
    half = float(stdtrit(len(values) - 1, (1 + LEVEL) / 2)) * error
    p = 2 * float(stdtr(len(values) - 1, -abs(mean) / error)) if error else float(mean == 0)
    return mean, mean - half, mean + half, p
