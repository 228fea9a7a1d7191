"""Load the generator that a recipe asks for, and complete the recipe with what only the loaded model knows."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from diffusers import DiffusionPipeline

from stable_diffusion.drawing.produce import free_batch_size
from stable_diffusion.images import ImageSet
from stable_diffusion.loading.family import PAPER_PIPELINE, defaults
from stable_diffusion.loading.pipeline import check_size, load_pipeline, native_size
from stable_diffusion.loading.scheduler import own_schedule, whole_schedule
from stable_diffusion.recipe import OWN, Recipe
from stable_diffusion.settings import GenerationSettings
from utils.errors import UserError


def load(
    settings: GenerationSettings, images: ImageSet, recipe: Recipe, device: torch.device
) -> tuple[DiffusionPipeline, Recipe, Callable[[], int]]:
    """Return the pipeline on its device, the whole recipe, and a function that finds the batch size that fits.

    Raises `UserError` if the model can't be loaded or can't draw such a size, or if `images` were begun with another
    model or schedule.
    """
    pipeline = load_pipeline(
        settings.model,
        None if recipe.scheduler == OWN else recipe.scheduler,
        device,
        recipe.precision,
        compiled=settings.compile,
        fused=recipe.fuse_projections,
        prediction=recipe.prediction,
        offload=settings.offload,
        vae_slicing=recipe.vae_slicing,
        vae_tiling=recipe.vae_tiling,
    )
    recipe = learn(replace(recipe, model=settings.model), pipeline, settings.size).as_begun(images.noted)
    images.check(recipe)
    check_size(recipe.size, pipeline)
    return pipeline, recipe, partial(free_batch_size, pipeline, recipe.sampling, images.jobs[0], device)


def learn(recipe: Recipe, pipeline: DiffusionPipeline, size: int | None) -> Recipe:
    """Return the recipe with what the loaded model adds; `size` is the one asked for, None for the model's own.

    Of Stable Diffusion 1.x and 2.x the usual schedule is not recorded, of others the whole of it is. Raises `UserError`
    if neither flag nor model says the size.
    """
    name, config = type(pipeline).__name__, pipeline.scheduler.config
    found = {"pipeline": name, "weights": pipeline.content}
    if name == PAPER_PIPELINE:
        found["schedule"] = own_schedule(config) or None
        if Path(recipe.model).expanduser().is_file() and config["prediction_type"] != "epsilon":
            found["prediction"] = config["prediction_type"]
    else:
        found["size"] = size or defaults(name).size or native_size(pipeline)
        found["schedule"] = whole_schedule(pipeline.scheduler) or None
    learned = replace(recipe, **found)
    if learned.size is None:
        raise UserError(f"--model {recipe.model}: it doesn't say at what size it draws; give --size")
    return learned
