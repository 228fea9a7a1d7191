"""Batches for training, predictions, and the device and precision that compute them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from datasets.augment import crop_and_resize, random_boxes, random_flips, resize_whole
from datasets.images import LabelledImages, MixedSet
from utils.errors import Diverged, UserError
from utils.metrics import answers, fairness_metrics


@dataclass(frozen=True)
class Compute:
    """Device, precision and sizes with which the network runs.

    amp : bfloat16 autocast instead of fp32
    image_size : pixels a side
    compile : compile the network for training
    crop_scale : smallest and largest fraction of a training image in its random crop
    keep_last_batch : train on an epoch's last batch even if it is short
    """

    device: torch.device
    amp: bool
    image_size: int
    batch_size: int
    compile: bool = False
    crop_scale: tuple[float, float] = (0.08, 1.0)
    keep_last_batch: bool = False


def of_mean_gradients(compute: Compute) -> Compute:
    """Leave out a short last batch, which would weigh as much as a full one in a mean of gradients."""
    return replace(compute, keep_last_batch=False)


class Batch(NamedTuple):
    """A batch on the device.

    inputs : float32 (n, 3, size, size), from -1 to 1
    targets : float32 (n,), numbers of the targets, from 0
    indices : int64 (n,), indices of the images in their set
    """

    inputs: torch.Tensor
    targets: torch.Tensor
    indices: np.ndarray


def train_batches(
    data: LabelledImages | MixedSet,
    compute: Compute,
    generator: torch.Generator,
    *,
    sampling: np.ndarray | None = None,
) -> Iterator[Batch]:
    """Yield one epoch of shuffled, randomly cropped and mirrored batches on the device.

    A short last batch is left out, as in the authors' code, unless it is the only one or `compute.keep_last_batch` is
    set. With `sampling`, positive weights float64 (n,), an epoch draws n images with replacement, each by its weight.
    """
    if sampling is None:
        order = torch.randperm(len(data), generator=generator).numpy()
    else:
        order = torch.multinomial(torch.from_numpy(sampling), len(data), replacement=True, generator=generator).numpy()
    target = data.target
    for batch in range(number_of_batches(len(order), compute)):
        indices = order[batch * compute.batch_size : (batch + 1) * compute.batch_size]
        blocks = []
        for pixels, places in data.take(indices):
            boxes = random_boxes(len(pixels), *pixels.shape[1:3], generator, scale=compute.crop_scale)
            flips = random_flips(len(pixels), generator)
            pixels = pixels.to(compute.device, non_blocking=True)
            blocks.append((crop_and_resize(pixels, boxes, flips, compute.image_size), places))
        targets = torch.from_numpy(target[indices]).to(compute.device, torch.float32)
        yield Batch(_in_places(blocks), targets, indices)


def number_of_batches(images: int, compute: Compute) -> int:
    """Return the number of batches in an epoch of `images` images (see `train_batches`)."""
    whole, rest = divmod(images, compute.batch_size)
    return whole + (rest > 0 and (compute.keep_last_batch or whole == 0))


def inference_batch(compute: Compute) -> int:
    """Return the inference batch size: 128 on a CPU (fits the cache, a third faster), 512 on a GPU."""
    return 512 if compute.device.type == "cuda" else 128


@torch.inference_mode()
def predict(model: nn.Module, data: LabelledImages, compute: Compute, batch_size: int | None = None) -> np.ndarray:
    """Return the logit of every image under the test transform, float32 (n,), of more than two targets (n, targets).

    `batch_size` defaults to a fast one. Raises `UserError` if a logit is not finite: it would count as a negative answer.
    """
    model.eval()
    batch_size = batch_size or inference_batch(compute)
    logits = []
    for start in range(0, len(data), batch_size):
        [(pixels, _)] = data.take(np.arange(start, min(start + batch_size, len(data))))
        inputs = resize_whole(pixels.to(compute.device, non_blocking=True), compute.image_size)
        with torch.autocast(compute.device.type, torch.bfloat16, enabled=compute.amp):
            logits.append(model(inputs).float())
    logits = torch.cat(logits).cpu().numpy()
    logits = logits[:, 0] if logits.shape[1] == 1 else logits
    if wrong := len(logits) - np.isfinite(logits).reshape(len(logits), -1).all(axis=1).sum():
        raise Diverged(
            f"the network's answer to {wrong} of {len(logits)} images is no finite number; lower the learning rate"
        )
    return logits


def evaluate(model: nn.Module, data: LabelledImages, compute: Compute) -> dict:
    """Return the fairness metrics of a model on a set (`utils.metrics.fairness_metrics`)."""
    return fairness_metrics(data.target, data.protected, answers(predict(model, data, compute)), data.groups)


@contextmanager
def lone_images_named() -> Iterator[None]:
    """Raise `UserError` with the remedy where batch norm raises `ValueError` because a batch holds a single value."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise UserError(
            "a training batch holds a single image, too little for batch norm: give more images, another --batch-size, "
            "or leave out --keep-last-batch"
        ) from error


def _in_places(blocks: list[tuple[torch.Tensor, np.ndarray]]) -> torch.Tensor:
    """Return the images of all blocks, each at its place in the batch."""
    if len(blocks) == 1:
        return blocks[0][0]
    images, places = torch.cat([images for images, _ in blocks]), np.concatenate([places for _, places in blocks])
    return images[torch.from_numpy(np.argsort(places)).to(images.device)].contiguous(memory_format=torch.channels_last)


@contextmanager
def memory_named(batch_size: int, what: str = "training", *, fine_tune: int | None = None) -> Iterator[None]:
    """Raise `UserError` with the remedy if the GPU's memory is too small; `fine_tune` is fine-tuning's batch size."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        own = f" or --fine-tune-batch-size (now {fine_tune})" if fine_tune else ""
        raise UserError(
            f"{what}: out of memory; lower --batch-size (now {batch_size}){own}, or pass --precision bf16"
        ) from error
