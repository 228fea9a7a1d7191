"""The pipeline that the flags of generate.py ask for, ready to draw."""

import argparse
from pathlib import Path

import torch
from diffusers import DiffusionPipeline

from stable_diffusion.drawing.produce import Sampling, trial_batch
from stable_diffusion.loading.pipeline import load_pipeline
from stable_diffusion.manifest import CPU_BATCH, Job, check_manifest
from stable_diffusion.recipe import OWN, as_begun, check_size, learn


def load(
    args: argparse.Namespace, settings: dict, folder: Path, device: torch.device
) -> tuple[DiffusionPipeline, dict, Sampling]:
    """The pipeline, the settings of the set in `folder` with what it added to them, and how an image is sampled.

    Raises `UserError` if the set was begun with another model or schedule.
    """
    scheduler = None if settings["scheduler"] == OWN else settings["scheduler"]
    memory = {"offload": args.offload, "vae_slicing": args.vae_slicing, "vae_tiling": args.vae_tiling}
    options = {"compiled": args.compile, "fused": args.fuse_projections, **memory}
    options |= {"prediction": settings.get("prediction")}
    pipeline = load_pipeline(args.model, scheduler, device, settings["precision"], **options)
    settings = as_begun(learn(settings, pipeline, args.size), folder)
    check_manifest(folder, settings)
    check_size(settings["size"], pipeline)
    how = [settings[key] for key in ("steps", "guidance_scale", "size")]
    sampling = Sampling(*how, args.save_size, args.guidance_until)
    return pipeline, settings, sampling


def free_batch_size(pipeline: DiffusionPipeline, sampling: Sampling, job: Job, device: torch.device) -> int:
    """The batch size where none is asked for: what a GPU holds, on a CPU the paper's."""
    return trial_batch(pipeline, sampling, job, device) if device.type == "cuda" else CPU_BATCH
