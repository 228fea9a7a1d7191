"""How far two results are apart: records of train.py, folders of images, rates."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from results.speed.ours import ranked_sets

# the paper's experiment; of real, biased and balanced images as many
PAPER = {"images": 20_000, "val": 19_867, "test": 19_962, "held_out": 2_000, "generated": 42_000}
PAPER |= {"batch": 128, "pre_epochs": 15, "fine_epochs": 10, "seeds": 10}
FORMULA = (
    "10 x ((15 + 10) x 19,968 / training + (15 + 10) x 19,867 / validation + 3 x 19,968 / ranking + (2 x (19,962 + 19,867) + "
    "2,000) / validation) + (20,000 + 19,867 + 19,962 + 42,000) / decoding, of rates in images/s, without loading"
)


def metrics(record: Path) -> dict:
    """The test metrics of a record's folder."""
    return json.loads((record / "metrics.json").read_text())["metrics"]


def predictions(a: Path, b: Path) -> dict:
    """Of two records the test decisions that differ, of how many, and the largest and the mean difference of a logit.

    Raises `ValueError` where they are of different images.
    """
    one, two = (pd.read_csv(folder / "test_predictions.csv") for folder in (a, b))
    if list(one["name"]) != list(two["name"]) or not len(one):
        raise ValueError(f"{a} and {b} hold predictions of different images")
    gap = np.abs(one["logit"] - two["logit"])
    differ = int(((one["logit"] > 0) != (two["logit"] > 0)).sum())
    return {"differ": differ, "of": len(one), "largest gap": float(gap.max()), "mean gap": float(gap.mean())}


def sensitivity(a: Path, b: Path) -> dict:
    """Of the rankings in two records: tensors chosen in one alone, Spearman's correlations of the two ranks, and how far the
    gaps (means over the gradients) are apart, each relative to the larger: the largest and the median of all tensors.

    Raises `ValueError` where they are of different tensors.
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
    """Spearman's, of two rankings 1 ... n without ties."""
    distance, n = np.asarray(a) - np.asarray(b), len(a)
    return float(1 - 6 * (distance**2).sum() / (n * (n**2 - 1)))


def first_loss(record: Path) -> float:
    """The mean training loss of the first epoch."""
    return float(pd.read_csv(record / "curve.csv")["loss"][0])


def differing(a: Path, b: Path, patterns: Iterable[str]) -> list[str]:
    """The files of the patterns, relative to the folders, that are not in both with the same bytes.

    Raises `ValueError` where there is no such file at all: nothing was compared then.
    """
    names = sorted({p.relative_to(f).as_posix() for f in (a, b) for pattern in patterns for p in f.glob(pattern)})
    if not names:
        raise ValueError(f"no {', '.join(patterns)} in {a} or {b}")
    return [name for name in names if not _same(a / name, b / name)]


def _same(a: Path, b: Path) -> bool:
    return a.exists() and b.exists() and a.read_bytes() == b.read_bytes()


def grey_levels(a: Path, b: Path) -> dict:
    """How far the images (*/*.png) of folder `a` are from those of the same name in `b`, in grey levels of 255: the mean over
    all pixels and channels, the largest, and the largest mean of an image. Raises `ValueError` where one is missing in `b`.
    """
    paths = sorted(a.glob("*/*.png"))
    missing = [path.name for path in paths if not (b / path.relative_to(a)).exists()]
    if missing or not paths:
        raise ValueError(f"{b} lacks {len(missing)} of the {len(paths)} images of {a}")
    gaps = [np.abs(_pixels(path) - _pixels(b / path.relative_to(a))) for path in paths]
    means = [float(gap.mean()) for gap in gaps]
    return {"mean": float(np.mean(means)), "largest": int(max(gap.max() for gap in gaps)), "worst image": max(means)}


def _pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), dtype=np.int16)


def ten_seeds(training: float, validation: float, ranking: float, decoding: float) -> dict:
    """Minutes that ten seeds of the paper's experiment take, from rates in images/s, by `FORMULA`: {part: minutes}, and in all.

    An epoch trains on whole batches of 128 and is followed by all of val; fine-tuning counts as if it moved all tensors.
    """
    p, whole = PAPER, PAPER["images"] // PAPER["batch"] * PAPER["batch"]
    judged = 2 * (p["test"] + p["val"]) + p["held_out"]  # both methods, AIM-Fair also on held-out images
    seconds = {
        "pre-training": p["seeds"] * p["pre_epochs"] * whole / training,
        "fine-tuning": p["seeds"] * p["fine_epochs"] * whole / training,
        "val after every epoch": p["seeds"] * (p["pre_epochs"] + p["fine_epochs"]) * p["val"] / validation,
        "ranking": p["seeds"] * 3 * whole / ranking,
        "test, val and held-out at the end": p["seeds"] * judged / validation,
        "decoding, once": (p["images"] + p["val"] + p["test"] + p["generated"]) / decoding,
    }
    minutes = {part: value / 60 for part, value in seconds.items()}
    return {**minutes, "in all": sum(minutes.values())}


def ranked_images(count: int, batch: int) -> int:
    """The images of the three gradients in the benchmark, which has `count` in each of its sets."""
    return sum(images // batch * batch if images > batch else images for images in ranked_sets(count))
