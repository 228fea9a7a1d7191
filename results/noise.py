"""What noise of test images and seeds adds to the metrics: it lowers WST and raises EO and STD.

The noise is simulated, always with the same numbers.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from results.group_accuracies import GroupAccuracies, odds

DRAWS, SEED = 1000, 20250610
NEAR = 2.0  # standard errors by which gaps may be smaller than they look


@dataclass(frozen=True)
class Gaps:
    """The gaps between protected groups in runs, for each target, and the image noise in them.

    middle, apart : float (runs, targets, 1) and (runs, targets, groups / targets); a target's mean accuracy, and each group's distance from it.
    variance : float (runs, groups), of the group accuracies.
    error : float (runs, targets, 1), noise to gap: the standard error of `apart` divided by its size.
    """

    middle: np.ndarray
    apart: np.ndarray
    variance: np.ndarray
    error: np.ndarray

    @classmethod
    def of(cls, accuracies: GroupAccuracies, used: np.ndarray) -> "Gaps":
        """Return the gaps of the runs that `used`, bool (runs,), marks."""
        variance = np.diagonal(accuracies.covariance, axis1=1, axis2=2).T[used]
        groups = accuracies.observed[used].reshape(len(variance), accuracies.classes, -1)
        noise = variance.reshape(groups.shape).mean(axis=-1, keepdims=True) * (groups.shape[-1] - 1)
        middle = groups.mean(axis=-1, keepdims=True)
        squares = ((groups - middle) ** 2).sum(axis=-1, keepdims=True)
        return cls(middle, groups - middle, variance, np.sqrt(noise / np.maximum(squares, 1e-12)))

    @property
    def likely(self) -> np.ndarray:
        """Return the factor that draws the gaps together by as much as noise has spread them, (runs, targets, 1)."""
        return np.sqrt(np.maximum(1 - self.error**2, 0))

    def added(self, factor: np.ndarray) -> np.ndarray:
        """Return what noise adds to EO, (runs,), if the true gaps are those seen times `factor`, (runs, targets, 1)."""
        true = (self.middle + factor * self.apart).reshape(self.variance.shape)
        draws = np.random.default_rng(SEED + 1).standard_normal((DRAWS, 1, true.shape[1]))
        classes = self.middle.shape[1]
        return odds(true + draws * np.sqrt(self.variance), classes).mean(axis=0) - odds(true, classes)


def without_bias(accuracies: GroupAccuracies, average: np.ndarray) -> dict[str, np.ndarray]:
    """Return the metrics less an estimate of what noise adds to them; EO of each seed, float (seeds,).

    `average` is the matrix of `results.group_accuracies.average`.
    """
    by_seed = average @ accuracies.observed
    n, means = len(by_seed), by_seed.mean(axis=0)
    images = shared(average @ accuracies.covariance @ average.T)
    centred = by_seed - by_seed.mean(axis=1, keepdims=True)
    noise = images.mean() * (1 - 1 / len(means)) + (centred.var(axis=0, ddof=1).mean() / n if n > 1 else 0)
    used = average.any(axis=0)
    gaps = Gaps.of(accuracies, used)
    return {
        "ACC": (means * accuracies.fractions).sum(),
        "WST": 2 * means.min() - _noisy_means(accuracies, average).min(axis=1).mean(),
        "EO": average[:, used] @ (odds(accuracies.observed[used], accuracies.classes) - gaps.added(gaps.likely)),
        "STD": np.sqrt(np.maximum(means.var() - noise, 0)),
    }


def odds_bias_left(accuracies: GroupAccuracies, average: np.ndarray) -> float:
    """Return how much too high the EO of `without_bias` may still be, a fraction, in the mean of the seeds.

    Noise adds most to EO if the true gaps are near zero. What it adds is estimated at the gaps as they look, so that
    part of it is left if they are smaller. Here it is taken at gaps `NEAR` standard errors smaller. This makes the interval
    aware of its bias, after Armstrong and Kolesár, Econometrica 86, 655 (2018).
    """
    used = average.any(axis=0)
    gaps = Gaps.of(accuracies, used)
    left = gaps.added(np.maximum(1 - NEAR * gaps.error, 0)) - gaps.added(gaps.likely)
    return float((average[:, used] @ np.maximum(left, 0)).mean())


def lowest_groups(accuracies: GroupAccuracies, first: np.ndarray, second: np.ndarray) -> dict[tuple[int, int], float]:
    """Return which groups may be the lowest of two methods, and how often noise makes them so: a fraction of the draws.

    `first` and `second` average the methods' runs. Noise comes to both methods together, so equal runs have equal groups.
    """
    pairs = zip(*(_noisy_means(accuracies, average).argmin(axis=1).tolist() for average in (first, second)))
    return {pair: count / DRAWS for pair, count in Counter(pairs).items()}


def shared(images: np.ndarray) -> np.ndarray:
    """Return what averaging over ever more seeds would leave of the images' variance: (..., seeds, seeds) to (...).

    It is the covariance between seeds; of a single seed, all its variance.
    """
    n = images.shape[-1]
    if n == 1:
        return images[..., 0, 0]
    between = images.sum(axis=(-2, -1)) - np.trace(images, axis1=-2, axis2=-1)
    return np.maximum(between / (n * (n - 1)), 0)


def _noisy_means(accuracies: GroupAccuracies, average: np.ndarray) -> np.ndarray:
    """Return mean group accuracies as other seeds and images might have made them, (draws, groups)."""
    by_seed = average @ accuracies.observed
    n, means = len(by_seed), by_seed.mean(axis=0)
    images = shared(average @ accuracies.covariance @ average.T)  # the variance of each group's mean accuracy
    rng = np.random.default_rng(SEED)
    noisy = means + rng.standard_normal((DRAWS, len(means))) * np.sqrt(images)
    if n > 1:
        noisy += rng.standard_normal((DRAWS, n)) @ (by_seed - means) / np.sqrt(n * (n - 1))
    return noisy
