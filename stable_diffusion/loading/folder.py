"""Check a folder in diffusers' format by its small files, before anything heavy is loaded."""

import importlib
import re
from dataclasses import dataclass
from functools import cache

from stable_diffusion.loading.family import PAPER_PIPELINE, check_class, needed_parts
from stable_diffusion.loading.source import Source, Unreachable, check_whole, find_source, read_json
from utils.errors import UserError

WEIGHTS = re.compile(
    r"(?:diffusion_pytorch_model|pytorch_model|model)(?:\.(\w+))?(?:-(\d{5})-of-(\d{5}))?\.(safetensors|bin)"
)
PAPER_FILES = (  # of Stable Diffusion 1.x and 2.x, beside its weights
    "unet/config.json",
    "vae/config.json",
    "text_encoder/config.json",
    "tokenizer/tokenizer_config.json",
    "scheduler/scheduler_config.json",
)
NOT_LOADED = ("safety_checker", "feature_extractor")  # the first paints images black, the second serves it
T5 = ("text_encoder_3", "tokenizer_3")  # Stable Diffusion 3 draws without it, by a shorter prompt
LIGHT = ("scheduler", "tokenizer", "processor", "image_processor")  # no weights, even beside a config.json
OTHER_SAMPLERS = ("FlowMatch", "EDM", "LCM", "TCD")  # how their schedulers' classes begin: not a diffusion ours can run
OTHER_INPUTS = {
    5: "a depth-to-image model",
    7: "an upscaler",
    8: "an image-editing (InstructPix2Pix) model",
    9: "an inpainting model",
}
OF_THE_CLASS = f"a {PAPER_PIPELINE} draws with Stable Diffusion 1.x or 2.x from text alone"


@dataclass(frozen=True)
class Folder:
    """The content of a checked folder: the class of diffusers it is for, and which files of weights to load.

    `variant` is "fp16" or another one, None for plain weights. `absent` are parts that the class takes and the index
    doesn't name.
    """

    pipeline: str
    variant: str | None
    weights: list[str]
    absent: list[str]


def check_folder(source: Source) -> Folder:
    """Check a folder by its index, its configurations and the names of its files.

    Raises `UserError` for another kind of model, a part that is missing or of an unknown class, and a file that is cut
    off.
    """
    index = _pipeline_index(source)
    name = check_class(source.name, index.get("_class_name"))
    parts = _parts(index)
    absent = [part for part in needed_parts(name) if part not in parts]
    without_t5 = T5 if name.startswith("StableDiffusion3") and T5[0] not in parts else ()
    if needed := [part for part in absent if part not in without_t5]:
        raise UserError(
            f"--model {source.name}: its model_index.json names no {' and no '.join(needed)}: it was saved without, and a "
            f"{name} can't draw from a text so; take a model that was saved whole"
        )
    missing = [f"{part}/" for part in parts if not any(file.startswith(f"{part}/") for file in source.files)]
    if name == PAPER_PIPELINE:
        missing = [file for file in PAPER_FILES if file not in source.files]
    if missing:
        raise UserError(f"--model {source.name}: {', '.join(missing)} is missing; fetch the whole model again")
    for part, (library, cls) in parts.items():
        _check_part(source.name, part, library, cls)
    if name == PAPER_PIPELINE:
        _check_paper_model(source)
    heavy = [part for part in parts if f"{part}/config.json" in source.files and not part.startswith(LIGHT)]
    variant, weights = _weights(source, heavy)
    for file in weights if not source.hub else ():
        check_whole(source.name, source.path / file)
    return Folder(name, variant, weights, absent)


def _pipeline_index(source: Source) -> dict:
    if "model_index.json" in source.files:
        return read_json(source, "model_index.json")
    lone = sorted(name for name in source.files if name.endswith((".safetensors", ".ckpt")))
    hint = f"; for the single file give {source.path / lone[0]}" if lone and "config.json" not in source.files else ""
    raise UserError(
        f"--model {source.name}: no model_index.json: not a whole model in diffusers' format, which has its parts, such "
        f"as vae and scheduler, as folders{hint}"
    )


def _parts(index: dict) -> dict[str, list[str]]:
    """Return library and class of each part that a pipeline has: its index holds [null, null] for a part left out."""
    return {
        name: value
        for name, value in index.items()
        if isinstance(value, list) and list(map(type, value)) == [str, str] and name not in NOT_LOADED
    }


def _check_part(model: str, part: str, library: str, name: str) -> None:
    """Raise `UserError` for a part whose class neither diffusers nor transformers has."""
    import diffusers

    if library in ("diffusers", "transformers"):
        module = importlib.import_module(library)
        if name not in _names(library) and not hasattr(module, name):
            raise UserError(
                f"--model {model}: its {part} is a {name}, which {library} {module.__version__} doesn't know; another "
                f"version of {library} may, or take another model"
            )
    elif not hasattr(diffusers.pipelines, library):
        raise UserError(f"--model {model}: its {part} is code of its own ({library}.{name}), which is not run")


