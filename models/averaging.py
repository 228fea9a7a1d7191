"""The mean of a network's weights after several epochs, and batch norm's statistics for it.

Stochastic weight averaging: Izmailov et al., UAI 2018, arXiv 1803.05407.
"""

from itertools import islice

import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from models.batches import Compute, train_batches
from models.weights import State

STATISTICS_BATCHES = 20  # batches of images from which running statistics are estimated


def add_to_mean(mean: State | None, state: State, count: int) -> State:
    """Return the mean of `count` states from the `mean` of the earlier ones and the last `state`; integers are the last state's."""
    if count <= 1:
        return state
    return {
        name: torch.lerp(mean[name].to(value.device), value, 1 / count) if value.is_floating_point() else value
        for name, value in state.items()
    }


def estimate_statistics(model: nn.Module, data, compute: Compute, generator: torch.Generator) -> None:
    """Set batch norm's running statistics, in place, to their means over training batches of `data`."""
    batches = train_batches(data, compute, generator)
    update_bn((batch.inputs for batch in islice(batches, STATISTICS_BATCHES)), model)


def batch_norms(model: nn.Module) -> list[nn.Module]:
    """Return the layers of batch norm."""
    return [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
