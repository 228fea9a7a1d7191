"""Changes to a trained model that need no further training: its distance from the biased model, and its threshold."""

import numpy as np
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


def best_threshold(logits: np.ndarray, target: np.ndarray) -> float:
    """Return the threshold of the logit at which most answers are right.

    Among thresholds that are equally good it takes the one nearest to 0, the logit of probability 0.5. A threshold lies halfway
    between two neighbouring logits, or one beyond the smallest or largest.

    logits : float (n,)
    target : int (n,), 0 or 1

    Raises ValueError if there is no image.
    """
    if not len(logits):
        raise ValueError("no image to choose a threshold on")
    values, place = np.unique(np.asarray(logits, np.float64), return_inverse=True)
    positives, every = np.bincount(place, weights=target), np.bincount(place)
    # with the threshold below values[i], the images from i on count as positive
    right = np.append(np.cumsum(positives[::-1])[::-1], 0) + np.insert(np.cumsum(every - positives), 0, 0)
    cuts = np.concatenate([[values[0] - 1], (values[1:] + values[:-1]) / 2, [values[-1] + 1]])
    low, high = np.append(-np.inf, values), np.append(values, np.inf)
    cuts = np.where((low < 0) & (high >= 0), 0.0, cuts)  # 0 itself, if it divides the images as this cut does
    good = np.flatnonzero(right == right.max())
    return float(cuts[good[np.argmin(np.abs(cuts[good]))]])


def accuracy_at_best_threshold(logits: np.ndarray, target: np.ndarray) -> float:
    """Return the accuracy, a fraction, with `best_threshold`: a model whose logits are all shifted has the same."""
    return float(np.mean((logits >= best_threshold(logits, target)) == target))


def move_threshold(head: nn.Linear, threshold: float) -> None:
    """Lower the last layer's bias by `threshold`, so that a probability of 0.5 is where that logit was.

    Every user of the weights then has the threshold without knowing of it. Raises UserError if the layer has no bias.
    """
    if head.bias is None:
        raise UserError("threshold: the network's last layer has no bias that could hold it; leave threshold out")
    with torch.no_grad():
        head.bias -= threshold
