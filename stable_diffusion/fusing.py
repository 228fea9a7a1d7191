"""The query, key and value of an attention layer as one matrix product in place of three."""

from diffusers import DiffusionPipeline

from stable_diffusion.render import DENOISERS, denoiser_name
from utils.errors import UserError


def fuse_projections(pipeline: DiffusionPipeline) -> None:
    """Join the projections of the UNet's or transformer's attention layers, by diffusers' own `fuse_qkv_projections`.

    The same numbers, summed by another kernel: images differ by rounding. The joined weights lie beside the single ones
    in memory, so call it before the pipeline is put on its device. Raises `UserError` where the model has nothing to join.
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
