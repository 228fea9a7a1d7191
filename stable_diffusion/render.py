"""Turn prompts and seeds into images, with any text-to-image pipeline of diffusers."""

import inspect
from functools import cache

import numpy as np
import torch
from diffusers.models.autoencoders.vae import DecoderOutput
from PIL import Image

from stable_diffusion.family import call_options
from utils.arguments import PRECISIONS
from utils.errors import UserError

DENOISERS = {"unet": "UNet", "transformer": "transformer"}


def check_lengths(pipeline, prompts: list[str]) -> None:
    """Raise `UserError` for a prompt of more tokens than the model reads: the rest would be dropped silently.

    A model of several text encoders, such as Stable Diffusion 3, reads as far as the one that reads furthest.
    """
    longest = inspect.signature(pipeline.__call__).parameters.get("max_sequence_length")
    named = [(name, part) for name, part in pipeline.components.items() if "tokenizer" in name and part is not None]
    limits = {
        name: part.model_max_length if "CLIP" in type(part).__name__ or not longest or not longest.default
        else min(part.model_max_length, longest.default)
        for name, part in named
    }  # fmt: skip
    if not limits:
        return
    name = max(limits, key=limits.get)
    for text in prompts:
        count = len(getattr(pipeline, name)(text).input_ids)
        if count > limits[name]:
            raise UserError(f"the prompt {text!r} has {count} tokens, the model reads {limits[name]}; shorten it")


@torch.inference_mode()
def render(
    pipeline, prompts: list[str], seeds: list[int], *, steps: int, guidance_scale: float | None, size: int
) -> np.ndarray:
    """One image for each prompt and seed, uint8 RGB of shape (n, size, size, 3).

    Each image has a generator of its own on the CPU, so the same seed starts from the same noise on every device, in
    every batch. Raises `UserError` where an image is not finite or of one colour, and for what the pipeline refuses.
    """
    try:
        images = pipeline(
            prompt=prompts,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            num_inference_steps=steps,
            height=size,
            width=size,
            output_type="np",
            **call_options(pipeline, guidance_scale),
        ).images
    except UserError:
        raise
    except ValueError as error:  # how pipelines refuse what they are called with
        raise UserError(f"{type(pipeline).__name__}: {' '.join(str(error).split())}") from error
    if images.shape[1:] != (size, size, 3):
        raise UserError(
            f"--size {size}: the model draws {images.shape[2]} x {images.shape[1]} pixels; give a size it can draw"
        )
    pixels = (np.nan_to_num(images) * 255).round().astype(np.uint8)
    flat = (pixels == pixels[:, :1, :1]).all(axis=(1, 2, 3)) | ~np.isfinite(images).all(axis=(1, 2, 3))
    if flat.any():
        raise UserError(f"the VAE makes {flat.sum()} of {len(flat)} images of one colour or none: {_remedy(pipeline)}")
    return pixels


def guard_decoder(pipeline) -> None:
    """Make a pipeline's VAE decode in fp32 what it overflows at in half precision, and nothing else.

    The same images overflow in every run, so a restart makes the same bytes. From then on latents that are not finite
    raise `UserError`. Pipelines that draw pixels have no VAE, and are left alone.
    """
    vae = getattr(pipeline, "vae", None)
    if vae is None:
        return
    decode = vae.decode

    def guarded(latents: torch.Tensor, *args, return_dict: bool = True, **options):
        if not torch.isfinite(latents).all():
            raise UserError(
                f"the {DENOISERS[denoiser_name(pipeline)]} gives numbers that are not finite in {_precision(vae)}: {_remedy(pipeline)}"
            )
        images = decode(latents, *args, return_dict=False, **options)[0]
        broken = _broken(images)
        if broken.any() and vae.dtype != torch.float32 and not any(weight.is_meta for weight in vae.parameters()):
            _say_once(f"the VAE overflows in {_precision(vae)}: those images are decoded in fp32")
            half, cast = vae.dtype, torch.nn.Module.to  # diffusers' own would warn at every batch
            cast(vae, torch.float32)
            try:
                images = images.float()
                images[broken] = decode(latents[broken].float(), *args, return_dict=False, **options)[0]
            finally:
                cast(vae, half)  # exact: its numbers came from there
        return DecoderOutput(sample=images) if return_dict else (images,)

    vae.decode = guarded


def _broken(images: torch.Tensor) -> torch.Tensor:
    """Which of decoded images (n, channels, ...) in -1 to 1 are not finite or, in 8 bits, of one colour: bool (n,)."""
    colours = ((images.float() / 2 + 0.5).clamp(0, 1) * 255).round().flatten(2)
    return (colours == colours[:, :, :1]).flatten(1).all(dim=1) | ~torch.isfinite(images).flatten(1).all(dim=1)


def denoiser_name(pipeline) -> str:
    """What draws: the pipeline's attribute of that name."""
    return next((name for name in DENOISERS if hasattr(pipeline, name)), "unet")


def _precision(module: torch.nn.Module) -> str:
    return next(name for name, dtype in PRECISIONS.items() if dtype == str(module.dtype).removeprefix("torch."))


def _remedy(pipeline) -> str:
    """What helps against numbers that are not finite. Precision is one of a set's settings."""
    wider = {"fp16": "bf16 or fp32", "bf16": "fp32"}.get(_precision(getattr(pipeline, denoiser_name(pipeline))))
    if wider is None:
        return "in full precision the model itself is at fault: its files may be damaged, fetch them again"
    return f"pass --precision {wider} (in another --outdir if this one holds images); none of these were written"


@cache
def _say_once(text: str) -> None:
    print(text, flush=True)


def reduce(pixels: np.ndarray, size: int) -> Image.Image:
    """An image of `size` pixels a side, by Lanczos as in the paper."""
    image = Image.fromarray(pixels)
    return image if image.size == (size, size) else image.resize((size, size), Image.Resampling.LANCZOS)
