"""Group sizes of biased sets."""

from fractions import Fraction

from datasets.pairs import GROUPS, values_in
from utils.errors import UserError


def parse_bias_degree(text: str) -> Fraction:
    """Return the bias degree, minority to majority, from a text such as "1/9" or "0.25".

    Raises `UserError` unless it is above 0 and at most 1.
    """
    try:
        degree = Fraction(text)
    except (ValueError, ZeroDivisionError):
        degree = Fraction(0)
    if not 0 < degree <= 1:
        raise UserError(f"--bias-degree {text}: expected a fraction above 0 and at most 1, such as 1/9")
    return degree


def biased_group_sizes(size: int, bias_degree: str, groups: tuple[str, ...] = GROUPS) -> dict[str, int]:
    """Return the number of images of each group in a biased set of `size` images, rounded down.

    Each target value gets the same part of them. `common` says which protected values a target value goes with; an image
    of any other is rarer by the bias degree d. So of two and two values 0_0 and 1_1 are the minorities, of size * d /
    (d + 1) / 2 images, and the others get size / (d + 1) / 2 (paper, section 4.1: 1,000 / 9,000 / 9,000 / 1,000 for 20,000
    and 1/9; rounded down as in the authors' code: 2 / 22 / 22 / 2 for 50). With several protected attributes the target
    goes with each independently, so the fractions multiply. Raises `UserError` if a group is empty.
    """
    sizes = _group_sizes(size, parse_bias_degree(bias_degree), groups)
    if min(sizes.values()) < 1:
        raise UserError(
            f"a biased set of {size} images at bias degree {bias_degree} leaves a group empty; take more images"
        )
    return sizes


def largest_biased_size(available: dict[str, int], bias_degree: str) -> int:
    """Return the largest size of a biased set for which each group has enough images; 0 if there is none."""
    degree, groups = parse_bias_degree(bias_degree), tuple(available)
    low, high = 0, 2 * sum(available.values())
    while low < high:
        size = (low + high + 1) // 2
        fits = all(available[group] >= n for group, n in _group_sizes(size, degree, groups).items())
        low, high = (size, high) if fits else (low, size - 1)
    return low if min(_group_sizes(low, degree, groups).values()) > 0 else 0


def common(target: int, value: int, targets: int, values: int) -> bool:
    """Return whether a protected value is one that a target value goes with in a biased set.

    The targets and the protected values are each cut into as many parts as the shorter of the two has, in order; the first
    part of the targets goes with the last of the protected values, and so on. Of two and two, target 0 goes with value 1
    and target 1 with value 0; of three and three each target has one common value; of two targets and five values, target 0
    has the last two and target 1 the first three.

    target, value : numbers from 0, of `targets` and `values`
    """
    parts = min(targets, values)
    return target * parts // targets + value * parts // values == parts - 1


def _group_sizes(size: int, degree: Fraction, groups: tuple[str, ...]) -> dict[str, int]:
    numbers = values_in(groups)
    targets, *counts = (max(column) + 1 for column in zip(*numbers.values(), strict=True))
    sizes = {}
    for group, (target, *values) in numbers.items():
        share = Fraction(1, targets)
        for value, count in zip(values, counts, strict=True):
            n_common = sum(common(target, other, targets, count) for other in range(count))
            whole = n_common + (count - n_common) * degree
            share *= (1 if common(target, value, targets, count) else degree) / whole
        sizes[group] = int(size * share)
    return sizes
