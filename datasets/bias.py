"""Group sizes of biased sets."""

from fractions import Fraction

from datasets.pairs import GROUPS, group_values
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
    """Return the number of images of each group in a biased set of `size` images; 0_0 and 1_1 are the minorities.

    With bias degree d each minority gets size * d / (d + 1) / 2 images, each other group size / (d + 1) / 2 (paper,
    section 4.1: 1,000 / 9,000 / 9,000 / 1,000 for 20,000 and 1/9). Numbers are rounded down, as in the authors' code:
    2 / 22 / 22 / 2 for 50. With several protected attributes the target goes with the absence of each, independently
    and to the same degree, so the fractions multiply. Raises `UserError` if a group is empty.
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


def _group_sizes(size: int, degree: Fraction, groups: tuple[str, ...]) -> dict[str, int]:
    sizes = {}
    for group in groups:
        target, *protected = group_values(group)
        same = sum(bit == target for bit in protected)  # protected attributes equal to the target: the rare combination
        sizes[group] = int(size * degree**same / (degree + 1) ** len(protected) / 2)
    return sizes
