"""Attribute pairs, of a target and one or several protected attributes, and their groups.

A group is written target_protected. In `1_0` the target is present and the protected attribute absent; in `1_01` the
target is present, the first protected attribute absent and the second present.
"""

import difflib
import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from utils.errors import UserError


def groups_of(protected: int) -> tuple[str, ...]:
    """Return the groups of a target and `protected` protected attributes: 0_0, 0_1, 1_0, 1_1 for one."""
    values = ["".join(bits) for bits in itertools.product("01", repeat=protected)]
    return tuple(f"{target}_{value}" for target in "01" for value in values)


GROUPS = groups_of(1)


def group_labels(group: str) -> tuple[int, int]:
    """Return a group's target, 0 or 1, and protected value: 0 or 1, or the binary number of several attributes."""
    target, protected = group.split("_")
    return int(target), int(protected, 2)


def group_values(group: str) -> tuple[int, ...]:
    """Return the value, 0 or 1, of the target and of each protected attribute in a group."""
    return tuple(int(bit) for bit in group.replace("_", ""))


@dataclass(frozen=True)
class Pair:
    """A target and its protected attributes, as the label file spells them."""

    target: str
    protected: tuple[str, ...]

    @property
    def attributes(self) -> tuple[str, ...]:
        """The target, then the protected attributes."""
        return (self.target, *self.protected)

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of the groups."""
        return groups_of(len(self.protected))

    @property
    def name(self) -> str:
        """The short name, as in file and folder names: `BlondHair_Male`, `Smiling_MaleYoung`."""
        return f"{self.target.replace('_', '')}_{''.join(self.protected).replace('_', '')}"


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
