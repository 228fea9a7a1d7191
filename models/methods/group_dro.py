"""Group DRO: weigh the groups by how badly they do (Sagawa et al., ICLR 2020, algorithm 1).

The groups are those of target and protected attribute together: it needs protected labels in training, which
AIM-Fair and the others don't, so it is never marked as the best. Defaults: step size 0.01; groups drawn with equal
chance, as in the paper's experiments. Two protocols, by the option `protocol`:
    aligned (default)   the epoch is chosen as for every method, by overall accuracy on val, so that rows can be compared
    published           by worst-group accuracy on val, as in the paper, which takes protected labels there too
Chosen by overall accuracy it may end with an epoch that treats its worst group badly: it is no upper bound.
"""

import numpy as np
import torch
from torch.nn import functional as F

from models.batches import Batch
from models.facts import says
from models.labels import trains_on_groups
from models.options import Positive, Protocol
from models.run import Run, TrainedModel
from models.training import WORST_GROUP
from models.work import one_training
from utils.errors import UserError


@says(work=one_training, protected_labels=trains_on_groups)
def group_dro(run: Run, *, step_size: Positive = 0.01, protocol: Protocol = "aligned") -> TrainedModel:
    """Train on the real images robustly to target and protected attribute, whose labels it takes in training."""
    train = run.real["train"]
    groups = group_numbers(train.target, train.protected, len(train.groups) // 2)
    changes = {"select_by": WORST_GROUP} if protocol == "published" else {}
    return robust_to(run, groups, len(train.groups), step_size, label="group-dro", **changes)


def robust_to(run: Run, groups: np.ndarray, count: int, step_size: float, *, label: str, **changes) -> TrainedModel:
    """Train on the real images with group DRO over `count` groups, int64 (n,); `changes` as in `Run.pre_train`."""
    objective, chances = GroupLoss(groups, count, step_size), equal_chances(groups)
    return run.pre_train(run.real["train"], label=label, objective=objective, sampling=chances, **changes)


class GroupLoss:
    """The objective: the losses of the groups, weighted by weights that grow with them.

    `groups` is int64 (n,), the group of every image of the training set, 0 to `count` - 1.
    """

    def __init__(self, groups: np.ndarray, count: int, step_size: float):
        self.groups, self.step_size = groups, step_size
        self.weights = torch.full((count,), 1 / count)

    def __call__(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The weighted loss of a batch, a scalar; moves the weights."""
        losses = F.binary_cross_entropy_with_logits(logits[:, 0], batch.targets, reduction="none")
        self.weights = self.weights.to(losses.device)
        means = group_means(losses, torch.from_numpy(self.groups[batch.indices]).to(losses.device), len(self.weights))
        self.weights = raised_weights(self.weights, means.detach(), self.step_size)
        return (self.weights * means).sum()

    def state(self) -> dict[str, torch.Tensor]:
        """What it has learned: the weights."""
        return {"weights": self.weights}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Take back a `state`."""
        self.weights = state["weights"]


def group_means(losses: torch.Tensor, groups: torch.Tensor, count: int) -> torch.Tensor:
    """The mean loss of each group, (count,); 0 for one that the batch has no image of."""
    totals = torch.zeros(count, device=losses.device).index_add(0, groups, losses)
    return totals / torch.bincount(groups, minlength=count).clamp(min=1)


def raised_weights(weights: torch.Tensor, means: torch.Tensor, step_size: float) -> torch.Tensor:
    """The weights after one step of exponentiated gradient ascent: w * exp(step_size * loss), brought back to sum 1."""
    raised = weights * torch.exp(step_size * means)
    return raised / raised.sum()


def equal_chances(groups: np.ndarray) -> np.ndarray:
    """Sampling weights (n,) that draw every group with the same chance."""
    return 1.0 / np.bincount(groups)[groups]


def group_numbers(target: np.ndarray, protected: np.ndarray, protected_values: int) -> np.ndarray:
    """Return each image's group as a number: int (n,). Raises `UserError` if a protected label is missing."""
    if (protected < 0).any():
        raise UserError(
            "group-dro trains on protected labels, and some are missing in train; leave it out of --methods"
        )
    return target * protected_values + protected
