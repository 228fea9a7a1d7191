"""Training: loss, schedule, and the one loop of all methods."""

import copy
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from datasets.images import LabelledImages, MixedSet
from models.averaging import add_to_mean, batch_norms, estimate_statistics
from models.batches import Batch, Compute, lone_images_named, number_of_batches, predict, train_batches
from models.losses import cross_entropy
from models.schedule import BEST_THRESHOLD, LATE_MEAN, Schedule
from models.weights import freeze_all_but, load_state, on_cpu
from utils.checkpoint import Checkpoint
from utils.errors import Diverged, UserError
from utils.metrics import accuracy_at_best_threshold, answers, fairness_metrics
from utils.progress import progress

SHOWN = ("epoch", "loss", "val_accuracy")  # columns of the curve in the progress bar
# The loss to minimise: logits, float32 (n, outputs), and their batch -> scalar.
Objective = Callable[[torch.Tensor, Batch], torch.Tensor]
# Name of a tensor -> bool of its shape: the weights that change.
Masks = dict[str, torch.Tensor]
# Model and number of the next epoch, from 1 -> fraction of the learning rate for each trained tensor.
RateFractions = Callable[[nn.Module, int], dict[str, float]]


def mean_loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return the mean cross-entropy of a batch; of one logit it is the paper's loss."""
    return cross_entropy(logits, batch.targets)


@dataclass(frozen=True)
class Variant:
    """The ways in which a method's training may differ from plain training of all tensors.

    trainable : names of the tensors that change (None: all), or for each a mask of the weights that change, bool of its shape; other
        tensors get neither gradient nor weight decay, and other weights are set back after each step
    objective : the loss; one that learns is an nn.Module whose buffers are its state
    sampling : float64 (n,), see `models.batches.train_batches`
    hold_statistics : batch norm normalises by its running statistics and keeps them; else they follow the batches
    rate_fractions : called before every epoch; must return the same for the same weights and epoch
    before_val : may change the model after every epoch, before it is evaluated
    """

    trainable: list[str] | Masks | None = None
    objective: Objective = mean_loss
    sampling: np.ndarray | None = None
    hold_statistics: bool = False
    rate_fractions: RateFractions | None = None
    before_val: Callable[[nn.Module], None] | None = None


def fit(
    model: nn.Module,
    data: LabelledImages | MixedSet,
    val: LabelledImages,
    schedule: Schedule,
    compute: Compute,
    *,
    generator: torch.Generator,
    label: str,
    checkpoint: Checkpoint | None = None,
    log: Callable[[dict], None] | None = None,
    **changes,
) -> list[dict]:
    """Train `model` in place, load the weights of its best epoch on `val`, and return the curve.

    The curve has a row for each epoch: epoch, lr, loss, val_accuracy, val_worst_group_accuracy, val_equalized_odds,
    val_accuracy_at_best_threshold (only if it chooses the epoch), and best; the columns of val only after epochs that `schedule` evaluates. After every epoch `checkpoint` stores the state, from which training resumes with the result of an unbroken
    run, and `log` gets the row. `changes` are fields of `Variant`. Raises `UserError` if `trainable` is empty or has an
    unknown name, if the loss or a logit is not finite, or if a batch of one image is too small for batch norm.
    """
    training = _Training(model, schedule, Variant(**changes), compute, generator, label)
    training.restore(checkpoint.load() if checkpoint else None)
    steps, done = number_of_batches(len(data), compute), len(training.curve)
    bar = progress(desc=label, total=steps * schedule.epochs, initial=steps * done, unit="batch")
    with lone_images_named(), checkpoint or nullcontext(), bar:
        for epoch in range(done + 1, schedule.epochs + 1):
            row = training.run_epoch(epoch, data, val, bar)
            if log:
                log(row)
            if checkpoint:
                checkpoint.keep(training.state())
            bar.set_postfix({name.removesuffix("_accuracy"): f"{row[name]:.4g}" for name in SHOWN if name in row})
    load_state(model, training.best_state)
    if schedule.select_by == LATE_MEAN:
        training.fit_statistics(data)
    model.requires_grad_(True)
    return [{**row, "best": place == training.best} for place, row in enumerate(training.curve)]


