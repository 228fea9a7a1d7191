"""Training from scratch on synthetic images, alone or together with the real ones (the paper's Table 3)."""

from datasets.images import LabelledImages, MixedSet
from datasets.synthetic import SyntheticSets
from models.facts import says
from models.labels import counts_groups
from models.run import Run, TrainedModel
from models.work import on_balanced, one_training
from utils.errors import UserError


@says(work=lambda sizes, compute, options: on_balanced(sizes, compute), from_scratch=True)
def synthetic_only(run: Run, synthetic: SyntheticSets) -> TrainedModel:
    """Train only on the balanced synthetic set."""
    return run.pre_train(synthetic.balanced, label="synthetic-only")


@says(work=one_training, from_scratch=True)
def supplement(run: Run, synthetic: SyntheticSets) -> TrainedModel:
    """Train on the real images together with the balanced synthetic set ("data supplementation")."""
    return run.pre_train(MixedSet((run.real["train"], synthetic.balanced)), label="supplement")


def short_of_largest(data: LabelledImages) -> dict[str, int]:
    """Return how many images each group lacks to the largest one.

    Raises `UserError` if a protected label is missing.
    """
    if (data.protected < 0).any():
        raise UserError("repair counts the groups of the real images, and some protected labels are missing in train")
    counts = data.group_counts()
    return {group: max(counts.values()) - count for group, count in counts.items()}


@says(work=one_training, group_sizes=short_of_largest, protected_labels=counts_groups, from_scratch=True)
def repair(run: Run, synthetic: SyntheticSets) -> TrainedModel:
    """Train on the real images, with smaller groups filled up by synthetic images ("data repairing").

    This counts the images of each real group, so it needs their protected labels.
    """
    return run.pre_train(MixedSet((run.real["train"], synthetic.balanced)), label="repair")
