"""Training, prediction and the batches for both."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from datasets.augment import crop_and_resize, random_boxes, random_flips, whole_image_boxes
from datasets.images import FaceSet
from utils.errors import UserError
from utils.metrics import fairness_metrics
from utils.progress import progress


@dataclass(frozen=True)
class Compute:
    """Where and how the network runs."""

    device: torch.device
    amp: bool  # bfloat16 autocast in place of fp32
    image_size: int
    batch_size: int


@dataclass(frozen=True)
class Schedule:
    """SGD with momentum; the learning rate falls tenfold at each milestone."""

    epochs: int
    lr: float
    weight_decay: float
    milestones: tuple[int, ...]
    momentum: float = 0.9


def train_batches(
    data: FaceSet, compute: Compute, generator: torch.Generator, *, drop_last: bool = False
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """One epoch of shuffled, randomly cropped and mirrored batches on the device: inputs and 0/1 targets.

    `drop_last` leaves out a last short batch, unless it is the only one.
    """
    height, width = data.pixels.shape[1:3]
    order = torch.randperm(len(data), generator=generator).numpy()
    for start in range(0, len(order), compute.batch_size):
        indices = order[start : start + compute.batch_size]
        if drop_last and start and len(indices) < compute.batch_size:
            return
        boxes = random_boxes(len(indices), height, width, generator)
        flips = random_flips(len(indices), generator)
        inputs = crop_and_resize(_to_device(data, indices, compute.device), boxes, flips, compute.image_size)
        yield inputs, torch.from_numpy(data.target[indices]).to(compute.device, torch.float32)


@torch.inference_mode()
def predict(model: nn.Module, data: FaceSet, compute: Compute, batch_size: int = 512) -> np.ndarray:
    """The logit of every image, float32 (n,), under the test transform."""
    model.eval()
    height, width = data.pixels.shape[1:3]
    logits = []
    for start in range(0, len(data), batch_size):
        indices = np.arange(start, min(start + batch_size, len(data)))
        boxes = whole_image_boxes(len(indices), height, width)
        inputs = crop_and_resize(_to_device(data, indices, compute.device), boxes, None, compute.image_size)
        with torch.autocast(compute.device.type, torch.bfloat16, enabled=compute.amp):
            logits.append(model(inputs)[:, 0].float())
    return torch.cat(logits).cpu().numpy()


def fit(
    model: nn.Module,
    data: FaceSet,
    val: FaceSet,
    schedule: Schedule,
    compute: Compute,
    generator: torch.Generator,
    *,
    trainable: list[str] | None = None,
    later_wins_ties: bool,
    label: str,
) -> list[dict]:
    """Train in place, then put back the weights of the epoch with the best accuracy on `val`.

    Only the parameters named in `trainable` move (all by default); the others get neither gradient nor
    weight decay, while batch norm's running statistics keep moving. Returns a row for each epoch: epoch,
    lr, loss, val_accuracy, val_equalized_odds (for the record only) and best.

    Raises `UserError` where the loss is no longer finite.
    """
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trainable is None or name in trainable)
    moving = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(moving, lr=schedule.lr, momentum=schedule.momentum, weight_decay=schedule.weight_decay)
    decay = torch.optim.lr_scheduler.MultiStepLR(optimizer, schedule.milestones, gamma=0.1)
    curve, best, best_state = [], {"val_accuracy": -1.0}, None
    steps = schedule.epochs * -(-len(data) // compute.batch_size)
    with progress(desc=label, total=steps, unit="batch") as bar:
        for epoch in range(1, schedule.epochs + 1):
            lr = decay.get_last_lr()[0]
            loss = _train_epoch(model, train_batches(data, compute, generator), optimizer, compute, bar)
            if not np.isfinite(loss):
                raise UserError(f"{label}: the loss is {loss} in epoch {epoch}; lower the learning rate (now {lr})")
            decay.step()
            metrics = evaluate(model, val, compute)
            row = {"epoch": epoch, "lr": lr, "loss": loss, "val_accuracy": metrics["accuracy"]}
            row["val_equalized_odds"] = metrics["equalized_odds"]
            curve.append(row)
            gain = row["val_accuracy"] - best["val_accuracy"]
            if gain > 0 or (gain == 0 and later_wins_ties):
                best, best_state = row, copy.deepcopy(model.state_dict())
            bar.set_postfix(epoch=epoch, loss=f"{loss:.4f}", val=f"{row['val_accuracy']:.4f}")
    model.load_state_dict(best_state)
    model.requires_grad_(True)
    return [{**row, "best": row is best} for row in curve]


def evaluate(model: nn.Module, data: FaceSet, compute: Compute) -> dict:
    """The fairness metrics of a model on a set; an image is positive where its logit is above 0."""
    return fairness_metrics(data.target, data.protected, predict(model, data, compute) > 0, data.cells)


def _train_epoch(model, batches, optimizer, compute, bar) -> float:
    model.train()
    total, count = torch.zeros((), device=compute.device), 0
    for inputs, targets in batches:
        with torch.autocast(compute.device.type, torch.bfloat16, enabled=compute.amp):
            logits = model(inputs)
        loss = F.binary_cross_entropy_with_logits(logits[:, 0].float(), targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        total += loss.detach() * len(targets)  # stays on the device: no synchronisation in the loop
        count += len(targets)
        bar.update()
    return total.item() / count


def _to_device(data: FaceSet, indices: np.ndarray, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(data.pixels[data.rows[indices]]).to(device, non_blocking=True)
