"""Group accuracies of many runs on the same test images, and the paper's metrics of them."""

from dataclasses import dataclass

import numpy as np

from utils.metrics import classes_of

METRICS = ("ACC", "WST", "EO", "STD")
LOWER_IS_BETTER = ("EO", "STD")


@dataclass(frozen=True)
class GroupAccuracies:
    """Group accuracies of runs and how the test images make them vary together.

    observed : float (runs, groups), fractions.
    covariance : float (groups, runs, runs), the covariance of two runs' accuracies of a group over draws of its images.
    names, counts : the groups, all of the first target first, and int (groups,), their test images.
    """

    names: tuple[str, ...]
    counts: np.ndarray
    observed: np.ndarray
    covariance: np.ndarray

    @property
    def classes(self) -> int:
        """The number of targets."""
        return classes_of(self.names)

    @property
    def fractions(self) -> np.ndarray:
        """Return the groups' fractions of the test images, float (groups,)."""
        return self.counts / self.counts.sum()


def group_accuracies(target, protected, predictions, names: tuple[str, ...]) -> GroupAccuracies:
    """Return the group accuracies of all runs and their covariance over test images.

    `target` and `protected` are int (n,), from 0, `predictions` targets (n, runs). Right answers are counted as integers, so that
    the result does not depend on the order of summation. Raises `ValueError` for a group without an image.
    """
    right = (np.asarray(predictions) == np.asarray(target)[:, None]).astype(np.float64)
    group = np.asarray(target) * (len(names) // classes_of(names)) + np.asarray(protected)
    counts = np.bincount(group, minlength=len(names))
    if (counts == 0).any():
        raise ValueError(f"no test image in group {names[int(np.argmin(counts))]}")
    observed, covariance = [], []
    for g, count in enumerate(counts):
        members = right[group == g]
        sums = members.sum(axis=0)
        products = count * (members.T @ members) - np.outer(sums, sums)
        observed.append(sums / count)
        covariance.append(products / (count**2 * max(count - 1, 1)))  # sample covariance / count
    return GroupAccuracies(tuple(names), counts, np.stack(observed, axis=1), np.stack(covariance))


def statistics(accuracies: np.ndarray, fractions: np.ndarray, classes: int = 2) -> dict[str, np.ndarray]:
    """Return the metrics of a method, fractions, from the group accuracies of its seeds, (..., seeds, groups).

    They are taken as in the paper. ACC: of all images. WST and STD: the lowest, and the population standard deviation, of
    the groups' accuracies averaged over seeds. EO: max(|TPR gap|, |FPR gap|) of each seed, averaged over seeds; of more
    than two protected groups or `classes` see `utils.metrics.fairness_metrics`.
    """
    return _of_means(accuracies.mean(axis=-2), odds(accuracies, classes).mean(axis=-1), fractions)


def pooled(accuracies: GroupAccuracies, runs: dict[int, list[int]]) -> dict[str, np.ndarray]:
    """Return the metrics of a row whose seeds may have several runs each, which are averaged first: a seed counts once.

    `runs` maps seeds to places of runs.
    """
    observed, matrix = accuracies.observed, average(runs, len(accuracies.observed))
    mean_odds = (matrix @ odds(observed, accuracies.classes)).mean()
    return _of_means((matrix @ observed).mean(axis=0), mean_odds, accuracies.fractions)


def average(runs: dict[int, list[int]], count: int) -> np.ndarray:
    """Return the matrix, float (seeds, `count`), that averages each seed's runs."""
    matrix = np.zeros((len(runs), count))
    for row, places in zip(matrix, runs.values(), strict=True):
        row[places] = 1 / len(places)
    return matrix


def odds(accuracies: np.ndarray, classes: int = 2) -> np.ndarray:
    """Return the equalized odds difference of group accuracies: (..., groups) to (...)."""
    of_targets = accuracies.reshape(*accuracies.shape[:-1], classes, -1)
    return np.ptp(of_targets, axis=-1).max(axis=-1)


def _of_means(groups: np.ndarray, mean_odds: np.ndarray, fractions: np.ndarray) -> dict[str, np.ndarray]:
    """Return the metrics of mean group accuracies, (..., groups), and the mean equalized odds difference, (...)."""
    return {
        "ACC": (groups * fractions).sum(axis=-1),
        "WST": groups.min(axis=-1),
        "EO": mean_odds,
        "STD": groups.std(axis=-1),
    }
