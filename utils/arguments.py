"""Argument types of all command lines."""

import argparse
from types import NoneType
from typing import Annotated, Literal, TypeVar, get_args, get_origin

PRECISIONS = {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32"}  # our names for types of torch
Number = TypeVar("Number", int, float)


def positive_int(text: str) -> int:
    """Return an integer from 1 to a million, which is more than any count, size or batch here."""
    return _checked(text, int(text), lambda n: 1 <= n <= 1_000_000, "between 1 and 1000000")


def pixels(text: str) -> int:
    """Return pixels a side, an integer from 1 to 16384: a larger image would fill any memory."""
    return _checked(text, positive_int(text), lambda n: n <= 16_384, "between 1 and 16384 pixels")


def images_of_type(text: str) -> tuple[str, int]:
    """Return a prompt type and a number of images, from TYPE=N."""
    prompt_type, _, number = text.rpartition("=")
    if not (prompt_type and number.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text} is not TYPE=N, such as contextual=200")
    return prompt_type, positive_int(number)


def network_width(text: str) -> float:
    """Return a multiple of a network's channels, above 0 and at most 8."""
    return positive_fraction(text, whole=8)


def seed_number(text: str) -> int:
    """Return an integer from 0 to 2^63 - 1."""
    return _checked(text, int(text), lambda n: 0 <= n < 2**63, "between 0 and 2^63 - 1")


def non_negative_float(text: str) -> float:
    """Return a finite number of at least 0."""
    return _checked(text, float(text), lambda n: 0 <= n < float("inf"), "a number of at least 0")


def positive_float(text: str) -> float:
    """Return a finite number above 0."""
    return _checked(text, non_negative_float(text), bool, "above 0")


def fraction(text: str) -> float:
    """Return a number from 0 to 1."""
    return _checked(text, float(text), lambda n: 0 <= n <= 1, "between 0 and 1")


def positive_fraction(text: str, whole: int = 1) -> float:
    """Return a number above 0 and at most `whole`."""
    return _checked(text, float(text), lambda n: 0 < n <= whole, f"above 0 and at most {whole}")


def _checked(text: str, value: Number, fits, wanted: str) -> Number:
    if not fits(value):
        raise argparse.ArgumentTypeError(f"{text} is not {wanted}")
    return value


def read_option(kind, text: str):
    """Read a value of type `kind` from a text.

    Raises `ValueError` or argparse's own error if the text stands for none.
    """
    if get_origin(kind) is Annotated:
        return kind.__metadata__[0](text)
    if get_origin(kind) is Literal:
        values = {str(value): value for value in get_args(kind)}
        if text not in values:
            raise ValueError(f"{text} is none of {', '.join(values)}")
        return values[text]
    if kind is bool:
        return read_option(Literal["true", "false"], text.lower()) == "true"
    inner = [part for part in get_args(kind) if part is not NoneType]
    return read_option(inner[0], text) if inner else kind(text)
