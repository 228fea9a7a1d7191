"""What a folder in diffusers' format holds, read from its small files before anything heavy is loaded."""

import json
import re
from pathlib import Path

from stable_diffusion.choices import PIPELINES
from stable_diffusion.source import Source
from utils.errors import UserError

WEIGHTS = re.compile(
    r"(?:diffusion_pytorch_model|pytorch_model|model)(?:\.(\w+))?(?:-\d{5}-of-\d{5})?\.(?:safetensors|bin)"
)
PARTS = {  # and what each must hold, its weights aside
    "unet": "config.json",
    "vae": "config.json",
    "text_encoder": "config.json",
    "tokenizer": "tokenizer_config.json",
    "scheduler": "scheduler_config.json",
}
WITH_WEIGHTS = ("unet", "vae", "text_encoder")
OTHER_SAMPLERS = ("FlowMatch", "EDM", "LCM", "TCD")  # how their schedulers' classes begin: not a diffusion ours can run
OTHER_INPUTS = {
    5: "a depth-to-image model",
    7: "an upscaler",
    8: "an image-editing (InstructPix2Pix) model",
    9: "an inpainting model",
}
SUPPORTED = "supported are Stable Diffusion 1.x and 2.x from text to image"


def check_folder(source: Source) -> str | None:
    """The variant of the weights to load ("fp16"), None for the plain ones.

    Raises `UserError` for another kind of model, a part that is missing, and a file that is cut off.
    """
    index = _pipeline_index(source)
    missing = [f"{part}/{name}" for part, name in PARTS.items() if f"{part}/{name}" not in source.files]
    missing += [part for part in PARTS if not (index.get(part) or [None])[0] and f"{part}/{PARTS[part]}" not in missing]
    if missing:
        raise UserError(f"--model {source.name}: {', '.join(missing)} is missing; fetch the whole model again")
    check_unet(source.name, read_json(source, "unet/config.json"), read_json(source, "vae/config.json"))
    scheduler = str(read_json(source, "scheduler/scheduler_config.json").get("_class_name"))
    if scheduler.startswith(OTHER_SAMPLERS):
        raise UserError(
            f"--model {source.name}: it was made for {scheduler}, which no --scheduler replaces; {SUPPORTED}"
        )
    variant = weights_variant(source)
    if not source.hub:
        for part in WITH_WEIGHTS:
            for name in sorted(_weights(source, part).get(variant, []) or _weights(source, part)[None]):
                check_whole(source.name, source.path / part / name)
    return variant


def _pipeline_index(source: Source) -> dict:
    """`model_index.json` of a pipeline that is supported."""
    if "model_index.json" not in source.files:
        lone = sorted(name for name in source.files if name.endswith((".safetensors", ".ckpt")))
        hint = (
            f"; for the single file give {source.path / lone[0]}" if lone and "config.json" not in source.files else ""
        )
        raise UserError(
            f"--model {source.name}: no model_index.json: not a whole model in diffusers' format, which has "
            f"{', '.join(PARTS)} as folders{hint}"
        )
    index = read_json(source, "model_index.json")
    if index.get("_class_name") not in PIPELINES:
        raise UserError(f"--model {source.name}: it is of the kind {index.get('_class_name')}; {SUPPORTED}")
    return index


def check_unet(name: str, unet: dict, vae: dict) -> None:
    """Raise `UserError` for a UNet that takes more than noise and text. Both are diffusers' configurations."""
    channels = unet.get("in_channels", 4)
    if unet.get("class_embed_type") or unet.get("addition_embed_type") or unet.get("encoder_hid_dim_type"):
        raise UserError(f"--model {name}: its UNet wants more than text (unCLIP, SDXL or an image prompt); {SUPPORTED}")
    if unet.get("time_cond_proj_dim"):
        raise UserError(f"--model {name}: a latent consistency model, which has a sampler of its own; {SUPPORTED}")
    if not channels == unet.get("out_channels", 4) == vae.get("latent_channels", 4):
        kind = OTHER_INPUTS.get(channels, "no text-to-image model")
        raise UserError(f"--model {name}: {kind}: its UNet takes {channels} channels; {SUPPORTED}")


def weights_variant(source: Source) -> str | None:
    """The variant that every part without plain weights has; None where all parts have plain ones, fp16 before others.

    Raises `UserError` where a part has no weights at all, or the parts have no variant in common.
    """
    found = {part: set(_weights(source, part)) for part in WITH_WEIGHTS}
    for part, variants in found.items():
        if not variants:
            raise UserError(f"--model {source.name}: {part}/ holds no .safetensors or .bin weights; fetch it again")
    common = set.intersection(*[variants for variants in found.values() if None not in variants] or [{None}])
    if not common:
        raise UserError(f"--model {source.name}: its parts have no variant of the weights in common: {found}")
    return "fp16" if "fp16" in common else min(common, key=str)


def _weights(source: Source, part: str) -> dict[str | None, list[str]]:
    """The files of a part's weights by variant, plain ones under None."""
    found = {}
    for name in source.files:
        if name.startswith(f"{part}/") and (match := WEIGHTS.fullmatch(name.removeprefix(f"{part}/"))):
            found.setdefault(match[1], []).append(match[0])
    return found


def check_whole(model: str, path: Path) -> None:
    """Raise `UserError` for a file that is cut off, or that git-lfs has not fetched."""
    with open(path, "rb") as file:
        if file.read(23) == b"version https://git-lfs":
            raise UserError(f"--model {model}: {path} only points to the weights: run `git lfs pull` in that folder")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy"):
                pass
        except SafetensorError as error:
            raise UserError(f"--model {model}: {path} is cut off or damaged ({error}); fetch it again") from error


def read_json(source: Source, name: str) -> dict:
    """A JSON object of the source. Raises `UserError` for anything else."""
    try:
        content = json.loads((source.path / name).read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"--model {source.name}: {name} is not JSON ({error}); fetch it again") from error
    if not isinstance(content, dict):
        raise UserError(f"--model {source.name}: {name} is not a JSON object; fetch it again")
    return content
