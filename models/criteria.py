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
    """Gradients of `count` batches: mean, mean of the squares, mean of the signs, and variance; float32, by parameter name."""

    mean: Gradients
    square: Gradients
    sign: Gradients
    variance: Gradients
    count: int


def moments(model: nn.Module, batches: Iterable[Sequence[torch.Tensor]], *, amp: bool = False) -> Moments:
    """Return the moments of the gradient of the loss over batches; arguments as for `models.selection.mean_gradients`.

    The variance is summed around the mean so far (Welford, Technometrics 4, 419, 1962), because a small one would be lost in the
    difference of two large numbers. Raises `ValueError` if there is no batch.
    """
    model, count = copy.deepcopy(model).train().requires_grad_(True), 0
    parameters = dict(model.named_parameters())
    mean, square, sign, apart = ({name: torch.zeros_like(p) for name, p in parameters.items()} for _ in range(4))
    for inputs, targets, *_ in batches:
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=amp):
            logits = model(inputs)
        model.zero_grad(set_to_none=False)  # a tensor without a gradient has a gradient of 0
        cross_entropy(logits.float(), targets).backward()
        count += 1
        with torch.no_grad():
            for name, parameter in parameters.items():
                grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                before = grad - mean[name]
                mean[name] += before / count
                apart[name] += before * (grad - mean[name])
                square[name] += (grad**2 - square[name]) / count
                sign[name] += (grad.sign() - sign[name]) / count
    if not count:
        raise ValueError("no batch to take gradients from")
    return Moments(mean, square, sign, {name: total / count for name, total in apart.items()}, count)


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
        ratio = mean**2 / balanced.variance[name]  # inf where all batches agree
        found[name] = torch.where(mean == 0, 0, ratio).mean().item()
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
