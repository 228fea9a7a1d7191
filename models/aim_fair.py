"""AIM-Fair's own steps: how each tensor of a biased classifier reacts to domain and to bias, and which to fine-tune."""

import pandas as pd
import torch

from models.sensitivity import cosine_gap, mean_absolute_gap, ranks, select_parameters

Gradients = dict[str, torch.Tensor]
MEASURES = {"absolute": ("domain_gap", "bias_gap"), "cosine": ("domain_cosine_gap", "bias_cosine_gap")}


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

    Raises `UserError` as `models.sensitivity.select_parameters` does.
    """
    domain_gap, bias_gap = (dict(zip(sensitivity["name"], sensitivity[key], strict=True)) for key in MEASURES[measure])
    return select_parameters(domain_gap, bias_gap, top_k)
