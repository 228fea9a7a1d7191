"""Training from the start with synthetic images in place of the real ones or beside them (the paper's Table 3)."""

import numpy as np

from datasets.images import FaceSet, MixedSet
from datasets.pairs import cell_labels
from datasets.synthetic import SyntheticPlan
from models.seed_run import Outcome, SeedRun
from utils.errors import UserError


def synthetic_only(run: SeedRun, options: dict, plan: SyntheticPlan) -> Outcome:
    """Train on the balanced synthetic set alone."""
    return run.pre_train(run.balanced(plan), label="synthetic-only")


def supplement(run: SeedRun, options: dict, plan: SyntheticPlan) -> Outcome:
    """Train on the real images and the balanced synthetic set together ("data supplementation")."""
    data = MixedSet((run.experiment.real["train"], run.balanced(plan)))
    return run.pre_train(data, label="supplement")


def repair(run: SeedRun, options: dict, plan: SyntheticPlan) -> Outcome:
    """Train on the real images with the short cells filled up by synthetic ones ("data repairing").

    It counts the cells of the real images, so it needs their protected labels.
    """
    data = MixedSet((run.experiment.real["train"], run.balanced(plan)))  # its plan asks for what is short
    return run.pre_train(data, label="repair")


def short_of_largest(data: FaceSet) -> dict[str, int]:
    """How many images each cell has less than the largest one. Raises `UserError` where a protected label is missing."""
    if (data.protected < 0).any():
        raise UserError("repair counts the cells of the real images, and some protected labels are missing in train")
    labels = {cell: cell_labels(cell) for cell in data.cells}
    counts = {cell: int(np.sum((data.target == t) & (data.protected == p))) for cell, (t, p) in labels.items()}
    return {cell: max(counts.values()) - count for cell, count in counts.items()}
