"""Files: writing them whole or not at all, locking, comparing by content, and names within a folder."""

import hashlib
import os
import shutil
import stat
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePath

from utils.errors import UserError
from utils.progress import progress


@contextmanager
def whole(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """Yield a temporary path for a file or folder and rename it to `path` at the end: readers never see a part.

    If the block raises, the temporary path is removed. Pass `shared` if several processes may write the same path.
    """
    mark = f".{os.getpid()}" if shared else ""
    partial = path.with_name(f".{path.name}{mark}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove(partial)  # left by a killed process
    try:
        yield partial
        os.replace(partial, path)
    finally:
        _remove(partial)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file, whole or not at all; several processes may write the same one."""
    with whole(path, shared=True) as partial:
        partial.write_bytes(encoded(content) if isinstance(content, str) else content)


def encoded(text: str) -> bytes:
    r"""Return a text as UTF-8; bytes of a file name that are not UTF-8 are written as \udcff."""
    return text.encode(errors="backslashreplace")


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Lock a file for the length of a block, and yield whether the lock is held.

    If another process holds it: wait, or without `wait` yield False. The system releases the lock when the process ends
    in any way. On a file system without locks this always yields True.
    """
    import fcntl  # missing on Windows, where `command_line` prints an error; reading records works there

    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            held = True
        except BlockingIOError:
            held = False
        except OSError:
            held = True
        yield held


def digests(paths: list[Path]) -> list[str]:
    """Return the SHA-256 of each file's content, in order. Raises `UserError` if a file cannot be read."""

    def digest(path):
        try:
            return hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from error

    with ThreadPoolExecutor() as pool:
        return list(progress(pool.map(digest, paths), desc="comparing files", total=len(paths), unit="file"))


def copies(paths: list[Path]) -> list[list[int]]:
    """Return the indices of files with equal content: a list of two or more for each content, in order.

    Only files of equal size are read. Raises `UserError` if a file cannot be read.
    """
    try:
        sizes = [path.stat().st_size for path in paths]
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror}") from error
    number = Counter(sizes)
    suspects = [index for index, size in enumerate(sizes) if number[size] > 1]
    groups: dict[str, list[int]] = {}
    for index, digest in zip(suspects, digests([paths[i] for i in suspects]) if suspects else (), strict=True):
        groups.setdefault(digest, []).append(index)
    return [group for group in groups.values() if len(group) > 1]


def first_names(folder: Path, names: list[str]) -> list[int | None]:
    """Return, for each name in `folder`, the index of the first name of the same file; None if there is no file.

    Two links to one file, or two spellings of its path, are the same file. Each folder is listed once: faster than
    asking for each of 200,000 files.
    """
    listed = {parent: _listed(folder / parent) for parent in {os.path.dirname(name) for name in names}}
    first: dict[tuple[int, int], int] = {}
    found: list[int | None] = []
    for index, name in enumerate(names):
        # a name that is not listed may still exist: as a link, or on a case-insensitive disk
        identity = listed[os.path.dirname(name)].get(os.path.basename(name)) or _identity(folder / name)
        place = first.setdefault(identity, index) if identity else None
        if place not in (None, index) and not os.path.samefile(folder / name, folder / names[place]):
            place = index  # stacked file systems may give two files one inode number
        found.append(place)
    return found


def _listed(folder: Path) -> dict[str, tuple[int, int]]:
    try:
        device = os.stat(folder).st_dev
        with os.scandir(folder) as entries:
            return {e.name: (device, e.inode()) for e in entries if e.is_file(follow_symlinks=False)}
    except (OSError, ValueError):
        return {}


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(file)
    except (OSError, ValueError):
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None


def is_inside(name: str) -> bool:
    """Return whether a relative path stays below its folder, judged by its text alone."""
    path = PurePath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\0" not in name


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
