"""Selection of the parameter tensors to fine-tune: sensitive to bias, insensitive to the domain (paper, section 3.3).

The functions take any module with one logit and any batches, not only faces.
"""

import copy
from collections.abc import Iterable, Sequence

import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F

from models.losses import cross_entropy
from utils.errors import UserError

Gradients = dict[str, torch.Tensor]
MEASURES = {"absolute": ("domain_gap", "bias_gap"), "cosine": ("domain_cosine_gap", "bias_cosine_gap")}


def mean_gradients(model: nn.Module, batches: Iterable[Sequence[torch.Tensor]], *, amp: bool = False) -> Gradients:
    """Return the gradient of the loss for every parameter, averaged over batches, with its sign.

    A copy of `model` in train mode computes it (batch norm takes the statistics of each batch); `model` does not
    change.

    model : any module that returns logits, float (n, outputs)
    batches : inputs and targets (n,), numbers from 0, on the model's device; further parts of a batch are ignored
    amp : compute in bfloat16 where autocast allows

    Returns a float32 tensor of the parameter's shape for each parameter name. Raises `ValueError` if there is no batch.
    """
    total = GradientSum(model, batches, amp=amp)
    while total.add():
        pass
    return total.mean()


class GradientSum:
    """The computation of `mean_gradients` one batch at a time; `count` is the number of batches so far."""

    def __init__(self, model: nn.Module, batches: Iterable[Sequence[torch.Tensor]], *, amp: bool = False):
        self.model, self.amp, self.count = copy.deepcopy(model).train(), amp, 0
        self._batches = iter(batches)
        for parameter in self.model.parameters():
            parameter.requires_grad_(True)
            parameter.grad = None

    def add(self) -> bool:
        """Add the gradient of the next batch and return True; return False if there is none."""
        batch = next(self._batches, None)
        if batch is None:
            return False
        inputs, targets, *_ = batch
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.amp):
            logits = self.model(inputs)
        cross_entropy(logits.float(), targets).backward()  # grads add up
        self.count += 1
        return True

    def mean(self) -> Gradients:
        """Return the mean gradient over the batches so far. Raises `ValueError` if there is none."""
        if not self.count:
            raise ValueError("no batch to take gradients from")
        parameters = dict(self.model.named_parameters())
        zero = {name: torch.zeros_like(p) for name, p in parameters.items() if p.grad is None}
        return {name: zero[name] if name in zero else p.grad / self.count for name, p in parameters.items()}


def sensitivity_table(real: Gradients, biased: Gradients, balanced: Gradients) -> pd.DataFrame:
    """Return the sensitivity of each parameter tensor to domain and bias (paper, section 3.3).

    The arguments are mean gradients at the same weights on real, biased synthetic and balanced synthetic images. A row
    for each tensor, in the network's order, has the columns

    name, size : size is the number of parameters
    domain_gap, domain_rank : mean |real - biased|; rank 1 is the least sensitive
    bias_gap, bias_rank : mean |biased - balanced|; rank 1 is the most sensitive
    domain_cosine_gap, bias_cosine_gap : the gaps as 1 - cosine similarity, as in the paper's Table 4
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
    """Return the names of the tensors to fine-tune, from a `sensitivity_table`; `measure` is "absolute" or "cosine".

    Raises `UserError` as `select_parameters` does.
    """
    return select_parameters(*gaps(sensitivity, measure), top_k)


def tied_at(sensitivity: pd.DataFrame, top_k: int, measure: str = "absolute") -> list[bool]:
    """Return, for each tensor of a `sensitivity_table`, whether the table's order broke a tie at rank `top_k`.

    This happens if tensors with exactly equal gaps stand on both sides of the limit. In a residual block the bias of
    the last norm and of the shortcut's norm are added to each other, so their gradients are identical.
    """
    domain, bias = gaps(sensitivity, measure)
    tied = set()
    for values in (domain, {name: -gap for name, gap in bias.items()}):
        ordered = sorted(values.values())
        if top_k < len(ordered) and ordered[top_k - 1] == ordered[top_k]:
            tied |= {name for name, value in values.items() if value == ordered[top_k]}
    return [name in tied for name in sensitivity["name"]]


def with_choice(sensitivity: pd.DataFrame, chosen: list[str], top_k: int, measure: str = "absolute") -> pd.DataFrame:
    """Return a `sensitivity_table` with the columns `chosen` and `tied` (see `tied_at`), for the record."""
    return sensitivity.assign(chosen=sensitivity["name"].isin(chosen), tied=tied_at(sensitivity, top_k, measure))


def gaps(sensitivity: pd.DataFrame, measure: str = "absolute") -> tuple[dict[str, float], dict[str, float]]:
    """Return the domain gap and the bias gap of each tensor, from a `sensitivity_table`; `measure` is in `MEASURES`."""
    domain, bias = (dict(zip(sensitivity["name"], sensitivity[key], strict=True)) for key in MEASURES[measure])
    return domain, bias


def mean_absolute_gap(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> dict[str, float]:
    """Return mean |a - b| for each tensor. Raises `ValueError` if the names or shapes differ."""
    _check_same_shapes(a, b)
    return {name: (a[name] - b[name]).abs().mean().item() for name in a}


def cosine_gap(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> dict[str, float]:
    """Return 1 - cos(a, b) for each tensor, from 0 (same direction) to 2; 1 if either is all zeros.

    Raises `ValueError` if the names or shapes differ.
    """
    _check_same_shapes(a, b)
    return {name: 1 - F.cosine_similarity(a[name].flatten(), b[name].flatten(), dim=0).item() for name in a}


def select_parameters(domain_gap: dict[str, float], bias_gap: dict[str, float], top_k: int) -> list[str]:
    """Return the tensors that have one of the `top_k` smallest domain gaps and one of the `top_k` largest bias gaps.

    The names keep the order of `domain_gap`, which also settles ties. Raises `UserError` if `top_k` is not between 1
    and the number of names, or if no name is left: the message gives the smallest value that leaves one.
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
    """Return for each name the smallest k with which `select_parameters` chooses it: the worse of its two ranks."""
    by_domain, by_bias = ranks(domain_gap), ranks({name: -gap for name, gap in bias_gap.items()})
    return {name: max(by_domain[name], by_bias[name]) for name in domain_gap}


def check_top_k(top_k: int, count: int) -> None:
    """Raise `UserError` unless `top_k` lies between 1 and the number of parameter tensors."""
    if not 1 <= top_k <= count:
        raise UserError(f"--top-k {top_k}: expected 1 to {count}, the number of parameter tensors, or a fraction: 89%")


def ranks(values: dict[str, float]) -> dict[str, int]:
    """Return the rank of each name by value, 1 for the smallest; equal values rank in the order of the dict."""
    order = sorted(values, key=values.__getitem__)
    return {name: place for place, name in enumerate(order, start=1)}


def _check_same_shapes(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    if {name: t.shape for name, t in a.items()} != {name: t.shape for name, t in b.items()}:
        raise ValueError("the two sets of gradients hold different names or shapes")
