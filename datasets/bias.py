"""How many images each cell of a biased or a balanced set gets."""

from fractions import Fraction

from datasets.pairs import CELLS, cell_values
from utils.errors import UserError


def parse_bias_degree(text: str) -> Fraction:
    """The bias degree d, minority to majority: "1/9" or "0.25"; above 0, at most 1."""
    try:
        degree = Fraction(text)
    except (ValueError, ZeroDivisionError):
        degree = Fraction(0)
    if not 0 < degree <= 1:
        raise UserError(f"--bias-degree {text}: expected a fraction above 0 and at most 1, such as 1/9")
    return degree


def biased_cell_sizes(size: int, bias_degree: str, cells: tuple[str, ...] = CELLS) -> dict[str, int]:
    """The images of each cell in a biased set of `size`: 0_0 and 1_1 are the minorities.

    With bias degree d the minorities get size * d / (d + 1) / 2 each, the others size / (d + 1) / 2 (paper, section
    4.1: 1,000 / 9,000 / 9,000 / 1,000 at 20,000 and 1/9). A share that is not a whole number is rounded down, as in
    the authors' code: 2 / 22 / 22 / 2 at 50. With several protected attributes the target goes with the absence of
    each of them, independently and to the same degree: the shares multiply.
    """
    sizes = _cell_sizes(size, parse_bias_degree(bias_degree), cells)
    if min(sizes.values()) < 1:
        raise UserError(
            f"a biased set of {size} images at bias degree {bias_degree} leaves a cell empty; take more images"
        )
    return sizes


def largest_biased_size(available: dict[str, int], bias_degree: str) -> int:
    """The largest size whose cells all fit into what is available, a number for each cell; 0 if there is none."""
    degree, cells = parse_bias_degree(bias_degree), tuple(available)
    low, high = 0, 2 * sum(available.values())
    while low < high:
        size = (low + high + 1) // 2
        fits = all(available[cell] >= n for cell, n in _cell_sizes(size, degree, cells).items())
        low, high = (size, high) if fits else (low, size - 1)
    return low if min(_cell_sizes(low, degree, cells).values()) > 0 else 0


def _cell_sizes(size: int, degree: Fraction, cells: tuple[str, ...]) -> dict[str, int]:
    sizes = {}
    for cell in cells:
        target, *protected = cell_values(cell)
        same = sum(bit == target for bit in protected)  # attributes that go with the target against the bias
        sizes[cell] = int(size * degree**same / (degree + 1) ** len(protected) / 2)
    return sizes
