"""A command whose work several processes share, the workers; how each is started, and how far they are together.

They share a folder and send no messages: locks and records tell each what is left. Each worker gets a place (`utils.processes`), and
so a GPU of its own, and its own log.
"""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from utils.errors import UserError
from utils.progress import progress
from utils.records import ROOT
from utils.tasks import with_variables

MARK = "AIM_FAIR_WORKER"  # in a worker's environment: when its command began, in seconds since the epoch
LOST = (129, 130, 143)  # exit statuses of a worker that was told to stop; below 0 it was killed
REPLACEMENTS = 3  # of one worker, so that what kills each of them (memory) ends
LOOK = 5.0  # seconds between two looks at what is done


@dataclass(frozen=True)
class Work:
    """A command for several processes, and how much of it is done.

    program : what Python runs, a script or `-m` and a module
    logs : folder of the workers' logs
    done : counts what is done; `total` is all there is
    unit : one of them, for the progress bar
    began : when the command began, in seconds since the epoch; a worker that takes a lost one's place is told the same
    """

    program: tuple[str, ...]
    logs: Path
    done: Callable[[], int]
    total: int
    unit: str
    began: float = field(default_factory=time.time)

    @property
    def left(self) -> int:
        """Number of units that are not done yet."""
        return self.total - self.done()

    def log(self, number: int) -> Path:
        """Return the log of a worker."""
        return self.logs / f"worker_{number}.log"

    def command(
        self,
        number: int,
        count: int,
        *,
        gpu: int = 0,
        more: dict[str, str] | None = None,
        without: tuple[str, ...] = (),
    ) -> tuple[str, ...]:
        """Return the command of a worker, which uses the GPU of that number, with `more` environment variables and `without` others."""
        variables = {MARK: self.began, "RANK": number, "WORLD_SIZE": count, "LOCAL_RANK": gpu}
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        return (*with_variables(variables | (more or {}), without), sys.executable, *self.program, *sys.argv[1:])


def began() -> float:
    """Return when this worker's command began, in seconds since the epoch; infinity in a process that is no worker."""
    return float(os.environ.get(MARK, "inf"))


def lost(status: int) -> bool:
    """Return True for the exit status of a worker that was killed or told to stop, and not by its own fault."""
    return status < 0 or status in LOST


def check(work: Work, faults: list[str], gone: list[str]) -> None:
    """Raise `UserError` with the first fault, or workers that are gone, if something is left; else print them as notes."""
    found, left = [*faults, *gone], work.left
    if found and not left:
        print("\n".join(f"note: {text}; the others did its part" for text in found), file=sys.stderr)
    elif faults:
        raise UserError(faults[0] + (f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""))
    elif gone:
        raise UserError(f"{left} of {work.total} {work.unit}s are left: {gone[0]}; run the same command again")


def bar_of(work: Work) -> tqdm:
    """Return the progress bar of all workers together."""
    return progress(desc="all workers", total=work.total, unit=work.unit, initial=work.done())
