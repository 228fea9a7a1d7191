"""Differences between two records of train.py."""

from pathlib import Path

import numpy as np
import pandas as pd

from utils.metrics import positive


def predictions(a: Path, b: Path) -> dict:
    """Return how many test decisions of two records differ, of how many, and the largest and the mean difference of a logit.

    Raises `ValueError` if they are of different images.
    """
    one, two = (pd.read_csv(folder / "test_predictions.csv") for folder in (a, b))
    if list(one["name"]) != list(two["name"]) or not len(one):
        raise ValueError(f"{a} and {b} hold predictions of different images")
    gap = np.abs(one["logit"] - two["logit"])
    differ = int((positive(one["logit"]) != positive(two["logit"])).sum())
    return {"differ": differ, "of": len(one), "largest gap": float(gap.max()), "mean gap": float(gap.mean())}


def sensitivity(a: Path, b: Path) -> dict:
    """Return the tensors that one of two rankings alone chose, Spearman's correlations of their ranks, and how far the gaps are apart.

    The last is relative to the larger gap: the largest and the median of all tensors. Raises `ValueError` if they rank different tensors.
    """
    one, two = (pd.read_csv(folder / "sensitivity.csv") for folder in (a, b))
    if list(one["name"]) != list(two["name"]) or len(one) < 2:
        raise ValueError(f"{a} and {b} rank different tensors")
    found = {"chosen in one alone": list(one["name"][one["chosen"] != two["chosen"]])}
    for key in ("domain", "bias"):
        ranks = np.corrcoef(one[f"{key}_rank"], two[f"{key}_rank"])  # without ties Spearman's
        found[f"{key}, rank correlation"] = round(float(ranks[0, 1]), 12)
        x, y = (table[f"{key}_gap"].to_numpy() for table in (one, two))
        apart = np.abs(x - y) / np.maximum(np.maximum(np.abs(x), np.abs(y)), np.finfo(float).tiny)
        found[f"{key} gap, relative difference"] = {"largest": float(apart.max()), "median": float(np.median(apart))}
    return found
