"""What is measured of a row's images, and of what was trained on them."""

from collections.abc import Iterator
from pathlib import Path

import torch

from results.drawn import WHERE, as_asked, grey_levels, score
from results.records import read_run_set
from results.studies import Finding, Place
from results.studies.generation_savings import JUDGE_FACES, PLAIN, SEEDS
from results.study_tables import values
from stable_diffusion.drawing.denoiser import denoiser_name
from stable_diffusion.drawing.render import render
from stable_diffusion.loading.pipeline import load_pipeline
from stable_diffusion.manifest import noted_settings
from utils.environment import environment
from utils.errors import UserError

METRICS = ("accuracy", "worst_group", "equalized_odds")
PROMPTS = ["Portrait face photo of a smiling woman", "Portrait face photo of a serious man"]


def measure_row(name: str, place: Place) -> Iterator[Finding]:
    """Yield what a row's images take and show, and the metrics of what was trained on them."""
    folder = place.work / name / WHERE
    yield Finding("UNet evaluations", evaluations(noted_settings(folder)))
    score(folder, place.work, 200 if place.small else JUDGE_FACES)
    yield Finding("as asked, %", as_asked(folder))
    yield Finding("grey levels", grey_levels(folder, place.work / PLAIN / WHERE)["mean"])
    for method in ("erm", "aim-fair"):
        yield Finding(method, metrics_of(place.output / "trained" / name, method))
    yield Finding("environment", environment(torch.device("cpu")))


def evaluations(settings: dict[str, object]) -> float:
    """Return how many latents the UNet or transformer evaluates for an image drawn by a manifest's settings.

    Counted by a hook while two images are drawn on the CPU, so it says what is done, not what was asked for.
    """
    options = {"fused": settings.get("fuse_projections", False), "prediction": settings.get("prediction")}
    pipeline = load_pipeline(settings["model"], settings["scheduler"], torch.device("cpu"), "fp32", **options)
    counts, model = [], getattr(pipeline, denoiser_name(pipeline))
    hook = model.register_forward_hook(lambda _, inputs, output: counts.append(len(output[0])))
    how = {key: settings[key] for key in ("steps", "guidance_scale", "size")}
    try:
        render(pipeline, PROMPTS, [1, 2], **how, guidance_until=settings.get("guidance_until", 1.0))
    finally:
        hook.remove()
    return sum(counts) / len(PROMPTS)


def metrics_of(runs: Path, method: str) -> dict[str, list[float]]:
    """Return accuracy, worst group's accuracy and equalized odds difference of each seed, in percent.

    Raises `UserError` if a record is missing.
    """
    found = {metric: values(read_run_set(runs), method, metric) for metric in METRICS}
    if missing := [str(seed) for seed in SEEDS if seed not in found["accuracy"]]:
        raise UserError(f"{runs}: no record of {method} for seed {', '.join(missing)}; run the study again")
    return {metric: [by_seed[seed] for seed in SEEDS] for metric, by_seed in found.items()}
