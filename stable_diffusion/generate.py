"""Generate a balanced set of synthetic faces from the prompts of an attribute pair.

    python -m stable_diffusion.generate --target-sensitive Smiling_Male --outdir results/runs/synthetic

Generation has four steps:
    1. Read the prompts of each group (target x protected attribute) from the pair's prompt file.
    2. Plan which image gets which prompt and seed: every group as many images.
    3. Put together the recipe, which says how an image is drawn. A set can only be continued with the recipe that it began with.
    4. Load the generator, then draw and write the images that are missing.

The defaults are the paper's: Stable Diffusion 2.1-base, DDIM with 50 steps, guidance 9, 512 pixels reduced to 224,
10,500 images a group. Images go to <outdir>/<pair>/<prompt type>/<group>/, with a manifest and a contact sheet of each
group beside them. Started again, it continues where it stopped; a larger --images-per-cell extends the set. Under
`accelerate launch` each process takes its part; the set is the same.
"""

from dataclasses import replace

from stable_diffusion.settings import GenerationSettings
from utils.errors import UserError, command_line
from utils.settings import parse
from utils.streams import keep_streams

if __name__ == "__main__":
    # --help and a refused flag answer at once: what follows loads torch, which takes seconds
    keep_streams()
    parse(GenerationSettings, __doc__)

import torch

from prompts import prompts_of_type, read_prompts
from prompts.check import check_prompts
from stable_diffusion.images import ImageSet
from stable_diffusion.loading.family import looks_distilled
from stable_diffusion.loading.folder import not_here
from stable_diffusion.loading.kind import Kind, kind_of, noted_kind
from stable_diffusion.loading.source import Unreachable
from stable_diffusion.plan import plan
from stable_diffusion.recipe import Recipe, recipe_of
from utils.cost import GENERATION, Row, check_flags, report
from utils.device import choose_device
from utils.machine import check_compile
from utils.processes import place
from utils.workers import run_workers, starts_workers


def main() -> None:
    """Draw the images of a set that are missing."""
    settings = parse(GenerationSettings, __doc__)
    check_flags(settings.dry_run, no_estimate=settings.no_estimate, cost_rows=settings.cost_rows)
    workers = starts_workers(settings)
    prompts = read_prompts(settings.prompt_file, settings.target_sensitive)  # 1. what to ask for
    texts = prompts_of_type(prompts, settings.prompt_type)
    folder = settings.outdir / prompts.pair / settings.prompt_type
    images = ImageSet(folder, plan(texts, settings.images_per_cell, settings.seed))  # 2. which image gets which
    if workers and settings.submit:  # this machine may have no GPU, so the jobs look at what they need
        submit(settings, images)
        return
    device = choose_device(settings.device)
    check_machine(settings, images, device)
    kind = look_at(settings, images)
    recipe = recipe_of(settings, texts, kind, device).continuing(images.noted)  # 3. how an image is drawn
    images.check(recipe)
    print(f"{folder}: {len(images.jobs)} images asked for; {settings.model}, {recipe.describe()}", flush=True)
    if settings.steps is None and looks_distilled(settings.model):
        print("note: the name suggests a distilled model: set --steps and --guidance-scale as the model's page says")
    if settings.dry_run:
        only_check(settings, images, recipe, device)
        return
    if workers and images.missing():
        run_workers(images.work, settings.workers)  # each does what follows; then nothing is missing
    with images.claim(place(), recipe.save_size):
        count, left = len(images.jobs), len(images.missing())
        print(f"{folder}: {count - left} of {count} images are there, on {device} in {recipe.precision}", flush=True)
        if not images.complete(settings.model):
            recipe = draw_missing(settings, images, recipe, device)  # 4. draw and write
        images.finish(recipe, prompts)


def submit(settings: GenerationSettings, images: ImageSet) -> None:
    """Let jobs of a cluster draw the images that are missing, and join their manifests."""
    if images.missing() or not images.joined:
        run_workers(images.work, settings.workers, settings.submit)
    print(f"{images.folder}: all {len(images.jobs)} images are there")


def draw_missing(settings: GenerationSettings, images: ImageSet, recipe: Recipe, device: torch.device) -> Recipe:
    """Load the generator, then draw and write what is missing, in batches; return the recipe with what the model added."""
    from stable_diffusion.drawing.produce import produce  # diffusers takes seconds to load
    from stable_diffusion.generator import load

    pipeline, recipe, free = load(settings, images, recipe, device)
    manifest = images.begin(recipe, place(), settings.batch_size, free)
    produce(pipeline, images.jobs, manifest, recipe.sampling)
    return recipe


def check_machine(settings: GenerationSettings, images: ImageSet, device: torch.device) -> None:
    """Raise `UserError` for a flag that this machine can't follow."""
    if settings.offload != "none" and device.type == "cpu":
        raise UserError(f"--offload {settings.offload}: keeps a GPU's memory free, and there is none; leave it out")
    if settings.compile and images.missing():
        check_compile(device)


def look_at(settings: GenerationSettings, images: ImageSet) -> Kind:
    """Return the kind of the model, or that which a complete set was begun with, whose model may be gone.

    A dry run that can't look at the model prints why, and takes the kind that the set was begun with too.
    """
    if not images.complete(settings.model):
        try:
            return kind_of(settings.model)
        except Unreachable as error:
            if not settings.dry_run:
                raise
            print(f"not checked: {error}")
    return noted_kind(images.noted)


def only_check(settings: GenerationSettings, images: ImageSet, recipe: Recipe, device: torch.device) -> None:
    """Check prompts and, if it is here, the model; print what the missing images will cost, from a few sampling steps."""
    check_prompts(settings.prompt_file)
    left = images.missing()
    row = Row(GENERATION, str(images.folder), len(left))
    load_it = not settings.no_estimate or "weights" in images.noted  # other weights are refused
    if load_it and not images.complete(settings.model):
        if reason := not_here(settings.model):
            row = replace(row, seconds=None, note=f"{GENERATION}: not measured: {reason}")
        else:
            from stable_diffusion.drawing.cost import generation_row
            from stable_diffusion.generator import load

            pipeline, recipe, free = load(settings, images, recipe, device)
            if left and not settings.no_estimate:
                size = images.batch_size(recipe, settings.batch_size, free)
                row = generation_row(pipeline, left, size, recipe.sampling, device=device, key=row.key)
    if not settings.no_estimate:
        report([row], settings.cost_rows)


if __name__ == "__main__":
    command_line(main)
