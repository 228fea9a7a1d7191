"""Surgical fine-tuning, Auto-RGN: learning rates by relative gradient norms (Lee et al., ICLR 2023).

Before every epoch the relative gradient norm ||g|| / ||theta|| of each layer, divided by the largest, becomes its
fraction of the learning rate. The gradient is the mean over the balanced synthetic set at the current weights. No layer
is chosen by hand, and no biased synthetic image is needed.

A layer is a parameter tensor here, as for all methods of this project. Departures from the paper and its authors' code:
    data            balanced synthetic images; the paper fine-tunes on a few real images of the target domain
    batch norm      its scales and shifts change like all tensors; the authors' code leaves them out
    gradient norm   of the mean gradient over the whole set; theirs is the mean of the norms of at most five batches, in
                    which the noise of single batches stays
    optimizer       SGD with the momentum, learning rate and schedule of the other fine-tunings; theirs is Adam,
                    restarted in every epoch, with the best of five learning rates from 0.1 to 0.00001 by val accuracy
    criterion       Auto-RGN only; Auto-SNR, which freezes layers by a threshold, is not implemented
"""

import torch
from torch import nn

from datasets.synthetic import SyntheticSets
from models.batches import Compute, of_mean_gradients, train_batches
from models.facts import says
from models.methods.fine_tuning import names_of
from models.run import Run, TrainedModel
from models.selection import Gradients, mean_gradients
from models.work import Sizes, Work, images_trained, one_fine_tuning
from utils.seeds import torch_generator


def work(sizes: Sizes, compute: Compute, options: dict) -> Work:
    """Count the fine-tuning and a mean gradient before every epoch."""
    seen = images_trained(sizes.balanced, of_mean_gradients(compute))
    return one_fine_tuning(sizes, compute, options) + Work(trained=sizes.fine_epochs * seen)


@says(work=work)
def surgical(run: Run, biased_model: nn.Module, synthetic: SyntheticSets) -> TrainedModel:
    """Fine-tune all tensors, each at the learning rate times its relative gradient norm."""
    compute = of_mean_gradients(run.settings.compute)

    def fractions(model: nn.Module, epoch: int) -> dict[str, float]:
        # each epoch has its own stream: training draws the same batches as `full`, and a resumed one repeats the
        # fractions
        batches = train_batches(synthetic.balanced, compute, torch_generator(run.seed, "surgical", epoch))
        return relative_norms(mean_gradients(model, batches, amp=compute.amp), dict(model.named_parameters()))

    names = names_of(biased_model)
    return run.fine_tune(biased_model, synthetic, only=names, label="surgical", rate_fractions=fractions)


def relative_norms(gradients: Gradients, parameters: dict[str, torch.Tensor]) -> dict[str, float]:
    """Return ||gradient|| / ||parameter|| for each tensor, divided by the largest ratio: fractions from 0 to 1.

    A tensor that is zero throughout has no ratio; its fraction is 1.
    """
    norms = {name: (gradients[name].norm().item(), parameters[name].detach().norm().item()) for name in parameters}
    ratios = {name: gradient / size for name, (gradient, size) in norms.items() if size}
    largest = max(ratios.values(), default=0.0) or 1.0
    return {name: ratios[name] / largest if name in ratios else 1.0 for name in parameters}
