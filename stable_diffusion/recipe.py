"""What decides how an image looks, as the manifest keeps it: flags, a model's own defaults, what a loaded model adds."""

import argparse
import hashlib
import json
from pathlib import Path

import torch

from stable_diffusion.drawing.guidance import ALWAYS, check_guidance_until
from stable_diffusion.loading.family import (
    FAST_SAMPLER,
    PAPER_PIPELINE,
    PAPER_SAMPLER,
    Defaults,
    defaults,
    is_distilled,
)
from stable_diffusion.loading.folder import check_folder
from stable_diffusion.loading.single_file import check_single_file
from stable_diffusion.loading.source import find_source
from stable_diffusion.manifest import noted_settings, same_model
from utils.errors import UserError

OWN = "own"  # the scheduler that a model comes with
TRAINED_STEPS = 1000
LEARNED = ("prediction", "schedule", "weights")  # known once a model is loaded


def kind_of(model: str) -> dict:
    """`pipeline`, the class of diffusers, and `distilled`, where that is so; empty for Stable Diffusion 1.x and 2.x.

    Raises `UserError` for a model that isn't supported, `Unreachable` where that can't be found out.
    """
    source = find_source(model)
    if source.single_file:
        check_single_file(model, source.path)
        return {}
    name, _ = check_folder(source)
    kind = {} if name == PAPER_PIPELINE else {"pipeline": name}
    return kind | ({"distilled": True} if is_distilled(name, source) else {})


def noted_kind(folder: Path) -> dict:
    """`kind_of` the model that a set was made with, without looking at the model."""
    noted = noted_settings(folder)
    return {key: noted[key] for key in ("pipeline", "distilled") if key in noted}


def settings_of(args: argparse.Namespace, texts: dict[str, list[str]], device: torch.device, kind: dict) -> dict:
    """The settings that the flags ask for; the size is None where only the loaded model knows it.

    `kind` is that of `kind_of`. Raises `UserError` for flags that the model can't be asked for.
    """
    own = defaults(kind.get("pipeline", PAPER_PIPELINE), distilled="distilled" in kind)
    scheduler, steps = sampler(args.scheduler, args.steps, args.fast, own)
    if kind and args.prediction:
        raise UserError(f"--prediction {args.prediction}: only of Stable Diffusion 1.x and 2.x; leave it out")
    if args.guidance_scale is not None and own.guidance_scale is None:
        raise UserError(f"--guidance-scale {args.guidance_scale:g}: a {kind['pipeline']} takes none; leave it out")
    guidance_scale = own.guidance_scale if args.guidance_scale is None else args.guidance_scale
    check_guidance_until(args.guidance_until, kind.get("pipeline", PAPER_PIPELINE), guidance_scale)
    settings = {
        "model": args.model,
        "prompts": hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()[:12],
        "scheduler": scheduler,
        "steps": steps,
        "guidance_scale": guidance_scale,
        "size": args.size or own.size,
        "save_size": args.save_size,
        "seed": args.seed,
        "precision": args.precision or ("fp32" if device.type == "cpu" else own.precision),
    }
    # later ones are left out where they are as they always were, so that the manifests of older sets still match
    asked = {"prediction": args.prediction, "vae_slicing": args.vae_slicing, "vae_tiling": args.vae_tiling}
    asked |= {"guidance_until": args.guidance_until if args.guidance_until != ALWAYS else None}
    asked |= {"fuse_projections": args.fuse_projections}
    return settings | kind | {key: value for key, value in asked.items() if value}


def sampler(scheduler: str | None, steps: int | None, fast: bool, own: Defaults) -> tuple[str, int]:
    """The scheduler and its steps: those given, else the model's own (the paper's) or, with `fast`, a modern solver's.

    Raises `UserError` for more steps than a model is trained with.
    """
    default_scheduler, default_steps = FAST_SAMPLER if fast else (own.scheduler or OWN, own.steps)
    if steps and steps > TRAINED_STEPS:
        raise UserError(f"--steps {steps}: the model knows {TRAINED_STEPS} steps; the paper takes {PAPER_SAMPLER[1]}")
    return scheduler or default_scheduler, steps or default_steps


