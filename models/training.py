"""Training: the loss, the schedule, and one loop that every method shares."""

import copy
import difflib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn

from datasets.images import LabelledImages, MixedSet
from models.batches import Batch, Compute, evaluate, lone_images_named, number_of_batches, train_batches
from models.weights import load_state
from utils.checkpoint import Checkpoint
from utils.errors import UserError
from utils.progress import progress

# What chooses the epoch whose weights are kept: a column of the curve.
ACCURACY, WORST_GROUP, LAST_EPOCH = "val_accuracy", "val_worst_group_accuracy", "epoch"
LATE_MEAN = "mean"  # no column: the mean of the weights of the epochs of the second half
STATISTICS_BATCHES = 20  # that batch norm's statistics are estimated on
BATCH_NORM = ("follow", "hold", "real")  # what its running statistics do in fine-tuning


@dataclass(frozen=True)
class Schedule:
    """SGD with momentum; the learning rate falls tenfold at each milestone. And which epoch's weights are kept.

    `select_by` names the column of the curve whose largest value decides: `ACCURACY` and `WORST_GROUP` on val, or
    `LAST_EPOCH`. Of epochs that tie the later one is kept with `later_wins_ties`, else the earlier. With `LATE_MEAN` no epoch is
    chosen: the weights are the mean of those after each epoch of the second half (stochastic weight averaging, Izmailov et al.,
    UAI 2018, arXiv 1803.05407), and batch norm's statistics, unless held, are estimated anew for them.
    """

    epochs: int
    lr: float
    weight_decay: float
    milestones: tuple[int, ...]
    momentum: float = 0.9
    later_wins_ties: bool = True
    select_by: str = ACCURACY


# What to minimise: from the logits, float32 (n, outputs), and their batch to a scalar.
Objective = Callable[[torch.Tensor, Batch], torch.Tensor]
# From the model and the number of the epoch that begins, from 1, to each trained tensor's fraction of the learning rate.
RateFractions = Callable[[nn.Module, int], dict[str, float]]


