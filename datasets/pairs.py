"""Attribute pairs: one target, one protected attribute, four cells."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from utils.errors import UserError

CELLS = ("0_0", "0_1", "1_0", "1_1")  # target_protected: 1_0 = target present, protected attribute absent


@dataclass(frozen=True)
class Pair:
    """A target and a protected attribute, as the label file spells them."""

    target: str
    protected: str

    @property
    def name(self) -> str:
        """The short name, as in file and folder names: `BlondHair_Male` for Blond_Hair and Male."""
        return f"{self.target.replace('_', '')}_{self.protected.replace('_', '')}"


def parse_pair(text: str, attributes: Iterable[str]) -> Pair:
    """The pair that `text` names: `Smiling_Male`, `BlondHair_Male` and `Blond_Hair_Male` alike.

    Raises `UserError`, with the nearest attribute names, where it names none.
    """
    known = {_plain(name): name for name in attributes}
    parts = text.split("_")
    splits = [(_plain("".join(parts[:i])), _plain("".join(parts[i:]))) for i in range(1, len(parts))]
    found = [Pair(known[t], known[p]) for t, p in splits if t in known and p in known and t != p]
    if found:
        return found[0]
    wrong = [part for part in parts if _plain(part) not in known] or parts
    near = {known[n] for part in wrong for n in difflib.get_close_matches(_plain(part), known, n=3, cutoff=0.5)}
    hint = f"nearest: {', '.join(sorted(near))}" if near else f"known: {', '.join(sorted(known.values()))}"
    raise UserError(f"--target-sensitive {text}: not TARGET_PROTECTED of two different attributes in the data; {hint}")


def same_pair(a: str, b: str) -> bool:
    """Whether two spellings of a pair's name mean the same pair."""
    return _plain(a) == _plain(b)


def _plain(name: str) -> str:
    return name.replace("_", "").lower()
