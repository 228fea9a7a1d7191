"""Fine-tune few tensors or weights, chosen by one of `models.criteria`; not in the paper, to compare its two rankings with.

Departures from the sources named there: a weight is chosen or not, where some choose learning rates; the unbiased images are balanced
synthetic ones; the gradient of a batch is that of 32 images with batch norm in train mode. GPS takes as many weights of every neuron,
and a gradient by another loss; here it is a share of them, and the gradient of the cross-entropy.
"""

from dataclasses import replace
from typing import Literal

import pandas as pd
from torch import nn

from datasets.images import LabelledImages
from datasets.synthetic import SyntheticSets
from models.batches import Compute, lone_images_named, of_mean_gradients, train_batches
from models.criteria import (
    CRITERIA,
    Moments,
    highest,
    highest_of_neurons,
    highest_weights,
    moments,
    parts_by,
    tensor_scores,
)
from models.facts import says
from models.options import BiasDegree, PositiveFraction
from models.run import Run, TrainedModel
from models.work import Sizes, Work, images_trained, one_fine_tuning
from utils.errors import UserError
from utils.seeds import torch_generator

BATCH = 32  # images: a few hundred then give a dozen batches, whose gradients can be compared
LEAST = 4  # batches that are compared with each other
COMPARED = ("snr", "agreement")  # criteria that compare batches
WEIGHTS_BY = {"weight": highest_weights, "neuron": highest_of_neurons}


def of_batches(compute: Compute) -> Compute:
    """Return the batches from which the scores are taken."""
    return replace(of_mean_gradients(compute), batch_size=min(BATCH, compute.batch_size))


def work(sizes: Sizes, compute: Compute, options: dict) -> Work:
    """Count the fine-tuning and a pass through the three sets."""
    seen = sum(images_trained(count, of_batches(compute)) for count in (sizes.train, sizes.biased, sizes.balanced))
    return one_fine_tuning(sizes, compute, options) + Work(trained=seen)


def check(options: dict) -> None:
    """Raise `UserError` if weights should be chosen by agreement, which has as many values as there are batches."""
    if options["by"] == "agreement" and options["unit"] != "tensor":
        raise UserError(
            f"criterion:by=agreement,unit={options['unit']}: too many weights agree alike; leave unit out, or take by=snr"
        )


@says(work=work, tuned=True, own_gradients=True, check=check)
def criterion(
    run: Run,
    biased_model: nn.Module,
    synthetic: SyntheticSets,
    *,
    by: Literal[*CRITERIA] = "gradient",
    share: PositiveFraction = 0.2,
    unit: Literal["tensor", *WEIGHTS_BY] = "tensor",
    bias_degree: BiasDegree,
) -> TrainedModel:
    """Fine-tune the fraction `share` with the highest scores by a criterion: of the tensors, of all weights, or of each neuron's weights.

    The table `criterion` has a row for each tensor: name, score, and if it is chosen; with weights or neurons: name, number of weights,
    and number of those that are chosen. Raises `UserError` if the balanced images make too few batches to compare.
    """
    weights = {name: parameter.detach() for name, parameter in biased_model.named_parameters()}
    parts = parts_by(by, weights, *moments_by(run, biased_model, synthetic, by))
    table = {"name": list(parts)}
    if unit == "tensor":
        scores = tensor_scores(by, parts)
        only = highest(scores, share)
        table |= {"score": scores.values(), "chosen": [name in only for name in parts]}
    else:
        only = WEIGHTS_BY[unit]({name: each.of_weights() for name, each in parts.items()}, share)
        table |= {"weights": [tensor.numel() for tensor in weights.values()]}
        table |= {"chosen": [int(only[name].sum()) if name in only else 0 for name in parts]}
    label = f"{by} {share}" + ("" if unit == "tensor" else f" by {unit}")
    return run.fine_tune(biased_model, synthetic, only=only, label=label, tables={"criterion": pd.DataFrame(table)})


def moments_by(run: Run, model: nn.Module, synthetic: SyntheticSets, by: str) -> list[Moments]:
    """Return the moments of real, biased and balanced images. Raises `UserError` if the balanced ones make too few batches for `by`."""
    found = moments_of(
        run, model, "criterion", real=run.real["train"], biased=synthetic.biased, balanced=synthetic.balanced
    )
    if by in COMPARED and found[-1].count < LEAST:
        size = of_batches(run.settings.compute).batch_size
        raise UserError(
            f"criterion:by={by} compares batches, at least {LEAST}, and the balanced images make {found[-1].count} of {size}; raise "
            "--number-balanced-synthetic, or take another criterion"
        )
    return found


def moments_of(run: Run, model: nn.Module, stream: str, **sets: LabelledImages) -> list[Moments]:
    """Return the moments of a model's gradients on some sets of images, each with a random stream by `stream` and its name."""
    compute, found = of_batches(run.settings.compute), []
    for name, data in sets.items():
        batches = train_batches(data, compute, torch_generator(run.seed, f"{stream} {name}"))
        with lone_images_named():
            found.append(moments(model, batches, amp=compute.amp))
    return found
