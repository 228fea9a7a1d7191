"""LfF, learning from failure: two networks at once, one made to learn the easy, biased way (Nam et al., NeurIPS 2020).

The first is trained with the generalised cross-entropy, which dwells on what it finds easy; the second on the images
that the first finds hard, each by its relative difficulty. Defaults: q = 0.7, as in the paper, and moving averages of
the losses with weight 0.7 on the past, divided by their largest in the class. Two protocols, by the option `protocol`:
    aligned (default)   the generalised cross-entropy as the paper writes it, for the paper defines the method
    published           multiplied by q once more, as in the code that made the paper's numbers: the biased network learns
                        at q times the rate, the other one through its weights alone
Optimiser, schedule and choice of the epoch are those of every method here.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from models.batches import Batch, Compute
from models.facts import says
from models.options import NotNegative, PositiveFraction, Protocol
from models.run import Run, TrainedModel
from models.work import Sizes, Work, on_real
from utils.seeds import derived_seed


def work(sizes: Sizes, compute: Compute, options: dict) -> Work:
    """Count two networks, of which one is judged on val."""
    once = on_real(sizes, compute)
    return once + Work(trained=once.trained)


@says(work=work)
def lff(
    run: Run, *, q: PositiveFraction = 0.7, momentum: NotNegative = 0.7, protocol: Protocol = "aligned"
) -> TrainedModel:
    """Train two networks on the real images, and keep the one that learned from the other's failures."""
    train = run.real["train"]
    networks = TwoNetworks(run.new_network(), run.new_network(derived_seed(run.seed, "lff biased network")))
    objective = FailureLoss(train.target, q, momentum, factor=q if protocol == "published" else 1.0)
    trained = run.pre_train(train, label="lff", network=networks, objective=objective)
    return trained._replace(model=networks.debiased)


class TwoNetworks(nn.Module):
    """The network to keep and the biased one. In training the logits of both, (n, 2); else those of the first, (n, 1)."""

    def __init__(self, debiased: nn.Module, biased: nn.Module):
        super().__init__()
        self.debiased, self.biased = debiased, biased

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """The logits of a batch of images."""
        logits = self.debiased(inputs)
        return torch.cat([logits, self.biased(inputs)], dim=1) if self.training else logits


class FailureLoss:
    """The objective of both networks; `target` is that of the training set, int64 (n,), `factor` the biased one's fraction."""

    def __init__(self, target: np.ndarray, q: float, momentum: float, factor: float = 1.0):
        self.target, self.q, self.momentum, self.factor = torch.from_numpy(target), q, momentum, factor
        self.averages = torch.zeros(2, len(target))  # of the loss of each image, in the debiased and the biased network
        self.seen = torch.zeros(len(target), dtype=torch.bool)

    def __call__(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The sum of both networks' losses, a scalar; moves the averages."""
        losses = F.binary_cross_entropy_with_logits(
            logits, batch.targets[:, None].expand_as(logits), reduction="none"
        )  # (n, 2)
        if self.averages.device != losses.device:
            self.target, self.averages, self.seen = (
                t.to(losses.device) for t in (self.target, self.averages, self.seen)
            )
        weights = self._weights(losses.detach().T, torch.from_numpy(batch.indices).to(losses.device))
        biased = generalised_cross_entropy(losses[:, 1], self.q)
        return (weights * losses[:, 0]).mean() + self.factor * biased.mean()

    def state(self) -> dict[str, torch.Tensor]:
        """What it has learned: the averages."""
        return {"averages": self.averages, "seen": self.seen}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Take back a `state`; `target` follows the averages to their device with the first batch."""
        self.averages, self.seen = state["averages"], state["seen"]

    def _weights(self, losses: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        past = torch.where(self.seen[indices], self.averages[:, indices], losses)
        self.averages[:, indices] = self.momentum * past + (1 - self.momentum) * losses
        self.seen[indices] = True
        largest = torch.stack(
            [self.averages.where(self.target == value, 0.0).amax(dim=1) for value in (0, 1)]
        )  # (class, 2)
        scaled = self.averages[:, indices] / (largest[self.target[indices]].T + 1e-8)
        return relative_difficulty(scaled[1], scaled[0])


def generalised_cross_entropy(losses: torch.Tensor, q: float) -> torch.Tensor:
    """(1 - p^q) / q of each image, where its cross-entropy is -log p (Zhang and Sabuncu, NeurIPS 2018, equation 6)."""
    return (1 - torch.exp(-q * losses)) / q


def relative_difficulty(biased: torch.Tensor, debiased: torch.Tensor) -> torch.Tensor:
    """biased / (biased + debiased) of each image's losses: near 1 where the biased network fails (equation 3)."""
    return biased / (biased + debiased + 1e-8)
