"""AIM-Fair's second half: rank the tensors of a biased classifier and fine-tune the chosen ones."""

import copy

import numpy as np
import pandas as pd
from torch import nn

from datasets.images import FaceSet
from datasets.synthetic import draw_cells
from models.sensitivity import mean_absolute_gap, mean_gradients, ranks, select_parameters
from models.training import Compute, Schedule, fit, train_batches
from utils.seeds import derived_seed, torch_generator


def draw_synthetic(pool: FaceSet, sizes: dict[str, int], seed: int, name: str) -> FaceSet:
    """The synthetic set called `name` ("balanced" or "biased") of a seed; the sets are drawn independently."""
    return draw_cells(pool, sizes, np.random.default_rng(derived_seed(seed, f"draw {name}")))


def measure_sensitivity(
    model: nn.Module, real: FaceSet, biased: FaceSet, balanced: FaceSet, seed: int, compute: Compute
) -> pd.DataFrame:
    """How each parameter tensor reacts to domain and to bias (paper, section 3.3).

    The mean gradients on real, biased synthetic and balanced synthetic images, each under the training
    transform and from the same weights, give domain_gap = mean |real - biased| and bias_gap = mean
    |biased - balanced|. Returns a row for each tensor, in the network's order: name, size, domain_gap,
    domain_rank (1: least sensitive), bias_gap, bias_rank (1: most sensitive).
    """
    gradients = {}
    for name, data in (("real", real), ("biased", biased), ("balanced", balanced)):
        batches = train_batches(data, compute, torch_generator(seed, f"gradient {name}"), drop_last=True)
        gradients[name] = mean_gradients(model, batches, amp=compute.amp)
    domain_gap = mean_absolute_gap(gradients["real"], gradients["biased"])
    bias_gap = mean_absolute_gap(gradients["biased"], gradients["balanced"])
    domain_rank = ranks(domain_gap)
    bias_rank = ranks({name: -gap for name, gap in bias_gap.items()})
    return pd.DataFrame(
        {
            "name": list(domain_gap),
            "size": [parameter.numel() for parameter in model.parameters()],
            "domain_gap": list(domain_gap.values()),
            "domain_rank": [domain_rank[name] for name in domain_gap],
            "bias_gap": list(bias_gap.values()),
            "bias_rank": [bias_rank[name] for name in domain_gap],
        }
    )


def choose_tensors(sensitivity: pd.DataFrame, top_k: int) -> list[str]:
    """The tensors to fine-tune, from the table of `measure_sensitivity`."""
    domain_gap = dict(zip(sensitivity["name"], sensitivity["domain_gap"], strict=True))
    bias_gap = dict(zip(sensitivity["name"], sensitivity["bias_gap"], strict=True))
    return select_parameters(domain_gap, bias_gap, top_k)


def fine_tune(
    model: nn.Module,
    chosen: list[str],
    balanced: FaceSet,
    val: FaceSet,
    schedule: Schedule,
    seed: int,
    compute: Compute,
) -> tuple[nn.Module, list[dict]]:
    """A copy of `model` whose `chosen` tensors are trained on balanced images, and the epoch curve."""
    model = copy.deepcopy(model)
    curve = fit(
        model,
        balanced,
        val,
        schedule,
        compute,
        torch_generator(seed, "fine-tune"),
        trainable=chosen,
        later_wins_ties=False,
        label=f"seed {seed} fine-tune",
    )
    return model, curve
