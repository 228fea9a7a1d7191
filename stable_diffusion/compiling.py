"""Compile what draws."""

import torch
from diffusers import DiffusionPipeline

from stable_diffusion.render import denoiser_name


def compile_denoiser(pipeline: DiffusionPipeline) -> None:
    """Compile the whole UNet or transformer at its first call."""
    name = denoiser_name(pipeline)
    setattr(pipeline, name, torch.compile(getattr(pipeline, name)))
