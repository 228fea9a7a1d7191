"""Which parameter tensors to fine-tune: sensitive to bias, insensitive to the domain (paper, section 3.3).

Nothing here knows of faces: the functions take any module with one logit, and any batches.
"""

import copy
from collections.abc import Iterable, Sequence

import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F

from utils.errors import UserError

Gradients = dict[str, torch.Tensor]
MEASURES = {"absolute": ("domain_gap", "bias_gap"), "cosine": ("domain_cosine_gap", "bias_cosine_gap")}


def mean_gradients(model: nn.Module, batches: Iterable[Sequence[torch.Tensor]], *, amp: bool = False) -> Gradients:
    """The gradient of the loss with respect to every parameter, averaged over batches.

    Works on a fresh copy of `model` in train mode (batch statistics in batch norm), so `model` is left
    as it is. The gradients keep their sign.

    Parameters
    ----------
    model : any module with one logit an input, float of shape (n, 1)
    batches : inputs and targets (what follows them is not looked at), the targets 0/1 of shape (n,), on the model's device
    amp : compute in bfloat16 where autocast allows

    Returns
    -------
    dict from parameter name to a float32 tensor of the parameter's shape.

    Raises
    ------
    ValueError
        If there is no batch.
    """
    total = GradientSum(model, batches, amp=amp)
    while total.add():
        pass
    return total.mean()


class GradientSum:
    """What `mean_gradients` does, a batch at a time: `count` is how many have been added so far."""

    def __init__(self, model: nn.Module, batches: Iterable[Sequence[torch.Tensor]], *, amp: bool = False):
        self.model, self.amp, self.count = copy.deepcopy(model).train(), amp, 0
        self._batches = iter(batches)
        for parameter in self.model.parameters():
            parameter.requires_grad_(True)
            parameter.grad = None

    def add(self) -> bool:
        """Add the gradient of the next batch; False, and nothing is added, where there is none."""
        batch = next(self._batches, None)
        if batch is None:
            return False
        inputs, targets, *_ = batch
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.amp):
            logits = self.model(inputs)
        F.binary_cross_entropy_with_logits(logits[:, 0].float(), targets.float()).backward()  # grads add up
        self.count += 1
        return True

    def mean(self) -> Gradients:
        """The mean gradient of the batches added so far. Raises `ValueError` where there is none."""
        if not self.count:
            raise ValueError("no batch to take gradients from")
        parameters = dict(self.model.named_parameters())
        zero = {name: torch.zeros_like(p) for name, p in parameters.items() if p.grad is None}
        return {name: zero[name] if name in zero else p.grad / self.count for name, p in parameters.items()}


def sensitivity_table(real: Gradients, biased: Gradients, balanced: Gradients) -> pd.DataFrame:
    """How each parameter tensor reacts to domain and to bias (paper, section 3.3).

    The mean gradients on real, biased synthetic and balanced synthetic images, from the same weights, give
    domain_gap = mean |real - biased| and bias_gap = mean |biased - balanced|. Returns a row for each tensor, in the
    network's order: name, size, domain_gap, domain_rank (1: least sensitive), bias_gap, bias_rank (1: most
    sensitive), and, for the comparison of the paper's Table 4, the two gaps as 1 - cosine similarity.
    """
    domain_gap, bias_gap = mean_absolute_gap(real, biased), mean_absolute_gap(biased, balanced)
    domain_rank, bias_rank = ranks(domain_gap), ranks({name: -gap for name, gap in bias_gap.items()})
    columns = {
        "size": {name: gradient.numel() for name, gradient in real.items()},
        "domain_gap": domain_gap,
        "domain_rank": domain_rank,
        "bias_gap": bias_gap,
        "bias_rank": bias_rank,
        "domain_cosine_gap": cosine_gap(real, biased),
        "bias_cosine_gap": cosine_gap(biased, balanced),
    }
    table = {key: [values[name] for name in real] for key, values in columns.items()}
    return pd.DataFrame({"name": list(real), **table})


def choose_tensors(sensitivity: pd.DataFrame, top_k: int, measure: str = "absolute") -> list[str]:
    """The tensors to fine-tune, from a `sensitivity_table`, by the "absolute" gaps or those by "cosine".

    Raises `UserError` as `select_parameters` does.
    """
    return select_parameters(*gaps(sensitivity, measure), top_k)


