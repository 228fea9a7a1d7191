"""ResNet-18 with one logit, in full or narrower, and where its weights come from."""

import urllib.error
from pathlib import Path

import torch
from safetensors.torch import load as load_safetensors
from torch import nn

from utils.errors import UserError


def new_classifier(weights: str, seed: int, width: float = 1) -> nn.Module:
    """A ResNet-18 whose last layer gives one logit, drawn by `seed`.

    `weights` is "imagenet" (torchvision's IMAGENET1K_V1, downloaded once), "none" (all layers drawn by
    `seed`) or a file of weights of the same width (.safetensors, or .pth/.pt holding a state dict), of which the
    last layer is left out. `width` is the share of ResNet-18's channels that every layer has, to the nearest
    multiple of 8; the paper's is 1.
    Raises `UserError` where the weights cannot be had or do not fit.
    """
    if weights == "imagenet" and width != 1:
        raise UserError(f"--width {width:g}: the ImageNet weights are of width 1; give --weights none or a file")
    from torchvision.models import resnet18  # takes seconds to load: not before it is needed

    from models.narrow import NarrowResNet18

    torch.manual_seed(seed)
    model = resnet18(num_classes=1) if width == 1 else NarrowResNet18(width)
    if weights == "imagenet":
        _load_backbone(model, _imagenet_state(), "ImageNet weights")
    elif weights != "none":
        _load_backbone(model, read_weights(Path(weights)), weights)
    return model


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The state dict in a .safetensors, .pth or .pt file; nothing in the file is executed."""
    if not path.is_file():
        raise UserError(f"--weights {path}: no such file; give a file, imagenet or none")
    try:
        if path.suffix == ".safetensors":
            return load_safetensors(path.read_bytes())  # its own reader takes no path that isn't UTF-8
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each reader has its own set of exceptions for a broken file
        raise UserError(f"--weights {path}: cannot be read as a state dict: {error}") from error


def _imagenet_state() -> dict[str, torch.Tensor]:
    from torchvision.models import ResNet18_Weights

    weights = ResNet18_Weights.IMAGENET1K_V1
    try:
        return weights.get_state_dict(progress=True, check_hash=True)
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        raise UserError(
            f"cannot download the ImageNet weights ({error}); fetch {weights.url} elsewhere and pass --weights FILE, "
            "or pass --weights none to train from scratch"
        ) from error


def _load_backbone(model: nn.Module, state: dict[str, torch.Tensor], origin: str) -> None:
    own = model.state_dict()
    if not isinstance(state, dict):
        raise UserError(f"--weights {origin}: holds a {type(state).__name__}, not a state dict")
    kept = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    missing = [name for name in own if name not in kept and not name.startswith("fc.")]
    wrong = [name for name, tensor in kept.items() if name not in own or own[name].shape != tensor.shape]
    if missing or wrong:
        raise UserError(
            f"--weights {origin}: not weights of this ResNet-18 (see --width): {(missing + wrong)[0]} is missing or "
            "does not fit"
        )
    model.load_state_dict(kept, strict=False)
