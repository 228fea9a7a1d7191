"""Changes to a trained model that need no further training: its distance from the biased model, and its threshold."""

import torch
from torch import nn

from models.weights import State
from utils.errors import UserError


def between(biased: State, tuned: State, step: float) -> State:
    """Return the state at `step` on the straight line from the biased model (0) to the fine-tuned one (1).

    Task arithmetic with one task (Ilharco et al., ICLR 2023, arXiv 2212.04089): theta = biased + step * (tuned - biased). Batch
    norm's running means and variances are on the same line; integers, its counts of batches, are the fine-tuned model's. At 1
    the state is `tuned` itself, to the bit. Both states have the same keys, shapes and dtypes.
    """
    if step == 1:
        return tuned
    return {
        name: torch.lerp(biased[name], value, step) if value.is_floating_point() else value
        for name, value in tuned.items()
    }


def move_threshold(head: nn.Linear, threshold: float) -> None:
    """Lower the last layer's bias by `threshold`, so that a probability of 0.5 is where that logit was.

    Every user of the weights then has the threshold without knowing of it. Raises UserError if the layer has no bias.
    """
    if head.bias is None:
        raise UserError("threshold: the network's last layer has no bias that could hold it; leave threshold out")
    with torch.no_grad():
        head.bias -= threshold