def tied_at(sensitivity: pd.DataFrame, top_k: int, measure: str = "absolute") -> list[bool]:
    """Say of each tensor of a `sensitivity_table` whether the table's order alone put it among a ranking's `top_k` or not.

    That is so if tensors with exactly its gap are on both sides: in a residual block the bias of the last norm and that of
    the shortcut's norm are added to each other, so their gradients are identical.
    """
    domain, bias = gaps(sensitivity, measure)
    tied = set()
    for values in (domain, {name: -gap for name, gap in bias.items()}):
        ordered = sorted(values.values())
        if top_k < len(ordered) and ordered[top_k - 1] == ordered[top_k]:
            tied |= {name for name, value in values.items() if value == ordered[top_k]}
    return [name in tied for name in sensitivity["name"]]


def with_choice(sensitivity: pd.DataFrame, chosen: list[str], top_k: int, measure: str = "absolute") -> pd.DataFrame:
    """Return a `sensitivity_table` with two more columns for the record: `chosen`, and `tied` (see `tied_at`)."""
    return sensitivity.assign(chosen=sensitivity["name"].isin(chosen), tied=tied_at(sensitivity, top_k, measure))


def gaps(sensitivity: pd.DataFrame, measure: str = "absolute") -> tuple[dict[str, float], dict[str, float]]:
    """The gaps to the domain and to the bias of each tensor of a `sensitivity_table`, by name; `measure`: of `MEASURES`."""
    domain, bias = (dict(zip(sensitivity["name"], sensitivity[key], strict=True)) for key in MEASURES[measure])
    return domain, bias


def mean_absolute_gap(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> dict[str, float]:
    """mean |a - b| of each tensor: with gradients on real and synthetic data, the sensitivity to the domain.

    Raises `ValueError` where the two hold different names or shapes.
    """
    _check_same_shapes(a, b)
    return {name: (a[name] - b[name]).abs().mean().item() for name in a}


def cosine_gap(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> dict[str, float]:
    """1 - cos(a, b) of each tensor, from 0 (same direction) to 2: the paper's Table 4 has it in place of the absolute gap.

    A tensor that is zero throughout in one of the two counts as at right angles (1). Raises `ValueError` as
    `mean_absolute_gap` does.
    """
    _check_same_shapes(a, b)
    return {name: 1 - F.cosine_similarity(a[name].flatten(), b[name].flatten(), dim=0).item() for name in a}


def select_parameters(domain_gap: dict[str, float], bias_gap: dict[str, float], top_k: int) -> list[str]:
    """The names both among the `top_k` smallest domain gaps and the `top_k` largest bias gaps.

    In the order of `domain_gap`, by which ties are settled too. Raises `UserError` where `top_k` is not
    between 1 and the number of names, or leaves nothing: then it says which value would.
    """
    if domain_gap.keys() != bias_gap.keys():
        raise ValueError("the two gaps hold different names")
    check_top_k(top_k, len(domain_gap))
    needed = smallest_k(domain_gap, bias_gap)
    chosen = [name for name, k in needed.items() if k <= top_k]
    if not chosen:
        enough = min(needed.values())
        raise UserError(f"--top-k {top_k} leaves no parameter to fine-tune; the smallest value that does is {enough}")
    return chosen


def smallest_k(domain_gap: dict[str, float], bias_gap: dict[str, float]) -> dict[str, int]:
    """The smallest k with which each name is chosen by `select_parameters`: the worse of its two ranks."""
    by_domain, by_bias = ranks(domain_gap), ranks({name: -gap for name, gap in bias_gap.items()})
    return {name: max(by_domain[name], by_bias[name]) for name in domain_gap}


def check_top_k(top_k: int, count: int) -> None:
    """Raise `UserError` unless `top_k` lies between 1 and the number of parameter tensors."""
    if not 1 <= top_k <= count:
        raise UserError(f"--top-k {top_k}: expected 1 to {count}, the number of parameter tensors, or a fraction: 89%")


def ranks(values: dict[str, float]) -> dict[str, int]:
    """The rank of each name by value, 1 for the smallest; equal values rank in the order of the dict."""
    order = sorted(values, key=values.__getitem__)
    return {name: place for place, name in enumerate(order, start=1)}


def _check_same_shapes(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    if {name: t.shape for name, t in a.items()} != {name: t.shape for name, t in b.items()}:
        raise ValueError("the two sets of gradients hold different names or shapes")
