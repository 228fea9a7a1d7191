"""How far two records of train.py are apart."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd


def metrics(record: Path) -> dict:
    """Return the test metrics of a record's folder."""
    return json.loads((record / "metrics.json").read_text())["metrics"]


def predictions(a: Path, b: Path) -> dict:
    """Return how many test decisions of two records differ, of how many, and the largest and the mean difference of a logit.

    Raises `ValueError` if they are of different images.
    """
    one, two = (pd.read_csv(folder / "test_predictions.csv") for folder in (a, b))
    if list(one["name"]) != list(two["name"]) or not len(one):
        raise ValueError(f"{a} and {b} hold predictions of different images")
    gap = np.abs(one["logit"] - two["logit"])
    differ = int(((one["logit"] > 0) != (two["logit"] > 0)).sum())
    return {"differ": differ, "of": len(one), "largest gap": float(gap.max()), "mean gap": float(gap.mean())}


def sensitivity(a: Path, b: Path) -> dict:
    """Compare the rankings of two records: tensors chosen in one alone, Spearman's correlations of the two ranks, and how far the
    gaps (means over the gradients) are apart, each relative to the larger: the largest and the median of all tensors.

    Raises `ValueError` if they are of different tensors.
    """
    one, two = (pd.read_csv(folder / "sensitivity.csv") for folder in (a, b))
    if list(one["name"]) != list(two["name"]) or len(one) < 2:
        raise ValueError(f"{a} and {b} rank different tensors")
    found = {"chosen in one alone": list(one["name"][one["chosen"] != two["chosen"]])}
    for key in ("domain", "bias"):
        found[f"{key}, rank correlation"] = rank_correlation(one[f"{key}_rank"], two[f"{key}_rank"])
        x, y = (table[f"{key}_gap"].to_numpy() for table in (one, two))
        apart = np.abs(x - y) / np.maximum(np.maximum(np.abs(x), np.abs(y)), np.finfo(float).tiny)
        found[f"{key} gap, relative difference"] = {"largest": float(apart.max()), "median": float(np.median(apart))}
    return found


def rank_correlation(a: Iterable[int], b: Iterable[int]) -> float:
    """Return Spearman's correlation of two rankings 1 ... n without ties."""
    distance, n = np.asarray(a) - np.asarray(b), len(a)
    return float(1 - 6 * (distance**2).sum() / (n * (n**2 - 1)))


def first_loss(record: Path) -> float:
    """Return the mean training loss of the first epoch."""
    return float(pd.read_csv(record / "curve.csv")["loss"][0])
