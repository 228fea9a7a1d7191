"""AIM-Fair: train a biased classifier, then make it fairer by fine-tuning few of its tensors on synthetic faces.

    python train.py --real-data-path DIR --synthetic-data-root DIR --target-sensitive Smiling_Male --output DIR

The method has four steps:
    1. A generator draws synthetic faces from prompts, the same number for each group (target x protected attribute): see
       stable_diffusion/. Here they are read.
    2. `erm`: a classifier learns the target from real faces in which it correlates with the protected attribute, and
       learns that bias.
    3. `selective_mask`: three mean gradients at the biased weights tell which tensors react strongly to the bias and
       weakly to the difference between real and synthetic faces.
    4. `aim_fair`: those alone are fine-tuned on balanced synthetic faces.

The defaults are the paper's (models/settings.py): 15 epochs of pre-training and 10 of fine-tuning, k = 55, ten seeds. Of every
training the epoch with the best accuracy on real val is kept. For each seed and method a record goes to
<output>/<method>/seed_<n>/, and a table over seeds to <output>/summary.md; what is recorded is not run again.

--methods takes any number of others to compare with, which share a seed's biased model and its gradients:
    real images alone          erm cvar-dro lff jtt eiil, and group-dro, which trains on protected labels
    with synthetic ones        synthetic-only supplement repair ffr
    fine-tuned on synthetic    linear-probe full random-mask cosine surgical last-layer aim-fair update-block-N freeze-block-N
                               (N: stem, 1, 2, 3, 4, fc; of another --network its own children: docs/networks.md)
erm always runs: it is the biased model of the others. Options follow a colon: aim-fair:top-k=50, random-mask:share=0.4,draw=2,
jtt:epochs=2,weight=20. All that draw synthetic images also have ratio (of their number to that of real images) and
prompt-type: aim-fair:ratio=0.5, synthetic-only:prompt-type=plain.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # Python leaves it out if PYTHONSAFEPATH is set

import pandas as pd
from torch import nn

from datasets.synthetic import SyntheticSets
from models.experiment import Experiment
from models.facts import says
from models.methods import COMPARISONS
from models.options import BiasDegree, TopK
from models.run import Run, TrainedModel
from models.selection import choose_tensors, with_choice
from models.settings import Settings
from models.timing import estimate
from models.work import one_fine_tuning, one_training
from results.summary import write_summary
from utils.cost import check_flags, report
from utils.errors import command_line
from utils.settings import parse


@says(work=one_training)
def erm(run: Run) -> TrainedModel:
    """Step 2: the biased model, by empirical risk minimisation on biased real faces. No protected label is used."""
    return run.pre_train(run.real["train"], label="pre-train")


def selective_mask(run: Run, synthetic: SyntheticSets, top_k: int) -> tuple[list[str], pd.DataFrame]:
    """Step 3: return the names of the tensors to fine-tune, and how each tensor ranks.

    Three mean gradients at the biased weights are compared: on real, on biased synthetic and on balanced synthetic faces.
    Of each tensor, mean |real - biased| is the domain gap and mean |biased - balanced| the bias gap. The mask is what is both
    among the `top_k` tensors with the smallest domain gap and among the `top_k` with the largest bias gap (paper, section 3.3).
    """
    sensitivity = run.rank(synthetic, top_k)  # the gaps of every tensor, and their ranks
    chosen = choose_tensors(sensitivity, top_k)
    return chosen, with_choice(sensitivity, chosen, top_k)


@says(work=one_fine_tuning)
def aim_fair(
    run: Run, biased_model: nn.Module, synthetic: SyntheticSets, *, top_k: TopK, bias_degree: BiasDegree
) -> TrainedModel:
    """Step 4: fine-tune the tensors of the mask alone, on balanced synthetic faces.

    `bias_degree`, minority to majority, is that of `synthetic.biased`, which is drawn by it before this is called.
    """
    chosen, sensitivity = selective_mask(run, synthetic, top_k)
    tables = {"sensitivity": sensitivity}
    return run.fine_tune(biased_model, synthetic, only=chosen, label=f"fine-tune, k {top_k}", tables=tables)


# A method is a function of a run. It gets what else its parameters name: `biased_model`, a copy of the one that erm has left,
# and `synthetic`, the synthetic faces. Its keyword arguments are its options; one without a default takes the value of the flag
# of that name. Your own goes into models/methods/, with a line in its __init__.py.
METHODS = {"erm": erm, **COMPARISONS, "aim-fair": aim_fair}


def main() -> None:
    """Every method of every seed that is not recorded yet."""
    settings = parse(Settings, __doc__)
    check_flags(settings.dry_run, settings.no_estimate, settings.cost_rows)
    experiment = Experiment(settings, METHODS)  # finds what is wrong before anything is trained
    if settings.dry_run:
        print(experiment.describe())
        if not settings.no_estimate:
            report(estimate(settings, experiment.methods, experiment.lists), settings.cost_rows)
        return
    experiment.load()
    for run in experiment.runs():  # one for each seed
        for method in experiment.methods:  # erm first
            experiment.record(method, run)  # calls its function, tests the model, writes the record
    print(write_summary(settings.output))
    print(f"records, weights and summary.md: {settings.output}")


if __name__ == "__main__":
    command_line(main)
