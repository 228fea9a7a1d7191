"""Training from the start with synthetic images in place of the real ones or beside them (the paper's Table 3)."""

from datasets.images import LabelledImages, MixedSet
from datasets.synthetic import SyntheticSets
from models.facts import says
from models.labels import counts_groups
from models.run import Run, TrainedModel
from models.work import on_balanced, one_training
from utils.errors import UserError


@says(work=lambda sizes, compute, options: on_balanced(sizes, compute))
def synthetic_only(run: Run, synthetic: SyntheticSets) -> TrainedModel:
    """Train on the balanced synthetic set alone."""
    return run.pre_train(synthetic.balanced, label="synthetic-only")


@says(work=one_training)
def supplement(run: Run, synthetic: SyntheticSets) -> TrainedModel:
    """Train on the real images and the balanced synthetic set together ("data supplementation")."""
    return run.pre_train(MixedSet((run.real["train"], synthetic.balanced)), label="supplement")


def short_of_largest(data: LabelledImages) -> dict[str, int]:
    """How many images each group has less than the largest one. Raises `UserError` where a protected label is missing."""
    if (data.protected < 0).any():
        raise UserError("repair counts the groups of the real images, and some protected labels are missing in train")
    counts = data.group_counts()
    return {group: max(counts.values()) - count for group, count in counts.items()}


@says(work=one_training, group_sizes=short_of_largest, protected_labels=counts_groups)
def repair(run: Run, synthetic: SyntheticSets) -> TrainedModel:
    """Train on the real images, with synthetic ones filling up the short groups ("data repairing").

    It counts the groups of the real images, so it needs their protected labels.
    """
    return run.pre_train(MixedSet((run.real["train"], synthetic.balanced)), label="repair")
