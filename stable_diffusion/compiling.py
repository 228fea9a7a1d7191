"""Compile what draws, so that a step takes less time once the first have taken more."""

import torch
from diffusers import DiffusionPipeline

from stable_diffusion.render import denoiser_name


def compile_denoiser(pipeline: DiffusionPipeline) -> None:
    """Have a UNet or transformer compiled at its first call.

    Of a transformer only the repeated blocks that its class names: a block is compiled once for all of its kind, so the
    start is shorter (https://docs.pytorch.org/tutorials/recipes/regional_compilation.html), and little is left outside
    them. A UNet names its attention alone, which leaves its convolutions out; it is compiled whole, and so is a
    transformer that names none.
    """
    name = denoiser_name(pipeline)
    model = getattr(pipeline, name)
    if name == "transformer" and getattr(model, "_repeated_blocks", None):
        model.compile_repeated_blocks()
    else:
        setattr(pipeline, name, torch.compile(model))
