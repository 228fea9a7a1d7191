"""Training, prediction and the batches for both."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from datasets.augment import crop_and_resize, random_boxes, random_flips, resize_whole
from datasets.images import FaceSet, MixedSet
from utils.checkpoint import Checkpoint
from utils.errors import UserError
from utils.metrics import fairness_metrics, positive
from utils.progress import progress

# What chooses the epoch whose weights are kept: a column of the curve.
ACCURACY, WORST_GROUP, LAST_EPOCH = "val_accuracy", "val_worst_group_accuracy", "epoch"


@dataclass(frozen=True)
class Compute:
    """Where and how the network runs."""

    device: torch.device
    amp: bool  # bfloat16 autocast in place of fp32
    image_size: int
    batch_size: int
    compile: bool = False  # the network, for training
    crop_scale: tuple[float, float] = (0.08, 1.0)  # smallest and largest share of a training image in its random crop
    keep_last_batch: bool = False  # train on an epoch's last batch also where it is short


@dataclass(frozen=True)
class Schedule:
    """SGD with momentum; the learning rate falls tenfold at each milestone."""

    epochs: int
    lr: float
    weight_decay: float
    milestones: tuple[int, ...]
    momentum: float = 0.9


class Batch(NamedTuple):
    """Inputs float (n, 3, size, size), 0/1 targets float (n,), both on the device, and their places in the set, (n,)."""

    inputs: torch.Tensor
    targets: torch.Tensor
    indices: np.ndarray


# What to minimise: from the logits, float32 (n, outputs), and their batch to a scalar.
Objective = Callable[[torch.Tensor, Batch], torch.Tensor]


def mean_loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Binary cross-entropy, averaged over the batch: what the paper trains with."""
    return F.binary_cross_entropy_with_logits(logits[:, 0], batch.targets)


def train_batches(
    data: FaceSet | MixedSet,
    compute: Compute,
    generator: torch.Generator,
    *,
    sampling: np.ndarray | None = None,
) -> Iterator[Batch]:
    """One epoch of shuffled, randomly cropped and mirrored batches on the device.

    A last short batch is left out, as the authors do, unless it is the only one or `compute.keep_last_batch` says
    otherwise. With `sampling`, positive weights of shape (n,), an epoch is as many draws with replacement as there
    are images, each image by its weight.
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
    """The batches of an epoch of so many images: see `train_batches`."""
    whole, rest = divmod(images, compute.batch_size)
    return whole + (rest > 0 and (compute.keep_last_batch or whole == 0))


@contextmanager
def lone_images_named() -> Iterator[None]:
    """Raise `UserError` in place of batch norm's `ValueError` for a batch that is one image with one pixel left of it."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise UserError(
            "a training batch holds a single image, too little for batch norm: give more images, another --batch-size, or "
            "leave out --keep-last-batch"
        ) from error


@torch.inference_mode()
def predict(model: nn.Module, data: FaceSet, compute: Compute, batch_size: int | None = None) -> np.ndarray:
    """The logit of every image, float32 (n,), under the test transform, `batch_size` at once (by default what is fast)."""
    model.eval()
    # small enough for the cache of a processor, which is a third faster there, and large enough to fill a GPU
    batch_size = batch_size or (512 if compute.device.type == "cuda" else 128)
    logits = []
    for start in range(0, len(data), batch_size):
        [(pixels, _)] = data.take(np.arange(start, min(start + batch_size, len(data))))
        inputs = resize_whole(pixels.to(compute.device, non_blocking=True), compute.image_size)
        with torch.autocast(compute.device.type, torch.bfloat16, enabled=compute.amp):
            logits.append(model(inputs)[:, 0].float())
    return torch.cat(logits).cpu().numpy()


