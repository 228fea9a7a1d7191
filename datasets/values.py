"""Attributes of any number of values: their names, and what a column or the flag --values says.

A value is written by the text in the data, without the signs that folders and group names can't hold (`value_name`). With
--values a user chooses values and their order, joins some (`Asian/Indian`), and cuts numbers into ranges (`18-39`, `40+`).
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import replace

import pandas as pd

from datasets.pairs import TWO, Pair, plain_name
from utils.errors import UserError

MOST = 30  # values of an attribute
JOINED = "-or-"  # in the name of a value that joins others
_UNFIT = re.compile(r"[\s\x00-\x1f/\\_.,:;|*?\"<>&=~]+")
_RANGE = re.compile(r"(\d+)-(\d+)|(\d+)\+")


def value_name(text: str) -> str:
    """Return a value's text as group and folder names can hold it: `Latino_Hispanic` becomes `Latino-Hispanic`."""
    return _UNFIT.sub("-", unicodedata.normalize("NFC", text).strip()).strip("-")


def parse_values(text: str) -> tuple[str, tuple[str, ...]]:
    """Return the attribute and the values of one entry of --values: `Race=White,Black,Asian/Indian`.

    Raises `UserError` if it is not of that form, or if a value is named twice.
    """
    name, _, rest = text.partition("=")
    parts = [[value_name(part) for part in value.split("/")] for value in rest.split(",")]
    flat = [part for value in parts for part in value]
    if not name or len(parts) < 2 or not all(flat) or len(set(flat)) < len(flat):
        raise UserError(
            f"--values {text}: expected NAME=VALUE,VALUE,... with two or more values, each named once, such as "
            "Race=White,Black,Asian/Indian or Age=0-17,18-39,40+"
        )
    return name, tuple(JOINED.join(value) for value in parts)


def chosen_values(pair: Pair) -> tuple[str, ...]:
    """Return the entries of --values that give a pair the values that it has."""
    return tuple(f"{name}={','.join(values)}" for name, values in pair.values_of.items() if values != TWO)


def with_values(pair: Pair, table: pd.DataFrame, chosen: Iterable[str] = ()) -> tuple[Pair, pd.DataFrame]:
    """Return the pair with the values of its attributes, and the table with their numbers in place of names.

    A column of -1 and 1, or 0 and 1, stays as it is. Of any other column each value is a class, in the order of a
    categorical column or sorted; `chosen` are the entries of --values, and rows of other values are left out. A missing
    value stays missing. Raises `UserError` if an attribute has too many values or one, or if an entry names none of its.
    """
    asked = dict(map(parse_values, chosen))
    known, found = {plain_name(name): name for name in pair.attributes}, {}
    if unknown := [name for name in asked if plain_name(name) not in known]:
        raise UserError(f"--values {unknown[0]}=...: the pair's attributes are {', '.join(pair.attributes)}")
    asked = {known[plain_name(name)]: values for name, values in asked.items()}
    for name in pair.attributes:
        column = table[name]
        if name not in asked and _is_two_valued(column):
            found[name] = TWO
            continue
        values = asked.get(name) or _present(name, column)
        numbers = numbers_of(column, values)
        stray = numbers.isna() & column.notna()
        _check_found(name, column, values, numbers)
        print(f"{name}: {_counted(values, numbers)}{f'; left out: {stray.sum()}' if stray.any() else ''}")
        table = table.assign(**{name: numbers})[~stray]
        found[name] = values
    if all(values == TWO for values in found.values()):
        return pair, table
    return replace(pair, values=tuple(found.values())), table


def numbers_of(column: pd.Series, values: tuple[str, ...]) -> pd.Series:
    """Return the number of each row's value in `values`, from 0; NaN if it is missing or none of them."""
    texts = column.astype(object)
    places = {part: place for place, value in enumerate(values) for part in (*value.split(JOINED), value)}
    ranges = [(part, place) for part, place in places.items() if _RANGE.fullmatch(part)]

    def number(value: object) -> float:
        text = value_name(_as_text(value))
        if text in places:
            return places[text]
        within = [place for part, place in ranges if text.isdecimal() and _holds(part, int(text))]
        return within[0] if within else float("nan")

    by_value = {value: number(value) for value in texts.dropna().unique()}
    return texts.map(by_value).astype(float)


def _is_two_valued(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and bool((column.isin([-1, 0, 1]) | column.isna()).all())


def _present(name: str, column: pd.Series) -> tuple[str, ...]:
    """Return the values of a column, in order."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        raw = [value for value in column.cat.categories if (column == value).any()]
    else:
        raw = sorted(column.dropna().unique())
    texts = list(map(_as_text, raw))
    if len(texts) > MOST:
        some = (
            f"{name}=0-17,18-39,40+" if all(map(str.isdecimal, texts)) else f"{name}={'/'.join(texts[:2])},{texts[2]}"
        )
        shown = ", ".join(texts[:3])
        raise UserError(
            f"{name} has {len(texts)} values ({shown}, ...), at most {MOST} work: --values {some} joins or leaves out"
        )
    names = list(map(value_name, texts))
    alike = [
        text for text, own in zip(texts, names, strict=True) if [n.casefold() for n in names].count(own.casefold()) > 1
    ]
    if alike or not all(names):
        what = (
            f"{' and '.join(map(repr, alike[:2]))} differ only in signs or capitals" if alike else "one has no letter"
        )
        raise UserError(f"{name}: of its values {what}; rename them in the data")
    if len(names) < 2:
        raise UserError(f"{name} has one value alone, {', '.join(texts) or 'none'}; choose another attribute")
    return tuple(names)


def _check_found(name: str, column: pd.Series, values: tuple[str, ...], numbers: pd.Series) -> None:
    """Raise `UserError` if no row has a value that was asked for."""
    there = set(numbers.dropna())
    if missing := [value for place, value in enumerate(values) if place not in there]:
        known = [value_name(_as_text(value)) for value in column.dropna().unique()[:MOST]]
        raise UserError(f"--values {name}: no image has {missing[0]}; the data have {', '.join(sorted(known))}")


def _counted(values: tuple[str, ...], numbers: pd.Series) -> str:
    counts = numbers.value_counts()
    return ", ".join(f"{value} ({int(counts.get(place, 0))})" for place, value in enumerate(values))


def _as_text(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _holds(span: str, number: int) -> bool:
    first, last, least = _RANGE.fullmatch(span).groups()
    return number >= int(least) if least else int(first) <= number <= int(last)
