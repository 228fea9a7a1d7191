"""Fine-tune few tensors, chosen by one of `models.criteria`; not in the paper, to compare its two rankings with.

Departures from the sources named there: a tensor is chosen or not, where some choose single weights or learning rates; the unbiased
images are balanced synthetic ones; the gradient of a batch is that of 32 images with batch norm in train mode.
"""

from dataclasses import replace
from typing import Literal

from torch import nn

from datasets.synthetic import SyntheticSets
from models.batches import Compute, of_mean_gradients, train_batches
from models.criteria import CRITERIA, highest, moments
from models.facts import says
from models.options import BiasDegree, PositiveFraction
from models.run import Run, TrainedModel
from models.work import one_fine_tuning
from utils.seeds import torch_generator

BATCH = 32  # images: a few hundred then give a dozen batches, whose gradients can be compared


def of_batches(compute: Compute) -> Compute:
    """Return the batches from which the scores are taken."""
    return replace(of_mean_gradients(compute), batch_size=min(BATCH, compute.batch_size))


@says(work=one_fine_tuning, tuned=True)  # whoever has a bias degree counts as taking gradients on all three sets
def criterion(
    run: Run,
    biased_model: nn.Module,
    synthetic: SyntheticSets,
    *,
    by: Literal[*CRITERIA] = "ratio",
    share: PositiveFraction = 0.2,
    bias_degree: BiasDegree,
) -> TrainedModel:
    """Fine-tune the fraction `share` of the tensors that has the highest scores by a criterion."""
    compute, found = of_batches(run.settings.compute), []
    sets = {"real": run.real["train"], "biased": synthetic.biased, "balanced": synthetic.balanced}
    for name, data in sets.items():
        batches = train_batches(data, compute, torch_generator(run.seed, f"criterion {name}"))
        found.append(moments(biased_model, batches, amp=compute.amp))
    weights = {name: parameter.detach() for name, parameter in biased_model.named_parameters()}
    chosen = highest(CRITERIA[by](weights, *found), share)
    return run.fine_tune(biased_model, synthetic, only=chosen, label=f"{by} {share}")
