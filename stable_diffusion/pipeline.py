"""Load a Stable Diffusion pipeline, encode its prompts, and turn noise into images."""

from functools import cache

import diffusers
import numpy as np
import torch
import transformers
from diffusers import DDIMScheduler, StableDiffusionPipeline
from PIL import Image
from transformers import CLIPTokenizer

from prompts import TOKENIZER
from stable_diffusion.choices import SCHEDULERS
from stable_diffusion.folder import check_folder
from stable_diffusion.prediction import decide_prediction, similarity_to_noise
from stable_diffusion.single_file import CONFIGS, check_single_file, reading_checkpoints
from stable_diffusion.source import Source, find_source, first_line, refuse_full_disk
from utils.arguments import PRECISIONS
from utils.errors import UserError

# DDIM as in latent diffusion, on which the paper's images were made (timesteps 981 ... 1 in 50 steps)
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
SPACING = {"timestep_spacing": "leading", "steps_offset": 1}
DDIM_ONLY = {"set_alpha_to_one": False, "clip_sample": False}
PADDING = {"sd1": "<|endoftext|>", "sd2": "!"}  # how each was trained: 2.x fills a prompt up with token 0


def load_pipeline(
    model: str,
    scheduler: str,
    device: torch.device,
    precision: str,
    *,
    compile_unet: bool = False,
    prediction: str | None = None,
) -> StableDiffusionPipeline:
    """The pipeline of a hub id, a local diffusers folder or a single .safetensors or .ckpt file.

    The scheduler is set explicitly: with Stable Diffusion's betas, or with the betas, the zero terminal SNR and the
    trailing steps of a folder's own. What the UNet predicts is measured, unless `prediction` gives it. Attention is
    diffusers' default, torch's scaled_dot_product_attention; with `compile_unet` the UNet is compiled on its first
    call.

    Raises `UserError` where the model cannot be fetched, is not supported, or predicts something else than its folder
    says.
    """
    source = find_source(model)
    pipeline = _loaded(source, getattr(torch, PRECISIONS[precision]))
    _check_parts(model, pipeline)
    said = None if source.single_file else pipeline.scheduler.config.get("prediction_type", "epsilon")
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(device)
    if device.type == "cuda":  # the layout that its convolutions are fastest in
        pipeline.unet.to(memory_format=torch.channels_last)
        pipeline.vae.to(memory_format=torch.channels_last)
    prediction = prediction or decide_prediction(model, said, similarity_to_noise(pipeline))
    cls = getattr(diffusers, SCHEDULERS[scheduler])
    specific = DDIM_ONLY if cls is DDIMScheduler else {}
    usual = {**BETAS, **SPACING, **specific}
    pipeline.scheduler = cls(**{**usual, **own_schedule(pipeline.scheduler.config)}, prediction_type=prediction)
    if compile_unet:
        pipeline.unet = torch.compile(pipeline.unet)
    return pipeline


def own_schedule(config: dict) -> dict:
    """Where a scheduler's configuration departs from Stable Diffusion's, as options of diffusers' schedulers.

    A schedule that ends in pure noise must begin there, hence trailing (Lin et al., 2023,
    https://arxiv.org/abs/2305.08891). Any other schedule gets the paper's spacing.
    """
    own = {key: config[key] for key, usual in BETAS.items() if config.get(key, usual) != usual}
    if config.get("trained_betas") is not None:
        own["trained_betas"] = [float(beta) for beta in config["trained_betas"]]
    if config.get("rescale_betas_zero_snr"):
        own["rescale_betas_zero_snr"] = True
    if config.get("timestep_spacing") == "trailing" or config.get("rescale_betas_zero_snr"):
        own["timestep_spacing"] = "trailing"
    return own


def native_size(pipeline: StableDiffusionPipeline) -> int | None:
    """The pixels a side that a model was trained at; None where its configuration doesn't say."""
    side = pipeline.unet.config.sample_size
    return side * pipeline.vae_scale_factor if isinstance(side, int) else None


def _loaded(source: Source, dtype: torch.dtype) -> StableDiffusionPipeline:
    """The pipeline on the CPU, with its own scheduler and without a safety checker, which paints images black."""
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    kind = check_single_file(source.name, source.path) if source.single_file else None
    variant = None if source.single_file else check_folder(source)
    options = {"safety_checker": None, "requires_safety_checker": False}
    try:
        if kind is None:
            place = source.name if source.hub else str(source.path)
            return StableDiffusionPipeline.from_pretrained(place, dtype=dtype, variant=variant, **options)
        options |= {"tokenizer": CLIPTokenizer.from_pretrained(TOKENIZER, pad_token=PADDING[kind])}
        options |= {"scheduler": DDIMScheduler(**BETAS, **SPACING, **DDIM_ONLY), "torch_dtype": dtype}  # not dtype here
        with reading_checkpoints():
            return StableDiffusionPipeline.from_single_file(str(source.path), config=str(CONFIGS / kind), **options)
    except Exception as error:  # what is wrong with a model that others made shows in any way
        refuse_full_disk(error)
        remedy = "run it again: what is fetched is kept" if source.hub else "fetch it again"
        raise UserError(f"--model {source.name}: cannot be loaded ({first_line(error)}); {remedy}") from error


