"""A short name for the weights of a loaded generator, by which a set knows that it goes on with the same one."""

import hashlib

from diffusers import DiffusionPipeline
from torch import nn

VALUES = 64  # of each parameter: training moves them all


def content_of(pipeline: DiffusionPipeline) -> str:
    """Twelve hex digits that tell these weights from others, by the sizes and some values of all parameters.

    The same for the same weights in the same precision, wherever they lie and however their tensors are named and ordered.
    To be taken before layers are fused, compiled or moved.
    """
    parts = [part for part in pipeline.components.values() if isinstance(part, nn.Module)]
    found = []
    for tensor in (tensor.detach().flatten() for part in parts for tensor in part.parameters()):
        some = tensor[:: max(1, len(tensor) // VALUES)].float().cpu()
        found.append(hashlib.sha256(str(len(tensor)).encode() + some.numpy().tobytes()).hexdigest())
    return hashlib.sha256("".join(sorted(found)).encode()).hexdigest()[:12]