class _Training:
    """Optimizer, schedule and best epoch of one training: its state, as a checkpoint stores it.

    curve : a row for each epoch so far
    best, best_state : index in the curve of the epoch to keep, and its weights
    """

    def __init__(self, model: nn.Module, schedule: Schedule, variant: Variant, compute: Compute, generator, label: str):
        freeze_all_but(model, variant.trainable, label)
        moving = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        apart = [{"params": [parameter]} for parameter in moving.values()]  # each with a learning rate of its own
        options = {"lr": schedule.lr, "momentum": schedule.momentum, "weight_decay": schedule.weight_decay}
        options["fused"] = next(model.parameters()).device.type == "cuda"  # no faster on a CPU
        if isinstance(variant.objective, nn.Module):
            variant.objective.to(compute.device)
        self.model, self.schedule, self.variant, self.compute = model, schedule, variant, compute
        self.generator, self.label, self.names = generator, label, list(moving)
        self.network = torch.compile(model) if compute.compile else model  # shares its parameters
        self.optimizer = torch.optim.SGD(apart if variant.rate_fractions else moving.values(), **options)
        self.decay = torch.optim.lr_scheduler.MultiStepLR(self.optimizer, schedule.milestones, gamma=0.1)
        self.curve, self.best, self.best_state = [], -1, None
        self.masks = variant.trainable if isinstance(variant.trainable, dict) else {}
        if self.masks:
            self.optimizer.register_step_post_hook(undo_outside(self.masks, moving))

    def run_epoch(self, epoch: int, data: LabelledImages | MixedSet, val: LabelledImages, bar) -> dict:
        """Train for one epoch, evaluate on `val`, and return the epoch's row of the curve."""
        variant, lr = self.variant, self.begin_epoch(epoch)
        torch.manual_seed(self.generator.initial_seed() + epoch)  # dropout's draws, which depend on the epoch alone
        self.network.train()
        for layer in batch_norms(self.network) if variant.hold_statistics else ():
            layer.eval()
        batches = train_batches(data, self.compute, self.generator, sampling=variant.sampling)
        try:
            loss = train_epoch(self.network, batches, self.optimizer, variant.objective, compute=self.compute, bar=bar)
            if not np.isfinite(loss):
                raise Diverged(f"the loss is {loss}; lower the learning rate")
            if variant.before_val:
                variant.before_val(self.model)
            on_val = self.on_val(val) if self.schedule.evaluates(epoch) else {}
            self.end_epoch({"epoch": epoch, "lr": lr, "loss": loss} | on_val)
        except UserError as error:
            raise type(error)(f"{self.label}: in epoch {epoch} {error} (now {lr})") from error
        return self.curve[-1]

    def begin_epoch(self, epoch: int) -> float:
        """Set each tensor's learning rate, if they have fractions, and return the schedule's."""
        lr = self.decay.get_last_lr()[0]
        if self.variant.rate_fractions:
            fractions = self.variant.rate_fractions(self.model, epoch)
            for name, group in zip(self.names, self.optimizer.param_groups, strict=True):
                group["lr"] = lr * fractions[name]
        return lr

    def on_val(self, val: LabelledImages) -> dict[str, float]:
        """Return the columns of the curve that are measured on val."""
        logits = predict(self.model, val, self.compute)
        found = fairness_metrics(val.target, val.protected, answers(logits), val.groups)
        row = {f"val_{key}": found[key] for key in ("accuracy", "worst_group_accuracy", "equalized_odds")}
        if self.schedule.select_by == BEST_THRESHOLD:
            row[BEST_THRESHOLD] = accuracy_at_best_threshold(logits, val.target)
        return row

    def end_epoch(self, row: dict) -> None:
        """Step the schedule, add the epoch's row to the curve, and keep the weights if they are the best so far."""
        for group, lr in zip(self.optimizer.param_groups, self.decay.get_last_lr(), strict=True):
            group["lr"] = lr  # without the fraction, because the decay multiplies the rate that it finds
        self.decay.step()
        key = self.schedule.select_by
        if key == LATE_MEAN:
            self.curve.append(row)
            state, count = copy.deepcopy(self.model.state_dict()), row["epoch"] - self.schedule.epochs // 2
            self.best, self.best_state = len(self.curve) - 1, add_to_mean(self.best_state, state, count)
            return
        gain = row[key] - (self.curve[self.best][key] if self.curve else -1.0)
        self.curve.append(row)
        if gain > 0 or (gain == 0 and self.schedule.later_wins_ties):
            self.best, self.best_state = len(self.curve) - 1, copy.deepcopy(self.model.state_dict())

    def fit_statistics(self, data: LabelledImages | MixedSet) -> None:
        """Estimate batch norm's statistics for weights that no epoch had, as the variant does after an epoch."""
        if self.variant.before_val:
            self.variant.before_val(self.model)
        elif batch_norms(self.model) and not self.variant.hold_statistics:
            own = torch.Generator().manual_seed(self.generator.initial_seed())
            estimate_statistics(self.model, data, self.compute, own)

    def state(self) -> dict:
        """Return a copy of the state, on the CPU."""
        objective = self.variant.objective
        parts = {name: getattr(self, name).state_dict() for name in ("model", "optimizer", "decay")}
        parts["objective"] = objective.state_dict() if isinstance(objective, nn.Module) else {}
        parts["generator"] = self.generator.get_state()
        parts |= {"threads": torch.get_num_threads(), "names": self.names, "masks": self.masks}
        return on_cpu(parts | {"curve": list(self.curve), "best": self.best, "best_state": self.best_state})

    def restore(self, found: dict | None) -> None:
        """Load a state, if there is one; also sets torch's number of threads, on which rounding depends."""
        if not found:
            return
        if found.get("names", self.names) != self.names or not alike(found.get("masks", {}), on_cpu(self.masks)):
            what = "weights" if self.masks else "tensors"
            print(f"{self.label}: other {what} are chosen now than when this training began, so it starts anew")
            return
        if found.get("threads", torch.get_num_threads()) != torch.get_num_threads():
            print(f"this training goes on with {found['threads']} threads, as it began: sums depend on their number")
            torch.set_num_threads(found["threads"])
        load_state(self.model, found["model"])
        for name in ("optimizer", "decay"):
            getattr(self, name).load_state_dict(found[name])
        if found["objective"]:
            self.variant.objective.load_state_dict(found["objective"])
        self.generator.set_state(found["generator"])
        self.curve, self.best, self.best_state = found["curve"], found["best"], found["best_state"]


