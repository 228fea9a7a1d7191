"""Fairness metrics of a binary classifier, on plain arrays."""

import numpy as np

GROUPS = ("0_0", "0_1", "1_0", "1_1")  # target_protected


def fairness_metrics(target, protected, prediction) -> dict:
    """Accuracy and group fairness of binary predictions, all as fractions.

    Parameters
    ----------
    target, protected, prediction : array-like of shape (n,)
        The true label, the protected attribute and the predicted label, each 0 or 1.

    Returns
    -------
    dict
        `accuracy`; `group_accuracy` and `group_count`, keyed "target_protected" ("0_0" ... "1_1");
        `worst_group_accuracy`, their minimum; `group_accuracy_std`, their population standard
        deviation; `equalized_odds`, max(|TPR gap|, |FPR gap|) between the two protected groups, as in
        the paper's tables; `equalized_odds_mean`, the mean of the two gaps, as its published code prints.

    Raises
    ------
    ValueError
        If lengths differ, a value is not 0 or 1, or a group is empty.
    """
    arrays = {"target": target, "protected": protected, "prediction": prediction}
    target, protected, prediction = (_binary(name, values) for name, values in arrays.items())
    if not len(target) == len(protected) == len(prediction):
        raise ValueError(
            f"lengths differ: target {len(target)}, protected {len(protected)}, prediction {len(prediction)}"
        )

    # one count for each (target, protected, prediction), in that order
    counts = np.bincount(4 * target + 2 * protected + prediction, minlength=8).reshape(2, 2, 2)
    group_count = counts.sum(axis=2)
    if (group_count == 0).any():
        empty = [f"{t}_{p}" for t, p in np.argwhere(group_count == 0)]
        raise ValueError(f"no image in group {', '.join(empty)} (target_protected): its accuracy is undefined")

    positive_rate = counts[:, :, 1] / group_count  # row 1 holds TPR, row 0 FPR, of each protected group
    group_accuracy = np.stack([1 - positive_rate[0], positive_rate[1]])
    gaps = np.abs(positive_rate[:, 0] - positive_rate[:, 1])
    return {
        "accuracy": float((target == prediction).mean()),
        "group_accuracy": dict(zip(GROUPS, group_accuracy.ravel().tolist(), strict=True)),
        "group_count": dict(zip(GROUPS, group_count.ravel().tolist(), strict=True)),
        "worst_group_accuracy": float(group_accuracy.min()),
        "group_accuracy_std": float(group_accuracy.std()),
        "equalized_odds": float(gaps.max()),
        "equalized_odds_mean": float(gaps.mean()),
    }


def _binary(name: str, values) -> np.ndarray:
    values = np.asarray(values)
    if values.ndim != 1 or not np.isin(values, (0, 1)).all():
        raise ValueError(f"{name} must be a one-dimensional array of 0 and 1")
    return values.astype(np.int64)
