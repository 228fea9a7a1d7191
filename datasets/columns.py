"""The attribute columns of one's own table: 0 and 1, whole numbers or names, read from text with the faults named by line."""

from pathlib import Path

import numpy as np
import pandas as pd

from datasets.pairs import Pair
from datasets.splits import NAMES
from datasets.values import numbers_of
from utils.errors import UserError

BINARY = {"0,0": 0.0, "1,0": 1.0, "false": 0.0, "true": 1.0}  # besides numbers
MISSING = ("", "nan", "na", "n/a", "<na>", "null", "none")
LEADING_ZERO = r"0\d+"  # 01, 02, ..., 10 are codes, so names


def attribute_columns(path: Path, table: pd.DataFrame, pair: Pair) -> pd.DataFrame:
    """Return the pair's columns, each as 0.0 and 1.0, as whole numbers or as text; a missing protected value is NaN.

    0 and 1 may stand in any notation (1.0, 1.00, 1.000e+00) or as False and True, and a missing value as one of
    `MISSING`. Raises `UserError`, with lines, for a missing target, a fraction, and numbers and names in one column.
    """
    missing = table[pair.target].str.lower().isin(MISSING)
    refuse(
        path, table, missing, f"{pair.target} is missing{missing_note(table[pair.target][missing])}", show=pair.target
    )
    return pd.DataFrame({name: _column(path, table, name) for name in pair.attributes}, index=table.index)


def missing_note(texts: pd.Series) -> str:
    """Return a note if missing values are words that some data set may mean as names."""
    return "" if texts.str.lower().isin(("", "nan")).all() else " (NA, null and none count as missing)"


def _column(path: Path, table: pd.DataFrame, name: str) -> pd.Series:
    text = table[name].str.lower()
    missing, number = text.isin(MISSING), pd.to_numeric(text, errors="coerce")
    number = number.where(np.isfinite(number))
    binary = text.map(BINARY).fillna(number.where(number.isin((0, 1))))
    if (binary.notna() | missing).all():
        return binary.astype(float)
    named = number.isna() & binary.isna() & ~missing
    if (named | missing).all() or text.str.fullmatch(LEADING_ZERO).any():
        return table[name].where(~missing)
    whole = binary.notna() | (number.ge(0) & number.mod(1).eq(0))
    if named.sum() > whole.sum():
        refuse(path, table, ~named & ~missing, f"{name} is a number, and elsewhere a name,", show=name)
    large = number.where(whole).gt(1).any()
    what = "no whole number, as it is elsewhere," if large else "neither 0 nor 1" if whole.any() else "no whole number"
    refuse(path, table, ~whole & ~missing, f"{name} is {what}", show=name)
    return binary.fillna(number).astype(float)


def value_columns(path: Path, table: pd.DataFrame, pair: Pair) -> pd.DataFrame:
    """Return the columns of a pair whose values are known, as numbers from 0. Raises `UserError` for any other value."""
    labels = attribute_columns(path, table, pair)
    for name, values in pair.values_of.items():
        numbers = numbers_of(labels[name], values)
        what = (
            f"{name} is none of {', '.join(values)}" if len(values) > 2 else f"{name} is neither {' nor '.join(values)}"
        )
        refuse(path, table, numbers.isna(), what, show=name)
        labels[name] = numbers
    return labels


def refuse_rare(path: Path, table: pd.DataFrame, labels: pd.DataFrame) -> None:
    """Raise `UserError` for values besides 0 and 1 that too few images have for train, val and test: mostly slips of a pen."""
    for name, column in labels.items():
        counts = column.value_counts()
        rare = column.isin(counts.index[counts < len(NAMES)]) & ~column.isin([0, 1])
        binary = set(column[~rare].dropna()) <= {0, 1}
        few = f"has a value that fewer than {len(NAMES)} images have: correct it, or choose the values with --values:"
        refuse(path, table, rare, f"{name} {'is neither 0 nor 1' if binary else few}", show=name)


def refuse(path: Path, table: pd.DataFrame, wrong: pd.Series, what: str, show: str, hint: str = "") -> None:
    """Raise `UserError` if rows are wrong, with their first lines and content of the column `show`."""
    lines = table.index[wrong]
    if len(lines):
        shown = ", ".join(f"{n} ({table[show][n][:80] or 'empty'})" for n in lines[:5])
        more = f" and {len(lines) - 5} more" if len(lines) > 5 else ""
        raise UserError(f"{path}: {what} in line {shown}{more}{hint}")