def fit(
    model: nn.Module,
    data: FaceSet | MixedSet,
    val: FaceSet,
    schedule: Schedule,
    compute: Compute,
    generator: torch.Generator,
    *,
    trainable: list[str] | None = None,
    objective: Objective = mean_loss,
    sampling: np.ndarray | None = None,
    later_wins_ties: bool,
    select_by: str = ACCURACY,
    label: str,
    checkpoint: Checkpoint | None = None,
) -> list[dict]:
    """Train in place, then put back the weights of the epoch that does best on `val`.

    That is the epoch of the highest accuracy; with `select_by` WORST_GROUP that of the highest accuracy of the worst
    group, which takes protected labels on `val`; with LAST_EPOCH the last one.

    Only the parameters named in `trainable` move (all by default); the others get neither gradient nor
    weight decay, while batch norm's running statistics keep moving. `objective` is what is minimised; `sampling`
    is that of `train_batches`. Returns a row for each epoch: epoch, lr, loss, val_accuracy,
    val_worst_group_accuracy and val_equalized_odds (for the record, unless selected by), and best.

    A `checkpoint` is kept after every epoch and gone on from: the result is that of an unbroken training. An objective
    that learns has its tensors in `state()` and takes them back in `restore(state)`.

    Raises `UserError` where the loss is no longer finite, or a batch of one image is too small for batch norm.
    """
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trainable is None or name in trainable)
    moving = [parameter for parameter in model.parameters() if parameter.requires_grad]
    options = {"lr": schedule.lr, "momentum": schedule.momentum, "weight_decay": schedule.weight_decay}
    optimizer = torch.optim.SGD(moving, **options, fused=compute.device.type == "cuda")  # on a CPU it is no faster
    network = torch.compile(model) if compute.compile else model  # the same parameters
    decay = torch.optim.lr_scheduler.MultiStepLR(optimizer, schedule.milestones, gamma=0.1)
    curve, best, best_state = [], -1, None  # best: the place of the best epoch in the curve

    def state() -> dict:
        parts = {"model": model, "optimizer": optimizer, "decay": decay}
        return _on_cpu(
            {name: part.state_dict() for name, part in parts.items()}
            | {
                "objective": objective.state() if hasattr(objective, "state") else {},
                "generator": generator.get_state(),
            }
            | {"curve": list(curve), "best": best, "best_state": best_state}
        )

    found = checkpoint.load() if checkpoint else None
    if found:
        model.load_state_dict(found["model"])
        optimizer.load_state_dict(found["optimizer"])
        decay.load_state_dict(found["decay"])
        if found["objective"]:
            objective.restore(found["objective"])
        generator.set_state(found["generator"])
        curve, best, best_state = found["curve"], found["best"], found["best_state"]
    steps = number_of_batches(len(data), compute)
    with (
        lone_images_named(),
        checkpoint or nullcontext(),
        progress(desc=label, total=steps * schedule.epochs, initial=steps * len(curve), unit="batch") as bar,
    ):
        for epoch in range(len(curve) + 1, schedule.epochs + 1):
            lr = decay.get_last_lr()[0]
            batches = train_batches(data, compute, generator, sampling=sampling)
            loss = _train_epoch(network, batches, optimizer, objective, compute, bar)
            if not np.isfinite(loss):
                raise UserError(f"{label}: the loss is {loss} in epoch {epoch}; lower the learning rate (now {lr})")
            decay.step()
            metrics = evaluate(model, val, compute)
            row = {"epoch": epoch, "lr": lr, "loss": loss}
            row |= {f"val_{key}": metrics[key] for key in ("accuracy", "worst_group_accuracy", "equalized_odds")}
            gain = row[select_by] - (curve[best][select_by] if curve else -1.0)
            curve.append(row)
            if gain > 0 or (gain == 0 and later_wins_ties):
                best, best_state = len(curve) - 1, copy.deepcopy(model.state_dict())
            if checkpoint:
                checkpoint.keep(state())
            bar.set_postfix(epoch=epoch, loss=f"{loss:.4f}", val=f"{row['val_accuracy']:.4f}")
    model.load_state_dict(best_state)
    model.requires_grad_(True)
    return [{**row, "best": place == best} for place, row in enumerate(curve)]


def evaluate(model: nn.Module, data: FaceSet, compute: Compute) -> dict:
    """The fairness metrics of a model on a set; which images are positive says `utils.metrics.positive`."""
    return fairness_metrics(data.target, data.protected, positive(predict(model, data, compute)), data.cells)


def _train_epoch(model, batches, optimizer, objective, compute, bar) -> float:
    model.train()
    total, count = torch.zeros((), device=compute.device), 0
    for batch in batches:
        with torch.autocast(compute.device.type, torch.bfloat16, enabled=compute.amp):
            logits = model(batch.inputs)
        loss = objective(logits.float(), batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        total += loss.detach() * len(batch.targets)  # stays on the device: no synchronisation in the loop
        count += len(batch.targets)
        bar.update()
    return total.item() / count


def _on_cpu(state):
    """Copies of the tensors in nested dicts and lists."""
    if isinstance(state, torch.Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, dict):
        return {key: _on_cpu(value) for key, value in state.items()}
    return [_on_cpu(value) for value in state] if isinstance(state, list) else state


def _in_places(blocks: list[tuple[torch.Tensor, np.ndarray]]) -> torch.Tensor:
    """The images of all blocks, each at its place in the batch."""
    if len(blocks) == 1:
        return blocks[0][0]
    images, places = torch.cat([images for images, _ in blocks]), np.concatenate([places for _, places in blocks])
    return images[torch.from_numpy(np.argsort(places)).to(images.device)].contiguous(memory_format=torch.channels_last)
