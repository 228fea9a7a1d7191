"""Weights of a network from files of any common form, read without running code and matched by name and shape."""

import difflib
import hashlib
import zipfile
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import nn

from utils.errors import UserError
from utils.machine import one_line

State = Mapping[str, torch.Tensor]
COUNTER = ".num_batches_tracked"  # of batch norm: missing in torchvision's files, and unused with a fixed momentum
USUAL = ("", "state_dict", "model", "model_state_dict")  # usual keys of a network in a checkpoint
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
DEPTH = 3  # levels of nested dicts that are searched
SAVE_ALONE = "torch.save(model.state_dict(), 'weights.pth')"


def read_tensors(path: Path) -> Mapping:
    """Return the content of a file by safetensors or torch.save, without running any code in it.

    Raises `UserError` if the file is missing, cut off, of another form, or holds more than tensors.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise UserError(f"--weights {path}: {what}; give a file, imagenet or none")
    content = path.read_bytes()
    try:
        if path.suffix == ".safetensors" or content[8:10] == b'{"':
            return load_safetensors(content)  # safetensors' own reader fails for a path that isn't UTF-8
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each reader has its own set of exceptions for a broken file
        raise UserError(f"--weights {path}: {why_unreadable(path, content, error)}") from error
    if not isinstance(found, Mapping):
        raise UserError(f"--weights {path}: holds a {type(found).__name__}, not a state dict; save {SAVE_ALONE}")
    return found


def load_backbone(model: nn.Module, content: Mapping, origin: str, head: str | tuple[str, ...] = "fc.") -> None:
    """Load all tensors of `content` except the last layer, whose names begin with `head`, into `model`.

    `content` is a state dict, or has one in nested dicts, like a checkpoint of Lightning, timm or torchvision's
    scripts. Its names may have a prefix (`module.`, `model.`, `backbone.`, ...) or be the numbers of an nn.Sequential
    of the network's children. Batch norm's counters may be missing. Layers that the network lacks, such as another
    head, are ignored.

    If several state dicts fit, one under a usual name (`USUAL`) is taken, else the first; this is printed. Raises
    `UserError` with the first one's fault if none fits.
    """
    own = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(head)}
    needed = [name for name in own if not name.endswith(COUNTER)]
    children = [name for name, _ in model.named_children()]
    candidates = [
        (place, prefix, named)
        for place, state in _state_dicts(content)
        for prefix, named in _renamed(state, needed, children)
    ]
    misses = [
        _misfit({n: t for n, t in named.items() if not n.startswith(head)}, own, needed, children)
        for _, _, named in candidates
    ]
    fits = sorted((i for i, miss in enumerate(misses) if not miss), key=lambda i: candidates[i][0] not in USUAL)
    if not fits:
        why = misses[0] if misses else f"no tensor is called {needed[0]}, with any prefix"
        raise UserError(
            f"--weights {origin}: not weights of this network (see --network, --width, --image-size): {why}"
        )
    place, prefix, named = candidates[fits[0]]
    kept = {name: tensor for name, tensor in named.items() if name in own}
    load_state(model, kept, strict=False)
    if place or prefix or len(fits) > 1:
        others = [_describe(*candidates[i][:2]) for i in fits[1:]]
        also = f"; it also holds {', '.join(others)}: save the one you mean alone to choose" if others else ""
        _say_once(f"--weights {origin}: took {_describe(place, prefix)}{also}")


def content_of(model: nn.Module, head: tuple[str, ...]) -> str:
    """Return twelve hex digits that identify initial weights, from all tensors except the last layer and counters.

    It does not depend on the file that held the weights.
    """
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        if not name.startswith(head) and not name.endswith(COUNTER):
            digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


def load_state(model: nn.Module, state: State, *, strict: bool = True) -> None:
    """Load tensors into a model as `load_state_dict` does, with its errors.

    Some modules, such as MNASNet, refuse a state without their version number, which files of tensors do not have. It
    is taken from the model; names and shapes are still checked.
    """
    named = OrderedDict(state)
    named._metadata = model.state_dict()._metadata
    model.load_state_dict(named, strict=strict)


def as_safetensors(model: nn.Module) -> bytes:
    """Return the content of a .safetensors file with all tensors of a model; one with two names is there twice."""
    state = model.state_dict()
    return save_safetensors({name: t.clone(memory_format=torch.contiguous_format).cpu() for name, t in state.items()})


def check_kept(model: nn.Module, asked: str) -> None:
    """Raise `UserError`, which begins with `asked`, unless a model's state can be written to a file and read back."""
    try:
        load_state(model, load_safetensors(as_safetensors(model)))
    except Exception as error:  # a module may have anything in its state, and refuse it in any way
        raise UserError(
            f"{asked}: its weights can't be kept in a file ({one_line(error)}), as records need; name another network"
        ) from error


def load_tensors(model: nn.Module, path: Path, remedy: str) -> None:
    """Load all tensors of a .safetensors file into a model.

    Raises `UserError`, which ends with `remedy`, if the file is missing, damaged or of another model.
    """
    try:
        load_state(model, load_safetensors(path.read_bytes()))
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())[:200]
        raise UserError(f"{path} is damaged ({reason}); {remedy}") from error