@cache
def _names(library: str) -> frozenset[str]:
    """Return the names in a library, whose modules are loaded on first use: transformers takes half a second to list them."""
    return frozenset(dir(importlib.import_module(library)))


def _check_paper_model(source: Source) -> None:
    check_unet(source.name, read_json(source, "unet/config.json"), read_json(source, "vae/config.json"))
    scheduler = str(read_json(source, "scheduler/scheduler_config.json").get("_class_name"))
    if scheduler.startswith(OTHER_SAMPLERS):
        raise UserError(
            f"--model {source.name}: it was made for {scheduler}, which no --scheduler replaces; {OF_THE_CLASS}"
        )


def check_unet(name: str, unet: dict, vae: dict) -> None:
    """Raise `UserError` for a UNet of Stable Diffusion that takes more than noise and text.

    Both are diffusers' configurations.
    """
    channels, fault = unet.get("in_channels", 4), None
    if unet.get("class_embed_type") or unet.get("addition_embed_type") or unet.get("encoder_hid_dim_type"):
        fault = "its UNet wants more than text (unCLIP, SDXL or an image prompt)"
    elif unet.get("time_cond_proj_dim"):
        fault = "a latent consistency model, which has a sampler of its own (LatentConsistencyModelPipeline)"
    elif not channels == unet.get("out_channels", 4) == vae.get("latent_channels", 4):
        fault = f"{OTHER_INPUTS.get(channels, 'no text-to-image model')}: its UNet takes {channels} channels"
    if fault:
        raise UserError(f"--model {name}: {fault}; {OF_THE_CLASS}")


def _weights(source: Source, parts: list[str]) -> tuple[str | None, list[str]]:
    """Return the variant that every part without plain weights has, fp16 before others, and the files to load.

    The variant is None if all parts have plain weights. Raises `UserError` if a part has no weights at all, lacks a
    file of several, or the parts have no variant in common.
    """
    found = {part: _variants(source, part) for part in parts}
    for part, variants in found.items():
        if not variants:
            raise UserError(f"--model {source.name}: {part}/ holds no .safetensors or .bin weights; fetch it again")
    common = set.intersection(*[set(files) for files in found.values() if None not in files] or [{None}])
    if not common:
        names = {part: set(variants) for part, variants in found.items()}
        raise UserError(f"--model {source.name}: its parts have no variant of the weights in common: {names}")
    variant = "fp16" if "fp16" in common else min(common, key=str)
    chosen = [sorted(variants.get(variant) or variants[None]) for variants in found.values()]
    safe = [[file for file in files if file.endswith(".safetensors")] or files for files in chosen]
    return variant, [file for files in safe for file in files]


def _variants(source: Source, part: str) -> dict[str | None, list[str]]:
    """Return the files of a part's weights by variant, plain ones under None. Raises `UserError` if one of several is missing."""
    found, split = {}, {}
    for name in source.files:
        if name.startswith(f"{part}/") and (match := WEIGHTS.fullmatch(name.removeprefix(f"{part}/"))):
            variant, number, count, suffix = match.groups()
            found.setdefault(variant, []).append(name)
            if count:
                split.setdefault((variant, int(count), suffix), set()).add(int(number))
    for (_, count, _), numbers in split.items():
        if missing := set(range(1, count + 1)) - numbers:
            raise UserError(
                f"--model {source.name}: {part}/ lacks {len(missing)} of the {count} files of its weights, number "
                f"{min(missing)} the first; fetch it again"
            )
    return found


def not_here(model: str) -> str:
    """Return why a model can't be loaded without fetching it, and how much that would be; "" if its weights are here."""
    try:
        source = find_source(model)
    except Unreachable as error:
        return str(error)
    if not source.hub:
        return ""
    lacking = [name for name in check_folder(source).weights if not (source.path / name).exists()]
    if not lacking:
        return ""
    count = _download_size(source, lacking)
    return f"{model} is yet to be fetched{f', {count / 1e9:.1f} GB' if count else ''}"


def _download_size(source: Source, names: list[str]) -> int | None:
    """Return the bytes of some files of a model of the hub; None if it doesn't say."""
    from huggingface_hub import HfApi

    try:
        files = HfApi().model_info(source.name, files_metadata=True).siblings
        sizes = {file.rfilename: file.size for file in files}
        return sum(sizes[name] for name in names)
    except Exception:  # the hub's client, the network, a size that it doesn't know: an estimate goes without
        return None
