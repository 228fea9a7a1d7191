"""The networks, each with one logit or one for each target, and their initial weights."""

import importlib
from pathlib import Path

import torch
from torch import nn

from models.registry import (
    build_registered,
    check_size,
    head_of,
    no_weights,
    published_state,
    published_url,
    with_outputs,
)
from models.small_maps import with_small_maps
from models.weights import check_kept, load_backbone, read_tensors
from utils.errors import UserError
from utils.machine import NOT_FETCHED, why_not_fetched
from utils.metrics import outputs_of

# Networks with a file of their own in models/; all others come from torchvision or timm. Such a file has
# `build(width)`, which returns the network with one logit; `HEAD`, the prefix of its last layer's tensors; and
# `PUBLISHED`, torchvision's ImageNet weights or None. It is imported when it is used, because torchvision takes seconds
# to load.
NETWORKS = ("resnet18",)
# Initial weights in this repository: name, file, and width of ResNet-18.
START = {"toy": (Path(__file__).parent / "start" / "toy.safetensors", 0.25)}


def new_classifier(
    weights: str, seed: int, width: float = 1, network: str = "resnet18", image_size: int = 224, targets: int = 2
) -> nn.Module:
    """Return a network with a last layer drawn by `seed`, of one logit for two targets and as many as targets for more.

    weights : "imagenet" (published, downloaded once), "toy" (models/start/, for toy faces), "none" (all layers drawn by
        `seed`), or a file of weights of the same width in any form of `models.weights`, whose last layer is ignored
    width : fraction of the channels in every layer, in ResNet-18 rounded to a multiple of 8; the paper's is 1
    image_size : pixels a side, for networks that are built for one size, such as a ViT

    Raises `UserError` if the weights cannot be loaded or do not fit.
    """
    if weights == "imagenet" and width != 1:
        raise UserError(f"--width {width:g}: the ImageNet weights are of width 1; give --weights none or a file")
    path, own_width = START.get(weights, (Path(weights), width))
    if weights in START and (network, width) != ("resnet18", own_width):
        raise UserError(
            f"--weights {weights} is of --network resnet18 --width {own_width:g} alone; give --weights none or a file"
        )
    torch.manual_seed(seed)
    model = with_small_maps(_build(network, width, image_size))
    for head in head_names(model, network) if targets > 2 else ():
        with_outputs(model, head, outputs_of(targets))
    if weights == "imagenet":
        load_backbone(model, _published_state(network, image_size), "imagenet", head_names(model, network))
    elif weights != "none":
        load_backbone(model, read_tensors(path), weights, head_names(model, network))
    return model


def outline(network: str, width: float, image_size: int) -> nn.Module:
    """Return the network without values, on the meta device, to look at its tensors.

    Raises `UserError` if there is no such network, if its weights can't be written to a file, or if it returns no
    single logit for an image of that size.
    """
    with torch.device("meta" if network == "resnet18" else "cpu"):  # some networks can't be built without values
        model = _build(network, width, image_size)
    if not next(model.parameters()).is_meta:
        check_kept(model, f"--network {network}")
    model = model.to("meta")
    if network not in NETWORKS:
        check_size(model, network, image_size)
    return model


def head_names(model: nn.Module, network: str) -> tuple[str, ...]:
    """Return the prefixes of the last layer's tensors."""
    return (_file_of(network).HEAD,) if network in NETWORKS else head_of(model)


def linear_head(model: nn.Module, network: str) -> nn.Linear:
    """Return the last layer of a network.

    Raises `UserError` unless there is one, linear, with a bias.
    """
    names = [name.rstrip(".") for name in head_names(model, network)]
    if len(names) > 1:  # the network combines their outputs, so one can't be fitted alone
        raise UserError(
            f"--network {network}: has {len(names)} last layers, {' and '.join(names)}; last-layer takes one"
        )
    [name] = names
    found = model.get_submodule(name)
    if not isinstance(found, nn.Linear) or found.bias is None:
        raise UserError(f"--network {network}: its last layer, {name}, is no nn.Linear with a bias")
    return found


def _file_of(network: str):
    return importlib.import_module(f"models.{network}")


def _build(network: str, width: float, image_size: int) -> nn.Module:
    if network in NETWORKS:
        return _file_of(network).build(width)
    if width != 1:
        raise UserError(f"--width {width:g}: {network} has no other width than its own; leave the flag out")
    return build_registered(network, image_size)


def _published_state(network: str, image_size: int) -> dict[str, torch.Tensor]:
    own = network in NETWORKS
    weights = _file_of(network).PUBLISHED if own else None
    if own and weights is None:
        raise no_weights(network)
    try:
        if own:
            return weights.get_state_dict(progress=True, check_hash=True)
        return published_state(network, image_size)
    except UserError:
        raise
    except NOT_FETCHED as error:
        reason, url = why_not_fetched(error), weights.url if own else published_url(network)
        raise UserError(
            f"cannot get the ImageNet weights of {network} ({reason}); fetch {url} elsewhere and pass --weights FILE, "
            "or pass --weights none to train from scratch"
        ) from error
