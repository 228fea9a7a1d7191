"""Group DRO: groups with a higher loss get a higher weight (Sagawa et al., ICLR 2020, algorithm 1).

Unlike AIM-Fair it needs protected labels in training, so tables never mark it as the best. Defaults: step size 0.01,
and groups drawn with equal probability, as in the paper's experiments. The option `protocol` has two values:
    aligned (default)   chooses the epoch as every method does, by accuracy on val, so that rows can be compared
    published           chooses it by worst-group accuracy on val, as in the paper, which takes protected labels of val
The first may keep an epoch with a low worst-group accuracy, so it is no upper bound.
"""

import numpy as np
import torch
from torch import nn

from models.batches import Batch
from models.facts import says
from models.labels import trains_on_groups
from models.losses import cross_entropy
from models.options import Positive, Protocol
from models.run import Run, TrainedModel
from models.schedule import WORST_GROUP
from models.work import one_training
from utils.errors import UserError


@says(work=one_training, protected_labels=trains_on_groups, from_scratch=True)
def group_dro(run: Run, *, step_size: Positive = 0.01, protocol: Protocol = "aligned") -> TrainedModel:
    """Train on the real images, robustly to the groups of target and protected attribute."""
    train = run.real["train"]
    groups = group_numbers(train.target, train.protected, len(train.groups) // train.targets)
    changes = {"select_by": WORST_GROUP} if protocol == "published" else {}
    return robust_to(run, groups, len(train.groups), step_size, label="group-dro", **changes)


def robust_to(run: Run, groups: np.ndarray, count: int, step_size: float, *, label: str, **changes) -> TrainedModel:
    """Train on the real images with group DRO; `groups` is int64 (n,), 0 to `count` - 1."""
    objective, chances = GroupLoss(groups, count, step_size), equal_chances(groups)
    return run.pre_train(run.real["train"], label=label, objective=objective, sampling=chances, **changes)


class GroupLoss(nn.Module):
    """The weighted sum of the groups' mean losses, with weights that grow with the losses.

    `groups` is int64 (n,), the group of every image of the training set, 0 to `count` - 1.
    """

    def __init__(self, groups: np.ndarray, count: int, step_size: float):
        super().__init__()
        self.groups, self.step_size = groups, step_size
        self.register_buffer("weights", torch.full((count,), 1 / count))

    def forward(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the loss of a batch, a scalar, after updating the weights."""
        losses = cross_entropy(logits, batch.targets, reduction="none")
        means = group_means(losses, torch.from_numpy(self.groups[batch.indices]).to(losses.device), len(self.weights))
        self.weights = raised_weights(self.weights, means.detach(), self.step_size)
        return (self.weights * means).sum()


def group_means(losses: torch.Tensor, groups: torch.Tensor, count: int) -> torch.Tensor:
    """Return the mean loss of each group, float32 (count,); 0 if the batch has no image of it."""
    totals = torch.zeros(count, device=losses.device).index_add(0, groups, losses)
    return totals / torch.bincount(groups, minlength=count).clamp(min=1)


def raised_weights(weights: torch.Tensor, means: torch.Tensor, step_size: float) -> torch.Tensor:
    """Return w * exp(step_size * loss), divided by its sum: a step of exponentiated gradient ascent."""
    raised = weights * torch.exp(step_size * means)
    return raised / raised.sum()


def equal_chances(groups: np.ndarray) -> np.ndarray:
    """Return sampling weights, float64 (n,), that draw every group with the same probability."""
    return 1.0 / np.bincount(groups)[groups]


def group_numbers(target: np.ndarray, protected: np.ndarray, protected_values: int) -> np.ndarray:
    """Return each image's group as a number: int (n,). Raises `UserError` if a protected label is missing."""
    if (protected < 0).any():
        raise UserError(
            "group-dro trains on protected labels, and some are missing in train; leave it out of --methods"
        )
    return target * protected_values + protected
