"""95 % intervals for the difference between two methods, over the seeds and the test images that happened to be drawn.

Every run of a seed is tested on the same images, so seeds and images are crossed random effects. A metric is taken as
a weighted sum of group accuracies (for WST, EO and STD: its slope at what was measured). The variance of the
difference is then that of its seeds' values / n, which holds the noise that images add to each seed alone, plus the
covariance that shared images bring between seeds: Obuchowski and Rockette, Communications in Statistics 24, 285
(1995). Their t and normal quantiles are weighted by the two parts, after Cochran: Biometrics 20, 191 (1964). Hillis'
degrees of freedom (Statistics in Medicine 26, 596, 2007) gave 91 to 95 % for ACC at three seeds.

Noise lowers the minimum in WST and raises the gaps in EO and the spread in STD (`results/noise.py`). An estimate of that
bias is taken off, so an interval need not be centred on the difference that a table shows. Three things widen an interval:
    EO    by the bias that may be left, which is most if the gaps of a method may be near zero
    WST   if noise may make another group the lowest, the half width is the mean over the groups that may be
    STD   it covers both the plain and the corrected difference
docs/intervals.md has the coverage in simulation. Not simulated: a group that every run gets right, or wrong. It adds no
image variance, however few images it has.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri, stdtrit

from results.group_accuracies import METRICS, GroupAccuracies, average, pooled
from results.noise import lowest_groups, odds_bias_left, shared, without_bias

LEVEL = 0.95


class Difference(NamedTuple):
    """The difference of a metric between two methods: fractions, with the ends of its 95 % interval and its p-value.

    The interval of level 1 - p has an end at 0.
    """

    value: float
    low: float
    high: float
    p: float


def difference(
    accuracies: GroupAccuracies, first: dict[int, list[int]], second: dict[int, list[int]]
) -> dict[str, Difference]:
    """Return for each metric the difference first - second with its interval, over test images and seeds.

    `first` and `second` map seeds to their runs. Only the seeds of both count, in pairs. With one seed the interval is
    over the images alone. Returns an empty dict if the two share no seed, or if a group has a single image.
    """
    seeds = sorted(first.keys() & second.keys())
    if not seeds or accuracies.counts.min() < 2:
        return {}
    pair = [{seed: runs[seed] for seed in seeds} for runs in (first, second)]
    value, other = (pooled(accuracies, runs) for runs in pair)
    matrices = [average(runs, len(accuracies.observed)) for runs in pair]
    slope, other_slope = (_slopes(accuracies, matrix) for matrix in matrices)
    better, other_better = (without_bias(accuracies, matrix) for matrix in matrices)
    left, other_left = (odds_bias_left(accuracies, matrix) for matrix in matrices)
    result = {}
    for metric in METRICS:
        shown, centre = value[metric] - other[metric], better[metric] - other_better[metric]
        low, high = float(np.mean(centre)), float(np.mean(centre))
        parts = [(1.0, *_spread(slope[metric] - other_slope[metric], accuracies))]
        if metric == "WST":
            one, two = (
                matrix[:, :, None, None] * np.eye(len(accuracies.counts)) for matrix in matrices
            )  # of each group
            pairs = lowest_groups(accuracies, *matrices)
            parts = [(p, *_spread(one[..., a] - two[..., b], accuracies)) for (a, b), p in pairs.items()]
        elif metric == "EO":
            parts = [(1.0, centre, parts[0][2])]  # corrected in each seed
            low, high = low - left, high + other_left
        elif (
            metric == "STD"
        ):  # the corrected spread of equal groups still errs upwards, that of unequal ones is noisier
            low, high = min(shown, low), max(shown, high)
        result[metric] = _interval(shown, low, high, parts)
    return result


def holm(p_values: list[float], level: float = LEVEL) -> list[bool]:
    """Return which of several differences are told from 0 if all of them together may err with 1 - `level`.

    Holm, Scandinavian Journal of Statistics 6, 65 (1979): the smallest p-value is held against (1 - level) / n, the next
    against (1 - level) / (n - 1), until one is larger.
    """
    told, order = [False] * len(p_values), sorted(range(len(p_values)), key=p_values.__getitem__)
    for rank, place in enumerate(order):
        if p_values[place] > (1 - level) / (len(p_values) - rank):
            break
        told[place] = True
    return told


def _interval(shown: float, low: float, high: float, parts: list[tuple]) -> Difference:
    """Return the interval around centres from `low` to `high`.

    Its half width is the weighted mean of those of `parts`, each (weight, of_seeds, images): see `half_width`.
    """

    def half(level):
        return sum(weight * half_width(of_seeds, images, level) for weight, of_seeds, images in parts)

    away, p = max(low, -high), 1.0  # how far the centres lie from 0
    if away > 0:
        p = brentq(lambda p: half(1 - p) - away, 1e-12, 1) if half(1 - 1e-12) > away else 1e-12
    ends = np.clip([low - half(LEVEL), high + half(LEVEL)], -1, 1)  # no difference is larger
    # rounded, so that runs alike are not told apart by the last bits of a float; + 0.0 makes -0.0 plain
    return Difference(*(round(float(number), 9) + 0.0 for number in (shown, *ends, p)))


def half_width(of_seeds: np.ndarray, images: np.ndarray, level: float = LEVEL) -> float:
    """Return half the length of an interval for the mean of seeds' values, a 95 % one by default.

    `of_seeds`, (seeds,), are the values; `images`, (seeds, seeds), their covariance over draws of the test images.
    Without image noise this is the t interval, with one seed the normal one. See the head of this file.
    """
    n, normal = len(of_seeds), ndtri((1 + level) / 2)
    between = shared(images)
    seeds = of_seeds.var(ddof=1) / n if n > 1 else 0.0
    if seeds + between <= 0:
        return 0.0
    t = stdtrit(n - 1, (1 + level) / 2) if n > 1 else 0.0
    return float((t * seeds + normal * between) / np.sqrt(seeds + between))


def _spread(weights: np.ndarray, accuracies: GroupAccuracies) -> tuple[np.ndarray, np.ndarray]:
    """Return the seeds' weighted sums of group accuracies, (seeds,), and their covariance over images, (seeds, seeds).

    `weights` are float (seeds, runs, groups).
    """
    of_seeds = np.einsum("srg,rg->s", weights, accuracies.observed)
    used = weights.any(axis=(0, 2))
    weights, covariance = weights[:, used].transpose(2, 0, 1), accuracies.covariance[:, used][:, :, used]
    return of_seeds, (weights @ covariance @ weights.transpose(0, 2, 1)).sum(axis=0)


def _slopes(accuracies: GroupAccuracies, matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Return for each metric the weights, (seeds, runs, groups), whose sum over group accuracies is a seed's value."""
    means = (matrix @ accuracies.observed).mean(axis=0)
    count, spread = len(means), means.std()
    slopes = {
        "ACC": accuracies.fractions,
        "WST": np.zeros(count),  # see `results.noise.lowest_groups`
        "EO": _odds_slope(accuracies.observed, accuracies.classes),
        "STD": (means - means.mean()) / (count * spread) if spread > 0 else np.zeros(count),
    }
    return {metric: matrix[:, :, None] * slope for metric, slope in slopes.items()}


def _odds_slope(observed: np.ndarray, classes: int) -> np.ndarray:
    """Return 1 and -1 at the two groups whose gap is a run's equalized odds difference: (runs, groups)."""
    groups = observed.reshape(len(observed), classes, -1)
    larger = np.ptp(groups, axis=-1).argmax(axis=-1)
    slope, runs = np.zeros(groups.shape), np.arange(len(observed))
    chosen = groups[runs, larger]
    slope[runs, larger, chosen.argmax(axis=-1)] += 1
    slope[runs, larger, chosen.argmin(axis=-1)] -= 1
    return slope.reshape(observed.shape)
