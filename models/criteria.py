"""Criteria by which few tensors or weights can be chosen, to compare AIM-Fair's two rankings with; each gives them a score.

All look at gradients of batches at the biased weights w: g is that of a batch, G the mean over batches. Scores of a weight:
    gradient   |G| on balanced images: the size of the gradient alone. GPS (arXiv 2312.10136) takes the largest of each neuron
    saliency   |w G| on balanced images: what removing the weight would change, to first order
    ratio      |G biased - G balanced| / |G real - G biased|: the bias gap divided by the domain gap
    fisher     mean g^2 on balanced images divided by that on real ones, as Selective Synaptic Dampening (arXiv 2308.07707) and BMFT
               (arXiv 2408.06890) divide diagonals of Fisher's information
    snr        G^2 / var(g) over batches of balanced images, as in Auto-SNR (arXiv 2210.11466)
    agreement  |mean sign(g)| over batches of balanced images, after the AND-mask (arXiv 2009.00329)
A tensor's score is the mean over its weights, for saliency the sum. For a quotient the two means are divided.
"""

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import nn

from models.losses import cross_entropy
from models.selection import Gradients


class Moments(NamedTuple):
    """Gradients of `count` batches: mean, mean of the squares, mean of the signs, and variance; float32, by parameter name, or of one."""

    mean: Gradients | torch.Tensor
    square: Gradients | torch.Tensor
    sign: Gradients | torch.Tensor
    variance: Gradients | torch.Tensor
    count: int

    def of(self, name: str) -> "Moments":
        """Return the moments of one tensor, each float32 of its shape."""
        return Moments(*(part[name] for part in self[:4]), self.count)


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


class Parts(NamedTuple):
    """Scores of a tensor's weights: `above` divided by `below` (None: by 1), float32 of the tensor's shape."""

    above: torch.Tensor
    below: torch.Tensor | None = None

    def of_weights(self) -> torch.Tensor:
        """Return the score of each weight, inf if only what lies above is not 0."""
        return self.above if self.below is None else torch.where(self.above == 0, 0, self.above / self.below)

    def of_tensor(self, total: bool = False) -> float:
        """Return the mean of the weights' scores or, if `total`, their sum; of a quotient the means are divided."""
        above = (self.above.sum() if total else self.above.mean()).item()
        return above if self.below is None else divided(above, self.below.mean().item())


def _gradient(weights: torch.Tensor, real: Moments, biased: Moments, balanced: Moments) -> Parts:
    return Parts(balanced.mean.abs())


def _saliency(weights: torch.Tensor, real: Moments, biased: Moments, balanced: Moments) -> Parts:
    return Parts((weights * balanced.mean).abs())


def _ratio(weights: torch.Tensor, real: Moments, biased: Moments, balanced: Moments) -> Parts:
    return Parts((biased.mean - balanced.mean).abs(), (real.mean - biased.mean).abs())


def _fisher(weights: torch.Tensor, real: Moments, biased: Moments, balanced: Moments) -> Parts:
    return Parts(balanced.square, real.square)


def _snr(weights: torch.Tensor, real: Moments, biased: Moments, balanced: Moments) -> Parts:
    signal = balanced.mean**2
    return Parts(torch.where(signal == 0, 0, signal / balanced.variance))  # inf where all batches agree


def _agreement(weights: torch.Tensor, real: Moments, biased: Moments, balanced: Moments) -> Parts:
    return Parts(balanced.sign.abs())


# (a tensor, and its moments on real, biased and balanced images) -> the parts of its score
CRITERIA: dict[str, Callable[[torch.Tensor, Moments, Moments, Moments], Parts]] = {
    "gradient": _gradient,
    "saliency": _saliency,
    "ratio": _ratio,
    "fisher": _fisher,
    "snr": _snr,
    "agreement": _agreement,
}
SUMMED = ("saliency",)  # criteria whose score of a tensor is the sum over its weights


def parts_by(by: str, weights: Gradients, *sets: Moments) -> dict[str, Parts]:
    """Return the parts of a criterion's score of every tensor; `sets` are the moments on real, biased and balanced images."""
    return {name: CRITERIA[by](tensor, *(found.of(name) for found in sets)) for name, tensor in weights.items()}


def tensor_scores(by: str, parts: dict[str, Parts]) -> dict[str, float]:
    """Return a criterion's score of every tensor from its parts."""
    return {name: each.of_tensor(by in SUMMED) for name, each in parts.items()}


def highest(scores: dict[str, float], share: float) -> list[str]:
    """Return the names with the highest scores, a fraction `share` of them (rounded, at least one), in the order of the dict."""
    number = max(1, round(share * len(scores)))
    chosen = sorted(scores, key=scores.__getitem__, reverse=True)[:number]
    return [name for name in scores if name in chosen]


def highest_weights(scores: dict[str, torch.Tensor], share: float) -> dict[str, torch.Tensor]:
    """Return masks, bool in the shapes of the tensors, of the fraction `share` of all weights with the highest scores.

    Tensors without such a weight are left out. Of equal scores the first count as higher.
    """
    flat = torch.cat([score.flatten() for score in scores.values()])
    chosen = torch.zeros_like(flat, dtype=torch.bool)
    chosen[flat.argsort(descending=True, stable=True)[: max(1, round(share * len(flat)))]] = True
    parts = chosen.split([score.numel() for score in scores.values()])
    masks = {name: part.view_as(scores[name]) for name, part in zip(scores, parts, strict=True)}
    return {name: mask for name, mask in masks.items() if mask.any()}


def highest_of_neurons(scores: dict[str, torch.Tensor], share: float) -> dict[str, torch.Tensor]:
    """Return masks of the fraction `share` of each neuron's incoming weights with the highest scores, at least one.

    A neuron is an index of a tensor's first dimension. A tensor with at most one weight for each counts as one neuron. Of equal scores the
    first count as higher.
    """
    masks = {}
    for name, score in scores.items():
        rows = score.reshape(score.shape[0] if score.dim() else 1, -1)
        rows = rows if rows.shape[1] > 1 else rows.view(1, -1)
        number = max(1, round(share * rows.shape[1]))
        places = rows.argsort(dim=1, descending=True, stable=True)[:, :number]
        masks[name] = torch.zeros_like(rows, dtype=torch.bool).scatter_(1, places, True).view_as(score)
    return masks


def divided(above: float, below: float) -> float:
    """Return the quotient, or 0 where nothing lies below: such a tensor has no gradient on those images."""
    return above / below if below > 0 else 0.0
