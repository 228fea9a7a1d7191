"""A command whose work several processes share, the workers; how each is started, and how far they are together.

They share a folder and send no messages: locks and records tell each what is left. Each worker gets a place (`utils.processes`), and
so a GPU of its own, and its own log.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from utils.errors import UserError
from utils.progress import progress
from utils.records import ROOT
from utils.tasks import with_variables

MARK = "AIM_FAIR_WORKER"  # set in a worker's environment, so that it starts no workers itself
LOOK = 1.0  # seconds between two looks at what is done


@dataclass(frozen=True)
class Work:
    """A command that several processes share.

    program : what Python runs, a script or `-m` and a module
    logs : folder of the workers' logs
    done : counts what is done; `total` is all there is
    unit : one of them, for the progress bar
    """

    program: tuple[str, ...]
    logs: Path
    done: Callable[[], int]
    total: int
    unit: str

    def log(self, number: int) -> Path:
        """Return the log of a worker."""
        return self.logs / f"worker_{number}.log"

    def command(self, number: int, count: int, *, gpu: int = 0) -> tuple[str, ...]:
        """Return the command of a worker, which uses the GPU of that number."""
        variables = {MARK: "1", "RANK": number, "WORLD_SIZE": count, "LOCAL_RANK": gpu}
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        return (*with_variables(variables), sys.executable, *self.program, *sys.argv[1:])


def check(work: Work, faults: list[str], lost: list[str]) -> None:
    """Raise `UserError` with the first fault, or if workers were lost and the others have not done their part."""
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise UserError(faults[0] + more)
    left = work.total - work.done()
    if lost and left:
        raise UserError(f"{left} of {work.total} {work.unit}s are left: {lost[0]}; the same command goes on with them")


def bar_of(work: Work) -> tqdm:
    """Return the progress bar of all workers together."""
    return progress(desc="all workers", total=work.total, unit=work.unit, initial=work.done())
