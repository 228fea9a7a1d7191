"""What is measured of a row's images, and of what is trained on them."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from datasets.faithful import FILE, read_scores
from datasets.pairs import CELLS
from datasets.synthetic import image_files
from stable_diffusion.drawing.denoiser import denoiser_name
from stable_diffusion.drawing.render import render
from stable_diffusion.faithfulness import share_right
from stable_diffusion.loading.pipeline import load_pipeline
from utils.errors import UserError
from utils.records import read_record

PROMPTS = ["Portrait face photo of a smiling woman", "Portrait face photo of a serious man"]


def evaluations(settings: dict) -> float:
    """How many latents the UNet or transformer evaluates for an image drawn by a manifest's settings.

    Counted by a hook while two images are drawn on the CPU, so it says what is done, not what was asked for.
    """
    options = {"fused": settings.get("fuse_projections", False), "prediction": settings.get("prediction")}
    pipeline = load_pipeline(settings["model"], settings["scheduler"], torch.device("cpu"), "fp32", **options)
    counts = []
    model = getattr(pipeline, denoiser_name(pipeline))
    hook = model.register_forward_hook(lambda _, inputs, output: counts.append(len(output[0])))
    how = {key: settings[key] for key in ("steps", "guidance_scale", "size")}
    try:
        render(pipeline, PROMPTS, [1, 2], **how, guidance_until=settings.get("guidance_until", 1.0))
    finally:
        hook.remove()
    return sum(counts) / len(PROMPTS)


def grey_levels(folder: Path, plain: Path) -> float:
    """The mean absolute difference, in grey levels of 0 to 255, between the images of two sets of the same names.

    Raises `UserError` where the sets hold different names.
    """
    names = [
        [path.relative_to(root) for cell in CELLS for path in image_files(root / cell)] for root in (folder, plain)
    ]
    if names[0] != names[1] or not names[0]:
        raise UserError(f"{folder} and {plain} hold images of different names, or none; remove both and start again")
    return float(np.mean([np.abs(_pixels(folder / name) - _pixels(plain / name)).mean() for name in names[0]]))


def _pixels(path: Path) -> np.ndarray:
    """An image as int16 RGB, (height, width, 3), of which differences can be taken."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), np.int16)


def shown_as_asked(folder: Path, attributes: tuple[str, ...]) -> dict[str, float]:
    """The percentage of each cell that shows all it should, from the scores that lie in the folder.

    Raises `UserError` where they are missing or damaged.
    """
    scores = read_scores(folder / FILE, attributes, f"remove {folder / FILE} and start again")
    cells = [image.partition("/")[0] for image in scores.index]
    return share_right(scores.assign(cell=cells), attributes)["all"].to_dict()


def metrics_of(runs: Path, method: str, seeds: list[int]) -> dict[str, list[float]]:
    """Accuracy, worst group's accuracy and equalized odds (larger gap) of each seed, shares from 0 to 1.

    Raises `UserError` where a record is missing or damaged.
    """
    found = {"seeds": seeds, "accuracy": [], "worst_group": [], "equalized_odds": []}
    for seed in seeds:
        place = runs / method / f"seed_{seed}"
        record = read_record(place)
        if record is None:
            raise UserError(f"{place}: no record; run the command again")
        metrics = record["metrics"]
        found["accuracy"].append(metrics["accuracy"])
        found["worst_group"].append(min(metrics["group_accuracy"].values()))
        found["equalized_odds"].append(metrics["equalized_odds"])
    return found
