"""Networks of torchvision and timm by name, with one logit instead of their classes.

torchvision and timm are imported when they are used, because they take seconds to load.
"""

import difflib
import warnings
from functools import partial

import torch
from torch import nn

from models.network_names import RESCALING, TIMM
from utils.errors import UserError
from utils.machine import optional_package

# Options of GoogLeNet and Inception. Nothing here uses the outputs of their auxiliary heads. Their weights expect
# inputs from -1 to 1, as they are here; `transform_input` would rescale them a second time, from ImageNet's statistics.
INCEPTIONS = {"aux_logits": False, "transform_input": False, "init_weights": True}


def build_registered(name: str, image_size: int) -> nn.Module:
    """Return an untrained network with one logit for images of `image_size` pixels a side.

    Raises `UserError` if the name is unknown (with the nearest ones), or if the network does not support the size.
    """
    try:
        return _of_timm(name, image_size) if name.startswith(TIMM) else _of_torchvision(name, image_size)
    except UserError:
        raise
    except (ValueError, AssertionError) as error:
        raise _wrong_size(name, image_size, error) from error


def head_of(model: nn.Module) -> tuple[str, ...]:
    """Return the prefixes of the last layer's tensors: from timm, else of the last linear layer or convolution."""
    if names := getattr(model, "pretrained_cfg", {}).get("classifier"):
        return tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))
    layers = [name for name, module in model.named_modules() if isinstance(module, (nn.Linear, nn.Conv2d))]
    return (f"{layers[-1]}.",)


def published_state(name: str, image_size: int) -> dict:
    """Return the default ImageNet weights of a network, downloaded once.

    A ViT's positions are interpolated to `image_size`. Raises `UserError` if there are none, and OSError or
    RuntimeError if the download fails.
    """
    if name.startswith(TIMM):
        import timm

        if not timm.is_model_pretrained(name.removeprefix(TIMM)):
            raise no_weights(name)
        options = _timm_options(timm, name, image_size)
        return timm.create_model(name.removeprefix(TIMM), pretrained=True, **options).state_dict()
    from torchvision.models import get_model_weights, vision_transformer

    state = dict(get_model_weights(name).DEFAULT.get_state_dict(progress=True, check_hash=True))
    if name.startswith("vit_"):
        patch = state["conv_proj.weight"].shape[-1]
        state = vision_transformer.interpolate_embeddings(image_size, patch, state)
    return state


def published_url(name: str) -> str:
    """Return the address of the published weights; "them" for timm, which has no single address."""
    if name.startswith(TIMM):
        return "them"
    from torchvision.models import get_model_weights

    return get_model_weights(name).DEFAULT.url


def no_weights(name: str) -> UserError:
    """Return the error for a network without published weights."""
    return UserError(f"--weights imagenet: there are none for {name}; give --weights none or a file")


def check_size(model: nn.Module, name: str, image_size: int) -> None:
    """Raise `UserError` unless a network on the meta device returns one logit for an image of this size."""
    try:
        shape = tuple(model.train()(torch.empty(2, 3, image_size, image_size, device="meta")).shape)
    except (ValueError, AssertionError, RuntimeError) as error:
        raise _wrong_size(name, image_size, error) from error
    if shape != (2, 1):
        raise UserError(f"--network {name}: returns shape {shape} for two images, expected (2, 1): one logit for each")


def _of_torchvision(name: str, image_size: int) -> nn.Module:
    from torchvision import models

    known = models.list_models(module=models)  # classification networks only
    if name not in known:
        raise unknown(name, known)
    options = {}
    if name.startswith("vit_"):
        options = {"image_size": image_size}
    if name.startswith("maxvit_"):
        options = {"input_size": (image_size, image_size)}
    if name in ("googlenet", "inception_v3"):
        options = INCEPTIONS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = models.get_model(name, weights=None, **options)
    return with_outputs(model, head_of(model)[0], 1)


def with_outputs(model: nn.Module, head: str, outputs: int) -> nn.Module:
    """Give a network a new last layer, whose tensors have the prefix `head`, with so many outputs."""
    parent_name, _, name = head[:-1].rpartition(".")
    parent = model.get_submodule(parent_name)
    layer = getattr(parent, name)
    bias = layer.bias is not None
    if isinstance(layer, nn.Conv2d):
        new = nn.Conv2d(layer.in_channels, outputs, layer.kernel_size, bias=bias)
    else:
        new = nn.Linear(layer.in_features, outputs, bias=bias)
    setattr(parent, name, new)
    later = list(parent.named_children())
    for after, module in later[[key for key, _ in later].index(name) :]:
        if isinstance(module, nn.ReLU):  # SqueezeNet's: without negative logits every image would count as positive
            setattr(parent, after, nn.Identity())
    return model


def _of_timm(name: str, image_size: int) -> nn.Module:
    asked, instead = f"--network {name}", "name a network of torchvision"
    timm = optional_package("timm", "timm", asked=asked, instead=instead)
    short = name.removeprefix(TIMM)
    if not timm.is_model(short):
        raise unknown(name, [f"{TIMM}{other}" for other in timm.list_models()])
    try:
        found = timm.get_pretrained_cfg(short)
    except RuntimeError as error:  # timm knows the part before the dot, but no such weights
        tags = timm.list_pretrained(f"{short.partition('.')[0]}.*") or [short.partition(".")[0]]
        raise unknown(name, [f"{TIMM}{tag}" for tag in tags], f"none in timm {timm.__version__}") from error
    model = timm.create_model(short, num_classes=1, **_timm_options(timm, name, image_size))
    if name.startswith(RESCALING):
        model.register_forward_pre_hook(partial(_with_statistics, found.mean, found.std))
    return model


def _with_statistics(mean: tuple, std: tuple, model: nn.Module, inputs: tuple[torch.Tensor]) -> torch.Tensor:
    """Rescale inputs from -1 to 1 for a network that expects this mean and deviation (both for values from 0 to 1)."""
    [pixels] = inputs
    mean, std = (
        torch.tensor(values, dtype=pixels.dtype, device=pixels.device)[:, None, None] for values in (mean, std)
    )
    return (pixels / 2 + 0.5 - mean) / std


def _timm_options(timm, name: str, image_size: int) -> dict:
    found = timm.get_pretrained_cfg(name.removeprefix(TIMM))
    return {"img_size": image_size} if found is not None and found.fixed_input_size else {}


def unknown(name: str, known: list[str], why: str = "there is none") -> UserError:
    """Return the error for an unknown network, with the nearest names."""
    near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    said = f"did you mean {', '.join(near)}" if near else "name a classification network of torchvision"
    more = "" if name.startswith(TIMM) else f"; write {TIMM}NAME for one of timm"
    return UserError(f"--network {name}: {why}; {said}{more}")


def _wrong_size(name: str, image_size: int, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:150] or type(error).__name__
    other = f"pass another, such as {_own_size(name)}"
    return UserError(f"--network {name}: does not support --image-size {image_size} ({reason}); {other}")


def _own_size(name: str) -> int:
    """Return the pixels a side that a network was made for; for torchvision a size that all its networks support."""
    if not name.startswith(TIMM):
        return 224
    import timm

    found = timm.get_pretrained_cfg(name.removeprefix(TIMM))
    return found.input_size[-1] if found else 224
