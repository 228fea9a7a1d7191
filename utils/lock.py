"""One process at a time: a lock on a file, let go by the system when its process ends, however it ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the lock on a file; yields whether it was had. With `wait` it is waited for, else another holder means False.

    On a file system without locks it counts as had.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            had = True
        except BlockingIOError:
            had = False
        except OSError:
            had = True
        yield had


def write_whole(path: Path, text: str) -> None:
    """Write a text file under another name of its own, then rename it: readers and other writers never see a part."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