def undo_outside(masks: Masks, parameters: dict[str, nn.Parameter]) -> Callable[..., None]:
    """Return a hook that sets the weights outside of the masks back after each step; raises `ValueError` if a mask is no bool of its tensor's shape."""
    start = {name: parameters[name].detach().clone() for name in masks}
    if wrong := [name for name, mask in masks.items() if mask.dtype != torch.bool or mask.shape != start[name].shape]:
        raise ValueError(f"the mask of {wrong[0]} is not bool in the shape of the tensor")
    inside = {  # in the layout of the weights, which halves the time
        name: torch.empty_like(start[name], dtype=torch.bool).copy_(mask) for name, mask in masks.items()
    }

    def undo(*_) -> None:
        with torch.no_grad():
            for name, mask in inside.items():
                parameters[name].copy_(torch.where(mask, parameters[name], start[name]))

    return undo


def alike(one: Masks, two: Masks) -> bool:
    """Return True if both choose the same weights."""
    return one.keys() == two.keys() and all(torch.equal(mask, two[name]) for name, mask in one.items())


def train_epoch(model, batches, optimizer, objective: Objective, *, compute: Compute, bar) -> float:
    """Take a step on every batch and return the mean loss of an image."""
    total, count = torch.zeros((), device=compute.device), 0
    for batch in batches:
        with torch.autocast(compute.device.type, torch.bfloat16, enabled=compute.amp):
            logits = model(batch.inputs)
        loss = objective(logits.float(), batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        total += loss.detach() * len(batch.targets)  # stays on the device, so that the loop never waits for it
        count += len(batch.targets)
        bar.update()
    return total.item() / count
