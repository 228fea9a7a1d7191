"""Attributes of any number of values: their names, and what a column or the flag --values says.

A value is written by the text in the data, without the signs that folders and group names can't hold (`value_name`). With
--values a user chooses values and their order, joins some (`Asian/Indian`), and cuts numbers into ranges (`18-39`, `40+`).
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import pandas as pd

from datasets.pairs import TWO, Pair, plain_name
from utils.errors import UserError

MOST = 30  # values of an attribute
JOINED = "~"  # in the name of a value that joins others; no other name has it
_UNFIT = re.compile(r"[\s\x00-\x1f/\\_.,:;|*?\"<>&=~]+")
_RANGE = re.compile(r"(\d+)-(\d+)|(\d+)\+")


def value_name(text: str) -> str:
    """Return a value's text as group and folder names can hold it: `Latino_Hispanic` becomes `Latino-Hispanic`."""
    return _UNFIT.sub("-", unicodedata.normalize("NFC", text).strip())


def parse_values(text: str) -> tuple[str, tuple[str, ...]]:
    """Return the attribute and the values of one entry of --values: `Race=White,Black,Asian/Indian`.

    Raises `UserError` if it is not of that form, if a value is named twice, or if two ranges overlap.
    """
    name, _, rest = text.partition("=")
    parts = [[value_name(part) for part in re.split(f"[/{JOINED}]", value)] for value in rest.split(",")]
    flat = [part for value in parts for part in value]
    if not name or len(parts) < 2 or not all(flat) or len(set(flat)) < len(flat):
        raise UserError(
            f"--values {text}: expected NAME=VALUE,VALUE,... with two or more values, each named once, and no blank after a "
            "comma unless the whole stands in quotes; such as Race=White,Black,Asian/Indian or Age=0-17,18-39,40+"
        )
    ends = sorted((*_ends(part), part) for part in flat if _RANGE.fullmatch(part))
    for (_, last, one), (first, _, other) in pairwise(ends):
        if first <= last:
            raise UserError(f"--values {text}: the ranges {one} and {other} overlap; both ends belong to a range")
    return name, tuple(JOINED.join(value) for value in parts)


def names_attribute(chosen: Iterable[str], attribute: str) -> bool:
    """Return whether one of the entries of --values is of an attribute."""
    return any(plain_name(entry.partition("=")[0]) == plain_name(attribute) for entry in chosen)


def chosen_values(pair: Pair) -> tuple[str, ...]:
    """Return the entries of --values that give a pair the values that it has; none if it has no values of its own."""
    return tuple(f"{name}={','.join(values)}" for name, values in pair.values_of.items()) if pair.values else ()


def with_values(pair: Pair, table: pd.DataFrame, chosen: Iterable[str] = ()) -> tuple[Pair, pd.DataFrame]:
    """Return the pair with the values of its attributes, and the table with their numbers in place of names.

    A column of -1 and 1, or 0 and 1, stays as it is. Of any other column each value is a class, in the order of a
    categorical column or sorted; `chosen` are the entries of --values, and rows of other values are left out. A missing
    value stays missing. Raises `UserError` if an attribute has too many values or one, or if an entry names none of its.
    """
    asked, found = _asked(pair, chosen), {}
    for name in pair.attributes:
        column = table[name]
        if name not in asked and _is_two_valued(column):
            found[name] = TWO
            continue
        values = asked.get(name) or _present(name, column)
        numbers = numbers_of(column, values)
        stray = numbers.isna() & column.notna()
        _check_found(name, column, values, numbers)
        print(f"{name}: {_counted(column, values, numbers)}{f'; left out: {stray.sum()}' if stray.any() else ''}")
        table = table.assign(**{name: numbers})[~stray]
        found[name] = values
    if not asked and all(values == TWO for values in found.values()):
        return pair, table
    return replace(pair, values=tuple(found.values())), table


