"""Numbers and tables as text, of all pages the one place."""

from collections.abc import Iterable

import numpy as np

from datasets.pairs import TWO, Pair
from datasets.values import JOINED

MISSING = "–"


def as_table(rows: list) -> list[str]:
    """Return rows of cells, the first being the heading, as lines of Markdown."""
    return ["| " + " | ".join(row) + " |" for row in (rows[0], ["---"] * len(rows[0]), *rows[1:])]


def mean_and_deviation(values: Iterable[float]) -> tuple[float, float | None]:
    """Return the mean of fractions and their sample standard deviation, None for a single one, in percent."""
    values = np.asarray(values, dtype=np.float64)
    return 100 * float(values.mean()), 100 * float(values.std(ddof=1)) if len(values) > 1 else None


def shown(pair: tuple[float, float | None] | None, digits: int = 2) -> str:
    """Return a value and its standard deviation as text; either may be missing."""
    if pair is None:
        return MISSING
    return " ± ".join(f"{number:.{digits}f}" for number in pair if number is not None)


def shown_seeds(values: np.ndarray) -> str:
    """Return the mean of seeds' values as text, with their sample standard deviation if there are several."""
    return shown((values.mean(), values.std(ddof=1) if len(values) > 1 else None))


def shown_change(triple: tuple[float, float, float] | None, digits: int = 2) -> str:
    """Return a difference and its interval as text."""
    return MISSING if triple is None else "{:+.{n}f} ({:+.{n}f} to {:+.{n}f})".format(*triple, n=digits)


def in_points(found: tuple[float, ...]) -> str:
    """Return a difference of fractions and its interval (`results.intervals.Difference`) as text, in points."""
    return shown_change(tuple(100 * value for value in found[:3]), 1)


def group_words(pair: Pair) -> dict[str, str]:
    """Return each group in words: {"1_0": "Smiling, not Male"}, {"1_Asian": "Female, Race Asian"}."""

    def words(name: str, value: str) -> str:
        if pair.values_of[name] == TWO:
            return name if value == "1" else f"not {name}"
        return f"{name} {value.replace(JOINED, ' or ')}"

    return {group: ", ".join(words(*each) for each in pair.described(group).items()) for group in pair.groups}
