"""Fine-tune few tensors, chosen by one of `models.criteria`; not in the paper, to compare its two rankings with.

Departures from the sources named there: a tensor is chosen or not, where some choose single weights or learning rates; the unbiased
images are balanced synthetic ones; the gradient of a batch is that of 32 images with batch norm in train mode.
"""

from dataclasses import replace
from typing import Literal

import pandas as pd
from torch import nn

from datasets.images import LabelledImages
from datasets.synthetic import SyntheticSets
from models.batches import Compute, lone_images_named, of_mean_gradients, train_batches
from models.criteria import CRITERIA, Moments, highest, moments
from models.facts import says
from models.options import BiasDegree, PositiveFraction
from models.run import Run, TrainedModel
from models.work import Sizes, Work, images_trained, one_fine_tuning
from utils.errors import UserError
from utils.seeds import torch_generator

BATCH = 32  # images: a few hundred then give a dozen batches, whose gradients can be compared
LEAST = 4  # batches that are compared with each other
COMPARED = ("snr", "agreement")  # criteria that compare batches


def of_batches(compute: Compute) -> Compute:
    """Return the batches from which the scores are taken."""
    return replace(of_mean_gradients(compute), batch_size=min(BATCH, compute.batch_size))


def work(sizes: Sizes, compute: Compute, options: dict) -> Work:
    """Count the fine-tuning and a pass through the three sets."""
    seen = sum(images_trained(count, of_batches(compute)) for count in (sizes.train, sizes.biased, sizes.balanced))
    return one_fine_tuning(sizes, compute, options) + Work(trained=seen)


@says(work=work, tuned=True, own_gradients=True)
def criterion(
    run: Run,
    biased_model: nn.Module,
    synthetic: SyntheticSets,
    *,
    by: Literal[*CRITERIA] = "gradient",
    share: PositiveFraction = 0.2,
    bias_degree: BiasDegree,
) -> TrainedModel:
    """Fine-tune the fraction `share` of the tensors that has the highest scores by a criterion.

    Its table `criterion` has a row for each tensor: name, score, chosen. Raises `UserError` if the balanced images give too few
    batches to compare.
    """
    real, biased, balanced = set_moments(
        run, biased_model, "criterion", real=run.real["train"], biased=synthetic.biased, balanced=synthetic.balanced
    )
    if by in COMPARED and balanced.count < LEAST:
        size = of_batches(run.settings.compute).batch_size
        raise UserError(
            f"criterion:by={by} compares batches, at least {LEAST}, and the balanced images make {balanced.count} of {size}; raise "
            "--number-balanced-synthetic, or take another criterion"
        )
    weights = {name: parameter.detach() for name, parameter in biased_model.named_parameters()}
    scores = CRITERIA[by](weights, real, biased, balanced)
    chosen = highest(scores, share)
    table = pd.DataFrame(
        {"name": list(scores), "score": scores.values(), "chosen": [name in chosen for name in scores]}
    )
    return run.fine_tune(biased_model, synthetic, only=chosen, label=f"{by} {share}", tables={"criterion": table})


def set_moments(run: Run, model: nn.Module, stream: str, **sets: LabelledImages) -> list[Moments]:
    """Return the moments of a model's gradients on some sets of images, each with a random stream by `stream` and its name."""
    compute, found = of_batches(run.settings.compute), []
    for name, data in sets.items():
        batches = train_batches(data, compute, torch_generator(run.seed, f"{stream} {name}"))
        with lone_images_named():
            found.append(moments(model, batches, amp=compute.amp))
    return found
