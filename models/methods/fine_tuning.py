"""Fine-tuning the biased model on balanced synthetic images, each method with other tensors (Tables 3 and 4)."""

from collections.abc import Callable

import numpy as np
from torch import nn

from datasets.synthetic import SyntheticSets
from models.options import BiasDegree, Count, Share, TopK
from models.run import Outcome, Run
from models.selection import choose_tensors, sensitivity_table, tied_at
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


def full(run: Run, biased_model: nn.Module, synthetic: SyntheticSets) -> Outcome:
    """All tensors."""
    return run.fine_tune(biased_model, synthetic, only=names_of(biased_model), label="full")


def block_methods(blocks: dict[str, tuple[str, ...]]) -> dict[str, Callable[..., Outcome]]:
    """A method that updates and one that freezes each of the blocks, which say how the names of their tensors begin."""
    update = {f"update-block-{block}": update_block(block, names) for block, names in blocks.items()}
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


def update_block(block: str, begin: tuple[str, ...]) -> Callable[..., Outcome]:
    """The tensors of one block, whose names begin so; that of the last layer alone is linear probing."""

    def train(run: Run, biased_model: nn.Module, synthetic: SyntheticSets) -> Outcome:
        chosen = within(names_of(biased_model), begin)
        return run.fine_tune(biased_model, synthetic, only=chosen, label=f"update {block}")

    return train


def freeze_block(block: str, begin: tuple[str, ...]) -> Callable[..., Outcome]:
    """All tensors but those of one block."""

    def train(run: Run, biased_model: nn.Module, synthetic: SyntheticSets) -> Outcome:
        frozen = within(names_of(biased_model), begin)
        chosen = [name for name in names_of(biased_model) if name not in frozen]
        return run.fine_tune(biased_model, synthetic, only=chosen, label=f"freeze {block}")

    return train


def random_mask(
    run: Run, biased_model: nn.Module, synthetic: SyntheticSets, *, share: Share = 0.6, draw: Count = 1
) -> Outcome:
    """A share of the tensors, drawn by the seed and the number of the draw."""
    chosen = random_tensors(names_of(biased_model), share, run.seed, draw)
    return run.fine_tune(biased_model, synthetic, only=chosen, label=f"random {share}, draw {draw}")


def cosine(
    run: Run, biased_model: nn.Module, synthetic: SyntheticSets, *, top_k: TopK, bias_degree: BiasDegree
) -> Outcome:
    """AIM-Fair with gaps by cosine similarity in place of absolute differences."""
    if run.settings.ranking_batches:
        sensitivity = run.early_ranking(synthetic, top_k, measure="cosine")
    else:
        sensitivity = sensitivity_table(*run.three_gradients(synthetic))
    chosen = choose_tensors(sensitivity, top_k, measure="cosine")
    marks = {"chosen": sensitivity["name"].isin(chosen), "tied": tied_at(sensitivity, top_k, measure="cosine")}
    tables = {"sensitivity": sensitivity.assign(**marks)}
    return run.fine_tune(biased_model, synthetic, only=chosen, label=f"fine-tune, k {top_k}", tables=tables)


def names_of(model: nn.Module) -> list[str]:
    """The parameter tensors of a model, in its order."""
    return [name for name, _ in model.named_parameters()]


def within(names: list[str], begin: tuple[str, ...]) -> list[str]:
    """Those of the tensors whose names begin so."""
    return [name for name in names if name.startswith(begin)]


def random_tensors(names: list[str], share: float, seed: int, draw: int) -> list[str]:
    """`share` of the tensors (rounded, at least one), drawn without replacement, in the order of `names`."""
    draws = np.random.default_rng(derived_seed(seed, "random mask", round(1000 * share), draw))
    size = max(1, round(share * len(names)))
    return [names[i] for i in sorted(draws.choice(len(names), size=size, replace=False))]
