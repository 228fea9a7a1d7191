"""Sets of generated images, as studies compare them: by a judge that has learned from labelled toy faces, and pixel by pixel."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from results.processes import together
from utils.errors import UserError

PAIR = "Smiling_Male"
WHERE = Path(PAIR, "contextual")  # where generation puts the images of the pair, below its folder


def score(folder: Path, work: Path, judge_faces: int) -> None:
    """Have the images of a folder scored, and list them with labels and scores in <folder>/images.csv.

    The judge learns from `judge_faces` labelled toy faces; it and they lie in `work`, and are made once.
    """
    from datasets.faithful import FILE, SCORE, read_scores
    from datasets.pairs import GROUPS, values_in

    faces, python = work / "judge_faces", [sys.executable, "-m"]
    counts = ["--train", judge_faces, "--val", 0, "--test", max(100, judge_faces // 10), "--seed", 7]
    together({"judge_faces": [*python, "datasets.toy", "--output", faces, *counts]}, work)
    own = ["--data", faces, "--judge", work / "judge.safetensors", "--cache", work / "cache"]
    together({"judge": [*python, "stable_diffusion.faithfulness", "--images", folder, *own]}, work)
    print((work / "judge.log").read_text(), flush=True)
    labels = {group: dict(zip(PAIR.split("_"), values_in(GROUPS)[group])) for group in GROUPS}
    scores = read_scores(folder / FILE, (SCORE,), f"remove {folder / FILE}")[SCORE]
    rows = [{"image": image, **labels[image.partition("/")[0]], SCORE: value} for image, value in scores.items()]
    pd.DataFrame(rows).to_csv(folder / "images.csv", index=False)


def as_asked(folder: Path) -> dict[str, float]:
    """Return the percentage of each group's images that show all they should, by the scores in the folder.

    Raises `UserError` if they are missing or damaged.
    """
    from datasets.faithful import FILE, read_scores
    from stable_diffusion.fractions import fraction_right

    attributes = tuple(PAIR.split("_"))
    scores = read_scores(folder / FILE, attributes, f"remove {folder / FILE} and start again")
    groups = [image.partition("/")[0] for image in scores.index]
    return fraction_right(scores.assign(group=groups), attributes)["all"].to_dict()


def grey_levels(a: Path, b: Path) -> dict[str, float]:
    """Return how far the images (*/*.png) of folder `a` are from those of the same names in `b`, in grey levels of 255.

    "mean" is over all pixels and channels, "largest" the largest difference, "worst image" the largest mean of an image. Raises
    `UserError` if the folders hold images of different names, or none.
    """
    names = [sorted(path.relative_to(folder).as_posix() for path in folder.glob("*/*.png")) for folder in (a, b)]
    if names[0] != names[1] or not names[0]:
        raise UserError(f"{a} and {b} hold images of different names, or none; remove both and start again")
    gaps = [np.abs(_pixels(a / name) - _pixels(b / name)) for name in names[0]]
    means = [float(gap.mean()) for gap in gaps]
    return {"mean": float(np.mean(means)), "largest": int(max(gap.max() for gap in gaps)), "worst image": max(means)}


def _pixels(path: Path) -> np.ndarray:
    """Return an image as int16 (height, width, 3), so that differences can be taken."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), np.int16)
