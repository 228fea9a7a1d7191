"""Load a text-to-image pipeline: Stable Diffusion 1.x and 2.x as the paper has it, any other as diffusers does."""

import hashlib
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

import diffusers
import torch
import transformers
from diffusers import AutoPipelineForText2Image, DDIMScheduler, DiffusionPipeline, StableDiffusionPipeline
from transformers import CLIPTokenizer

from prompts import TOKENIZER
from stable_diffusion.drawing.denoiser import compile_denoiser, denoiser_name, fuse_projections
from stable_diffusion.drawing.render import guard_decoder
from stable_diffusion.loading.family import PAPER_PIPELINE
from stable_diffusion.loading.folder import check_folder
from stable_diffusion.loading.scheduler import (
    BETAS,
    DDIM_ONLY,
    SPACING,
    decide_prediction,
    other_scheduler,
    paper_scheduler,
    similarity_to_noise,
)
from stable_diffusion.loading.single_file import CONFIGS, check_single_file, reading_checkpoints
from stable_diffusion.loading.source import Source, find_source, refuse_full_disk
from utils.arguments import PRECISIONS
from utils.errors import UserError
from utils.machine import one_line

VALUES = 64  # of each parameter, by which weights are known: training moves them all
UNCHECKED = {"safety_checker": None, "requires_safety_checker": False}
PADDING = {"sd1": "<|endoftext|>", "sd2": "!"}  # how each was trained: 2.x fills a prompt up with token 0


def load_pipeline(
    model: str,
    scheduler: str | None,
    device: torch.device,
    precision: str,
    *,
    compiled: bool = False,
    fused: bool = False,
    prediction: str | None = None,
    offload: str = "none",
    vae_slicing: bool = False,
    vae_tiling: bool = False,
) -> DiffusionPipeline:
    """Load a hub id, a local diffusers folder, or a single .safetensors or .ckpt file.

    `scheduler` is a key of `SCHEDULERS`, None for the pipeline's own, which Stable Diffusion 1.x and 2.x never keep.
    `prediction` is what their UNet predicts; None measures it. `compiled` and `fused` make the denoiser faster; the
    others save memory. The attribute `content` of the pipeline tells its weights from others.

    Raises `UserError` if the model can't be fetched, is not supported, has nothing to fuse, predicts something else than
    its folder says, or if the scheduler doesn't fit it.
    """
    source = find_source(model)
    pipeline = _whole(source, precision)
    pipeline.content = content_of(pipeline)
    pipeline.set_progress_bar_config(disable=True)
    if fused:
        fuse_projections(pipeline)
    _place(pipeline, device, offload, vae_slicing=vae_slicing, vae_tiling=vae_tiling)
    if type(pipeline).__name__ == PAPER_PIPELINE:
        said = None if source.single_file else pipeline.scheduler.config.get("prediction_type", "epsilon")
        prediction = prediction or decide_prediction(model, said, similarity_to_noise(pipeline, device))
        pipeline.scheduler = paper_scheduler(scheduler, pipeline.scheduler.config, prediction)
    elif scheduler:
        pipeline.scheduler = other_scheduler(model, scheduler, pipeline.scheduler)
    guard_decoder(pipeline)
    if compiled:
        compile_denoiser(pipeline)
    return pipeline


def _place(pipeline, device: torch.device, offload: str, *, vae_slicing: bool, vae_tiling: bool) -> None:
    """Put a pipeline on a device, by diffusers' own helpers if memory is short."""
    if offload == "none":
        pipeline.to(device)
    elif offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    else:
        pipeline.enable_sequential_cpu_offload(device=device)
    vae = getattr(pipeline, "vae", None)
    for way in ["slicing"] * vae_slicing + ["tiling"] * vae_tiling:
        if not hasattr(vae, f"enable_{way}"):
            raise UserError(f"--vae-{way}: this model's decoder has no such thing")
        getattr(vae, f"enable_{way}")()
    if device.type == "cuda" and hasattr(pipeline, "unet"):  # the layout that its convolutions are fastest in
        pipeline.unet.to(memory_format=torch.channels_last)
        if vae is not None:
            vae.to(memory_format=torch.channels_last)


def native_size(pipeline: DiffusionPipeline) -> int | None:
    """Return the pixels a side that a model was trained at; None if its configuration doesn't say."""
    side = getattr(pipeline, "default_sample_size", None)
    side = side or getattr(pipeline, denoiser_name(pipeline)).config.get("sample_size")
    return side * getattr(pipeline, "vae_scale_factor", 1) if isinstance(side, int) else None


def check_size(size: int, pipeline: DiffusionPipeline) -> None:
    """Raise `UserError` for a size that the model can't draw; print a note for one that it was not trained for."""
    unit = 2 * getattr(pipeline, "vae_scale_factor", 1)
    if size % unit:
        raise UserError(f"--size {size}: must be a multiple of {unit} for this model")
    native = native_size(pipeline)
    if native and native != size:
        print(f"note: the model was trained to draw {native} pixels, --size is {size}", flush=True)


def _whole(source: Source, precision: str) -> DiffusionPipeline:
    """Load a pipeline on the CPU. Raises `UserError` if a tensor is missing, or if it is in another precision."""
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    load = _from_file if source.single_file else _from_folder
    with _no_tensor_made_up(source.name):
        pipeline = load(source, getattr(torch, PRECISIONS[precision]))
    check_precision(source.name, pipeline, precision)
    _check_parts(source.name, pipeline)
    return pipeline


