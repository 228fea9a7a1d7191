"""Fine-tuning the biased model on balanced synthetic images, each method with other tensors (Tables 3 and 4)."""

from collections.abc import Callable

import numpy as np
from torch import nn

from datasets.synthetic import SyntheticSets
from models.facts import says
from models.options import BiasDegree, Count, PositiveFraction, TopK
from models.run import Run, TrainedModel
from models.selection import choose_tensors, with_choice
from models.work import one_fine_tuning, one_probing
from utils.seeds import derived_seed

# of ResNet; another network's are its own (`blocks_of`)
BLOCKS = {
    "stem": ("conv1.", "bn1."),
    "1": ("layer1.",),
    "2": ("layer2.",),
    "3": ("layer3.",),
    "4": ("layer4.",),
    "fc": ("fc.",),
}


@says(work=one_fine_tuning)
def full(run: Run, biased_model: nn.Module, synthetic: SyntheticSets) -> TrainedModel:
    """All tensors."""
    return run.fine_tune(biased_model, synthetic, only=names_of(biased_model), label="full")


def block_methods(blocks: dict[str, tuple[str, ...]], head: tuple[str, ...]) -> dict[str, Callable[..., TrainedModel]]:
    """Return a method that updates and one that freezes each block.

    `blocks` say how the names of their tensors begin, `head` how those of the last layer do.
    """
    update = {
        f"update-block-{block}": update_block(block, names, head=names == head) for block, names in blocks.items()
    }
    return update | {f"freeze-block-{block}": freeze_block(block, names) for block, names in blocks.items()}


def blocks_of(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """The blocks of any network, in its order: its children and tensors of its own.

    A child that holds nine tenths of all tensors is parted into its children in turn, or it would say nothing.
    """
    names, blocks = names_of(model), [""]
    while wide := [b for b in blocks if len(within(names, (b,))) >= 0.9 * len(names) and has_children(model, b)]:
        at = blocks.index(wide[0])
        depth = wide[0].count(".") + 1
        inner = dict.fromkeys(".".join(name.split(".")[:depth]) for name in within(names, (wide[0],)))
        blocks[at : at + 1] = [name if name in names else f"{name}." for name in inner]
    return {block.rstrip("."): (block,) for block in blocks}


def has_children(model: nn.Module, block: str) -> bool:
    """Whether a block, as its names begin, is a module of modules."""
    return block not in names_of(model) and any(True for _ in model.get_submodule(block.rstrip(".")).children())


def update_block(block: str, begin: tuple[str, ...], *, head: bool) -> Callable[..., TrainedModel]:
    """Return a method that moves the tensors of one block, whose names begin so; if it is the `head`, that is linear probing."""

    @says(work=one_probing if head else one_fine_tuning)
    def train(run: Run, biased_model: nn.Module, synthetic: SyntheticSets) -> TrainedModel:
        chosen = within(names_of(biased_model), begin)
        return run.fine_tune(biased_model, synthetic, only=chosen, label=f"update {block}")

    return train


def freeze_block(block: str, begin: tuple[str, ...]) -> Callable[..., TrainedModel]:
    """Return a method that moves all tensors but those of one block."""

    @says(work=one_fine_tuning)
    def train(run: Run, biased_model: nn.Module, synthetic: SyntheticSets) -> TrainedModel:
        frozen = within(names_of(biased_model), begin)
        chosen = [name for name in names_of(biased_model) if name not in frozen]
        return run.fine_tune(biased_model, synthetic, only=chosen, label=f"freeze {block}")

    return train


@says(work=one_fine_tuning)
def random_mask(
    run: Run, biased_model: nn.Module, synthetic: SyntheticSets, *, share: PositiveFraction = 0.6, draw: Count = 1
) -> TrainedModel:
    """Fine-tune a fraction of the tensors, `share`, drawn by the seed and the number of the draw."""
    chosen = random_tensors(names_of(biased_model), share, run.seed, draw)
    return run.fine_tune(biased_model, synthetic, only=chosen, label=f"random {share}, draw {draw}")


@says(work=one_fine_tuning)
def cosine(
    run: Run, biased_model: nn.Module, synthetic: SyntheticSets, *, top_k: TopK, bias_degree: BiasDegree
) -> TrainedModel:
    """AIM-Fair with gaps by cosine similarity in place of absolute differences."""
    sensitivity = run.rank(synthetic, top_k, measure="cosine")
    chosen = choose_tensors(sensitivity, top_k, measure="cosine")
    tables = {"sensitivity": with_choice(sensitivity, chosen, top_k, measure="cosine")}
    return run.fine_tune(biased_model, synthetic, only=chosen, label=f"fine-tune, k {top_k}", tables=tables)


def names_of(model: nn.Module) -> list[str]:
    """The parameter tensors of a model, in its order."""
    return [name for name, _ in model.named_parameters()]


def within(names: list[str], begin: tuple[str, ...]) -> list[str]:
    """Those of the tensors whose names begin so."""
    return [name for name in names if name.startswith(begin)]


def random_tensors(names: list[str], fraction: float, seed: int, draw: int) -> list[str]:
    """`fraction` of the tensors (rounded, at least one), drawn without replacement, in the order of `names`."""
    draws = np.random.default_rng(derived_seed(seed, "random mask", round(1000 * fraction), draw))
    size = max(1, round(fraction * len(names)))
    return [names[i] for i in sorted(draws.choice(len(names), size=size, replace=False))]
