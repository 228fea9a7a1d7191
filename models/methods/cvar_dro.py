"""CVaR DRO: minimise the mean loss of the worst share of the images (Levy et al., NeurIPS 2020, section 3).

Default: share alpha = 0.2 of each batch, the middle of what Liu et al. (ICML 2021) searched. Look at the curve: a loss that stays
at ln 2 means one half for every image, where the worst images can't be told (small crops of small faces); try a larger alpha.
"""

import torch
from torch.nn import functional as F

from models.batches import Batch
from models.facts import says
from models.options import Share
from models.run import Outcome, Run
from models.work import one_training


@says(work=one_training)
def cvar_dro(run: Run, *, alpha: Share = 0.2) -> Outcome:
    """Train on the real images, in every batch on its worst share."""
    return run.pre_train(run.real["train"], label="cvar-dro", objective=WorstShareLoss(alpha))


class WorstShareLoss:
    """The objective: conditional value at risk of the losses of a batch at level `alpha`."""

    def __init__(self, alpha: float):
        self.alpha = alpha

    def __call__(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The mean of the largest `alpha` of the losses, a scalar."""
        losses = F.binary_cross_entropy_with_logits(logits[:, 0], batch.targets, reduction="none")
        return worst_share_mean(losses, self.alpha)


def worst_share_mean(losses: torch.Tensor, alpha: float) -> torch.Tensor:
    """The mean of the largest `alpha` of `losses`, (n,); where alpha * n is no integer, the last one counts in part.

    It is the maximum of sum(q * losses) over weights 0 <= q <= 1 / (alpha * n) that sum to 1.
    """
    budget = alpha * len(losses)
    ordered = losses.sort(descending=True).values
    weights = (budget - torch.arange(len(losses), device=losses.device)).clamp(0, 1)
    return (weights * ordered).sum() / budget
