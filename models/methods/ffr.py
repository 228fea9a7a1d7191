"""FFR, from fake to real: train on balanced synthetic images, then on the real ones (Qraitem et al., arXiv 2308.04553).

The two sets are never mixed, so the network can't use the look of synthetic images as a cue to the label. Of the losses
that the paper tries in the second step, this is plain ERM. Departures: both trainings have ERM's schedule, not the
paper's, and each keeps its best epoch on real val.
"""

from datasets.synthetic import SyntheticSets
from models.batches import Compute
from models.facts import says
from models.run import Run, TrainedModel
from models.work import Sizes, Work, on_balanced, on_real


def work(sizes: Sizes, compute: Compute, options: dict) -> Work:
    """Count both trainings."""
    return on_balanced(sizes, compute) + on_real(sizes, compute)


@says(work=work, from_scratch=True)
def ffr(run: Run, synthetic: SyntheticSets) -> TrainedModel:
    """Train on the balanced synthetic set, then continue on the real images."""
    first = run.pre_train(synthetic.balanced, label="ffr, synthetic")
    return run.pre_train(run.real["train"], label="ffr, real", network=first.model)
