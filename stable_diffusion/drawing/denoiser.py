"""Find the network that denoises, a UNet or a transformer, and make it faster: compiled, or with fused attention."""

import torch
from diffusers import DiffusionPipeline

from utils.errors import UserError

DENOISERS = {"unet": "UNet", "transformer": "transformer"}


def denoiser_name(pipeline: DiffusionPipeline) -> str:
    """Return the name of the pipeline's attribute that holds its denoiser."""
    return next((name for name in DENOISERS if hasattr(pipeline, name)), "unet")


def compile_denoiser(pipeline: DiffusionPipeline) -> None:
    """Have a UNet or transformer compiled at its first call: the first steps take longer, all others less time.

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


def fuse_projections(pipeline: DiffusionPipeline) -> None:
    """Join query, key and value of the attention layers into one matrix product, by diffusers' own `fuse_qkv_projections`.

    The same numbers are summed by another kernel, so images differ by rounding. The joined weights lie beside the single
    ones in memory: call this before the pipeline is put on its device. Raises `UserError` if the model has nothing to join.
    """
    name = denoiser_name(pipeline)
    model = getattr(pipeline, name)
    here = f"--fuse-projections: the {DENOISERS[name]} of a {type(pipeline).__name__} ({type(model).__name__})"
    if not hasattr(model, "fuse_qkv_projections"):
        raise UserError(f"{here} can't; leave it out")
    try:
        model.fuse_qkv_projections()
    except ValueError as error:  # how diffusers refuses layers with added keys and values
        raise UserError(f"{here} can't: {' '.join(str(error).split())}; leave it out") from error
    # some take the call and do nothing, such as Sana's and Qwen-Image's in diffusers 0.42
    if not any(getattr(layer, "fused_projections", False) for layer in model.modules()):
        raise UserError(f"{here} joins none of its attention layers; leave it out")
