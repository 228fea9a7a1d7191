"""The bare network on batches that lie in the device's memory: what no procedure around it can be faster than."""

from collections.abc import Callable, Collection, Iterator

import torch
from torch import nn

from models.batches import Compute, inference_batch
from models.work import images_trained


class BareNetwork:
    """A network, its layout and precision those of ours, and the batches that it sees."""

    def __init__(self, model: nn.Module, compute: Compute):
        self.model, self.compute = model, compute
        self._compiled = torch.compile(model) if compute.compile else model
        shape = (max(compute.batch_size, inference_batch(compute)), 3, compute.image_size, compute.image_size)
        self._inputs = torch.randn(shape, device=compute.device).contiguous(memory_format=torch.channels_last)
        self._targets = torch.ones(compute.batch_size, 1, device=compute.device)

    def train(self, images: int, only: Collection[str] | None = None) -> None:
        """The training steps of an epoch of so many images; `only` names the tensors that move, by default all."""
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(only is None or name in only)
        moving = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        fused = self.compute.device.type == "cuda"
        optimizer = torch.optim.SGD(moving, lr=0.01, momentum=0.9, weight_decay=1e-4, fused=fused)
        self._backward(self._compiled, images, optimizer.step)

    def rank(self, images: int) -> None:
        """The gradients of all tensors in an epoch of so many images."""
        self.model.requires_grad_(True)
        self._backward(self.model, images, lambda: None)

    @torch.inference_mode()
    def infer(self, images: int) -> None:
        """The logits of so many images."""
        self.model.eval()
        for size in _sizes(images, inference_batch(self.compute)):
            self._logits(self.model, size)

    def _backward(self, network: nn.Module, images: int, step: Callable[[], object]) -> None:
        network.train()
        for size in _sizes(images_trained(images, self.compute), self.compute.batch_size):
            logits = self._logits(network, size).float()
            loss = nn.functional.binary_cross_entropy_with_logits(logits, self._targets[:size])
            self.model.zero_grad(set_to_none=True)
            loss.backward()
            step()

    def _logits(self, network: nn.Module, size: int) -> torch.Tensor:
        with torch.autocast(self.compute.device.type, torch.bfloat16, enabled=self.compute.amp):
            return network(self._inputs[:size])


def _sizes(images: int, batch_size: int) -> Iterator[int]:
    """The sizes of the batches that so many images make."""
    for start in range(0, images, batch_size):
        yield min(batch_size, images - start)
