"""Load a Stable Diffusion pipeline, encode its prompts, and turn noise into images."""

from pathlib import Path

import diffusers
import numpy as np
import torch
import transformers
from diffusers import DDIMScheduler, StableDiffusionPipeline
from PIL import Image

from stable_diffusion.choices import DEFAULT_MODEL, PRECISIONS, SCHEDULERS
from utils.errors import UserError

# DDIM as in latent diffusion, on which the paper's images were made (timesteps 981 ... 1 in 50 steps)
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
SPACING = {"timestep_spacing": "leading", "steps_offset": 1}
DDIM_ONLY = {"set_alpha_to_one": False, "clip_sample": False}


def load_pipeline(
    model: str, scheduler: str, device: torch.device, precision: str, *, compile_unet: bool = False
) -> StableDiffusionPipeline:
    """The pipeline of a hub id, a local diffusers folder or a single .safetensors or .ckpt file.

    The scheduler is set explicitly, with Stable Diffusion's betas. A folder or hub model says itself what
    its UNet predicts; a single file is taken to predict the noise (epsilon), as the paper's 2.1-base does,
    and its configuration is read from the default model rather than guessed. Attention is diffusers' default,
    torch's scaled_dot_product_attention; with `compile_unet` the UNet is compiled on its first call.

    Raises `UserError` where the model cannot be had.
    """
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    options = {"dtype": getattr(torch, PRECISIONS[precision]), "safety_checker": None}
    single_file = Path(model).suffix in (".safetensors", ".ckpt")
    local = single_file or model.startswith((".", "/", "~")) or Path(model).is_dir()
    if local and not Path(model).expanduser().exists():
        raise UserError(f"--model {model}: no such file or folder")
    try:
        if single_file:
            options["torch_dtype"] = options.pop("dtype")  # the only spelling this loader takes
            pipeline = StableDiffusionPipeline.from_single_file(model, config=DEFAULT_MODEL, **options)
            prediction = "epsilon"
        else:
            folder = str(Path(model).expanduser()) if local else model
            pipeline = StableDiffusionPipeline.from_pretrained(folder, requires_safety_checker=False, **options)
            prediction = pipeline.scheduler.config.get("prediction_type", "epsilon")
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"--model {model}: cannot be loaded ({reason}); give a hub id that can be reached, a folder in diffusers' "
            "format or a .safetensors or .ckpt file"
        ) from error
    cls = getattr(diffusers, SCHEDULERS[scheduler])
    specific = DDIM_ONLY if cls is DDIMScheduler else {}
    pipeline.scheduler = cls(**BETAS, **SPACING, **specific, prediction_type=prediction)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(device)
    if device.type == "cuda":  # the layout that its convolutions are fastest in
        pipeline.unet.to(memory_format=torch.channels_last)
        pipeline.vae.to(memory_format=torch.channels_last)
    if compile_unet:
        pipeline.unet = torch.compile(pipeline.unet)
    return pipeline


def encode_prompts(pipeline: StableDiffusionPipeline, prompts: list[str]) -> torch.Tensor:
    """The text embeddings (n, tokens, width) of the prompts, one at a time: the others would change their rounding.

    Raises `UserError` for a prompt of more tokens than the model reads: it would be cut off silently.
    """
    limit = pipeline.tokenizer.model_max_length
    for text in prompts:
        count = len(pipeline.tokenizer(text).input_ids)
        if count > limit:
            raise UserError(f"the prompt {text!r} has {count} tokens, the model reads {limit}; shorten it")
    with torch.inference_mode():
        parts = [
            pipeline.encode_prompt(prompt, pipeline.device, 1, do_classifier_free_guidance=False)[0]
            for prompt in prompts
        ]
    return torch.cat(parts)


def initial_noise(pipeline: StableDiffusionPipeline, seeds: list[int], size: int) -> torch.Tensor:
    """The noise (n, channels, height, width) each image starts from, drawn on the CPU so that every device has the same."""
    side = size // pipeline.vae_scale_factor
    shape = (pipeline.unet.config.in_channels, side, side)
    noise = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(noise).to(pipeline.device, pipeline.unet.dtype)


@torch.inference_mode()
def render(
    pipeline: StableDiffusionPipeline,
    embeddings: torch.Tensor,
    empty: torch.Tensor,
    seeds: list[int],
    *,
    steps: int,
    guidance_scale: float,
    size: int,
) -> np.ndarray:
    """One image for each embedding and seed, eta 0, uint8 RGB of shape (n, size, size, 3).

    `embeddings` is (n, tokens, width), `empty` (1, tokens, width) that of the empty negative prompt.
    """
    images = pipeline(
        prompt_embeds=embeddings,
        negative_prompt_embeds=empty.expand(len(embeddings), -1, -1) if guidance_scale > 1 else None,
        latents=initial_noise(pipeline, seeds, size),
        num_inference_steps=steps,
        guidance_scale=guidance_scale,
        height=size,
        width=size,
        eta=0.0,
        output_type="pt",
    ).images
    # to 8 bits on the device: a quarter of the bytes to fetch
    return (images.float() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def reduce(pixels: np.ndarray, size: int) -> Image.Image:
    """An image of `size` pixels a side, by Lanczos as in the paper."""
    image = Image.fromarray(pixels)
    return image if image.size == (size, size) else image.resize((size, size), Image.Resampling.LANCZOS)
