"""The bare network on batches that lie in the device's memory: no procedure around it can be faster."""

from collections.abc import Callable, Collection

import torch
from torch import nn

from datasets.bias import biased_group_sizes
from models.batches import Compute, inference_batch
from models.work import images_trained


class Bare:
    """A network in our layout and precision, for sets of `count` images; `moving` names the tensors that fine-tuning changes."""

    def __init__(self, model: nn.Module, compute: Compute, count: int, moving: Collection[str] = ()):
        self.model = model.to(compute.device, memory_format=torch.channels_last)
        self.compute, self.count, self.moving = compute, count, moving
        shape = (max(compute.batch_size, inference_batch(compute)), 3, compute.image_size, compute.image_size)
        self._inputs = torch.randn(shape, device=compute.device).contiguous(memory_format=torch.channels_last)
        self._targets = torch.ones(compute.batch_size, 1, device=compute.device)

    def training(self, only: Collection[str] | None = None) -> None:
        """Take the training steps of one epoch; `only` names the tensors that move, by default all."""
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(only is None or name in only)
        moving = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        fused = self.compute.device.type == "cuda"
        optimizer = torch.optim.SGD(moving, lr=0.01, momentum=0.9, weight_decay=1e-4, fused=fused)
        self._backward(self.count, optimizer.step)

    @torch.inference_mode()
    def validation(self) -> None:
        """Compute the logits of one set."""
        self.model.eval()
        for size in _batch_sizes(self.count, inference_batch(self.compute)):
            self._logits(size)

    def ranking(self) -> None:
        """Compute the gradients of all tensors on the three sets of a ranking."""
        self.model.requires_grad_(True)
        biased = sum(biased_group_sizes(self.count // 2, "1/9").values())
        for images in (self.count, biased, self.count // 4 * 4):
            self._backward(images, lambda: None)

    def seed(self) -> None:
        """Do the network's part of a whole seed."""
        for part in (*3 * (self.training, self.validation), self.ranking):
            part()
        for _ in range(2):
            self.training(self.moving)
            self.validation()
        self.validation()

    def _backward(self, images: int, step: Callable[[], object]) -> None:
        self.model.train()
        for size in _batch_sizes(images_trained(images, self.compute), self.compute.batch_size):
            loss = nn.functional.binary_cross_entropy_with_logits(self._logits(size).float(), self._targets[:size])
            self.model.zero_grad(set_to_none=True)
            loss.backward()
            step()

    def _logits(self, size: int) -> torch.Tensor:
        with torch.autocast(self.compute.device.type, torch.bfloat16, enabled=self.compute.amp):
            return self.model(self._inputs[:size])


def _batch_sizes(images: int, most: int) -> list[int]:
    return [min(most, images - start) for start in range(0, images, most)]
