"""FFR, from fake to real: balanced synthetic images first, the real ones after them (Qraitem et al., arXiv 2308.04553).

The two are never mixed, so that the network can't learn whether an image is synthetic as a cue to its label; what it has
learned from balanced images is where the training on biased ones starts. Of the losses that the paper tries in the second
step this is plain ERM. Departures: both trainings have ERM's schedule here, where the paper has its own, and each keeps the
epoch that does best on real val, the first one included.
"""

from datasets.synthetic import SyntheticSets
from models.batches import Compute
from models.facts import says
from models.run import Run, TrainedModel
from models.work import Sizes, Work, on_balanced, on_real


def work(sizes: Sizes, compute: Compute, options: dict) -> Work:
    """Count both trainings."""
    return on_balanced(sizes, compute) + on_real(sizes, compute)


@says(work=work)
def ffr(run: Run, synthetic: SyntheticSets) -> TrainedModel:
    """Train on the balanced synthetic set, and from there on the real images."""
    first = run.pre_train(synthetic.balanced, label="ffr, synthetic")
    return run.pre_train(run.real["train"], label="ffr, real", network=first.model)
