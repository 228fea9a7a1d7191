"""AIM-Fair: train a biased classifier, then make it fairer by fine-tuning few of its tensors on synthetic faces.

    python train.py --real-data-path DIR --synthetic-data-root DIR --target-sensitive Smiling_Male --output DIR

The method has four steps:
    1. A generator draws synthetic faces from prompts, as many of each cell (target x protected attribute): see
       stable_diffusion/. Here they are read.
    2. `erm`: a classifier learns the target from real faces in which it goes with the protected attribute, and learns
       that bias.
    3. `selective_mask`: three mean gradients at the biased weights tell which tensors react strongly to the bias and
       weakly to the difference between real and synthetic faces.
    4. `aim_fair`: those alone are fine-tuned on balanced synthetic faces.

The defaults are the paper's. For each seed and method a record goes to <output>/<method>/seed_<n>/, and a table over
seeds to <output>/summary.md; what is recorded is not run again.

--methods takes any number of others to compare with, which share a seed's biased model and its gradients:
    real images alone          erm cvar-dro lff jtt eiil, and group-dro, which trains on protected labels
    with synthetic ones        synthetic-only supplement repair
    fine-tuned on synthetic    linear-probe full update-block-N freeze-block-N (stem, 1, 2, 3, 4, fc) random-mask
                               cosine aim-fair
Options follow a colon: aim-fair:top-k=50, aim-fair:ratio=0.5, aim-fair:bias-degree=2/8, random-mask:share=0.4,draw=2,
synthetic-only:prompt-type=plain, jtt:epochs=2,weight=20.
"""

import pandas as pd
from torch import nn

from datasets.synthetic import SyntheticSets
from models.experiment import Experiment
from models.methods import COMPARISONS
from models.options import BiasDegree, TopK
from models.run import Outcome, Run
from models.selection import choose_tensors, sensitivity_table
from models.settings import Settings
from results.summary import write_summary
from utils.errors import command_line
from utils.settings import parse


def erm(run: Run) -> Outcome:
    """Step 2: the biased model, by empirical risk minimisation on biased real faces. No protected label is used."""
    return run.pre_train(run.real["train"], label="pre-train")


def selective_mask(run: Run, synthetic: SyntheticSets, top_k: int) -> tuple[list[str], pd.DataFrame]:
    """Step 3: the names of the tensors to fine-tune, and how each tensor ranks.

    Biased real and biased synthetic faces differ in the domain, biased and balanced synthetic ones in the bias. So the
    gaps between their gradients tell the `top_k` tensors that react least to the domain and the `top_k` that react most to
    the bias; the mask is what is among both (paper, section 3.3).
    """
    real, biased, balanced = run.three_gradients(synthetic)
    sensitivity = sensitivity_table(real, biased, balanced)
    chosen = choose_tensors(sensitivity, top_k)
    return chosen, sensitivity.assign(chosen=sensitivity["name"].isin(chosen))


def aim_fair(
    run: Run, biased_model: nn.Module, synthetic: SyntheticSets, *, top_k: TopK, bias_degree: BiasDegree
) -> Outcome:
    """Step 4: fine-tune the tensors of the mask alone, on balanced synthetic faces (`bias_degree`: of the biased ones)."""
    chosen, sensitivity = selective_mask(run, synthetic, top_k)
    tables = {"sensitivity": sensitivity}
    return run.fine_tune(biased_model, synthetic, only=chosen, label=f"fine-tune, k {top_k}", tables=tables)


METHODS = {"erm": erm, **COMPARISONS, "aim-fair": aim_fair}


def main() -> None:
    """Every method of every seed that is not recorded yet."""
    settings = parse(Settings, __doc__)
    experiment = Experiment(settings, METHODS)  # finds what is wrong before anything is trained
    if settings.dry_run:
        print(experiment.describe())
        return
    experiment.load()
    for run in experiment.runs():  # one for each seed
        for method in experiment.methods:
            experiment.record(method, run)
    print(write_summary(settings.output))
    print(f"records, weights and summary.md: {settings.output}")


if __name__ == "__main__":
    command_line(main)
