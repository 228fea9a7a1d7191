"""Fairness metrics of a classifier, on plain arrays."""

import numpy as np

NEAR = 0.1  # margin, a fraction, over an answer that does not look at the image; below it we warn
UNBIASED = 0.05  # equalized odds difference of ERM, a fraction, below which we warn
GROUPS = ("0_0", "0_1", "1_0", "1_1")  # target_protected


def positive(logits) -> np.ndarray:
    """Return the images that count as positive, bool (n,): sigmoid(logit) >= 0.5 in float32, as in the authors' code.

    So a logit of 0 is positive, and so is one within 1e-7 below 0, whose sigmoid rounds to 0.5. `logits` : float (n,).
    """
    logits = np.asarray(logits, dtype=np.float32)
    with np.errstate(over="ignore"):  # exp(100) is infinite, and its sigmoid 0
        return 1 / (1 + np.exp(-logits)) >= 0.5


def answers(logits) -> np.ndarray:
    """Return the target that logits say, int64 (n,): of one logit 1 if it is `positive`, of several the number of the largest.

    logits : float (n,), or (n, targets)
    """
    logits = np.asarray(logits)
    return positive(logits).astype(np.int64) if logits.ndim == 1 else logits.argmax(axis=1)


def outputs_of(targets: int) -> int:
    """Return how many logits a network has for so many targets: one for two, as in the paper."""
    return 1 if targets == 2 else targets


def logit_columns(groups) -> list[str]:
    """Return the names of the logits' columns in a record's tables, by the names of its groups."""
    classes = classes_of(groups)
    return ["logit"] if classes == 2 else [f"logit_{number}" for number in range(classes)]


def classes_of(groups) -> int:
    """Return the number of targets in the names of all groups."""
    return len({group.partition("_")[0] for group in groups})


def by_class(of_groups: dict[str, float]) -> np.ndarray:
    """Return the values of all groups, in order, as (target values, protected values)."""
    return np.array(list(of_groups.values())).reshape(classes_of(of_groups), -1)


def widest_gap(accuracies: dict[str, float]) -> tuple[str, str]:
    """Return the two groups of one target whose accuracies differ most, the lower one first; `accuracies` are of all groups."""
    values = by_class(accuracies)
    names = np.array(list(accuracies)).reshape(values.shape)
    target = np.ptp(values, axis=1).argmax()
    return str(names[target, values[target].argmin()]), str(names[target, values[target].argmax()])


def blind_accuracy(group_count: dict[str, int]) -> float:
    """Return the accuracy, a fraction, of the best answer that knows the protected attribute and sees no image.

    That answer is the target's more frequent value in each protected group. `group_count` is that of `fairness_metrics`.
    """
    counts = by_class(group_count)
    return float(counts.max(axis=0).sum() / counts.sum())


def answers_alike(group_accuracy: dict[str, float]) -> bool:
    """Return True if a classifier answers alike whatever the target, so that its equalized odds are small for nothing.

    In every protected group the accuracies of all targets then add up to 1, here to within `NEAR`. One answer for every image
    is such a case, and so is a coin. `group_accuracy` is that of `fairness_metrics`.
    """
    return bool((np.abs(by_class(group_accuracy).sum(axis=0) - 1) < NEAR).all())


def hardly_biased(odds: float, group_accuracy: dict[str, float], group_count: dict[str, int]) -> str:
    """Return a warning if ERM, by means over its seeds, is hardly biased; else "".

    Its equalized odds difference `odds`, a fraction, is then below `UNBIASED`, or below twice the standard error that it has on
    so many test images if there is no difference.
    """
    accuracy, counts = by_class(group_accuracy), by_class(group_count)
    row = (accuracy.max(axis=1) - accuracy.min(axis=1)).argmax()  # the target value of the larger gap
    pair = [accuracy[row].argmin(), accuracy[row].argmax()]
    rate = np.average(accuracy[row, pair], weights=counts[row, pair])
    least = max(UNBIASED, 2 * float(np.sqrt(rate * (1 - rate) * (1 / counts[row, pair]).sum())))
    if odds >= least:
        return ""
    return (
        f"ERM's equalized odds difference is {100 * odds:.1f} points; below {100 * least:.1f} (5 points, or twice its standard error "
        "on so many test images) it shows next to no bias, so there is next to nothing to repair."
    )


def hardly_learned(accuracy: float, group_count: dict[str, int]) -> str:
    """Return a warning if ERM's accuracy, a fraction, is little above `blind_accuracy`; else "".

    It should be right in a fifth of the images that the blind answer gets wrong. That is `NEAR` above a coin, and less if the
    blind answer is right so often that there is no room for more.
    """
    blind = blind_accuracy(group_count)
    if accuracy >= blind + 2 * NEAR * (1 - blind):
        return ""
    return (
        f"ERM is right in {100 * accuracy:.1f} % of the test images, where the protected attribute alone, without looking, "
        f"is right in {100 * blind:.1f} %: it has hardly learned its task."
    )


