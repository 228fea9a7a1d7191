"""How far a difference between two methods may come from the test images and the seeds that happened to be drawn."""

from dataclasses import dataclass

import numpy as np

METRICS = ("ACC", "WST", "EO", "STD")
LOWER_IS_BETTER = ("EO", "STD")
DRAWS, LEVEL, SEED = 2000, 0.95, 20250610
CHUNK = 64  # draws at a time, which bounds the memory


@dataclass(frozen=True)
class GroupAccuracies:
    """Group accuracies of runs: `observed` float (runs, groups), `drawn` float (draws, runs, groups).

    The groups are those of `names`, all of target 0 first; `shares`, (groups,), are their shares of the test images.
    """

    names: tuple[str, ...]
    shares: np.ndarray
    observed: np.ndarray
    drawn: np.ndarray


def group_accuracies(target, protected, predictions, names: tuple[str, ...], draws: int = DRAWS) -> GroupAccuracies:
    """The group accuracies of all runs, as observed and on resampled test images.

    The images are drawn anew with replacement within each group, so that none is empty, and the same for all runs, so
    that runs can be compared. `target` and `protected` are int (n,), `predictions` 0/1 (n, runs). Right answers are
    counted as integers, so that the result does not depend on the order of summation.
    """
    rng = np.random.default_rng(SEED)
    correct = (np.asarray(predictions) == np.asarray(target)[:, None]).astype(np.float64)
    cell = np.asarray(target) * (len(names) // 2) + np.asarray(protected)
    counts = np.bincount(cell, minlength=len(names))
    if (counts == 0).any():
        raise ValueError(f"no test image in group {names[int(np.argmin(counts))]}")
    observed = np.empty((correct.shape[1], len(names)))
    drawn = np.empty((draws, *observed.shape))
    for g, count in enumerate(counts):
        right = correct[cell == g]
        observed[:, g] = right.sum(axis=0) / count
        for start in range(0, draws, CHUNK):
            size = min(CHUNK, draws - start)
            weights = rng.multinomial(count, np.full(count, 1 / count), size=size).astype(np.float64)
            drawn[start : start + size, :, g] = weights @ right / count
    return GroupAccuracies(tuple(names), counts / counts.sum(), observed, drawn)


def statistics(accuracies: np.ndarray, shares: np.ndarray) -> dict[str, np.ndarray]:
    """The metrics of a method from the group accuracies of its seeds, (..., seeds, groups), as the paper takes them.

    ACC: of all images. WST and STD: the lowest, and the population standard deviation, of the groups' accuracies
    averaged over seeds. EO: max(|TPR gap|, |FPR gap|) of each seed, averaged over seeds; of more than two protected
    groups the gap is the largest between any two.
    """
    return _of_means(accuracies.mean(axis=-2), _odds(accuracies).mean(axis=-1), shares)


def pooled(accuracies: np.ndarray, runs: dict[int, list[int]], shares: np.ndarray) -> dict[str, np.ndarray]:
    """The metrics of a row whose seeds may have several runs each, which are averaged first: a seed counts once.

    `accuracies` are those of all runs, (..., runs, groups); `runs` maps seeds to places in it.
    """
    groups, odds = _by_seed(accuracies, list(runs.values()))
    return _of_means(groups.mean(axis=-2), odds.mean(axis=-1), shares)


def difference(
    accuracies: GroupAccuracies, first: dict[int, list[int]], second: dict[int, list[int]]
) -> dict[str, tuple[float, float, float]]:
    """For each metric first - second and its 95 % percentile interval (value, low, high), over test images and seeds.

    `first` and `second` map seeds to their runs; only the seeds of both count, and are drawn anew in pairs, each with
    all its runs. With one seed only the images are. Empty where they share no seed.
    """
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        return {}
    rng = np.random.default_rng(SEED + 1)
    draws = len(accuracies.drawn)
    chosen = rng.integers(0, len(seeds), (draws, len(seeds)))
    values, resampled = [], []
    rows = np.arange(draws)[:, None]
    for runs in (first, second):
        shared = {seed: runs[seed] for seed in seeds}
        values.append(pooled(accuracies.observed, shared, accuracies.shares))
        groups, odds = _by_seed(accuracies.drawn, list(shared.values()))
        means = groups[rows, chosen].mean(axis=-2), odds[rows, chosen].mean(axis=-1)
        resampled.append(_of_means(*means, accuracies.shares))
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    result = {}
    for metric in METRICS:
        low, high = np.quantile(resampled[0][metric] - resampled[1][metric], tails)
        result[metric] = (float(values[0][metric] - values[1][metric]), float(low), float(high))
    return result


def _odds(accuracies: np.ndarray) -> np.ndarray:
    half = accuracies.shape[-1] // 2
    gaps = [part.max(axis=-1) - part.min(axis=-1) for part in (accuracies[..., :half], accuracies[..., half:])]
    return np.maximum(*gaps)


def _by_seed(accuracies: np.ndarray, runs: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Group accuracies, (..., seeds, groups), and equalized odds, (..., seeds): means over each seed's runs."""
    parts = [accuracies[..., places, :] for places in runs]
    groups = np.stack([part.mean(axis=-2) for part in parts], axis=-2)
    return groups, np.stack([_odds(part).mean(axis=-1) for part in parts], axis=-1)


def _of_means(groups: np.ndarray, odds: np.ndarray, shares: np.ndarray) -> dict[str, np.ndarray]:
    """The metrics from mean group accuracies, (..., groups), and mean equalized odds, (...)."""
    return {
        "ACC": (groups * shares).sum(axis=-1),
        "WST": groups.min(axis=-1),
        "EO": odds,
        "STD": groups.std(axis=-1),
    }
