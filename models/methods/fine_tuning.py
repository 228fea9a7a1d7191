"""Methods that fine-tune different tensors of the biased model on balanced synthetic images (Tables 3 and 4)."""

from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
import torch
from torch import nn

from datasets.synthetic import SyntheticSets
from models.criteria import highest_weights
from models.facts import says
from models.options import BiasDegree, Count, PositiveFraction, TopK
from models.run import Run, TrainedModel
from models.selection import choose_tensors, with_choice
from models.training import Masks
from models.work import one_fine_tuning, one_probing
from utils.errors import UserError
from utils.seeds import derived_seed, torch_generator

# Prefixes of the tensors in each block of ResNet; `blocks_of` finds those of other networks.
BLOCKS = {
    "stem": ("conv1.", "bn1."),
    "1": ("layer1.",),
    "2": ("layer2.",),
    "3": ("layer3.",),
    "4": ("layer4.",),
    "fc": ("fc.",),
}


@says(work=one_fine_tuning, tuned=True)
def full(run: Run, biased_model: nn.Module, synthetic: SyntheticSets) -> TrainedModel:
    """Fine-tune all tensors."""
    return run.fine_tune(biased_model, synthetic, only=names_of(biased_model), label="full")


def block_methods(blocks: dict[str, tuple[str, ...]], head: tuple[str, ...]) -> dict[str, Callable[..., TrainedModel]]:
    """Return two methods for each block, one that updates and one that freezes it, and one that updates several.

    `blocks` and `head`, the last layer, are given by the prefixes of their tensors.
    """
    methods = {"blocks": some_blocks(blocks)}
    for block, begin in blocks.items():
        methods[f"update-block-{block}"] = update_block(block, begin, head=begin == head)
    return methods | {f"freeze-block-{block}": freeze_block(block, begin) for block, begin in blocks.items()}


