"""Fine-tuning a biased model on balanced synthetic images, each method with other tensors (Tables 3 and 4)."""

from collections.abc import Callable

import numpy as np

from datasets.synthetic import SyntheticPlan
from models.aim_fair import choose_tensors
from models.seed_run import Outcome, SeedRun
from utils.seeds import derived_seed

BLOCKS = {
    "stem": ("conv1.", "bn1."),
    "1": ("layer1.",),
    "2": ("layer2.",),
    "3": ("layer3.",),
    "4": ("layer4.",),
    "fc": ("fc.",),
}
Train = Callable[[SeedRun, dict, SyntheticPlan], Outcome]


def full(run: SeedRun, options: dict, plan: SyntheticPlan) -> Outcome:
    """All tensors."""
    return run.fine_tune(tensor_names(run), plan, label="full")


def update_block(block: str) -> Train:
    """The tensors of one block; that of "fc" alone is linear probing."""

    def train(run: SeedRun, options: dict, plan: SyntheticPlan) -> Outcome:
        return run.fine_tune(in_block(tensor_names(run), block), plan, label=f"update {block}")

    return train


def freeze_block(block: str) -> Train:
    """All tensors but those of one block."""

    def train(run: SeedRun, options: dict, plan: SyntheticPlan) -> Outcome:
        names = tensor_names(run)
        frozen = in_block(names, block)
        return run.fine_tune([name for name in names if name not in frozen], plan, label=f"freeze {block}")

    return train


def random_mask(run: SeedRun, options: dict, plan: SyntheticPlan) -> Outcome:
    """A share of the tensors, drawn by the seed and the number of the draw."""
    chosen = random_tensors(tensor_names(run), options["share"], run.seed, options["draw"])
    return run.fine_tune(chosen, plan, label=f"random {options['share']}, draw {options['draw']}")


def ranked(measure: str) -> Train:
    """The tensors that both rankings choose: AIM-Fair, by "absolute" gaps or by those of the "cosine"."""

    def train(run: SeedRun, options: dict, plan: SyntheticPlan) -> Outcome:
        sensitivity = run.sensitivity(plan)
        chosen = choose_tensors(sensitivity, options["top-k"], measure)
        table = sensitivity.assign(chosen=sensitivity["name"].isin(chosen))
        return run.fine_tune(chosen, plan, label=f"fine-tune, k {options['top-k']}", tables={"sensitivity": table})

    return train


def tensor_names(run: SeedRun) -> list[str]:
    """The parameter tensors of the biased model, in its order."""
    return [name for name, _ in run.biased_model().named_parameters()]


def in_block(names: list[str], block: str) -> list[str]:
    """Those of the tensors that belong to a block of a ResNet."""
    return [name for name in names if name.startswith(BLOCKS[block])]


def random_tensors(names: list[str], share: float, seed: int, draw: int) -> list[str]:
    """`share` of the tensors (rounded, at least one), drawn without replacement, in the order of `names`."""
    draws = np.random.default_rng(derived_seed(seed, "random mask", round(1000 * share), draw))
    size = max(1, round(share * len(names)))
    return [names[i] for i in sorted(draws.choice(len(names), size=size, replace=False))]