def mean_loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Binary cross-entropy, averaged over the batch: what the paper trains with."""
    return F.binary_cross_entropy_with_logits(logits[:, 0], batch.targets)


def fit(
    model: nn.Module,
    data: LabelledImages | MixedSet,
    val: LabelledImages,
    schedule: Schedule,
    compute: Compute,
    *,
    generator: torch.Generator,
    trainable: list[str] | None = None,
    objective: Objective = mean_loss,
    sampling: np.ndarray | None = None,
    rate_fractions: RateFractions | None = None,
    hold_statistics: bool = False,
    before_val: Callable[[nn.Module], None] | None = None,
    log: Callable[[dict], None] | None = None,
    label: str,
    checkpoint: Checkpoint | None = None,
) -> list[dict]:
    """Train in place, then put back the weights of the epoch that does best on `val`, as the schedule says.

    Only the parameters named in `trainable` move (all by default); the others get neither gradient nor weight decay. Batch
    norm's running statistics keep moving all the same; with `hold_statistics` its layers work as they do in a test.
    `objective` is what is minimised; `sampling` is that of `train_batches`; `rate_fractions` is asked before every epoch, and
    must answer the same for the same weights and epoch. `before_val` may change the model after every epoch, before it is
    judged; `log` gets each epoch's row. Returns a row for each epoch: epoch, lr, loss, val_accuracy,
    val_worst_group_accuracy and val_equalized_odds (for the record, unless selected by), and best.

    A `checkpoint` is kept after every epoch. Training continues from it with the result of an unbroken run. An
    objective that learns has its tensors in `state()` and takes them back in `restore(state)`.

    Raises `UserError` where `trainable` is empty or names what is no tensor, the loss or an answer to `val` is no longer finite, or a batch of
    one image is too small for batch norm.
    """
    _let_move(model, trainable, label)
    training = _Training(model, schedule, objective, generator, rate_fractions=rate_fractions)
    training.restore(checkpoint.load() if checkpoint else None)
    network = torch.compile(model) if compute.compile else model  # the same parameters
    steps, done = number_of_batches(len(data), compute), len(training.curve)
    bar = progress(desc=label, total=steps * schedule.epochs, initial=steps * done, unit="batch")
    with lone_images_named(), checkpoint or nullcontext(), bar:
        for epoch in range(done + 1, schedule.epochs + 1):
            lr = training.begin_epoch(epoch)
            torch.manual_seed(generator.initial_seed() + epoch)  # for dropout, so that an epoch can be run alone
            batches = train_batches(data, compute, generator, sampling=sampling)
            network.train()
            if hold_statistics:
                _hold_statistics(network)
            loss = train_epoch(network, batches, training.optimizer, objective, compute=compute, bar=bar)
            if not np.isfinite(loss):
                raise UserError(f"{label}: the loss is {loss} in epoch {epoch}; lower the learning rate (now {lr})")
            if before_val:
                before_val(model)
            try:
                training.end_epoch({"epoch": epoch, "lr": lr, "loss": loss}, evaluate(model, val, compute))
            except UserError as error:  # the last step went too far: no loss tells
                raise UserError(f"{label}: after epoch {epoch} {error} (now {lr})") from error
            if log:
                log(training.curve[-1])
            if checkpoint:
                checkpoint.keep(training.state())
            bar.set_postfix(epoch=epoch, loss=f"{loss:.4f}", val=f"{training.curve[-1]['val_accuracy']:.4f}")
    load_state(model, training.best_state)
    if schedule.select_by == LATE_MEAN and not hold_statistics:
        _statistics_of(model, data, compute, generator, before_val)
    model.requires_grad_(True)
    return [{**row, "best": place == training.best} for place, row in enumerate(training.curve)]


@contextmanager
def memory_named(batch_size: int, what: str = "training", *, fine_tune: int | None = None) -> Iterator[None]:
    """Raise `UserError` with the remedy where the memory does not suffice; `fine_tune` is fine-tuning's own batch size."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        own = f" or --fine-tune-batch-size (now {fine_tune})" if fine_tune else ""
        raise UserError(
            f"{what}: out of memory; lower --batch-size (now {batch_size}){own}, or pass --precision bf16"
        ) from error


def _let_move(model: nn.Module, trainable: list[str] | None, label: str) -> None:
    names = [name for name, _ in model.named_parameters()]
    unknown = [name for name in trainable or () if name not in names]
    if unknown or trainable == []:
        what = f"no tensor {unknown[0]} in the network" if unknown else "no tensor to train"
        near = difflib.get_close_matches(str(unknown), names, n=2) or names[:1]
        raise UserError(f"{label}: {what}; it has {', '.join(near)}, ...")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trainable is None or name in trainable)