def blocks_of(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Return the blocks of any network, in its order: its children and its own tensors.

    A child with nine tenths of all tensors is replaced by its own children, because it is hardly a block of the
    network.
    """
    names, blocks = names_of(model), [""]
    while wide := [b for b in blocks if len(within(names, (b,))) >= 0.9 * len(names) and has_children(model, b)]:
        at = blocks.index(wide[0])
        depth = wide[0].count(".") + 1
        inner = dict.fromkeys(".".join(name.split(".")[:depth]) for name in within(names, (wide[0],)))
        blocks[at : at + 1] = [name if name in names else f"{name}." for name in inner]
    return {block.rstrip("."): (block,) for block in blocks}


def has_children(model: nn.Module, block: str) -> bool:
    """Return whether the block with this prefix is a module of modules."""
    return block not in names_of(model) and any(True for _ in model.get_submodule(block.rstrip(".")).children())


def update_block(block: str, begin: tuple[str, ...], *, head: bool) -> Callable[..., TrainedModel]:
    """Return a method that fine-tunes one block, given by its prefixes; for the `head` this is linear probing."""

    @says(work=one_probing if head else one_fine_tuning, tuned=True)
    def train(run: Run, biased_model: nn.Module, synthetic: SyntheticSets) -> TrainedModel:
        chosen = within(names_of(biased_model), begin)
        return run.fine_tune(biased_model, synthetic, only=chosen, label=f"update {block}")

    return train


def some_blocks(blocks: dict[str, tuple[str, ...]]) -> Callable[..., TrainedModel]:
    """Return a method that fine-tunes some of the blocks, such as `blocks:update=stem+4+fc`."""

    def names(text: str) -> str:
        if unknown := [name for name in text.split("+") if name not in blocks]:
            raise ValueError(f"no block {unknown[0]!r}; there are {', '.join(blocks)}")
        return "+".join(name for name in blocks if name in text.split("+"))

    @says(work=one_fine_tuning, tuned=True)
    def train(
        run: Run, biased_model: nn.Module, synthetic: SyntheticSets, *, update: Annotated[str, names] = "+".join(blocks)
    ) -> TrainedModel:
        chosen = within(names_of(biased_model), sum((blocks[name] for name in update.split("+")), ()))
        return run.fine_tune(biased_model, synthetic, only=chosen, label=f"blocks {update}")

    return train


def freeze_block(block: str, begin: tuple[str, ...]) -> Callable[..., TrainedModel]:
    """Return a method that fine-tunes all tensors except those of one block."""

    @says(work=one_fine_tuning, tuned=True)
    def train(run: Run, biased_model: nn.Module, synthetic: SyntheticSets) -> TrainedModel:
        frozen = within(names_of(biased_model), begin)
        chosen = [name for name in names_of(biased_model) if name not in frozen]
        return run.fine_tune(biased_model, synthetic, only=chosen, label=f"freeze {block}")

    return train


@says(work=one_fine_tuning, tuned=True)
def random_mask(
    run: Run,
    biased_model: nn.Module,
    synthetic: SyntheticSets,
    *,
    share: PositiveFraction = 0.6,
    of: Literal["tensors", "weights", "single-weights"] = "tensors",
    draw: Count = 1,
) -> TrainedModel:
    """Fine-tune a random fraction `share` of the tensors, tensors with that fraction of the weights, or single weights.

    The seed and the number `draw` draw them.

    Raises `UserError` if every tensor has more weights than that fraction.
    """
    if of == "single-weights":
        chosen = random_weights(biased_model, share, run.seed, draw)
    elif of == "weights":
        sizes = {name: tensor.numel() for name, tensor in biased_model.named_parameters()}
        chosen = random_tensors_of_size(sizes, share, run.seed, draw)
    else:
        chosen = random_tensors(names_of(biased_model), share, run.seed, draw)
    part = share if of == "tensors" else f"{share} of the {of}"  # the label names the checkpoint, so it must stay
    return run.fine_tune(biased_model, synthetic, only=chosen, label=f"random {part}, draw {draw}")


@says(work=one_fine_tuning, tuned=True)
def cosine(
    run: Run, biased_model: nn.Module, synthetic: SyntheticSets, *, top_k: TopK, bias_degree: BiasDegree
) -> TrainedModel:
    """Run AIM-Fair with gaps by cosine similarity instead of absolute differences."""
    sensitivity = run.rank(synthetic, top_k, measure="cosine")
    chosen = choose_tensors(sensitivity, top_k, measure="cosine")
    tables = {"sensitivity": with_choice(sensitivity, chosen, top_k, measure="cosine")}
    return run.fine_tune(biased_model, synthetic, only=chosen, label=f"fine-tune, k {top_k}", tables=tables)


def names_of(model: nn.Module) -> list[str]:
    """Return the names of a model's parameter tensors, in its order."""
    return [name for name, _ in model.named_parameters()]


def within(names: list[str], begin: tuple[str, ...]) -> list[str]:
    """Return the names that begin with one of the prefixes."""
    return [name for name in names if name.startswith(begin)]


def random_tensors(names: list[str], fraction: float, seed: int, draw: int) -> list[str]:
    """Draw a fraction of the names without replacement (rounded, at least one), and return them in their order."""
    draws = np.random.default_rng(derived_seed(seed, "random mask", round(1000 * fraction), draw))
    size = max(1, round(fraction * len(names)))
    return [names[i] for i in sorted(draws.choice(len(names), size=size, replace=False))]


def random_tensors_of_size(sizes: dict[str, int], fraction: float, seed: int, draw: int) -> list[str]:
    """Draw tensors with at most a fraction of all weights, and return their names in the order of `sizes`.

    `sizes` maps the name of a tensor to its number of weights. The tensors come in random order, and each that still fits is taken, so
    the mask has hardly less than the fraction. Raises `UserError` if none fits.
    """
    draws = np.random.default_rng(derived_seed(seed, "random mask of weights", round(1000 * fraction), draw))
    chosen, room = set(), fraction * sum(sizes.values())
    for place in draws.permutation(len(sizes)):
        name = list(sizes)[place]
        if sizes[name] <= room:
            chosen.add(name)
            room -= sizes[name]
    if not chosen:
        raise UserError(f"random-mask: every tensor has more than share={fraction} of the weights; give a larger share")
    return [name for name in sizes if name in chosen]


def random_weights(model: nn.Module, fraction: float, seed: int, draw: int) -> Masks:
    """Draw a fraction of all weights, and return masks of the tensors that have one, as `models.criteria.highest_weights` does."""
    own = torch_generator(seed, "random mask of single weights", round(1000 * fraction), draw)
    scores = {name: torch.rand(tensor.shape, generator=own) for name, tensor in model.named_parameters()}
    return highest_weights(scores, fraction)
