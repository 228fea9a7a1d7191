"""The loss of a classifier: cross-entropy, of one logit for two targets and of a logit for each of more."""

import torch
from torch.nn import functional as F


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
    """Return the cross-entropy, a scalar, or float32 (n,) with the reduction "none".

    logits : float32 (n, outputs), see `utils.metrics.outputs_of`
    targets : (n,), numbers of the targets, from 0
    """
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits[:, 0], targets.float(), reduction=reduction)
    return F.cross_entropy(logits, targets.long(), reduction=reduction)
