"""ResNet-18 with one logit, in full or narrower, and where its weights come from."""

import urllib.error
from pathlib import Path

import torch
from torch import nn

from models.weights import load_backbone, read_tensors
from utils.errors import UserError


def new_classifier(weights: str, seed: int, width: float = 1) -> nn.Module:
    """A ResNet-18 whose last layer gives one logit, drawn by `seed`.

    `weights` is "imagenet" (torchvision's IMAGENET1K_V1, downloaded once), "none" (all layers drawn by
    `seed`) or a file of weights of the same width, in any of the forms of `models.weights`, of which the last
    layer is left out. `width` is the share of ResNet-18's channels that every layer has, to the nearest
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
        load_backbone(model, _imagenet_state(), "imagenet")
    elif weights != "none":
        load_backbone(model, read_tensors(Path(weights)), weights)
    return model


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
