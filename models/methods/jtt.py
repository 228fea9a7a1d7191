"""JTT, just train twice: what a briefly trained model gets wrong is shown more often (Liu et al., ICML 2021).

Defaults: 1 epoch for the first model and weight 50, the paper's for CelebA. In place of copies of the wrong images,
which would make an epoch many times longer, images are drawn by weight, and an epoch has as many draws as the training
set has images: so every method takes the same number of steps.
"""

import numpy as np


def error_weights(target: np.ndarray, logits: np.ndarray, weight: float) -> np.ndarray:
    """Sampling weights float64 (n,): `weight` for each image on the wrong side of logit 0, 1 for the others."""
    return np.where((logits > 0) == (target == 1), 1.0, float(weight))