def fairness_metrics(target, protected, prediction, groups: tuple[str, ...] = GROUPS) -> dict:
    """Return accuracy and group fairness of predictions, all as fractions.

    target, prediction : array-like, (n,), of the numbers of the target values, from 0.
    protected : array-like, (n,), of the numbers of the protected values, from 0.
    groups : the names of the groups "target_protected", all those of the first target first.

    The result has `accuracy`; `group_accuracy` and `group_count`, keyed by `groups`; `worst_group_accuracy`, their minimum;
    `group_accuracy_std`, their population standard deviation; `equalized_odds`, the larger of the gaps that each target has
    in its accuracy between the protected groups: max(|TPR gap|, |FPR gap|) for two targets, as in the paper's tables;
    `equalized_odds_mean`, the mean of these gaps, as its published code prints. Of more than two protected groups, a gap is the
    largest between any two.

    Raises ValueError if lengths differ, a value is out of range, or a group is empty.
    """
    count = _group_counts(target, protected, prediction, groups)
    group_count, of_class = count.sum(axis=2), np.arange(len(count))
    rate = count[of_class, :, of_class] / group_count
    # of the first target the errors, for two targets the FPR: the gap is the same
    rate[0] = (group_count[0] - count[0, :, 0]) / group_count[0]
    group_accuracy = rate.copy()
    group_accuracy[0] = 1 - rate[0]
    gaps = rate.max(axis=1) - rate.min(axis=1)
    return {
        "accuracy": float(count[of_class, :, of_class].sum() / count.sum()),
        "group_accuracy": dict(zip(groups, group_accuracy.ravel().tolist(), strict=True)),
        "group_count": dict(zip(groups, group_count.ravel().tolist(), strict=True)),
        "worst_group_accuracy": float(group_accuracy.min()),
        "group_accuracy_std": float(group_accuracy.std()),
        "equalized_odds": float(gaps.max()),
        "equalized_odds_mean": float(gaps.mean()),
    }


def _group_counts(target, protected, prediction, groups: tuple[str, ...]) -> np.ndarray:
    """Return the number of images of each (target, protected, prediction), int64 (targets, protected groups, targets)."""
    classes = classes_of(groups)
    limits = {"target": classes, "protected": len(groups) // classes, "prediction": classes}
    arrays = {"target": target, "protected": protected, "prediction": prediction}
    arrays = {name: _codes(name, values, limits[name]) for name, values in arrays.items()}
    lengths = {name: len(values) for name, values in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"lengths differ: {', '.join(f'{name} {length}' for name, length in lengths.items())}")
    shape = tuple(limits.values())
    codes = np.ravel_multi_index(tuple(arrays.values()), shape)
    counts = np.bincount(codes, minlength=int(np.prod(shape))).reshape(shape)
    if empty := [group for group, count in zip(groups, counts.sum(axis=2).ravel(), strict=True) if count == 0]:
        raise ValueError(f"no image in group {', '.join(empty)} (target_protected): its accuracy is undefined")
    return counts


def _codes(name: str, values, limit: int) -> np.ndarray:
    values = np.asarray(values)
    if values.ndim != 1 or not np.isin(values, range(limit)).all():
        allowed = " and ".join([", ".join(map(str, range(limit - 1))), str(limit - 1)])
        raise ValueError(f"{name} must be a one-dimensional array of {allowed}")
    return values.astype(np.int64)


def best_threshold(logits: np.ndarray, target: np.ndarray) -> float:
    """Return the threshold of the logit at which most answers are right.

    Among thresholds that are equally good it takes the one nearest to 0, the logit of probability 0.5. A threshold lies halfway
    between two neighbouring logits, or one beyond the smallest or largest.

    logits : float (n,)
    target : int (n,), 0 or 1

    Raises ValueError if there is no image.
    """
    if not len(logits):
        raise ValueError("no image to choose a threshold on")
    values, place = np.unique(np.asarray(logits, np.float64), return_inverse=True)
    positives, every = np.bincount(place, weights=target), np.bincount(place)
    # with the threshold below values[i], the images from i on count as positive
    right = np.append(np.cumsum(positives[::-1])[::-1], 0) + np.insert(np.cumsum(every - positives), 0, 0)
    cuts = np.concatenate([[values[0] - 1], (values[1:] + values[:-1]) / 2, [values[-1] + 1]])
    low, high = np.append(-np.inf, values), np.append(values, np.inf)
    cuts = np.where((low < 0) & (high >= 0), 0.0, cuts)  # 0 itself, if it divides the images as this cut does
    good = np.flatnonzero(right == right.max())
    return float(cuts[good[np.argmin(np.abs(cuts[good]))]])


def accuracy_at_best_threshold(logits: np.ndarray, target: np.ndarray) -> float:
    """Return the accuracy, a fraction, with `best_threshold`: a model whose logits are all shifted has the same."""
    return float(np.mean((logits >= best_threshold(logits, target)) == target))