def noted_by_model(settings: dict, folder: Path) -> dict:
    """The settings with what `learn` added when the set was begun, so a finished set is known without loading the model.

    `weights` are left out for a model of another name: only loading it tells whether it is the same.
    """
    noted = noted_settings(folder)
    size = {"size": noted["size"]} if settings["size"] is None and "size" in noted else {}
    known = LEARNED[:-1] if renamed(settings["model"], folder) else LEARNED
    return as_begun(
        settings | size | {key: noted[key] for key in known if key in noted and key not in settings}, folder
    )


def renamed(model: str, folder: Path) -> bool:
    """Whether a set notes the weights of its generator, and that under another name."""
    noted = noted_settings(folder)
    return "weights" in noted and not same_model(str(noted.get("model")), model)


def learn(settings: dict, pipeline, size: int | None) -> dict:
    """The settings with what only the loaded model knows; `size` is the one that is asked for, None for the model's own.

    Of Stable Diffusion 1.x and 2.x the usual schedule is not recorded, of others the whole of it is. Raises `UserError`
    where neither flag nor model says the size.
    """
    from stable_diffusion.loading.pipeline import native_size
    from stable_diffusion.loading.scheduler import own_schedule, whole_schedule

    config, name = pipeline.scheduler.config, type(pipeline).__name__
    known = {key: value for key, value in settings.items() if key not in ("schedule", "pipeline")}
    if name == PAPER_PIPELINE:
        found = {"schedule": own_schedule(config)}
        if Path(settings["model"]).expanduser().is_file() and config["prediction_type"] != "epsilon":
            found["prediction"] = config["prediction_type"]
    else:
        known["size"] = size or defaults(name).size or native_size(pipeline)
        found = {"pipeline": name, "schedule": whole_schedule(pipeline.scheduler)}
    if known["size"] is None:
        raise UserError(f"--model {settings['model']}: it doesn't say at what size it draws; give --size")
    return known | {key: value for key, value in found.items() if value} | {"weights": pipeline.content}


def as_begun(settings: dict, folder: Path) -> dict:
    """The settings as the set was begun: with its name of the same generator, without `weights` if it noted none."""
    noted = noted_settings(folder)
    if not noted:
        return settings
    if "weights" not in noted:
        settings = {key: value for key, value in settings.items() if key != "weights"}
    if "weights" in settings:
        same = settings["weights"] == noted["weights"]
    else:
        same = same_model(str(noted.get("model")), settings["model"])
    return settings | ({"model": noted["model"]} if same else {})


def describe(settings: dict) -> str:
    """The settings that a model may bring itself, in words."""
    own = f"the scheduler of its {settings.get('pipeline')}"
    scheduler = own if settings["scheduler"] == OWN else settings["scheduler"]
    size = f"{settings['size']} pixels" if settings["size"] else "its own size"
    guidance = f"guidance {settings['guidance_scale']}"
    if "guidance_until" in settings:
        guidance += f" in the first {100 * settings['guidance_until']:g} % of them"
    return f"{scheduler}, {settings['steps']} steps, {guidance}, {size}"


def check_size(size: int, pipeline) -> None:
    """Raise `UserError` for a size that the model can't draw; print a note for one that it was not trained for."""
    from stable_diffusion.loading.pipeline import native_size

    unit = 2 * getattr(pipeline, "vae_scale_factor", 1)
    if size % unit:
        raise UserError(f"--size {size}: must be a multiple of {unit} for this model")
    native = native_size(pipeline)
    if native and native != size:
        print(f"note: the model was trained to draw {native} pixels, --size is {size}", flush=True)