def _check_parts(model: str, pipeline: StableDiffusionPipeline) -> None:
    """Raise `UserError` for weights that were not in the file, and for a tokenizer that the text encoder doesn't fit.

    The tokenizer's limit becomes the text encoder's where that is lower: some tokenizers give no limit.
    """
    for name in ("unet", "vae", "text_encoder"):
        lacking = [key for key, tensor in getattr(pipeline, name).named_parameters() if tensor.is_meta]
        if lacking:
            raise UserError(
                f"--model {model}: {len(lacking)} tensors of its {name} are missing, {lacking[0]} the first"
            )
    tokenizer, text = pipeline.tokenizer, pipeline.text_encoder.config
    if len(tokenizer) > text.vocab_size:
        raise UserError(
            f"--model {model}: its tokenizer knows {len(tokenizer)} tokens, its text encoder {text.vocab_size}: they are of "
            "different models"
        )
    tokenizer.model_max_length = min(tokenizer.model_max_length, text.max_position_embeddings)


def encode_prompts(pipeline: StableDiffusionPipeline, prompts: list[str]) -> torch.Tensor:
    """The text embeddings (n, tokens, width) of the prompts, one at a time: a batch would change their rounding.

    Raises `UserError` for a prompt of more tokens than the model reads: the rest would be dropped silently.
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
    """The noise (n, channels, height, width) each image starts from, drawn on the CPU to be the same everywhere."""
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
    latents = pipeline(
        prompt_embeds=embeddings,
        negative_prompt_embeds=empty.expand(len(embeddings), -1, -1) if guidance_scale > 1 else None,
        latents=initial_noise(pipeline, seeds, size),
        num_inference_steps=steps,
        guidance_scale=guidance_scale,
        height=size,
        width=size,
        eta=0.0,
        output_type="latent",
    ).images
    if not torch.isfinite(latents).all():
        raise UserError(
            f"the UNet gives numbers that are not finite in {_precision(pipeline.unet)}: {_remedy(pipeline)}"
        )
    return decode(pipeline, latents)


def decode(pipeline: StableDiffusionPipeline, latents: torch.Tensor) -> np.ndarray:
    """The images of finite latents, uint8 RGB of shape (n, height, width, 3).

    Images at which the VAE overflows in half precision are decoded again in fp32: the same ones in every run, so a
    restart makes the same bytes. Raises `UserError` where an image is not finite or of one colour even so.
    """
    pixels, broken = _decode(pipeline, latents)
    if broken.any() and pipeline.vae.dtype != torch.float32:
        _say_once(f"the VAE overflows in {_precision(pipeline.vae)}: those images are decoded in fp32")
        half, cast = pipeline.vae.dtype, torch.nn.Module.to  # diffusers' own would warn at every batch
        cast(pipeline.vae, torch.float32)
        try:
            pixels[broken], again = _decode(pipeline, latents[torch.from_numpy(broken).to(latents.device)].float())
        finally:
            cast(pipeline.vae, half)  # exact: its numbers came from there
        broken[broken] = again
    if broken.any():
        raise UserError(
            f"the VAE makes {broken.sum()} of {len(broken)} images of one colour or none: {_remedy(pipeline)}"
        )
    return pixels


def _decode(pipeline: StableDiffusionPipeline, latents: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The images, and which of them, bool (n,), are not finite or of one colour."""
    decoded = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor, return_dict=False)[0]
    finite = torch.isfinite(decoded).flatten(1).all(dim=1)  # before 8 bits make black of it
    images = pipeline.image_processor.postprocess(decoded, output_type="pt", do_denormalize=[True] * len(decoded))
    # to 8 bits on the device: a quarter of the bytes to fetch
    pixels = (images.float() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    flat = (pixels == pixels[:, :1, :1]).all(axis=(1, 2, 3))
    return pixels, flat | ~finite.cpu().numpy()


def _precision(module: torch.nn.Module) -> str:
    return next(name for name, dtype in PRECISIONS.items() if dtype == str(module.dtype).removeprefix("torch."))


def _remedy(pipeline: StableDiffusionPipeline) -> str:
    """What helps against numbers that are not finite. Precision is one of a set's settings."""
    wider = {"fp16": "bf16 or fp32", "bf16": "fp32"}.get(_precision(pipeline.unet))
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
