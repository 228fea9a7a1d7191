"""CVaR DRO: minimise the mean loss of the worst fraction of the images (Levy et al., NeurIPS 2020, section 3).

The default alpha = 0.2 of each batch is in the middle of the values that Liu et al. (ICML 2021) searched. Look at the
curve: the loss is ln 2 if the network answers one half for every image. On small faces in small crops the loss stayed
near that; we tried no larger alpha there.
"""

import torch

from models.batches import Batch
from models.facts import says
from models.losses import cross_entropy
from models.options import PositiveFraction
from models.run import Run, TrainedModel
from models.work import one_training


@says(work=one_training, from_scratch=True)
def cvar_dro(run: Run, *, alpha: PositiveFraction = 0.2) -> TrainedModel:
    """Train on the worst fraction of every batch of real images."""
    return run.pre_train(run.real["train"], label="cvar-dro", objective=WorstFractionLoss(alpha))


class WorstFractionLoss:
    """The conditional value at risk of the losses of a batch, at level `alpha`."""

    def __init__(self, alpha: float):
        self.alpha = alpha

    def __call__(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the loss of a batch, a scalar."""
        losses = cross_entropy(logits, batch.targets, reduction="none")
        return worst_fraction_mean(losses, self.alpha)


def worst_fraction_mean(losses: torch.Tensor, alpha: float) -> torch.Tensor:
    """Return the mean of the largest fraction `alpha` of `losses`, float32 (n,); the last of them may count in part.

    This is the maximum of sum(q * losses) over weights 0 <= q <= 1 / (alpha * n) that sum to 1.
    """
    budget = alpha * len(losses)
    ordered = losses.sort(descending=True).values
    weights = (budget - torch.arange(len(losses), device=losses.device)).clamp(0, 1)
    return (weights * ordered).sum() / budget
