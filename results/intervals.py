"""95 % intervals for the difference between two methods, over the seeds and the test images that happened to be drawn.

Every run of a seed is tested on the same images, so seeds and images are crossed random effects. A metric is taken as
a weighted sum of group accuracies (for WST, EO and STD: its slope at what was measured). The variance of the
difference is then that of its seeds' values / n, which holds the noise that images add to each seed alone, plus the
covariance that shared images bring between seeds: Obuchowski and Rockette, Communications in Statistics 24, 285
(1995). Their t and normal quantiles are weighted by the two parts, after Cochran: Biometrics 20, 191 (1964). Hillis'
degrees of freedom (Statistics in Medicine 26, 596, 2007) gave 91 to 95 % for ACC at three seeds.

Noise lowers the minimum in WST and raises the gaps in EO and the spread in STD. An estimate of that bias, which still
leaves half of it where the groups are equal, is taken off, so an interval need not be centred on the difference that a
table shows.

Coverage in simulation at 3, 5 and 10 seeds (tests/test_intervals.py; `--long -s` prints the table) is 94 to 97 % for
ACC and EO. It is 94 to 97 % for WST and STD too, but they are wider, never narrower, where a method's groups are equal
or differ by less than its runs do: up to 99 % for WST and 99.5 % for STD. Not simulated: a group that every run gets
right, or wrong. It adds no image variance, however few images it has.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

METRICS = ("ACC", "WST", "EO", "STD")
LOWER_IS_BETTER = ("EO", "STD")
DRAWS, LEVEL, SEED = 1000, 0.95, 20250610  # of the noise whose mean effect is the bias of WST and EO


@dataclass(frozen=True)
class GroupAccuracies:
    """Group accuracies of runs: `observed`, float (runs, groups), and how the test images make them vary together.

    `covariance`, float (groups, runs, runs), is that of two runs' accuracies of a group over draws of its images. The
    groups are those of `names`, all of target 0 first; `counts`, int (groups,), are their test images.
    """

    names: tuple[str, ...]
    counts: np.ndarray
    observed: np.ndarray
    covariance: np.ndarray

    @property
    def shares(self) -> np.ndarray:
        """The groups' shares of the test images, (groups,)."""
        return self.counts / self.counts.sum()


