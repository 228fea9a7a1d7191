"""The best of AIM-Fair, full fine-tuning and linear probing, each with three settings, and of the biased model.

`models.candidates.settings_to_try` has the settings, `models.auto` the choice. It is for a pair, images or a network for which nobody
knows the settings; it is not in the paper. results/records/settings_rule shows on recorded runs what such a choice is worth.
"""

from torch import nn

from datasets.synthetic import SyntheticSets
from models.auto import take_best
from models.facts import says
from models.run import Run, TrainedModel


@says(chosen_from=("aim-fair", "full", "linear-probe"))
def auto(run: Run, biased_model: nn.Module, synthetic: SyntheticSets) -> TrainedModel:
    """Take the best of the results that were recorded before."""
    return take_best(run, biased_model, synthetic)
