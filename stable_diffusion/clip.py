"""Score images by zero-shot CLIP: how probable each attribute of a pair is, from the words of the prompt file alone."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
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
) -> tuple[Callable[[list[Path]], list[np.ndarray]], str]:
    """Make a function from images to the probability of each value, float64 (n, values) an attribute; and name it.

    A value is the mean of the normalised embeddings of its words, each put into the template and the mean normalised again;
    the probability is the softmax over an attribute's values, with the model's own logit scale (Radford et al. 2021,
    section 3.1). The name tells apart models, texts and precisions. Raises `UserError` if the model can't be
    had, if a text is longer than it reads, or if it reads two values of an attribute alike.
    """
    if template.count("{}") != 1:
        raise UserError(f"--template {template}: must hold {{}} once, in place of the word")
    clip, tokenizer, processor = load_clip(model)
    clip = clip.to(device).eval()
    names = prompts.attributes.values_of
    texts = [[[template.replace("{}", w) for w in prompts.words[name][each]] for each in names[name]] for name in names]
    _check_texts([text for every in texts for value in every for text in value], clip, tokenizer)
    with torch.inference_mode():
        values = [torch.stack([_direction(clip, tokenizer, each) for each in every]) for every in texts]
        scale = clip.logit_scale.exp()
    _check_values(model, prompts, values)

    def score(paths: list[Path]) -> list[np.ndarray]:
        with ThreadPoolExecutor() as pool:
            parts = [
                of_batch(list(pool.map(read_image, paths[start : start + BATCH])))
                for start in range(0, len(paths), BATCH)
            ]
        return list(map(np.concatenate, zip(*parts, strict=True)))

    @torch.inference_mode()
    def of_batch(images: list) -> list[np.ndarray]:
        pixels = processor(images=images, return_tensors="pt")["pixel_values"].to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=amp):
            found = clip.visual_projection(clip.vision_model(pixel_values=pixels).pooler_output)
        logits = [scale * _unit(found.float()) @ every.T for every in values]
        return [each.cpu().double().softmax(-1).numpy() for each in logits]  # on the CPU: MPS has no float64

    return score, f"clip {Path(model).name} {_digest(clip, texts, amp)}"


def _digest(clip, texts: list, amp: bool) -> str:
    digest = hashlib.sha256(repr((texts, amp)).encode())
    for layer in (clip.visual_projection, clip.text_projection):  # no two models have the same
        digest.update(layer.weight.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:12]


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


def _check_values(model: str, prompts: Prompts, values: list[torch.Tensor]) -> None:
    """Raise `UserError` if CLIP reads two values of an attribute alike; `values` is float32 (values, d) for each attribute."""
    for (name, names), directions in zip(prompts.attributes.values_of.items(), values, strict=True):
        for first, second in combinations(range(len(names)), 2):
            if (directions[first] - directions[second]).abs().max() < 1e-6:
                alike = " and ".join(repr(prompts.words[name][names[place]]) for place in (first, second))
                raise UserError(
                    f"--clip {model}: it reads {alike} of {name} alike, so it can't tell them apart; give other words "
                    "(--prompts), or another --clip"
                )


def _direction(clip, tokenizer, texts: list[str]) -> torch.Tensor:
    """Return the mean direction of several texts: float32 (d,) of length 1."""
    tokens = tokenizer(texts, padding=True, return_tensors="pt").to(clip.device)
    found = clip.text_projection(clip.text_model(**tokens).pooler_output)
    return _unit(_unit(found.float()).mean(0))


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(vectors, dim=-1)
