"""AIM-Fair: train a biased classifier, then make it fairer by fine-tuning few of its tensors on synthetic faces.

    python train.py --real-data-path DIR --synthetic-data-root DIR --target-sensitive Smiling_Male --output DIR

The method has four steps:
    1. A generator draws synthetic faces from prompts, equally many for each group (target x protected attribute), with
       stable_diffusion/. This script reads them.
    2. `erm`: a classifier learns the target from real faces in which target and protected attribute correlate, and so
       learns that bias.
    3. `selective_mask`: three mean gradients at the biased weights show which tensors react strongly to the bias and
       weakly to the difference between real and synthetic faces.
    4. `aim_fair`: only these tensors are fine-tuned, on balanced synthetic faces.

The defaults are the paper's (models/settings.py): 15 epochs of pre-training and 10 of fine-tuning, k = 55, ten seeds.
Each training keeps the weights of the epoch with the best accuracy on real val. Each seed and method leaves a record in
<output>/<method>/seed_<n>/ and is not run again; <output>/summary.md has a table over seeds.

--methods names further methods to compare with. They share a seed's biased model and its gradients:
    on real images             erm cvar-dro lff jtt eiil, and group-dro, which trains on protected labels
    with synthetic images      synthetic-only supplement repair ffr
    fine-tuned on synthetic    linear-probe full random-mask cosine criterion surgical last-layer aim-fair blocks
                               update-block-N freeze-block-N (N: stem, 1, 2, 3, 4, fc; for another --network its
                               children, see docs/networks.md)
erm always runs, because its result is the biased model. Options follow a colon: aim-fair:top-k=50,
random-mask:share=0.4,draw=2, blocks:update=stem+fc, full:repeat=2. Methods with synthetic images also have the options ratio (number
of synthetic to real images) and prompt-type: aim-fair:ratio=0.5, synthetic-only:prompt-type=plain.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # Python leaves it out if PYTHONSAFEPATH is set

from models.settings import Settings
from utils.errors import command_line
from utils.settings import parse
from utils.streams import keep_streams

if __name__ == "__main__":
    # --help and a refused flag answer at once: what follows loads torch, which takes seconds
    keep_streams()
    parse(Settings, __doc__)

import pandas as pd
from torch import nn

from datasets.synthetic import SyntheticSets
from models.experiment import Experiment
from models.facts import says
from models.methods import COMPARISONS
from models.options import BiasDegree, TopK
from models.run import Run, TrainedModel
from models.selection import choose_tensors, with_choice
from models.sharing import share, work_of
from models.stages import record, report_diverged, stages
from models.timing import estimate
from models.work import one_fine_tuning, one_training
from results.summary import write_summary
from utils.cost import check_flags, report
from utils.workers import run_workers, starts_workers


@says(work=one_training, from_scratch=True)
def erm(run: Run) -> TrainedModel:
    """Step 2: train the biased model, by empirical risk minimisation on biased real faces, without protected labels."""
    return run.pre_train(run.real["train"], label="pre-train")


def selective_mask(run: Run, synthetic: SyntheticSets, top_k: int) -> tuple[list[str], pd.DataFrame]:
    """Step 3: return the names of the tensors to fine-tune, and a table of all tensors with their gaps and ranks.

    Three mean gradients at the biased weights are compared: on real, biased synthetic and balanced synthetic faces. The
    domain gap of a tensor is mean |real - biased|, its bias gap mean |biased - balanced|. The mask has the tensors that
    are both among the `top_k` smallest domain gaps and among the `top_k` largest bias gaps (paper, section 3.3).
    """
    sensitivity = run.rank(synthetic, top_k)  # the gaps and ranks of every tensor
    chosen = choose_tensors(sensitivity, top_k)
    return chosen, with_choice(sensitivity, chosen, top_k)


@says(work=one_fine_tuning, tuned=True)
def aim_fair(
    run: Run, biased_model: nn.Module, synthetic: SyntheticSets, *, top_k: TopK, bias_degree: BiasDegree
) -> TrainedModel:
    """Step 4: fine-tune only the tensors of the mask, on balanced synthetic faces.

    `bias_degree` is the ratio of minority to majority in `synthetic.biased`; the caller has drawn that set with it.
    """
    chosen, sensitivity = selective_mask(run, synthetic, top_k)
    tables = {"sensitivity": sensitivity}
    return run.fine_tune(biased_model, synthetic, only=chosen, label=f"fine-tune, k {top_k}", tables=tables)


# A method is a function of a run. If its parameters name them, it also gets `biased_model`, a copy of erm's model, and
# `synthetic`, the synthetic faces. Its keyword arguments are its options; an option without a default takes the value
# of the flag of that name. Your own method goes into models/methods/, with two lines in its __init__.py.
METHODS = {"erm": erm, **COMPARISONS, "aim-fair": aim_fair}


def main() -> None:
    """Run every method with every seed, unless it is recorded."""
    settings = parse(Settings, __doc__)
    for_dry_run = ("no_estimate", "cost_rows", "images_to_come", "prompts")
    check_flags(settings.dry_run, **{name: getattr(settings, name) for name in for_dry_run})
    experiment = Experiment(settings, METHODS)  # finds faults before anything is trained
    if settings.dry_run:
        print(experiment.describe())
        if not settings.no_estimate:
            report(estimate(settings, experiment.methods, experiment.lists, experiment.finals), settings.cost_rows)
        return
    if starts_workers(settings) and (work := work_of(experiment)).left:
        run_workers(work, settings.workers, settings.submit)  # each does what follows
    else:
        experiment.load()
        for methods in stages(experiment):  # what trains; then what chooses among the results
            for method, run in share(experiment, methods):  # a run for each seed, erm first
                record(experiment, method, run)  # trains it, tests the model, writes the record
    print(write_summary(settings.output))
    print(f"records, weights and summary.md: {settings.output}")
    report_diverged(experiment)


if __name__ == "__main__":
    command_line(main)
