"""Files: written whole or not at all, locked by one process at a time, compared by content, named within their folder."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePath

from utils.errors import UserError
from utils.progress import progress


@contextmanager
def whole(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """A path beside `path` to write a file or folder to; it is renamed at the end, so readers never see a part.

    Where the block raises, what it wrote is removed. Give `shared` where several processes may write the same path.
    """
    mark = f".{os.getpid()}" if shared else ""
    partial = path.with_name(f".{path.name}{mark}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove(partial)  # what a kill left
    try:
        yield partial
        os.replace(partial, path)
    finally:
        _remove(partial)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file, whole or not at all; several processes may do so."""
    with whole(path, shared=True) as partial:
        partial.write_bytes(encoded(content) if isinstance(content, str) else content)


def encoded(text: str) -> bytes:
    r"""Return a text as UTF-8; what a file name that isn't UTF-8 brought into it is written as \udcff."""
    return text.encode(errors="backslashreplace")


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the lock on a file; yields whether it is held.

    With `wait` it waits for another holder, else it yields False. The system releases the lock when the process ends,
    however it ends. On a file system without locks it always yields True.
    """
    import fcntl  # Windows has none: there `command_line` says so, and reading records works

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
    """The SHA-256 of each file's content, in order. Raises `UserError` for a file that cannot be read."""

    def digest(path):
        try:
            return hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from error

    with ThreadPoolExecutor() as pool:
        return list(progress(pool.map(digest, paths), desc="comparing files", total=len(paths), unit="file"))


def is_inside(name: str) -> bool:
    """Whether a relative path stays below its folder, judged by its text alone."""
    path = PurePath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\0" not in name


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
