"""More metrics of recorded runs, from their logits alone.

Each is taken at the usual threshold, a probability of one half, and at a threshold chosen on val. That one maximizes balanced accuracy
on val, so that a rare target is not given up for the frequent one. It needs neither the test set nor a protected label.

The metrics are fractions, by these names:

- ACC, WST, STD, EO max, EO mean: see `utils.metrics.fairness_metrics`;
- BA: balanced accuracy, the mean of TPR and TNR (scikit-learn);
- DP: demographic parity difference, the largest gap in the rate of positive predictions between any two protected
  groups (fairlearn; Agarwal et al., ICML 2018);
- EOpp: equal opportunity difference, the same for the TPR (fairlearn; Hardt et al., NeurIPS 2016);
- ECE: expected calibration error, see `calibration_error`;
- AUROC: area under the ROC curve (scikit-learn), of all images and of each protected group; of more than two targets the mean
  of each against all others;
- threshold: the probability from which an image is positive.

Of more than two targets, DP and EOpp are undefined, and there is no threshold.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from fairlearn.metrics import demographic_parity_difference, equal_opportunity_difference
from scipy.special import expit, softmax
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from results.logits import logits_in
from results.records import LABELS, read_csv
from utils.errors import UserError
from utils.metrics import answers, classes_of, fairness_metrics, logit_columns
from utils.records import Record, read_record, rerun

OF_GROUPS = {  # our names for metrics of `fairness_metrics` that need an image of every group
    "WST": "worst_group_accuracy",
    "STD": "group_accuracy_std",
    "EO max": "equalized_odds",
    "EO mean": "equalized_odds_mean",
}
BINS = 15


def calibration_error(target, logits, bins: int = BINS) -> float:
    """Return how far the confidence in the predicted class is from the fraction of right answers: a fraction.

    It is the mean of |accuracy - confidence| over equal-width bins of confidence, ((m - 1) / bins, m / bins], weighted by
    their images: Guo et al., On Calibration of Modern Neural Networks, ICML 2017, equation 3. `target` is int (n,), from 0, and
    `logits` float (n,) or (n, targets). The class is that of `utils.metrics.answers`.
    """
    confidence = probabilities(logits).max(axis=1)
    right = answers(logits) == np.asarray(target)
    places = np.ceil(confidence * bins).astype(np.int64)
    return float(np.abs(np.bincount(places, right - confidence)).sum() / len(confidence))


def probabilities(logits) -> np.ndarray:
    """Return the probability of each target: float64 (n, targets), from logits (n,) or (n, targets)."""
    logits = np.asarray(logits, dtype=np.float64)
    if logits.ndim == 2:
        return softmax(logits, axis=1)
    present = expit(logits)
    return np.stack([1 - present, present], axis=1)


def choose_threshold(target, logits) -> float:
    """Return the threshold on logits that gives the best balanced accuracy on these images.

    It is NaN if either class is missing, and of more than two targets.

    Candidates are the middle between any two neighbouring logits, and 0, the usual threshold. Of equally good ones the
    nearest to 0 is taken. `target`, int 0 or 1, and `logits`, float, are arrays (n,).
    """
    target, logits = np.asarray(target), np.asarray(logits, dtype=np.float64)
    if logits.ndim == 2:
        return float("nan")
    yes, no = np.sort(logits[target == 1]), np.sort(logits[target == 0])
    if not len(yes) or not len(no):
        return float("nan")
    levels = np.unique(logits)
    candidates = np.append(levels[:-1] + np.diff(levels) / 2, 0.0)
    hits, rejections = len(yes) - np.searchsorted(yes, candidates), np.searchsorted(no, candidates)
    value = hits * len(no) + rejections * len(yes)  # balanced accuracy in integers, so that ties are ties
    best = candidates[value == value.max()]
    return float(best[np.abs(best).argmin()])


def scores(target, protected, logits, groups: tuple[str, ...], threshold: float = 0.0) -> dict[str, float]:
    """Return the metrics that the head of this file names, for one run. A metric is NaN if it is undefined.

    `target` and `protected` are int (n,), from 0, and `logits` float (n,) or (n, targets). `groups` are the names of the
    groups, as in `fairness_metrics`, which also says what raises. A logit of at least `threshold` is positive; with a NaN
    threshold all metrics are NaN.
    """
    target, protected, logits = np.asarray(target), np.asarray(protected), np.asarray(logits, dtype=np.float64)
    classes = classes_of(groups)
    count, binary = len(groups) // classes, classes == 2
    names = [group.partition("_")[2] for group in groups[:count]]
    counts = np.bincount(count * target + protected, minlength=len(groups)).reshape(classes, count)
    prediction = answers(logits - threshold) if binary else answers(logits)
    arrays, by = (target, prediction), {"sensitive_features": protected}
    found = fairness_metrics(target, protected, prediction, groups) if counts.all() else {}
    result = {
        "threshold": float(expit(threshold)) if binary else float("nan"),
        "ACC": float((target == prediction).mean()),
    }
    result |= {name: found.get(key, float("nan")) for name, key in OF_GROUPS.items()}
    result |= {
        "BA": balanced_accuracy_score(*arrays) if counts.sum(axis=1).all() else float("nan"),
        "DP": demographic_parity_difference(*arrays, **by) if binary and counts.sum(axis=0).all() else float("nan"),
        "EOpp": equal_opportunity_difference(*arrays, **by) if binary and counts[1].all() else float("nan"),
        "ECE": calibration_error(target, logits),
        "AUROC": _auroc(target, logits),
    }
    result |= {f"AUROC {name}": _auroc(target[protected == i], logits[protected == i]) for i, name in enumerate(names)}
    return result if np.isfinite(threshold) else dict.fromkeys(result, float("nan"))


def all_scores(records: list[Record]) -> pd.DataFrame:
    """Return the metrics of records: a row for each method, seed and metric.

    Its columns are method, seed, metric, value and at_chosen_threshold. Both values are NaN if undefined, the last also if the
    record has no val_predictions.csv, which older ones lack. Raises UserError if a file is damaged.
    """
    rows = []
    for record in records:
        groups, folder = tuple(record.metrics.group_accuracy), record.folder
        test = _read(folder / "test_predictions.csv", groups, record.metrics.group_count)
        usual = scores(*test, groups)
        threshold, path = float("nan"), folder / "val_predictions.csv"
        if path.exists():
            counts = read_record(folder, "val_metrics.group_count").val_metrics.group_count
            target, _, logits = _read(path, groups, counts)
            threshold = choose_threshold(target, logits)
        chosen = scores(*test, groups, threshold)
        rows += [(record.method, record.seed, metric, value, chosen[metric]) for metric, value in usual.items()]
    return pd.DataFrame(rows, columns=["method", "seed", "metric", "value", "at_chosen_threshold"])


def _auroc(target: np.ndarray, logits: np.ndarray) -> float:
    if len(np.unique(target)) != (2 if logits.ndim == 1 else logits.shape[1]):
        return float("nan")
    return float(roc_auc_score(target, logits if logits.ndim == 1 else softmax(logits, axis=1), multi_class="ovr"))


def _read(path: Path, groups: tuple[str, ...], counts: dict[str, int] | None) -> tuple[np.ndarray, ...]:
    """Return targets, protected values and logits of a record's file. Raises UserError if it does not fit the record."""
    remedy = rerun(path.parent)
    columns = logit_columns(groups)
    table = read_csv(path, [*LABELS, *columns], remedy, rows=sum(counts.values()) if counts else None)
    if not np.isfinite(table[columns]).all(axis=None):
        raise UserError(f"{path} is damaged or incomplete (not all logits are finite); {remedy}")
    for name, limit in (("target", classes_of(groups)), ("protected", len(groups) // classes_of(groups))):
        if not table[name].isin(range(limit)).all():
            raise UserError(f"{path} is damaged or incomplete (not all of {name} are from 0 to {limit - 1}); {remedy}")
    return table["target"].to_numpy(np.int64), table["protected"].to_numpy(np.int64), logits_in(table)
