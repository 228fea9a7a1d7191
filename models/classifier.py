"""The networks there are, each with one logit, and where their weights come from."""

import importlib
import urllib.error
from pathlib import Path

import torch
from torch import nn

from models.weights import load_backbone, read_tensors
from utils.errors import UserError

# One file of models/ a network, and its name here. It has `build(width)`, which gives the network with one logit, `HEAD`, how
# the names of its last layer's tensors begin, and `PUBLISHED`, torchvision's ImageNet weights or None. A file is imported
# when it is used: torchvision takes seconds to load.
NETWORKS = ("resnet18",)


def new_classifier(weights: str, seed: int, width: float = 1, network: str = "resnet18") -> nn.Module:
    """A network with one logit, its last layer drawn by `seed`.

    `weights` is "imagenet" (the published ones, downloaded once), "none" (all layers drawn by `seed`) or a file of weights
    of the same width, in any of the forms of `models.weights`, of which the last layer is left out. `width` is the share of
    the channels that every layer has, in ResNet-18 to the nearest multiple of 8; the paper's is 1.
    Raises `UserError` where the weights cannot be had or do not fit.
    """
    if weights == "imagenet" and width != 1:
        raise UserError(f"--width {width:g}: the ImageNet weights are of width 1; give --weights none or a file")
    kind = importlib.import_module(f"models.{network}")
    torch.manual_seed(seed)
    model = kind.build(width)
    if weights == "imagenet":
        load_backbone(model, _published_state(network, kind.PUBLISHED), "imagenet", kind.HEAD)
    elif weights != "none":
        load_backbone(model, read_tensors(Path(weights)), weights, kind.HEAD)
    return model


def linear_head(model: nn.Module, network: str) -> nn.Linear:
    """The last layer of a network of `NETWORKS`. Raises `UserError` where it is not linear with one output and a bias."""
    name = importlib.import_module(f"models.{network}").HEAD.rstrip(".")
    found = model.get_submodule(name)
    if not isinstance(found, nn.Linear) or found.out_features != 1 or found.bias is None:
        raise UserError(f"--network {network}: its last layer, {name}, is no nn.Linear with one output and a bias")
    return found


def _published_state(network: str, weights) -> dict[str, torch.Tensor]:
    if weights is None:
        raise UserError(f"--weights imagenet: there are none for {network}; give --weights none or a file")
    try:
        return weights.get_state_dict(progress=True, check_hash=True)
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        raise UserError(
            f"cannot download the ImageNet weights ({error}); fetch {weights.url} elsewhere and pass --weights FILE, "
            "or pass --weights none to train from scratch"
        ) from error
