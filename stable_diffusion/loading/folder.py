"""Check a folder in diffusers' format by its small files, before anything heavy is loaded."""

import importlib
import re

from stable_diffusion.loading.family import PAPER_PIPELINE, check_class, needed_parts
from stable_diffusion.loading.source import Source, Unreachable, check_whole, find_source, read_json
from utils.errors import UserError

WEIGHTS = re.compile(
    r"(?:diffusion_pytorch_model|pytorch_model|model)(?:\.(\w+))?(?:-(\d{5})-of-(\d{5}))?\.(?:safetensors|bin)"
)
PAPER_PARTS = {  # of Stable Diffusion 1.x and 2.x, and what each must hold, its weights aside
    "unet": "config.json",
    "vae": "config.json",
    "text_encoder": "config.json",
    "tokenizer": "tokenizer_config.json",
    "scheduler": "scheduler_config.json",
}
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


def check_folder(source: Source) -> tuple[str, str | None]:
    """Return the class of diffusers that a folder is for, and the variant of its weights to load ("fp16"; None: plain ones).

    Raises `UserError` for another kind of model, a part that is missing or of an unknown class, and a file that is cut
    off.
    """
    index = _pipeline_index(source)
    name = check_class(source.name, index.get("_class_name"))
    parts = _parts(index)
    if absent := [part for part in _unnamed(index, name) if not _optional(part, name, parts)]:
        raise UserError(
            f"--model {source.name}: its model_index.json names no {' and no '.join(absent)}: it was saved without, and a "
            f"{name} can't draw from a text so; take a model that was saved whole"
        )
    missing = [f"{part}/" for part in parts if not any(file.startswith(f"{part}/") for file in source.files)]
    if name == PAPER_PIPELINE:
        missing = [f"{part}/{file}" for part, file in PAPER_PARTS.items() if f"{part}/{file}" not in source.files]
    if missing:
        raise UserError(f"--model {source.name}: {', '.join(missing)} is missing; fetch the whole model again")
    for part in parts:
        _check_part(source.name, part, *index[part])
    if name == PAPER_PIPELINE:
        _check_paper_model(source)
    heavy = [part for part in parts if f"{part}/config.json" in source.files and not part.startswith(LIGHT)]
    variant = weights_variant(source, heavy)
    if not source.hub:
        for part in heavy:
            for file in sorted(_weights(source, part).get(variant, []) or _weights(source, part)[None]):
                check_whole(source.name, source.path / part / file)
    return name, variant


def left_out(source: Source) -> list[str]:
    """Return the parts that a folder's pipeline takes and its index doesn't name."""
    index = _pipeline_index(source)
    return _unnamed(index, index["_class_name"])


def _unnamed(index: dict, name: str) -> list[str]:
    return [part for part in needed_parts(name) if part not in _parts(index)]


def _optional(part: str, name: str, parts: list[str]) -> bool:
    """Whether a pipeline that has these parts draws from a text without another one."""
    return name.startswith("StableDiffusion3") and part in T5 and T5[0] not in parts


def _check_part(model: str, part: str, library: str, name: str) -> None:
    """Raise `UserError` for a part whose class neither diffusers nor transformers has."""
    import diffusers

    if library in ("diffusers", "transformers"):
        module = importlib.import_module(library)
        if name not in dir(module) and not hasattr(module, name):
            raise UserError(
                f"--model {model}: its {part} is a {name}, which {library} {module.__version__} doesn't know; another "
                f"version of {library} may, or take another model"
            )
    elif not hasattr(diffusers.pipelines, library):
        raise UserError(f"--model {model}: its {part} is code of its own ({library}.{name}), which is not run")


def weight_files(source: Source) -> list[str]:
    """Return the files of weights to load from a folder, .safetensors if there are any. Raises `UserError` as `check_folder`."""
    _, variant = check_folder(source)
    names = []
    for part in _parts(_pipeline_index(source)):
        if f"{part}/config.json" in source.files and part != "scheduler":
            found = _weights(source, part)
            files = found.get(variant, []) or found[None]
            safe = [name for name in files if name.endswith(".safetensors")]
            names += [f"{part}/{name}" for name in sorted(safe or files)]
    return names


