"""EIIL: infer the environments in which a biased model is least invariant, then be robust to them (Creager et al., ICML 2021).

The reference is the seed's biased model. Each training image gets a soft place in one of two environments such that
IRM's penalty is as large as can be (equation 5); then group DRO over target and environment, as in the paper's
experiment with Waterbirds. Defaults: 10,000 steps of Adam at 0.001, as there; group DRO's step size 0.01.
"""

import numpy as np
import torch


def logit_slopes(target: np.ndarray, logits: np.ndarray) -> torch.Tensor:
    """d loss / d w at w = 1 of each image's cross-entropy at w * logit, (n,): (sigmoid(logit) - target) * logit."""
    logits = torch.from_numpy(logits).double()
    return (torch.sigmoid(logits) - torch.from_numpy(target)) * logits


def invariance_penalty(slopes: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """IRM's penalty over two environments: the sum of their squared mean slopes, image i in the first to `places[i]`."""
    return (places * slopes).mean() ** 2 + ((1 - places) * slopes).mean() ** 2


def infer_environments(
    target: np.ndarray, logits: np.ndarray, *, steps: int, lr: float, generator: torch.Generator
) -> np.ndarray:
    """The environment of each training image, int64 0 or 1, (n,), that makes the reference's penalty largest."""
    slopes = logit_slopes(target, logits)
    places = torch.randn(len(slopes), generator=generator, dtype=torch.float64).requires_grad_()
    optimizer = torch.optim.Adam([places], lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        (-invariance_penalty(slopes, torch.sigmoid(places))).backward()
        optimizer.step()
    return (places.detach() > 0).long().numpy()
