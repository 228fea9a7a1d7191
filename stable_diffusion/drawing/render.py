"""Turn prompts and seeds into images, with any text-to-image pipeline of diffusers."""

import inspect
from functools import cache

import numpy as np
import torch
from diffusers.models.autoencoders.vae import DecoderOutput
from PIL import Image

from stable_diffusion.drawing.denoiser import DENOISERS, denoiser_name
from stable_diffusion.drawing.sampling import ALWAYS, guidance_options
from stable_diffusion.loading.family import call_options
from utils.arguments import PRECISIONS
from utils.errors import UserError

# tokens that these read, whatever their tokenizer says: numbers in diffusers' code
READ = {"IFPipeline": 77, "HunyuanDiTPipeline": 256, "HunyuanDiTPAGPipeline": 256, "Kandinsky3Pipeline": 128}
ONE_BY_ONE = ("GlmImagePipeline",)  # its language model samples a whole batch from the first image's seed


class DecoderOutOfMemory(RuntimeError):
    """Out of memory in the VAE. Sana's pipelines catch torch's own error, and then fail of another."""


def check_lengths(pipeline, prompts: list[str]) -> None:
    """Raise `UserError` for a prompt of more tokens than the model reads: the rest would be dropped silently.

    A model of several text encoders, such as Stable Diffusion 3, reads as far as the one that reads furthest.
    """
    furthest = max(_readers(pipeline), key=lambda reader: reader[1], default=None)
    if furthest is None:
        return
    tokenizer, limit = furthest
    told = [getattr(pipeline, name, None) for name in ("system_prompt", "system_message")]  # Lumina 2, FLUX.2
    lead = "".join(f"{text} <Prompt Start> " for text in told if isinstance(text, str))
    limit -= len(tokenizer(lead).input_ids) if lead else 0
    for text in prompts:
        count = len(tokenizer(text).input_ids)
        if count > limit:
            raise UserError(f"the prompt {text!r} has {count} tokens, the model reads {limit}; shorten it")


def _readers(pipeline) -> list[tuple]:
    """Return each text encoder's tokenizer, and how many tokens it reads: its own limit, or the pipeline's if that is less."""
    asked, parts = inspect.signature(pipeline.__call__).parameters.get("max_sequence_length"), pipeline.components
    longest = call_options(pipeline, None).get("max_sequence_length") or (asked.default if asked else None)
    longest, found = longest or READ.get(type(pipeline).__name__), []
    for name, part in parts.items():
        encoder = name.replace("tokenizer", "text_encoder")
        if "tokenizer" not in name or part is None or parts.get(encoder, part) is None:  # left out, as SD 3's T5 may be
            continue
        part = getattr(part, "tokenizer", part)  # FLUX.2's is a processor around one
        own = part.model_max_length
        found.append((part, own if "CLIP" in type(part).__name__ or not longest else min(own, longest)))
    return found


@torch.inference_mode()
def render(
    pipeline,
    prompts: list[str],
    seeds: list[int],
    *,
    steps: int,
    guidance_scale: float | None,
    size: int,
    guidance_until: float = ALWAYS,
) -> np.ndarray:
    """Draw one image for each prompt and seed: uint8 RGB (n, size, size, 3).

    Each image has a generator of its own on the CPU, so the same seed starts from the same noise on every device, in
    every batch. Only the first `guidance_until` of the steps, a fraction, are guided. Raises `UserError` for what the
    pipeline refuses, and if an image is not finite or of one colour.
    """
    if type(pipeline).__name__ in ONE_BY_ONE and len(prompts) > 1:
        options = {"steps": steps, "guidance_scale": guidance_scale, "size": size}
        return np.concatenate([render(pipeline, [prompts[i]], [seed], **options) for i, seed in enumerate(seeds)])
    torch.manual_seed(seeds[0])  # a few schedulers draw from torch's own generator
    try:
        images = pipeline(
            prompt=prompts,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            num_inference_steps=steps,
            height=size,
            width=size,
            output_type="np",
            **call_options(pipeline, guidance_scale),
            **guidance_options(pipeline, guidance_until),
        ).images
    except UserError:
        raise
    except ValueError as error:  # how pipelines refuse what they are called with
        raise UserError(f"{type(pipeline).__name__}: {' '.join(str(error).split())}") from error
    return _checked(pipeline, images, size)


def _checked(pipeline, images: np.ndarray, size: int) -> np.ndarray:
    """Turn a pipeline's images, floats from 0 to 1, into uint8. Raises `UserError` for another size, one colour, no number."""
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
    """Make a pipeline's VAE decode in fp32 the images at which it overflows in half precision, and no others.

    The same images overflow in every run, so a restart makes the same bytes. From then on latents that are not finite
    raise `UserError`. Pipelines that draw pixels have no VAE and stay as they are.
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
        try:
            images = decode(latents, *args, return_dict=False, **options)[0]
        except torch.OutOfMemoryError as error:
            raise DecoderOutOfMemory(str(error)) from error
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
    """Find decoded images (n, channels, ...) in -1 to 1 that are not finite or, in 8 bits, of one colour: bool (n,)."""
    colours = ((images.float() / 2 + 0.5).clamp(0, 1) * 255).round().flatten(2)
    return (colours == colours[:, :, :1]).flatten(1).all(dim=1) | ~torch.isfinite(images).flatten(1).all(dim=1)


def _precision(module: torch.nn.Module) -> str:
    return next(name for name, dtype in PRECISIONS.items() if dtype == str(module.dtype).removeprefix("torch."))


def _remedy(pipeline) -> str:
    """Say what helps against numbers that are not finite. The precision is part of a set's recipe."""
    wider = {"fp16": "bf16 or fp32", "bf16": "fp32"}.get(_precision(getattr(pipeline, denoiser_name(pipeline))))
    if wider is None:
        return "in full precision the model itself is at fault: its files may be damaged, fetch them again"
    return f"pass --precision {wider} (in another --outdir if this one holds images); none of these were written"


@cache
def _say_once(text: str) -> None:
    print(text, flush=True)


def reduce(pixels: np.ndarray, size: int) -> Image.Image:
    """Reduce an image, uint8 RGB (side, side, 3), to `size` pixels a side, by Lanczos as in the paper."""
    image = Image.fromarray(pixels)
    return image if image.size == (size, size) else image.resize((size, size), Image.Resampling.LANCZOS)
