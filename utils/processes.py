"""The place of this process among several, as `accelerate launch` and torchrun set it; and child processes."""

import os
import subprocess
from typing import NamedTuple

from utils.errors import UserError


class Place(NamedTuple):
    """The place of a process: its number from 0, the number of processes, and its number on its own machine."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0


ALONE = Place()


def place() -> Place:
    """Return the place from RANK, WORLD_SIZE and LOCAL_RANK; `ALONE` if they are not set.

    The processes share a folder and send no messages, so one that dies stops no other. Raises `UserError` if the
    variables are no numbers, or RANK is not below WORLD_SIZE.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    texts = [os.environ.get(name, default) for name, default in zip(names, ("0", "1", "0"), strict=True)]
    if not all(text.isdecimal() for text in texts) or int(texts[0]) >= int(texts[1]):
        given = ", ".join(f"{name}={text}" for name, text in zip(names, texts, strict=True))
        raise UserError(f"the environment says {given}: expected numbers with RANK below WORLD_SIZE; unset them")
    return Place(*map(int, texts))


def run_child(command: list, **options) -> subprocess.CompletedProcess:
    """Run a command as `subprocess.run` does, but pass an interrupt of this process on as SIGTERM and wait.

    `subprocess.run` would kill the command after a quarter of a second, before it has saved.
    """
    with subprocess.Popen([str(part) for part in command], **options) as process:
        try:
            out, err = process.communicate()
        except KeyboardInterrupt:
            process.terminate()
            process.communicate()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
