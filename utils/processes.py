"""Which of several processes this one is, from the environment of `accelerate launch` and torchrun; and child processes."""

import os
import subprocess
from typing import NamedTuple

from utils.errors import UserError


class Place(NamedTuple):
    """This process among all: its number from 0, how many there are, and its number on its own machine."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0


ALONE = Place()


def place() -> Place:
    """From RANK, WORLD_SIZE and LOCAL_RANK; a single process where they are not set.

    The processes share a folder and never talk to each other, so one that dies holds up nobody. Raises `UserError`
    where the variables make no sense.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    texts = [os.environ.get(name, default) for name, default in zip(names, ("0", "1", "0"), strict=True)]
    if not all(text.isdecimal() for text in texts) or int(texts[0]) >= int(texts[1]):
        given = ", ".join(f"{name}={text}" for name, text in zip(names, texts, strict=True))
        raise UserError(f"the environment says {given}: expected numbers with RANK below WORLD_SIZE; unset them")
    return Place(*map(int, texts))


def run_child(command: list, **options) -> subprocess.CompletedProcess:
    """Run a command as `subprocess.run` does; an interrupt of this process is passed on as SIGTERM.

    The command is then waited for until it has saved, where `subprocess.run` would kill it after a quarter of a second.
    """
    with subprocess.Popen([str(part) for part in command], **options) as process:
        try:
            out, err = process.communicate()
        except KeyboardInterrupt:
            process.terminate()
            process.communicate()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