def batch_norms(model: nn.Module) -> list[nn.Module]:
    """The layers of batch norm."""
    return [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


def _hold_statistics(model: nn.Module) -> None:
    """Batch norm normalises by its running statistics and leaves them as they are."""
    for layer in batch_norms(model):
        layer.eval()


def _statistics_of(model: nn.Module, data, compute: Compute, generator: torch.Generator, before_val) -> None:
    """Estimate batch norm's statistics for mean weights: by `before_val` if there is one, else on images of an epoch."""
    if before_val:
        before_val(model)
    elif batch_norms(model):
        torch.manual_seed(generator.initial_seed())
        own = torch.Generator().manual_seed(generator.initial_seed())
        update_bn((batch.inputs for batch in islice(train_batches(data, compute, own), STATISTICS_BATCHES)), model)


class _Training:
    """All that changes in a training, and so all that a checkpoint holds.

    `curve` has a row for each epoch, `best` is the place in it of the epoch to keep, with the weights `best_state`.
    """

    def __init__(self, model, schedule: Schedule, objective, generator: torch.Generator, *, rate_fractions):
        moving = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        groups = [{"params": [parameter]} for parameter in moving.values()] if rate_fractions else moving.values()
        options = {"lr": schedule.lr, "momentum": schedule.momentum, "weight_decay": schedule.weight_decay}
        self.model, self.schedule, self.objective, self.generator = model, schedule, objective, generator
        self.names, self.rate_fractions = list(moving), rate_fractions
        fused = next(model.parameters()).device.type == "cuda"  # on a CPU it is no faster
        self.optimizer = torch.optim.SGD(groups, **options, fused=fused)
        self.decay = torch.optim.lr_scheduler.MultiStepLR(self.optimizer, schedule.milestones, gamma=0.1)
        self.curve, self.best, self.best_state = [], -1, None

    def begin_epoch(self, epoch: int) -> float:
        """Give each tensor its fraction of the schedule's learning rate, if they have fractions; returns that rate."""
        lr = self.decay.get_last_lr()[0]
        if self.rate_fractions:
            fractions = self.rate_fractions(self.model, epoch)
            for name, group in zip(self.names, self.optimizer.param_groups, strict=True):
                group["lr"] = lr * fractions[name]
        return lr

    def end_epoch(self, row: dict, val_metrics: dict) -> None:
        """Lower the learning rate where due, add the epoch's row, and keep its weights if it is the best."""
        for group, lr in zip(self.optimizer.param_groups, self.decay.get_last_lr(), strict=True):
            group["lr"] = lr  # whole again: the decay multiplies what it finds
        self.decay.step()
        row |= {f"val_{key}": val_metrics[key] for key in ("accuracy", "worst_group_accuracy", "equalized_odds")}
        key = self.schedule.select_by
        if key == LATE_MEAN:
            self.curve.append(row)
            self._add_to_mean(row["epoch"] - self.schedule.epochs // 2)
            return
        gain = row[key] - (self.curve[self.best][key] if self.curve else -1.0)
        self.curve.append(row)
        if gain > 0 or (gain == 0 and self.schedule.later_wins_ties):
            self.best, self.best_state = len(self.curve) - 1, copy.deepcopy(self.model.state_dict())

    def _add_to_mean(self, count: int) -> None:
        """Make the weights to keep the mean of those of the last `count` epochs; nothing is averaged yet up to 1."""
        state = copy.deepcopy(self.model.state_dict())
        if count > 1:
            for name, mean in self.best_state.items():
                if mean.is_floating_point():
                    state[name] = torch.lerp(mean.to(state[name].device), state[name], 1 / count)
        self.best, self.best_state = len(self.curve) - 1, state

    def state(self) -> dict:
        """Copies, on the CPU."""
        parts = {name: getattr(self, name).state_dict() for name in ("model", "optimizer", "decay")}
        parts["objective"] = self.objective.state() if hasattr(self.objective, "state") else {}
        parts["generator"] = self.generator.get_state()
        parts["threads"] = torch.get_num_threads()
        return _on_cpu(parts | {"curve": list(self.curve), "best": self.best, "best_state": self.best_state})

    def restore(self, found: dict | None) -> None:
        """Continue from a `state`, if there is one."""
        if not found:
            return
        if found.get("threads", torch.get_num_threads()) != torch.get_num_threads():
            print(f"this training goes on with {found['threads']} threads, as it began: sums depend on their number")
            torch.set_num_threads(found["threads"])
        load_state(self.model, found["model"])
        for name in ("optimizer", "decay"):
            getattr(self, name).load_state_dict(found[name])
        if found["objective"]:
            self.objective.restore(found["objective"])
        self.generator.set_state(found["generator"])
        self.curve, self.best, self.best_state = found["curve"], found["best"], found["best_state"]


def train_epoch(model, batches, optimizer, objective: Objective, *, compute: Compute, bar) -> float:
    """Take a step on every batch; returns the mean loss of an image."""
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
