"""Are there enough synthetic images of each group, now or once generation has made them?"""

from pathlib import Path

from datasets.bias import biased_group_sizes
from datasets.pairs import Pair
from utils.errors import UserError


def biased_sizes(number: int, bias_degree: str | None, pair: Pair) -> dict[str, int]:
    """Return the images of each group in a biased set of `number` images; empty without a bias degree."""
    return {} if bias_degree is None else biased_group_sizes(number, bias_degree, pair.groups)


def images_needed(balanced: dict[str, int], biased: dict[str, int], held_out: int) -> dict[str, int]:
    """Return the images of each group that must be there: the biased set may share images with the other two."""
    return {group: max(size + held_out, biased.get(group, 0)) for group, size in balanced.items()}


def check_counts(
    folder: Path,
    prompt_type: str,
    counts: dict[str, int],
    needed: dict[str, int],
    *,
    min_faithfulness: float | None = None,
) -> None:
    """Raise `UserError` if a group in `folder` has fewer images than needed."""
    short = [f"{group} has {counts[group]} of {needed[group]}" for group in needed if counts[group] < needed[group]]
    if short:
        faithful = "" if min_faithfulness is None else f"that --min-faithfulness {min_faithfulness:g} leaves "
        raise UserError(
            f"too few synthetic images {faithful}in {folder} (groups target_protected): {', '.join(short)}; generate "
            f"more (stable_diffusion/generation.sh --images-per-cell {max(needed.values())}"
            f"{'' if prompt_type == 'contextual' else f' --prompt-type {prompt_type}'}) or lower the number that is "
            "too high: --number-balanced-synthetic, --number-imbalanced-synthetic, --number-held-out-synthetic or a "
            "method's ratio"
        )