def _from_file(source: Source, dtype: torch.dtype) -> StableDiffusionPipeline:
    kind = check_single_file(source.name, source.path)
    with _errors_in_one_line(source), reading_checkpoints():
        return StableDiffusionPipeline.from_single_file(
            str(source.path),
            config=str(CONFIGS / kind),
            tokenizer=CLIPTokenizer.from_pretrained(TOKENIZER, pad_token=PADDING[kind]),
            scheduler=DDIMScheduler(**BETAS, **SPACING, **DDIM_ONLY),
            torch_dtype=dtype,  # not dtype here
            **UNCHECKED,
        )


def _from_folder(source: Source, dtype: torch.dtype) -> DiffusionPipeline:
    """Load a pipeline without a safety checker or a watermark, which change images."""
    folder = check_folder(source)
    is_papers = folder.pipeline == PAPER_PIPELINE
    options = dict.fromkeys(folder.absent) | (UNCHECKED if is_papers else {})  # None: else diffusers wants them
    cls = StableDiffusionPipeline if is_papers else AutoPipelineForText2Image
    place = source.name if source.hub else str(source.path)
    with _errors_in_one_line(source):
        pipeline = cls.from_pretrained(place, dtype=dtype, variant=folder.variant, **options)
    for part in ("safety_checker", "watermark"):
        if getattr(pipeline, part, None) is not None:
            setattr(pipeline, part, None)
    return pipeline


@contextmanager
def _errors_in_one_line(source: Source) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # what is wrong with a model that others made shows in any way
        refuse_full_disk(error)
        remedy = "run it again: what is fetched is kept" if source.hub else "fetch it again"
        raise UserError(f"--model {source.name}: cannot be loaded ({one_line(error)}); {remedy}") from error


@contextmanager
def _no_tensor_made_up(model: str) -> Iterator[None]:
    """Raise `UserError` if transformers lacks tensors of a text encoder: it makes them up at random and only logs it."""
    said, log, handler = [], transformers.utils.logging, logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    level = log.get_verbosity()
    log.set_verbosity(min(level, log.WARNING))
    log.add_handler(handler)
    try:
        yield
    finally:
        log.remove_handler(handler)
        log.set_verbosity(level)
    if lacking := re.findall(r"^(\S+) *\| *MISSING", "\n".join(said), re.MULTILINE):
        raise UserError(
            f"--model {model}: {len(lacking)} tensors of its text encoder are missing, {lacking[0]} the first; fetch it again"
        )


def check_precision(model: str, pipeline: DiffusionPipeline, precision: str) -> None:
    """Raise `UserError` if the denoiser is not in the precision asked for: the manifest would record what isn't so."""
    drawing = getattr(pipeline, denoiser_name(pipeline))
    if not any(weight.dtype == getattr(torch, PRECISIONS[precision]) for weight in drawing.parameters()):
        raise UserError(
            f"--model {model}: loaded in {drawing.dtype}, not in {precision}, by diffusers {diffusers.__version__}; "
            "`pip install -r requirements.txt` brings one that obeys, or give --precision as it is loaded"
        )


def _check_parts(model: str, pipeline: DiffusionPipeline) -> None:
    """Raise `UserError` for weights that were not in the file, and for a tokenizer without words or of another model."""
    parts = pipeline.components
    for name, part in parts.items():
        lacking = [key for key, tensor in _parameters(part) if tensor.is_meta]
        if lacking:
            raise UserError(
                f"--model {model}: {len(lacking)} tensors of its {name} are missing, {lacking[0]} the first"
            )
        if part is not None and "tokenizer" in name:
            _check_tokenizer(model, name, part, parts.get(name.replace("tokenizer", "text_encoder")))


def _parameters(part: object) -> list[tuple[str, torch.nn.Parameter]]:
    return list(part.named_parameters()) if isinstance(part, torch.nn.Module) else []


def _check_tokenizer(model: str, name: str, tokenizer, text_encoder) -> None:
    """Lower a tokenizer's limit to the text encoder's, since some give none. Raises `UserError` as `_check_parts`."""
    words = getattr(tokenizer, "tokenizer", tokenizer)  # FLUX.2's is a processor around one
    if words("man").input_ids == words("boy").input_ids:  # how transformers makes one of a configuration alone
        raise UserError(
            f"--model {model}: its {name} reads every word alike: {name}/ lacks its vocabulary (tokenizer.json, vocab.json "
            "or a .model file); fetch it again"
        )
    config = getattr(text_encoder, "config", None)
    known = getattr(config, "vocab_size", None)
    if known is None:
        return
    if len(tokenizer) > known:
        raise UserError(
            f"--model {model}: its {name} knows {len(tokenizer)} tokens, its text encoder {known}: they are of different "
            "models"
        )
    limit = getattr(config, "max_position_embeddings", None)
    tokenizer.model_max_length = min(tokenizer.model_max_length, limit or tokenizer.model_max_length)


def content_of(pipeline: DiffusionPipeline) -> str:
    """Return twelve hex digits that tell these weights from others, by the sizes and some values of all parameters.

    They are the same for the same weights in the same precision, wherever these lie and however their tensors are named
    and ordered. Call this before layers are fused, compiled or moved.
    """
    found = []
    for _, parameter in (each for part in pipeline.components.values() for each in _parameters(part)):
        tensor = parameter.detach().flatten()
        some = tensor[:: max(1, len(tensor) // VALUES)].float().cpu()
        found.append(hashlib.sha256(str(len(tensor)).encode() + some.numpy().tobytes()).hexdigest())
    return hashlib.sha256("".join(sorted(found)).encode()).hexdigest()[:12]
