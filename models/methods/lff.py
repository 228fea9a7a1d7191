"""LfF, learning from failure: one network learns the bias, the other from its failures (Nam et al., NeurIPS 2020).

The biased network has the generalised cross-entropy as its loss, which emphasises easy images. The other network weighs
each image by its relative difficulty for the biased one. Defaults: q = 0.7, as in the paper, and moving averages of the
losses with weight 0.7 on the past, divided by the largest of the class. The option `protocol` has two values:
    aligned (default)   the generalised cross-entropy as in the paper
    published           the same times q, as in the code behind the paper's numbers: the biased network learns at q
                        times the rate, and the other one changes only through its weights
Optimizer, schedule and choice of the epoch are those of every method here.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from models.batches import Batch, Compute
from models.facts import says
from models.losses import cross_entropy
from models.options import NotNegative, PositiveFraction, Protocol
from models.run import Run, TrainedModel
from models.work import Sizes, Work, on_real
from utils.seeds import derived_seed


def work(sizes: Sizes, compute: Compute, options: dict) -> Work:
    """Count the training of two networks and the evaluation of one."""
    once = on_real(sizes, compute)
    return once + Work(trained=once.trained)


@says(work=work, from_scratch=True)
def lff(
    run: Run, *, q: PositiveFraction = 0.7, momentum: NotNegative = 0.7, protocol: Protocol = "aligned"
) -> TrainedModel:
    """Train two networks on the real images, and return the one that learned from the other's failures."""
    train = run.real["train"]
    networks = TwoNetworks(run.new_network(), run.new_network(derived_seed(run.seed, "lff biased network")))
    objective = FailureLoss(train.target, q, momentum, factor=q if protocol == "published" else 1.0)
    trained = run.pre_train(train, label="lff", network=networks, objective=objective)
    return trained._replace(model=networks.debiased)


class TwoNetworks(nn.Module):
    """The debiased and the biased network.

    It returns the logits of both in training, (n, 2 outputs), else the debiased one's, (n, outputs).
    """

    def __init__(self, debiased: nn.Module, biased: nn.Module):
        super().__init__()
        self.debiased, self.biased = debiased, biased

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the logits of a batch of images."""
        logits = self.debiased(inputs)
        return torch.cat([logits, self.biased(inputs)], dim=1) if self.training else logits


class FailureLoss(nn.Module):
    """The sum of both networks' losses.

    target : int64 (n,), the targets of the training set
    q : exponent of the generalised cross-entropy
    momentum : weight of the past in the moving averages
    factor : of the biased network's loss
    """

    def __init__(self, target: np.ndarray, q: float, momentum: float, factor: float = 1.0):
        super().__init__()
        self.q, self.momentum, self.factor = q, momentum, factor
        self.register_buffer("target", torch.from_numpy(target), persistent=False)
        self.register_buffer("averages", torch.zeros(2, len(target)))  # losses in the debiased and the biased network
        self.register_buffer("seen", torch.zeros(len(target), dtype=torch.bool))

    def forward(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the loss of a batch, a scalar, after updating the averages."""
        losses = losses_of_both(logits, batch.targets)  # (n, 2)
        weights = self._weights(losses.detach().T, torch.from_numpy(batch.indices).to(losses.device))
        biased = generalised_cross_entropy(losses[:, 1], self.q)
        return (weights * losses[:, 0]).mean() + self.factor * biased.mean()

    def _weights(self, losses: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        past = torch.where(self.seen[indices], self.averages[:, indices], losses)
        self.averages[:, indices] = self.momentum * past + (1 - self.momentum) * losses
        self.seen[indices] = True
        largest = torch.stack(
            [self.averages.where(self.target == value, 0.0).amax(dim=1) for value in range(int(self.target.max()) + 1)]
        )  # (class, 2)
        scaled = self.averages[:, indices] / (largest[self.target[indices]].T + 1e-8)
        return relative_difficulty(scaled[1], scaled[0])


def losses_of_both(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropies of both networks, float32 (n, 2), of their logits side by side."""
    if (
        logits.shape[1] == 2
    ):  # of one logit each they are taken together: apart they would round otherwise than in the records
        return F.binary_cross_entropy_with_logits(logits, targets[:, None].expand_as(logits), reduction="none")
    return torch.stack([cross_entropy(part, targets, reduction="none") for part in logits.chunk(2, dim=1)], dim=1)


def generalised_cross_entropy(losses: torch.Tensor, q: float) -> torch.Tensor:
    """Return (1 - p^q) / q for cross-entropies -log p (Zhang and Sabuncu, NeurIPS 2018, equation 6)."""
    return (1 - torch.exp(-q * losses)) / q


def relative_difficulty(biased: torch.Tensor, debiased: torch.Tensor) -> torch.Tensor:
    """Return biased / (biased + debiased) of each image's losses: near 1 if the biased network fails (equation 3)."""
    return biased / (biased + debiased + 1e-8)
