"""Deep feature reweighting, DFR: a new last layer by logistic regression (Kirichenko et al., ICLR 2023).

The inputs of the biased model's last layer, under the test transform, are standardised and fitted with an l1 penalty.
Its inverse strength C is the one of `STRENGTHS` with the best worst-group accuracy on one half of the images after a
fit to the other half. Then `fits` fits to balanced subsets are averaged. The weights are rescaled to the unstandardised
inputs, so the result is an ordinary network. Defaults: ten fits, seven values of C from 1 to 0.01.

Of more than two targets, each has a fit of its own against all others. Departures: the balanced images are synthetic, so no label of a real image is used; the paper takes real images with
their groups. All groups have one size here, so a balanced subset is half of each group, drawn again for every fit; the
paper draws as many of each group as the smallest has. Each fit standardises by its own images.
"""

import numpy as np
import pandas as pd
import torch
from torch import nn

from datasets.images import LabelledImages
from datasets.synthetic import SyntheticSets
from models.batches import Compute, evaluate, predict
from models.classifier import linear_head
from models.facts import says
from models.options import Count
from models.run import Run, TrainedModel
from models.work import Sizes, Work
from utils.errors import UserError
from utils.metrics import answers, fairness_metrics
from utils.seeds import derived_seed

STRENGTHS = (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)


def work(sizes: Sizes, compute: Compute, options: dict) -> Work:
    """Count the predictions on balanced images and val; not the logistic regressions."""
    return Work(predicted=sizes.balanced + sizes.val)


@says(work=work)
def last_layer(run: Run, biased_model: nn.Module, synthetic: SyntheticSets, *, fits: Count = 10) -> TrainedModel:
    """Replace the last layer of the biased model by the mean of several fits to balanced synthetic images.

    The record's table last_layer has the worst-group accuracies that chose C. The curve has one row, for the result.
    """
    compute, faces = run.settings.compute, synthetic.balanced
    head = linear_head(biased_model, run.settings.network)
    draws = np.random.default_rng(derived_seed(run.seed, "last layer"))
    inputs = head_inputs(biased_model, head, faces, compute)
    first, second = halves(faces, draws)
    accuracies = [worst_group_accuracy(inputs, faces, first, second, strength) for strength in STRENGTHS]
    best = STRENGTHS[int(np.argmax(accuracies))]
    chosen = [halves(faces, draws)[0] for _ in range(fits)]
    fitted = [fit(inputs[places], faces.target[places], best) for places in chosen]
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(np.mean([weight for weight, _ in fitted], axis=0)))
        head.bias.copy_(torch.from_numpy(np.mean([bias for _, bias in fitted], axis=0)))
    found = evaluate(biased_model, run.real["val"], compute)
    row = {f"val_{key}": found[key] for key in ("accuracy", "worst_group_accuracy", "equalized_odds")}
    table = pd.DataFrame({"strength": STRENGTHS, "worst_group_accuracy": accuracies})
    tables = {"last_layer": table.assign(chosen=table["strength"] == best)}
    return TrainedModel(biased_model, [{"epoch": 1, **row, "best": True}], tables, synthetic.held_out)


def head_inputs(model: nn.Module, head: nn.Linear, data: LabelledImages, compute: Compute) -> np.ndarray:
    """Return the inputs of the last layer for each image under the test transform: float32 (n, features)."""
    found = []
    hook = head.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0].float().cpu()))
    try:
        predict(model, data, compute)
    finally:
        hook.remove()
    return torch.cat(found).numpy()


def halves(faces: LabelledImages, draws: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw two balanced sets without a common image, and return the indices of their images.

    Each has, of every group, half as many images as the smallest group. Raises `UserError` if a group has a single
    image.
    """
    group = faces.target * (faces.protected.max() + 1) + faces.protected
    members = [draws.permutation(np.flatnonzero(group == value)) for value in np.unique(group)]
    size = min(map(len, members)) // 2
    if not size:
        raise UserError("last-layer: a group has a single synthetic image; raise --number-balanced-synthetic or ratio")
    return np.concatenate([m[:size] for m in members]), np.concatenate([m[size : 2 * size] for m in members])


def worst_group_accuracy(
    inputs: np.ndarray, faces: LabelledImages, first: np.ndarray, second: np.ndarray, strength: float
) -> float:
    """Return the worst-group accuracy on the images `second` (indices) after a fit to the images `first`."""
    weight, bias = fit(inputs[first], faces.target[first], strength)
    judged = faces.subset(second)
    logits = inputs[second] @ weight.T + bias
    found = answers(logits[:, 0] if logits.shape[1] == 1 else logits)
    return fairness_metrics(judged.target, judged.protected, found, faces.groups)["worst_group_accuracy"]


def fit(inputs: np.ndarray, target: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Return weight, float64 (outputs, features), and bias (outputs,) of an l1-penalised logistic regression on standardised inputs.

    Of more than two targets there is one regression for each, against all others. They apply to the unstandardised inputs: w / s and b - sum(w m / s), with the inputs' means m and standard
    deviations s.
    """
    from sklearn.linear_model import LogisticRegression  # takes a second to load
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(inputs.astype(np.float64))
    scaled, targets = scaler.transform(inputs), int(target.max()) + 1
    weights, biases = [], []
    for number in [1] if targets == 2 else range(targets):
        model = LogisticRegression(C=strength, l1_ratio=1, solver="liblinear", max_iter=1000, random_state=0)
        model.fit(scaled, target == number)
        weights.append(model.coef_[0] / scaler.scale_)
        biases.append(model.intercept_[0] - weights[-1] @ scaler.mean_)
    return np.array(weights), np.array(biases)