def group_accuracies(target, protected, predictions, names: tuple[str, ...]) -> GroupAccuracies:
    """The group accuracies of all runs and their covariance over test images.

    `target` and `protected` are int (n,), `predictions` 0/1 (n, runs). Right answers are counted as integers, so that
    the result does not depend on the order of summation. Raises `ValueError` for a group without an image.
    """
    right = (np.asarray(predictions) == np.asarray(target)[:, None]).astype(np.float64)
    cell = np.asarray(target) * (len(names) // 2) + np.asarray(protected)
    counts = np.bincount(cell, minlength=len(names))
    if (counts == 0).any():
        raise ValueError(f"no test image in group {names[int(np.argmin(counts))]}")
    observed, covariance = [], []
    for g, count in enumerate(counts):
        members = right[cell == g]
        sums = members.sum(axis=0)
        products = count * (members.T @ members) - np.outer(sums, sums)
        observed.append(sums / count)
        covariance.append(products / (count**2 * max(count - 1, 1)))  # sample covariance / count
    return GroupAccuracies(tuple(names), counts, np.stack(observed, axis=1), np.stack(covariance))


def statistics(accuracies: np.ndarray, shares: np.ndarray) -> dict[str, np.ndarray]:
    """The metrics of a method from the group accuracies of its seeds, (..., seeds, groups), as the paper takes them.

    ACC: of all images. WST and STD: the lowest, and the population standard deviation, of the groups' accuracies
    averaged over seeds. EO: max(|TPR gap|, |FPR gap|) of each seed, averaged over seeds; of more than two protected
    groups the gap is the largest between any two.
    """
    return _of_means(accuracies.mean(axis=-2), _odds(accuracies).mean(axis=-1), shares)


def pooled(accuracies: np.ndarray, runs: dict[int, list[int]], shares: np.ndarray) -> dict[str, np.ndarray]:
    """The metrics of a row whose seeds may have several runs each, which are averaged first: a seed counts once.

    `accuracies` are those of all runs, (runs, groups); `runs` maps seeds to places in it.
    """
    average = _average(runs, len(accuracies))
    return _of_means((average @ accuracies).mean(axis=0), (average @ _odds(accuracies)).mean(), shares)


def difference(
    accuracies: GroupAccuracies, first: dict[int, list[int]], second: dict[int, list[int]]
) -> dict[str, tuple[float, float, float]]:
    """For each metric first - second and its 95 % interval (value, low, high), over test images and seeds.

    `first` and `second` map seeds to their runs; only the seeds of both count, in pairs. With one seed the images
    alone are counted. Empty where they share no seed, or where a group has one image, of which nothing is known.
    """
    seeds = sorted(first.keys() & second.keys())
    if not seeds or accuracies.counts.min() < 2:
        return {}
    pair = [{seed: runs[seed] for seed in seeds} for runs in (first, second)]
    value, other = (pooled(accuracies.observed, runs, accuracies.shares) for runs in pair)
    averages = [_average(runs, len(accuracies.observed)) for runs in pair]
    slope, other_slope = (_slopes(accuracies, average) for average in averages)
    better, other_better = (_without_bias(accuracies, average) for average in averages)
    result = {}
    for metric in METRICS:
        weights = slope[metric] - other_slope[metric]
        of_seeds = np.einsum("srg,rg->s", weights, accuracies.observed)
        shown, centre = value[metric] - other[metric], better[metric] - other_better[metric]
        if metric == "EO":  # corrected in each seed
            of_seeds, centre = centre, centre.mean()
        half = half_width(of_seeds, _image_covariance(weights, accuracies.covariance))
        # the corrected spread of equal groups still errs upwards, and that of unequal ones is noisier than the plain
        low, high = (min(shown, centre), max(shown, centre)) if metric == "STD" else (centre, centre)
        low, high = np.clip([low - half, high + half], -1, 1)  # no difference is larger
        # rounded, so that runs alike are not told apart by the last bits of a float; + 0.0 makes -0.0 plain
        result[metric] = tuple(round(float(number), 9) + 0.0 for number in (shown, low, high))
    return result


def half_width(of_seeds: np.ndarray, images: np.ndarray) -> float:
    """Half the length of a 95 % interval for the mean of seeds' values.

    `of_seeds`, (seeds,), are the values; `images`, (seeds, seeds), their covariance over draws of the test images.
    Without image noise this is the t interval, with one seed the normal one. See the head of this file.
    """
    n, normal = len(of_seeds), ndtri((1 + LEVEL) / 2)
    shared = _shared(images)
    seeds = of_seeds.var(ddof=1) / n if n > 1 else 0.0
    if seeds + shared <= 0:
        return 0.0
    t = stdtrit(n - 1, (1 + LEVEL) / 2) if n > 1 else 0.0
    return float((t * seeds + normal * shared) / np.sqrt(seeds + shared))


def _shared(images: np.ndarray) -> np.ndarray:
    """What averaging over ever more seeds would leave of the images' variance: (..., seeds, seeds) to (...).

    The covariance between seeds; of a single seed, all its variance.
    """
    n = images.shape[-1]
    if n == 1:
        return images[..., 0, 0]
    between = images.sum(axis=(-2, -1)) - np.trace(images, axis1=-2, axis2=-1)
    return np.maximum(between / (n * (n - 1)), 0)


def _image_covariance(weights: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """The covariance of the seeds' weighted sums over draws of the images: (seeds, runs, groups) to (seeds, seeds)."""
    used = weights.any(axis=(0, 2))
    weights, covariance = weights[:, used].transpose(2, 0, 1), covariance[:, used][:, :, used]
    return (weights @ covariance @ weights.transpose(0, 2, 1)).sum(axis=0)


def _average(runs: dict[int, list[int]], count: int) -> np.ndarray:
    """The matrix, (seeds, runs), that averages each seed's runs."""
    average = np.zeros((len(runs), count))
    for row, places in zip(average, runs.values(), strict=True):
        row[places] = 1 / len(places)
    return average


def _slopes(accuracies: GroupAccuracies, average: np.ndarray) -> dict[str, np.ndarray]:
    """For each metric the weights, (seeds, runs, groups), whose sum over a run's group accuracies is a seed's value."""
    means = (average @ accuracies.observed).mean(axis=0)
    count, spread = len(means), means.std()
    slopes = {
        "ACC": accuracies.shares,
        "WST": np.eye(count)[means.argmin()],
        "EO": _odds_slope(accuracies.observed),
        "STD": (means - means.mean()) / (count * spread) if spread > 0 else np.zeros(count),
    }
    return {metric: average[:, :, None] * slope for metric, slope in slopes.items()}


def _without_bias(accuracies: GroupAccuracies, average: np.ndarray) -> dict[str, np.ndarray]:
    """The metrics less an estimate of what noise adds to them; EO of each seed, (seeds,)."""
    by_seed = average @ accuracies.observed
    n, means = len(by_seed), by_seed.mean(axis=0)
    images = _shared(average @ accuracies.covariance @ average.T)  # variance of each group's mean accuracy
    centred = by_seed - by_seed.mean(axis=1, keepdims=True)
    noise = images.mean() * (1 - 1 / len(means)) + (centred.var(axis=0, ddof=1).mean() / n if n > 1 else 0)
    rng = np.random.default_rng(SEED)
    noisy = means + rng.standard_normal((DRAWS, len(means))) * np.sqrt(images)
    if n > 1:
        noisy += rng.standard_normal((DRAWS, n)) @ (by_seed - means) / np.sqrt(n * (n - 1))
    used = average.any(axis=0)
    odds = _odds_without_bias(accuracies.observed[used], np.diagonal(accuracies.covariance, axis1=1, axis2=2).T[used])
    return {
        "ACC": (means * accuracies.shares).sum(),
        "WST": 2 * means.min() - noisy.min(axis=1).mean(),
        "EO": average[:, used] @ odds,
        "STD": np.sqrt(np.maximum(means.var() - noise, 0)),
    }


def _odds_without_bias(observed: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Equalized odds of runs less an estimate of what image noise adds: `observed` and its `variance`, (runs, groups), to (runs,).

    What it adds is simulated at gaps that are drawn together by as much as noise has spread them.
    """
    groups = observed.reshape(len(observed), 2, -1)
    noise = variance.reshape(groups.shape).mean(axis=-1, keepdims=True) * (groups.shape[-1] - 1)
    middle = groups.mean(axis=-1, keepdims=True)
    squares = ((groups - middle) ** 2).sum(axis=-1, keepdims=True)
    share = np.sqrt(np.maximum(1 - noise / np.maximum(squares, 1e-12), 0))
    likely = (middle + share * (groups - middle)).reshape(observed.shape)
    draws = np.random.default_rng(SEED + 1).standard_normal((DRAWS, 1, observed.shape[1]))
    added = _odds(likely + draws * np.sqrt(variance)).mean(axis=0) - _odds(likely)
    return _odds(observed) - added


def _odds(accuracies: np.ndarray) -> np.ndarray:
    half = accuracies.shape[-1] // 2
    gaps = [part.max(axis=-1) - part.min(axis=-1) for part in (accuracies[..., :half], accuracies[..., half:])]
    return np.maximum(*gaps)


def _odds_slope(observed: np.ndarray) -> np.ndarray:
    """1 and -1 at the two groups whose gap is a run's equalized odds: (runs, groups)."""
    groups = observed.reshape(len(observed), 2, -1)
    larger = np.ptp(groups, axis=-1).argmax(axis=-1)
    slope, runs = np.zeros(groups.shape), np.arange(len(observed))
    chosen = groups[runs, larger]
    slope[runs, larger, chosen.argmax(axis=-1)] += 1
    slope[runs, larger, chosen.argmin(axis=-1)] -= 1
    return slope.reshape(observed.shape)


def _of_means(groups: np.ndarray, odds: np.ndarray, shares: np.ndarray) -> dict[str, np.ndarray]:
    """The metrics from mean group accuracies, (..., groups), and mean equalized odds, (...)."""
    return {
        "ACC": (groups * shares).sum(axis=-1),
        "WST": groups.min(axis=-1),
        "EO": odds,
        "STD": groups.std(axis=-1),
    }
