"""The bare network on one batch that lies in the device's memory: what no procedure around it can be faster than."""

import torch
from torch import nn

from models.batches import Compute


def train(model: nn.Module, compute: Compute, batches: int) -> None:
    """Training steps of the parameters that require gradients."""
    moving = [parameter for parameter in model.parameters() if parameter.requires_grad]
    fused = compute.device.type == "cuda"
    optimizer = torch.optim.SGD(moving, lr=0.01, momentum=0.9, weight_decay=1e-4, fused=fused)
    network = torch.compile(model) if compute.compile else model
    backward(network.train(), compute, batches, optimizer)


def backward(
    network: nn.Module, compute: Compute, batches: int, optimizer: torch.optim.Optimizer | None = None
) -> None:
    """Gradients batch by batch, and a step with each where there is an optimizer."""
    inputs = _inputs(compute, compute.batch_size)
    targets = torch.ones(compute.batch_size, 1, device=compute.device)
    for _ in range(batches):
        with torch.autocast(compute.device.type, torch.bfloat16, enabled=compute.amp):
            logits = network(inputs)
        loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), targets)
        network.zero_grad(set_to_none=True)
        loss.backward()
        if optimizer:
            optimizer.step()


@torch.inference_mode()
def infer(model: nn.Module, compute: Compute, images: int, batch_size: int) -> None:
    """The logits of so many images."""
    model.eval()
    inputs = _inputs(compute, batch_size)
    for start in range(0, images, batch_size):
        with torch.autocast(compute.device.type, torch.bfloat16, enabled=compute.amp):
            model(inputs[: images - start])


def _inputs(compute: Compute, batch_size: int) -> torch.Tensor:
    shape = (batch_size, 3, compute.image_size, compute.image_size)
    return torch.randn(shape, device=compute.device).contiguous(memory_format=torch.channels_last)
