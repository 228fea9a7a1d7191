"""Fairness metrics of a binary classifier, on plain arrays."""

import numpy as np

NEAR = 0.1  # of a rate: less than that from what doesn't look at the image
UNBIASED = 0.05  # equalized odds difference of ERM below which there is hardly a bias
GROUPS = ("0_0", "0_1", "1_0", "1_1")  # target_protected


def positive(logits) -> np.ndarray:
    """Which images count as positive: sigmoid(logit) >= 0.5 in float32, as in the authors' code; bool (n,).

    So a logit of 0 is positive, and so is one within 1e-7 below 0, whose sigmoid rounds to 0.5. `logits` is
    array-like, (n,).
    """
    logits = np.asarray(logits, dtype=np.float32)
    with np.errstate(over="ignore"):  # exp(100) is infinite, and its sigmoid 0
        return 1 / (1 + np.exp(-logits)) >= 0.5


def blind_accuracy(group_count: dict[str, int]) -> float:
    """The accuracy of the best answer that knows the protected attribute and sees no image: a fraction.

    It takes the target's more frequent value in each protected group. `group_count` is that of `fairness_metrics`.
    """
    counts = np.array(list(group_count.values())).reshape(2, -1)
    return float(counts.max(axis=0).sum() / counts.sum())


def answers_alike(group_accuracy: dict[str, float]) -> bool:
    """Whether a classifier answers alike with the target and without it, so that its equalized odds are small for nothing.

    In every protected group the fraction of positive answers then differs between the two by less than `NEAR`. One answer for
    every image is such a case, and so is a coin. `group_accuracy` is that of `fairness_metrics`.
    """
    negative, positive = np.array(list(group_accuracy.values())).reshape(2, -1)
    return bool((np.abs(negative + positive - 1) < NEAR).all())


def hardly_biased(odds: float, group_accuracy: dict[str, float], group_count: dict[str, int]) -> str:
    """A warning if ERM, by means over its seeds, is hardly biased; else "".

    Its equalized odds difference `odds`, a fraction, is then below `UNBIASED`, or below twice the standard error that it has on
    so many test images if there is no difference.
    """
    accuracy = np.array(list(group_accuracy.values())).reshape(2, -1)
    counts = np.array(list(group_count.values())).reshape(2, -1)
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
    """A warning if ERM's accuracy, a fraction, is little above `blind_accuracy`; else "".

    It should be right in a fifth of the images that the blind answer gets wrong: `NEAR` above a coin, and less where the blind answer
    is right so often that there is no room for that.
    """
    blind = blind_accuracy(group_count)
    if accuracy >= blind + 2 * NEAR * (1 - blind):
        return ""
    return (
        f"ERM is right in {100 * accuracy:.1f} % of the test images, where the protected attribute alone, without looking, "
        f"is right in {100 * blind:.1f} %: it has hardly learned its task."
    )


def fairness_metrics(target, protected, prediction, groups: tuple[str, ...] = GROUPS) -> dict:
    """Accuracy and group fairness of binary predictions, all as fractions.

    Parameters
    ----------
    target, protected, prediction : array-like of shape (n,)
        The true label, the protected attribute and the predicted label, each 0 or 1. With more than two
        protected groups, `protected` counts them from 0.
    groups : tuple of str
        The names of the groups "target_protected", all those of target 0 first.

    Returns
    -------
    dict
        `accuracy`; `group_accuracy` and `group_count`, keyed by `groups` ("0_0" ... "1_1");
        `worst_group_accuracy`, their minimum; `group_accuracy_std`, their population standard
        deviation; `equalized_odds`, max(|TPR gap|, |FPR gap|) between the two protected groups, as in
        the paper's tables; `equalized_odds_mean`, the mean of the two gaps, as its published code prints.
        Of more than two protected groups, a gap is the largest between any two.

    Raises
    ------
    ValueError
        If lengths differ, a value is out of range, or a group is empty.
    """
    arrays = {"target": target, "protected": protected, "prediction": prediction}
    n_protected = len(groups) // 2
    limits = {"target": 2, "protected": n_protected, "prediction": 2}
    target, protected, prediction = (_codes(name, values, limits[name]) for name, values in arrays.items())
    if not len(target) == len(protected) == len(prediction):
        raise ValueError(
            f"lengths differ: target {len(target)}, protected {len(protected)}, prediction {len(prediction)}"
        )

    # one count for each (target, protected, prediction), in that order
    codes = 2 * (n_protected * target + protected) + prediction
    counts = np.bincount(codes, minlength=4 * n_protected).reshape(2, n_protected, 2)
    group_count = counts.sum(axis=2)
    if (group_count == 0).any():
        empty = [group for group, count in zip(groups, group_count.ravel(), strict=True) if count == 0]
        raise ValueError(f"no image in group {', '.join(empty)} (target_protected): its accuracy is undefined")

    positive_rate = counts[:, :, 1] / group_count  # row 1 holds TPR, row 0 FPR, of each protected group
    group_accuracy = np.stack([1 - positive_rate[0], positive_rate[1]])
    gaps = positive_rate.max(axis=1) - positive_rate.min(axis=1)
    return {
        "accuracy": float((target == prediction).mean()),
        "group_accuracy": dict(zip(groups, group_accuracy.ravel().tolist(), strict=True)),
        "group_count": dict(zip(groups, group_count.ravel().tolist(), strict=True)),
        "worst_group_accuracy": float(group_accuracy.min()),
        "group_accuracy_std": float(group_accuracy.std()),
        "equalized_odds": float(gaps.max()),
        "equalized_odds_mean": float(gaps.mean()),
    }


def _codes(name: str, values, limit: int) -> np.ndarray:
    values = np.asarray(values)
    if values.ndim != 1 or not np.isin(values, range(limit)).all():
        allowed = " and ".join([", ".join(map(str, range(limit - 1))), str(limit - 1)])
        raise ValueError(f"{name} must be a one-dimensional array of {allowed}")
    return values.astype(np.int64)
