"""Check a single .safetensors or .ckpt file only by the names and shapes of its tensors."""

import json
from pathlib import Path

import torch

from models.weights import why_unreadable
from stable_diffusion.loading.folder import check_unet
from stable_diffusion.loading.source import check_whole
from utils.errors import UserError

CONFIGS = Path(__file__).parents[1] / "configs"  # of Stable Diffusion 1.x and 2.x: a file doesn't hold its own
TEXT_ENCODERS = {  # a tensor by which each is known
    "sd1": "cond_stage_model.transformer.text_model.embeddings.position_embedding.weight",
    "sd2": "cond_stage_model.model.token_embedding.weight",
}
UNET, VAE = "model.diffusion_model.", "first_stage_model."
CONV_IN = UNET + "input_blocks.0.0.weight"
SUPPORTED = (
    "a single file must be of Stable Diffusion 1.x or 2.x; give others as a folder in diffusers' format or a hub id"
)
PART = "give the whole model, as one file or as the folder with model_index.json"
ADDITIONS = {  # what has tensors with such a part in their names
    "LoRA weights, an addition to a model": ("lora_", "_lora.", ".lora."),
    "a textual inversion, an addition to a model": ("emb_params", "string_to_param"),
    "a ControlNet": ("control_model.", "controlnet_cond_embedding."),
    "an AnimateDiff motion module": ("motion_modules.",),
}
LONE_PARTS = {  # what has tensors whose names begin so
    "the denoising network alone": (UNET,),
    "a UNet alone": ("input_blocks.", "down_blocks."),
    "a VAE alone": (VAE, "decoder."),
    "a text encoder alone": ("text_model.",),
}
LIGHTNING = "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"


class Unused:
    """Placeholder of a class of the training program that some published .ckpt files name and nothing here needs."""


def reading_checkpoints():
    """Return a context in which torch's safe reader accepts such files too; it still executes nothing."""
    return torch.serialization.safe_globals([(Unused, LIGHTNING)])


def check_single_file(name: str, path: Path) -> str:
    """Return the folder of `CONFIGS` that describes the file. Raises `UserError`, saying what it is, if it isn't supported."""
    shapes = _tensor_shapes(name, path)
    kind = next((kind for kind, key in TEXT_ENCODERS.items() if key in shapes), None)
    if kind is None or CONV_IN not in shapes or not any(key.startswith(VAE) for key in shapes):
        raise UserError(f"--model {name}: {_describe(shapes)}")
    found = {
        "in_channels": shapes[CONV_IN][1],
        "out_channels": shapes.get(UNET + "out.2.weight", (4,))[0],
        "class_embed_type": any(key.startswith(UNET + "label_emb.") for key in shapes),
    }
    check_unet(name, found, {"latent_channels": found["out_channels"]})
    config = json.loads((CONFIGS / kind / "unet" / "config.json").read_text(encoding="utf-8"))
    width = shapes.get(UNET + "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", (0, 0))[-1]
    if width != config["cross_attention_dim"]:
        raise UserError(
            f"--model {name}: its UNet reads text of width {width}, its text encoder is that of {kind}; {SUPPORTED}"
        )
    return kind


def _tensor_shapes(name: str, path: Path) -> dict[str, tuple[int, ...]]:
    """Read the shapes of a file's tensors without their data. Raises `UserError` if that fails or would execute code."""
    check_whole(name, path)
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, framework="numpy") as file:
            return {key: tuple(file.get_slice(key).get_shape()) for key in list(file.keys())}
    try:
        with reading_checkpoints():
            content = torch.load(path, map_location="meta", weights_only=True)
        while "state_dict" in content:
            content = content["state_dict"]
        return {key: tuple(value.shape) for key, value in content.items() if isinstance(value, torch.Tensor)}
    except Exception as error:  # unpickling what others made can raise anything
        with open(path, "rb") as file:
            why = why_unreadable(path, file.read(64), error)
        raise UserError(f"--model {name}: {why}, or take the .safetensors file of the same model") from error


def _describe(shapes: dict[str, tuple[int, ...]]) -> str:
    """Say what an unsupported file holds, and what to give instead."""
    for what, parts in ADDITIONS.items():
        if any(part in key for key in shapes for part in parts):
            return f"it holds {what}, not a model; {PART}"
    family = _family(shapes)
    if family not in ("v1", "v2", None):
        return f"it is of the kind {family}; {SUPPORTED}"
    if CONV_IN in shapes and any(key.startswith(VAE) for key in shapes):
        return f"its text encoder is missing or not named as in Stable Diffusion 1.x and 2.x; {PART}"
    if CONV_IN in shapes and any(key in shapes for key in TEXT_ENCODERS.values()):
        return f"its VAE is missing; {PART}"
    for what, beginnings in LONE_PARTS.items():
        if any(key.startswith(beginnings) for key in shapes):
            return f"it is {what}; {PART}"
    return f"none of its {len(shapes)} tensors belongs to a generator; {SUPPORTED}"


def _family(shapes: dict[str, tuple[int, ...]]) -> str | None:
    """Return the kind of model that diffusers takes a file for; it also says v1 for everything that it doesn't know."""
    from diffusers.loaders.single_file_utils import infer_diffusers_model_type  # takes seconds, and only here

    try:
        return infer_diffusers_model_type({key: torch.empty(shape, device="meta") for key, shape in shapes.items()})
    except (LookupError, NameError):  # a part of a model that it knows whole
        return None
