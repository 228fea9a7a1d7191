"""EIIL: train robustly to inferred environments in which a biased model is least invariant (Creager et al., ICML 2021).

Each training image gets a soft assignment to one of two environments that maximises IRM's penalty of a reference model
(equation 5). Group DRO over target and environment follows, as in the paper's experiment with Waterbirds. Defaults:
10,000 steps of Adam at 0.001, as there; step size 0.01 of group DRO. The option `protocol` has two values:
    aligned (default)   the reference is the seed's biased model, which needs no further training
    published           the reference is trained for one epoch, as in the paper, otherwise with ERM's settings
The paper does not state how it chooses the epoch. Here it is chosen as for every method (`--select-by`).
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
    """Count both trainings and the reference's predictions; not the inference of environments."""
    reference = fitted(sizes.train, 1, sizes, compute) if options["protocol"] == "published" else Work()
    return reference + Work(predicted=sizes.train) + on_real(sizes, compute)


@says(work=work, recorded={"penalty": "mean"})  # older versions took the sum over the environments
def eiil(
    run: Run,
    *,
    steps: Count = 10000,
    lr: Positive = 0.001,
    step_size: Positive = 0.01,
    protocol: Protocol = "aligned",
) -> TrainedModel:
    """Infer two environments of the real images, then train robustly to target and environment."""
    train = run.real["train"]
    if protocol == "published":
        reference = run.pre_train(train, label="eiil, reference", epochs=1).model
    else:
        reference = run.biased_model()
    logits, generator = predict(reference, train, run.settings.compute), torch_generator(run.seed, "eiil")
    places = infer_environments(train.target, logits, steps=steps, lr=lr, generator=generator)
    return robust_to(run, 2 * train.target + places, 2 * train.targets, step_size, label="eiil")


def logit_slopes(target: np.ndarray, logits: np.ndarray) -> torch.Tensor:
    """Return d loss / d w at w = 1 for each image's cross-entropy at w * logits: float64 (n,).

    logits : float32 (n,), or of more than two targets (n, targets)
    """
    logits, wanted = torch.from_numpy(logits).double(), torch.from_numpy(target)
    if logits.dim() == 1:
        return (torch.sigmoid(logits) - wanted) * logits
    return ((logits.softmax(dim=1) - torch.nn.functional.one_hot(wanted, logits.shape[1])) * logits).sum(dim=1)


def invariance_penalty(slopes: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Return IRM's penalty of two environments, the mean of their squared mean slopes.

    places : float64 (n,), from 0 to 1, the weight of each image in the first environment
    """
    return ((places * slopes).mean() ** 2 + ((1 - places) * slopes).mean() ** 2) / 2


def infer_environments(
    target: np.ndarray, logits: np.ndarray, *, steps: int, lr: float, generator: torch.Generator
) -> np.ndarray:
    """Return the environment, 0 or 1, of each training image that maximises the reference's penalty: int64 (n,)."""
    slopes = logit_slopes(target, logits)
    places = torch.randn(len(slopes), generator=generator, dtype=torch.float64).requires_grad_()
    optimizer = torch.optim.Adam([places], lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        (-invariance_penalty(slopes, torch.sigmoid(places))).backward()
        optimizer.step()
    return (places.detach() > 0).long().numpy()
