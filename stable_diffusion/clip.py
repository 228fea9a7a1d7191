"""Score images by zero-shot CLIP: how probable each attribute of a pair is, from the words of the prompt file alone."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from datasets.reading import read_image
from prompts import Prompts
from stable_diffusion.loading.source import HUB_ID, refuse_full_disk
from utils.errors import UserError
from utils.machine import why_not_fetched

BATCH = 64


def clip_scorer(
    model: str, prompts: Prompts, template: str, *, device: torch.device, amp: bool
) -> tuple[Callable[[list[Path]], np.ndarray], str]:
    """Make a function from images to the probability, float64 (n, attributes), that each attribute is present; and name it.

    An attribute's two values are the means of the normalised embeddings of their words, each put into the template and
    the mean normalised again; the probability is the softmax over both, with the model's own logit scale (Radford et
    al. 2021, section 3.1). The name tells apart models, texts and precisions. Raises `UserError` if the model can't be
    had, if a text is longer than it reads, or if it reads both values of an attribute alike.
    """
    if template.count("{}") != 1:
        raise UserError(f"--template {template}: must hold {{}} once, in place of the word")
    clip, tokenizer, processor = load_clip(model)
    clip = clip.to(device).eval()
    words = [prompts.words[name] for name in (prompts.target, *prompts.protected)]
    texts = [[[template.replace("{}", word) for word in two[value]] for value in "01"] for two in words]
    _check_texts([text for two in texts for value in two for text in value], clip, tokenizer)
    with torch.inference_mode():
        values = torch.stack([torch.stack([_direction(clip, tokenizer, each) for each in two]) for two in texts])
        scale = clip.logit_scale.exp()
    _check_values(model, prompts, values)

    @torch.inference_mode()
    def score(paths: list[Path]) -> np.ndarray:
        parts = []
        with ThreadPoolExecutor() as pool:
            for start in range(0, len(paths), BATCH):
                images = list(pool.map(read_image, paths[start : start + BATCH]))
                pixels = processor(images=images, return_tensors="pt")["pixel_values"].to(device)
                with torch.autocast(device.type, torch.bfloat16, enabled=amp):
                    found = clip.visual_projection(clip.vision_model(pixel_values=pixels).pooler_output)
                logits = scale * torch.einsum("nd,avd->nav", _unit(found.float()), values)
                parts.append(logits.cpu().double().softmax(-1)[..., 1].numpy())  # on the CPU: MPS has no float64
        return np.concatenate(parts)

    digest = hashlib.sha256(repr((texts, amp)).encode())
    for layer in (clip.visual_projection, clip.text_projection):  # no two models have the same
        digest.update(layer.weight.detach().float().cpu().numpy().tobytes())
    return score, f"clip {Path(model).name} {digest.hexdigest()[:12]}"


def load_clip(model: str):
    """Load a CLIP in fp32, its tokenizer and its image processor, from the hub or a folder in transformers' format."""
    from transformers import AutoConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizerFast

    folder = Path(model).expanduser()
    remedy = (
        "give --clip the hub id of a CLIP or a folder that `hf download ID --local-dir DIR` filled where there is a "
        "network, or leave it out and judge by labelled faces: --data DIR"
    )
    if not folder.is_dir() and not HUB_ID.fullmatch(model):
        raise UserError(f"--clip {model}: no such folder, and no hub id (owner/name); {remedy}")
    source = str(folder) if folder.is_dir() else model
    try:
        kind = AutoConfig.from_pretrained(source).model_type
        if kind != "clip":
            raise UserError(f"--clip {model}: it is of the kind {kind}, not a whole CLIP; {remedy}")
        clip, info = CLIPModel.from_pretrained(source, dtype=torch.float32, output_loading_info=True)
        tokenizer = CLIPTokenizerFast.from_pretrained(source)
        processor = CLIPImageProcessor.from_pretrained(source)
    except UserError:
        raise
    except Exception as error:  # of the hub, its client, the network, a file that is cut off: they share no class
        refuse_full_disk(error)
        raise UserError(f"--clip {model}: can't be had ({why_not_fetched(error)}); {remedy}") from error
    if lacking := info["missing_keys"] or info["mismatched_keys"]:
        raise UserError(f"--clip {model}: {len(lacking)} tensors are missing or of another shape; {remedy}")
    return clip, tokenizer, processor


def _check_texts(texts: list[str], clip, tokenizer) -> None:
    """Raise `UserError` for a text of more tokens than the text encoder reads: the rest would be cut off silently."""
    limit = min(tokenizer.model_max_length, clip.config.text_config.max_position_embeddings)
    longest = max(texts, key=lambda text: len(tokenizer(text).input_ids))
    if (count := len(tokenizer(longest).input_ids)) > limit:
        raise UserError(
            f"the text {longest!r} has {count} tokens, CLIP reads {limit}; shorten --template, or the words of --prompts"
        )


def _check_values(model: str, prompts: Prompts, values: torch.Tensor) -> None:
    """Raise `UserError` if CLIP reads both values of an attribute alike; `values` is float32 (attributes, 2, d)."""
    for name, (absent, present) in zip((prompts.target, *prompts.protected), values):
        if (absent - present).abs().max() < 1e-6:
            raise UserError(
                f"--clip {model}: it reads {' and '.join(map(repr, prompts.words[name].values()))} of {name} alike, so every "
                "score would be 0.5; give other words (--prompts), or another --clip"
            )


def _direction(clip, tokenizer, texts: list[str]) -> torch.Tensor:
    """Return the mean direction of several texts: float32 (d,) of length 1."""
    tokens = tokenizer(texts, padding=True, return_tensors="pt").to(clip.device)
    found = clip.text_projection(clip.text_model(**tokens).pooler_output)
    return _unit(_unit(found.float()).mean(0))


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(vectors, dim=-1)