def numbers_of(column: pd.Series, values: tuple[str, ...]) -> pd.Series:
    """Return the number of each row's value in `values`, from 0; NaN if it is missing or none of them."""
    texts = column.astype(object)
    places = {part: place for place, value in enumerate(values) for part in value.split(JOINED)}
    ranges = [(*_ends(part), place) for part, place in places.items() if _RANGE.fullmatch(part)]

    def number(value: object) -> float:
        text = value_name(as_text(value))
        if text in places:
            return places[text]
        within = [place for low, high, place in ranges if text.isdecimal() and low <= int(text) <= high]
        return within[0] if within else float("nan")

    by_value = {value: number(value) for value in texts.dropna().unique()}
    return texts.map(by_value).astype(float)


def as_text(value: object) -> str:
    """Return a value of a column as text: 3.0 as "3"."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _asked(pair: Pair, chosen: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the chosen values of each attribute that an entry names."""
    known, asked = {plain_name(name): name for name in pair.attributes}, {}
    for name, values in map(parse_values, chosen):
        if plain_name(name) not in known:
            raise UserError(f"--values {name}=...: the pair's attributes are {', '.join(pair.attributes)}")
        if asked.setdefault(known[plain_name(name)], values) != values:
            raise UserError(f"--values {name}=... is given twice, with other values; leave one out")
    return asked


def _is_two_valued(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and bool((column.isin([-1, 0, 1]) | column.isna()).all())


def _present(name: str, column: pd.Series) -> tuple[str, ...]:
    """Return the values of a column, in order."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        raw = [value for value in column.cat.categories if (column == value).any()]
    else:
        raw = sorted(column.dropna().unique(), key=_in_order)
    texts = list(map(as_text, raw))
    if len(texts) > MOST:
        numbers = all(map(str.isdecimal, texts))
        some = (
            f"{name}=0-17,18-39,40+"
            if numbers
            else f"{name}={'/'.join(map(value_name, texts[:2]))},{value_name(texts[2])}"
        )
        shown = ", ".join(texts[:3])
        raise UserError(
            f"{name} has {len(texts)} values ({shown}, ...), at most {MOST} work: --values {some} joins or leaves out"
        )
    names = list(map(value_name, texts))
    if not all(any(map(str.isalnum, each)) for each in names):
        raise UserError(f"{name}: one of its values has no letter and no digit; rename it in the data")
    if len(names) < 2:
        raise UserError(f"{name} has one value alone, {', '.join(texts) or 'none'}; choose another attribute")
    return tuple(names)


def _check_found(name: str, column: pd.Series, values: tuple[str, ...], numbers: pd.Series) -> None:
    """Raise `UserError` if no row has a value that was asked for, or if two texts in the data have one name."""
    there, texts = set(numbers.dropna()), sorted(map(as_text, column[numbers.notna()].unique()), key=_in_order)
    names = [value_name(text).casefold() for text in texts]
    if alike := [text for text, own in zip(texts, names, strict=True) if names.count(own) > 1]:
        shown = " and ".join(map(repr, alike[:2]))
        raise UserError(f"{name}: of its values {shown} differ only in signs or capitals; rename them in the data")
    if missing := [value.replace(JOINED, "/") for place, value in enumerate(values) if place not in there]:
        known = [value_name(as_text(value)) for value in sorted(column.dropna().unique(), key=_in_order)[:MOST]]
        raise UserError(f"--values {name}: no image has {missing[0]}; the data have {', '.join(known)}")


def _counted(column: pd.Series, values: tuple[str, ...], numbers: pd.Series) -> str:
    """Return each value with its number of images, and what the data call it if they call it something else."""
    counts, texts = numbers.value_counts(), {value_name(text): text for text in map(as_text, column.dropna().unique())}
    parts = []
    for place, value in enumerate(values):
        text = texts.get(value, value)
        parts.append(f"{value} ({int(counts.get(place, 0))}{f', {text!r} in the data' if text != value else ''})")
    return ", ".join(parts)


def _in_order(value: object) -> list:
    """Return a key that sorts numbers inside of texts by their size: 3-9 comes before 10-19."""
    return [int(part) if part.isdecimal() else part.casefold() for part in re.split(r"(\d+)", as_text(value))]


def _ends(span: str) -> tuple[int, float]:
    """Return the first and the last number of a range."""
    first, last, least = _RANGE.fullmatch(span).groups()
    return (int(least), float("inf")) if least else (int(first), int(last))