def _pipeline_index(source: Source) -> dict:
    """Read `model_index.json` of a folder. Raises `UserError` if there is none."""
    if "model_index.json" not in source.files:
        lone = sorted(name for name in source.files if name.endswith((".safetensors", ".ckpt")))
        hint = (
            f"; for the single file give {source.path / lone[0]}" if lone and "config.json" not in source.files else ""
        )
        raise UserError(
            f"--model {source.name}: no model_index.json: not a whole model in diffusers' format, which has its parts, such "
            f"as vae and scheduler, as folders{hint}"
        )
    return read_json(source, "model_index.json")


def _parts(index: dict) -> list[str]:
    """Return the parts that a pipeline has. Its index gives [library, class] of each, or [null, null] for none."""
    listed = {name: value for name, value in index.items() if isinstance(value, list) and len(value) == 2}
    return [
        name
        for name, value in listed.items()
        if all(isinstance(each, str) for each in value) and name not in NOT_LOADED
    ]


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
    channels = unet.get("in_channels", 4)
    if unet.get("class_embed_type") or unet.get("addition_embed_type") or unet.get("encoder_hid_dim_type"):
        raise UserError(
            f"--model {name}: its UNet wants more than text (unCLIP, SDXL or an image prompt); {OF_THE_CLASS}"
        )
    if unet.get("time_cond_proj_dim"):
        raise UserError(
            f"--model {name}: a latent consistency model, which has a sampler of its own (LatentConsistencyModelPipeline); "
            f"{OF_THE_CLASS}"
        )
    if not channels == unet.get("out_channels", 4) == vae.get("latent_channels", 4):
        kind = OTHER_INPUTS.get(channels, "no text-to-image model")
        raise UserError(f"--model {name}: {kind}: its UNet takes {channels} channels; {OF_THE_CLASS}")


def weights_variant(source: Source, parts: list[str]) -> str | None:
    """Return the variant that every part without plain weights has; None if all have plain ones, fp16 before others.

    Raises `UserError` if a part has no weights at all, lacks a file of several, or the parts have no variant in
    common.
    """
    found = {part: set(_weights(source, part)) for part in parts}
    for part, variants in found.items():
        if not variants:
            raise UserError(f"--model {source.name}: {part}/ holds no .safetensors or .bin weights; fetch it again")
    common = set.intersection(*[variants for variants in found.values() if None not in variants] or [{None}])
    if not common:
        raise UserError(f"--model {source.name}: its parts have no variant of the weights in common: {found}")
    return "fp16" if "fp16" in common else min(common, key=str)


def _weights(source: Source, part: str) -> dict[str | None, list[str]]:
    """Return the files of a part's weights by variant, plain ones under None. Raises `UserError` if one of several is missing."""
    found, split = {}, {}
    for name in source.files:
        if name.startswith(f"{part}/") and (match := WEIGHTS.fullmatch(name.removeprefix(f"{part}/"))):
            found.setdefault(match[1], []).append(match[0])
            if match[3]:
                split.setdefault((match[1], match[3], match[0].rpartition(".")[2]), set()).add(int(match[2]))
    for (_, count, _), numbers in split.items():
        missing = set(range(1, int(count) + 1)) - numbers
        if missing:
            raise UserError(
                f"--model {source.name}: {part}/ lacks {len(missing)} of the {int(count)} files of its weights, number "
                f"{min(missing)} the first; fetch it again"
            )
    return found


def not_here(model: str) -> str:
    """Return why a model can't be loaded without fetching it, and how much that would be; "" if its weights are here."""
    try:
        source = find_source(model)
    except Unreachable as error:
        return str(error)
    lacking = [name for name in weight_files(source) if not (source.path / name).exists()] if source.hub else []
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
