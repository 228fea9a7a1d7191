"""Paths that come out of files."""

from pathlib import PurePath


def is_inside(name: str) -> bool:
    """Whether a relative path stays below the folder it is relative to, by its letters alone."""
    path = PurePath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\0" not in name
