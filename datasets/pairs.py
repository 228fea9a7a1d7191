"""Attribute pairs, of a target and one or several protected attributes, and their groups.

A group is written target_protected, by the values of its attributes. Most attributes have the values 0 and 1: in `1_0` the
target is present and the protected attribute absent; in `1_01` the target is present, the first protected attribute absent
and the second present. Of other attributes the values have names (`datasets.values`): `1_Asian`, and `1_Asian.0` with two
protected attributes.
"""

import difflib
import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from utils.errors import UserError
from utils.metrics import classes_of

TWO = ("0", "1")  # the values of an attribute that is absent or present
BETWEEN = "."  # the values of several protected attributes, unless each is 0 or 1


def _groups(values: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    target, *protected = values
    between = "" if all(each == TWO for each in protected) else BETWEEN
    return tuple(f"{first}_{between.join(rest)}" for first in target for rest in itertools.product(*protected))


def groups_of(protected: int) -> tuple[str, ...]:
    """Return the groups of a target and `protected` protected attributes of two values: 0_0, 0_1, 1_0, 1_1 for one."""
    return _groups((TWO,) * (1 + protected))


GROUPS = groups_of(1)


def values_in(groups: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """Return for each group the numbers, from 0, of the values of the target and of each protected attribute.

    `groups` are all groups of a pair, in order.
    """
    parts = {group: group.split("_") for group in groups}
    rest = list(dict.fromkeys(after for _, after in parts.values()))
    bits = rest == ["".join(each) for each in itertools.product(*[TWO] * len(rest[0]))]
    split = {group: (target, *(after if bits else after.split(BETWEEN))) for group, (target, after) in parts.items()}
    orders = [list(dict.fromkeys(column)) for column in zip(*split.values(), strict=True)]
    return {group: tuple(map(list.index, orders, values)) for group, values in split.items()}


def labels_in(groups: tuple[str, ...]) -> dict[str, tuple[int, int]]:
    """Return for each group the numbers, from 0, of its target and of its protected values taken together.

    `groups` are all groups of a pair, in order: those of the first target value come first.
    """
    protected = len(groups) // classes_of(groups)
    return {group: divmod(place, protected) for place, group in enumerate(groups)}


@dataclass(frozen=True)
class Pair:
    """A target and its protected attributes, as the label file spells them.

    values : the values of each attribute, in the order of `attributes`; empty if all have the values 0 and 1
    """

    target: str
    protected: tuple[str, ...]
    values: tuple[tuple[str, ...], ...] = ()

    @property
    def attributes(self) -> tuple[str, ...]:
        """The target, then the protected attributes."""
        return (self.target, *self.protected)

    @property
    def values_of(self) -> dict[str, tuple[str, ...]]:
        """The values of each attribute."""
        return dict(zip(self.attributes, self.values or (TWO,) * len(self.attributes), strict=True))

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of the groups."""
        return _groups(tuple(self.values_of.values()))

    @property
    def name(self) -> str:
        """The short name, as in file and folder names: `BlondHair_Male`, `Smiling_MaleYoung`."""
        return f"{self.target.replace('_', '')}_{''.join(self.protected).replace('_', '')}"

    def described(self, group: str) -> dict[str, str]:
        """Return the value of each attribute in a group."""
        numbers = values_in(self.groups)[group]
        return {name: values[n] for (name, values), n in zip(self.values_of.items(), numbers, strict=True)}


def parse_pair(text: str, attributes: Iterable[str]) -> Pair:
    """Return the pair that `text` names, such as `Smiling_Male`; `BlondHair_Male` and `Blond_Hair_Male` mean the same.

    Several protected attributes follow one another: `Smiling_MaleYoung` or `Smiling_Male_Young`. Raises `UserError` if
    the text names no pair (with the nearest attributes), or if two attributes differ only in capitals or underscores.
    """
    attributes = list(attributes)
    known = {plain_name(name): name for name in attributes}
    parts = text.split("_")
    splits = [(plain_name("".join(parts[:i])), plain_name("".join(parts[i:]))) for i in range(1, len(parts))]
    found = [
        Pair(known[target], tuple(known[name] for name in names))
        for target, rest in splits
        if target in known
        for names in _segments(rest, known)
        if target not in names and len(set(names)) == len(names)
    ]
    if found:
        pair = min(found, key=lambda pair: len(pair.protected))
        for name in pair.attributes:
            alike = [other for other in attributes if plain_name(other) == plain_name(name)]
            if len(alike) > 1:
                raise UserError(
                    f"--target-sensitive {text}: the data have {' and '.join(alike)}, which differ only in capitals or "
                    "underscores; rename one"
                )
        return pair
    wrong = [part for part in parts if plain_name(part) not in known] or parts
    near = {known[n] for part in wrong for n in difflib.get_close_matches(plain_name(part), known, n=3, cutoff=0.5)}
    hint = f"nearest: {', '.join(sorted(near))}" if near else f"known: {', '.join(sorted(known.values()))}"
    raise UserError(f"--target-sensitive {text}: not TARGET_PROTECTED of different attributes in the data; {hint}")


def same_pair(a: str, b: str) -> bool:
    """Return whether two spellings mean the same pair."""
    return plain_name(a) == plain_name(b)


def _segments(text: str, known: dict[str, str]) -> list[tuple[str, ...]]:
    """Return every way to read `text` as a sequence of known names."""
    if not text:
        return [()]
    heads = [name for name in known if text.startswith(name)]
    return [(head, *tail) for head in heads for tail in _segments(text[len(head) :], known)]


def plain_name(name: str) -> str:
    """Return a name without underscores and capitals."""
    return name.replace("_", "").lower()
