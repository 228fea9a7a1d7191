"""EIIL: infer the environments in which a biased model is least invariant, then be robust to them (Creager et al., ICML 2021).

Each training image gets a soft place in one of two environments, chosen so that IRM's penalty of a reference model is
as large as possible (equation 5); then group DRO over target and environment, as in the paper's experiment with
Waterbirds. Defaults: 10,000 steps of Adam at 0.001, as there; group DRO's step size 0.01. Two protocols, by the option
`protocol`:
    aligned (default)   the reference is the seed's biased model, which takes no other training and is the model to be mended
    published           the reference is trained for one epoch, as in the paper's experiments, with ERM's other settings
How the paper chooses the epoch is not stated; it is chosen as for every method (`--select-by`).
"""

import numpy as np
import torch

from models.batches import Compute, predict
from models.facts import says
from models.methods.group_dro import robust_to
from models.options import Count, Positive, Protocol
from models.run import Run, TrainedModel
from models.work import Sizes, Work, fitted, on_real
from utils.seeds import torch_generator


def work(sizes: Sizes, compute: Compute, options: dict) -> Work:
    """Count the reference, if it is trained, its predictions, and the training; not the inference of the environments."""
    reference = fitted(sizes.train, 1, sizes.val, compute) if options["protocol"] == "published" else Work()
    return reference + Work(predicted=sizes.train) + on_real(sizes, compute)


@says(work=work, recorded={"penalty": "mean"})  # the penalty was the sum of the environments' once
def eiil(
    run: Run,
    *,
    steps: Count = 10000,
    lr: Positive = 0.001,
    step_size: Positive = 0.01,
    protocol: Protocol = "aligned",
) -> TrainedModel:
    """Infer two environments on the real images, then train robustly to target and environment."""
    train = run.real["train"]
    if protocol == "published":
        reference = run.pre_train(train, label="eiil, reference", epochs=1).model
    else:
        reference = run.biased_model()
    logits, generator = predict(reference, train, run.settings.compute), torch_generator(run.seed, "eiil")
    places = infer_environments(train.target, logits, steps=steps, lr=lr, generator=generator)
    return robust_to(run, 2 * train.target + places, 4, step_size, label="eiil")


def logit_slopes(target: np.ndarray, logits: np.ndarray) -> torch.Tensor:
    """d loss / d w at w = 1 of each image's cross-entropy at w * logit, (n,): (sigmoid(logit) - target) * logit."""
    logits = torch.from_numpy(logits).double()
    return (torch.sigmoid(logits) - torch.from_numpy(target)) * logits


def invariance_penalty(slopes: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """IRM's penalty of two environments, image i in the first to `places[i]`: the mean of their squared mean slopes."""
    return ((places * slopes).mean() ** 2 + ((1 - places) * slopes).mean() ** 2) / 2


def infer_environments(
    target: np.ndarray, logits: np.ndarray, *, steps: int, lr: float, generator: torch.Generator
) -> np.ndarray:
    """The environment of each training image, int64 0 or 1, (n,), that makes the reference's penalty largest."""
    slopes = logit_slopes(target, logits)
    places = torch.randn(len(slopes), generator=generator, dtype=torch.float64).requires_grad_()
    optimizer = torch.optim.Adam([places], lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        (-invariance_penalty(slopes, torch.sigmoid(places))).backward()
        optimizer.step()
    return (places.detach() > 0).long().numpy()
