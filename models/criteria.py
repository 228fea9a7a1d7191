"""Criteria by which few tensors can be chosen, to compare AIM-Fair's two rankings with; each gives every tensor a score.

All look at gradients of batches at the biased weights: g is that of a batch, G the mean over batches. The tensors with the highest
scores are fine-tuned.
    gradient   mean |G| on balanced images: the size of the gradient alone
    saliency   sum |w G| on balanced images: what removing the weights would change, to first order
    ratio      the bias gap divided by the domain gap (`models.selection.sensitivity_table`)
    fisher     mean g^2 on balanced images divided by that on real ones, as Selective Synaptic Dampening (arXiv 2308.07707) and BMFT
               (arXiv 2408.06890) divide diagonals of Fisher's information; they do so for each weight
    snr        mean over the weights of G^2 / var(g) over batches of balanced images, as in Auto-SNR (arXiv 2210.11466)
    agreement  mean over the weights of |mean sign(g)| over batches of balanced images, after the AND-mask (arXiv 2009.00329)
"""

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import nn

from models.losses import cross_entropy
from models.selection import Gradients, mean_absolute_gap


class Moments(NamedTuple):
    """Means over batches of the gradient, of its square and of its sign, tensors by parameter name; `count` batches.

    float64, so that a small variance is not lost in the difference of two large numbers; float32 on a device without it (mps).
    """

    mean: Gradients
    square: Gradients
    sign: Gradients
    count: int


def moments(model: nn.Module, batches: Iterable[Sequence[torch.Tensor]], *, amp: bool = False) -> Moments:
    """Return the moments of the gradient of the loss over batches; arguments as for `models.selection.mean_gradients`.

    Raises `ValueError` if there is no batch.
    """
    model, count = copy.deepcopy(model).train().requires_grad_(True), 0
    parameters = dict(model.named_parameters())
    wide = torch.float32 if next(model.parameters()).device.type == "mps" else torch.float64
    sums = [{name: torch.zeros_like(p, dtype=wide) for name, p in parameters.items()} for _ in range(3)]
    for inputs, targets, *_ in batches:
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=amp):
            logits = model(inputs)
        model.zero_grad(set_to_none=True)
        cross_entropy(logits.float(), targets).backward()
        for name, parameter in parameters.items():
            if parameter.grad is not None:
                grad = parameter.grad.to(wide)
                for total, part in zip(sums, (grad, grad**2, grad.sign()), strict=True):
                    total[name] += part
        count += 1
    if not count:
        raise ValueError("no batch to take gradients from")
    return Moments(*({name: total / count for name, total in each.items()} for each in sums), count)


def _gradient(weights: Gradients, real: Moments, biased: Moments, balanced: Moments) -> dict[str, float]:
    return {name: mean.abs().mean().item() for name, mean in balanced.mean.items()}


def _saliency(weights: Gradients, real: Moments, biased: Moments, balanced: Moments) -> dict[str, float]:
    return {name: (weights[name] * mean).abs().sum().item() for name, mean in balanced.mean.items()}


def _ratio(weights: Gradients, real: Moments, biased: Moments, balanced: Moments) -> dict[str, float]:
    domain, bias = mean_absolute_gap(real.mean, biased.mean), mean_absolute_gap(biased.mean, balanced.mean)
    return {name: divided(bias[name], domain[name]) for name in bias}


def _fisher(weights: Gradients, real: Moments, biased: Moments, balanced: Moments) -> dict[str, float]:
    return {name: divided(s.mean().item(), real.square[name].mean().item()) for name, s in balanced.square.items()}


def _snr(weights: Gradients, real: Moments, biased: Moments, balanced: Moments) -> dict[str, float]:
    found = {}
    for name, mean in balanced.mean.items():
        variance = (balanced.square[name] - mean**2).clamp(min=0)
        found[name] = torch.where(mean == 0, 0, mean**2 / variance).mean().item()  # inf if all batches agree
    return found


def _agreement(weights: Gradients, real: Moments, biased: Moments, balanced: Moments) -> dict[str, float]:
    return {name: sign.abs().mean().item() for name, sign in balanced.sign.items()}


# (weights, moments on real, biased and balanced images) -> a score for each tensor
CRITERIA: dict[str, Callable[[Gradients, Moments, Moments, Moments], dict[str, float]]] = {
    "gradient": _gradient,
    "saliency": _saliency,
    "ratio": _ratio,
    "fisher": _fisher,
    "snr": _snr,
    "agreement": _agreement,
}


def highest(scores: dict[str, float], share: float) -> list[str]:
    """Return the names with the highest scores, a fraction `share` of them (rounded, at least one), in the order of the dict."""
    number = max(1, round(share * len(scores)))
    chosen = sorted(scores, key=scores.__getitem__, reverse=True)[:number]
    return [name for name in scores if name in chosen]


def divided(above: float, below: float) -> float:
    """Return the quotient, or 0 where nothing lies below: such a tensor has no gradient on those images."""
    return above / below if below > 0 else 0.0