@cache
def _say_once(text: str) -> None:
    print(text, flush=True)  # every network of a run starts from the same file


def _state_dicts(content: Mapping, place: str = "", depth: int = DEPTH) -> Iterator[tuple[str, State]]:
    """Yield every dict in `content` that holds tensors, with its place ("" for the whole)."""
    tensors = {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
    if tensors:
        yield place, tensors
    for name, value in content.items():
        if isinstance(value, Mapping) and depth:
            yield from _state_dicts(value, f"{place}.{name}".lstrip("."), depth - 1)


def _renamed(state: State, needed: list[str], children: list[str]) -> Iterator[tuple[str, State]]:
    """Yield each prefix that may stand before the network's names, and the tensors under it by their own names."""
    first = needed[0]
    for key in state:
        if key == first or key.endswith(f".{first}"):
            prefix = key.removesuffix(first)
            yield prefix, {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}
    if first.split(".")[0] not in children:  # a tensor of the network itself, such as a ViT's class token
        return
    numbered = f"{children.index(first.split('.')[0])}.{first.partition('.')[2]}"  # in nn.Sequential(*model.children())
    for key in state:
        if key == numbered or key.endswith(f".{numbered}"):
            prefix = key.removesuffix(numbered)
            parts = {
                name.removeprefix(prefix).partition("."): t for name, t in state.items() if name.startswith(prefix)
            }
            names = dict(zip(map(str, range(len(children))), children))
            yield f"{prefix}0.", {f"{names.get(a, a)}{dot}{b}": t for (a, dot, b), t in parts.items()}


def _misfit(named: State, own: State, needed: list[str], children: list[str]) -> str:
    """Return the fault of a state dict for a network; "" if there is none."""
    for name in needed:
        if name not in named:
            return f"{name} is missing"
        if named[name].shape != own[name].shape:
            return f"{name} is {tuple(named[name].shape)} there and {tuple(own[name].shape)} here"
        if own[name].is_floating_point() and (fault := _unusable(named[name])):  # others are tables of indices
            return f"{name} is {fault}"
    blocks = {name.split(".")[0] for name in own}
    more = [n for n in named if n not in own and n.split(".")[0] in blocks & set(children) and not n.endswith(COUNTER)]
    return f"{more[0]} is of a deeper network" if more else ""


def _unusable(tensor: torch.Tensor) -> str:
    """Return why a tensor can't be an initial weight; "" if it can."""
    if tensor.is_meta:
        return "without values; save it as float32"
    if tensor.dtype not in FLOATS or tensor.layout != torch.strided:
        kind = str(tensor.dtype if tensor.layout == torch.strided else tensor.layout)
        return f"{kind.removeprefix('torch.')}; save it as float32"
    if not torch.isfinite(tensor).all():
        return "not finite; take an earlier checkpoint"
    constant = tensor.dim() > 1 and tensor.numel() > 1 and (tensor == tensor.flatten()[0]).all()
    return "one value throughout" if constant else ""


def _describe(place: str, prefix: str) -> str:
    return " ".join(filter(None, [f"{place!r}" if place else "the tensors", f"without {prefix!r}" if prefix else ""]))


def why_unreadable(path: Path, content: bytes, error: Exception) -> str:
    """Return fault and remedy of a file of weights that a safe reader refuses; `content` may be only its start."""
    if content.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file itself; run git lfs pull there"
    if content.lstrip()[:1] == b"<":
        return "is a web page, not weights; download the file again"
    if isinstance(error, SafetensorError):
        return f"cannot be read as safetensors ({error}); download or save it again"
    if zipfile.is_zipfile(path) or content[:1] == b"\x80":
        if "weights_only" in str(error) or "Unsupported" in str(error):
            return (
                "holds Python objects beside tensors, which are not read because reading them runs code; if you trust "
                f"the file, load it and save only the tensors: {SAVE_ALONE}"
            )
        return f"is damaged ({str(error).strip().splitlines()[0][:100]}); download or save it again"
    return "is neither safetensors nor written by torch.save, or is cut off; download or save it again"


def freeze_all_but(model: nn.Module, trainable: Collection[str] | None, label: str) -> None:
    """Let only these tensors have gradients, or all if None. Raises `UserError` if one is unknown or none is left; `label` begins it."""
    names = [name for name, _ in model.named_parameters()]
    unknown = [name for name in trainable or () if name not in names]
    if unknown or (trainable is not None and not len(trainable)):
        what = f"no tensor {unknown[0]} in the network" if unknown else "no tensor to train"
        near = difflib.get_close_matches(str(unknown), names, n=2) or names[:1]
        raise UserError(f"{label}: {what}; it has {', '.join(near)}, ...")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trainable is None or name in trainable)


def on_cpu(state):
    """Return a copy on the CPU of a state: tensors in dicts and lists."""
    if isinstance(state, torch.Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, dict):
        return {key: on_cpu(value) for key, value in state.items()}
    return [on_cpu(value) for value in state] if isinstance(state, list) else state
