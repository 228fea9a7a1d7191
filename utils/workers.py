"""Several processes, the workers, that run one command, on this machine or on a cluster."""

import os
import sys
import time
from collections.abc import Callable
from functools import partial

from utils.arguments import positive_int
from utils.cluster import submit
from utils.shared_work import LOOK, MARK, Work, bar_of, check
from utils.tasks import Task, reason, run_at_once

LOST = (129, 130, 143)  # exit statuses of a worker that was told to stop; below 0 it was killed
REPLACEMENTS = 3  # of one worker, so that what kills each of them (memory) ends


def workers_flag(of_group: Callable) -> int:
    """Return the field of --workers for a class of settings; `of_group` is `utils.settings.flag` with a group."""
    text = "processes that share the work, each with a GPU, or with its part of the cores (docs/many_gpus.md)"
    return of_group(1, text, type=positive_int)


def submit_flag(of_group: Callable) -> tuple[str, ...]:
    """Return the field of --submit for a class of settings; `of_group` is `utils.settings.flag` with a group."""
    text = "run the workers as jobs of a cluster, through submitit, with these parameters of it (docs/many_gpus.md)"
    return of_group((), text, nargs="+", metavar="KEY=VALUE")


def starts_workers(settings) -> bool:
    """Return True if this process is to let workers do the work that `settings` ask for."""
    return (settings.workers > 1 or bool(settings.submit)) and MARK not in os.environ


def run_workers(work: Work, count: int, parameters: tuple[str, ...] = ()) -> None:
    """Let `count` workers do what is left, on this machine, or with `parameters` on a cluster (`utils.cluster.submit`).

    Raises `UserError` if one fails.
    """
    if work.done() == work.total:
        return
    if parameters:
        submit(work, count, parameters)
    else:
        run_here(work, count)


def run_here(work: Work, count: int) -> None:
    """Run `count` workers on this machine and show how far they are together; a lost one is replaced.

    If this process is interrupted, all are asked to end, and save. Raises `UserError` with the first fault of a worker,
    once the others have ended.
    """
    faults, lost, bar, looked = [], [], bar_of(work), [0.0]
    bar.write(f"{count} workers; their logs: {work.logs}", file=sys.stderr)

    def task(number: int, left: int) -> Task:
        command = work.command(number, count, gpu=number)
        return Task(f"worker {number}", command, work.log(number), partial(ended, number, left))

    def ended(number: int, left: int, status: int | None, _: float, said: str) -> list[Task]:
        if status and (status < 0 or status in LOST):
            bar.write(f"worker {number} was stopped from outside", file=sys.stderr)
            if left:
                return [task(number, left - 1)]
            lost.append(f"worker {number} was stopped from outside {REPLACEMENTS + 1} times ({work.log(number)})")
        elif status:
            faults.append(f"worker {number}: {reason(said, status)} ({work.log(number)})")
        return []

    def look() -> None:
        if time.monotonic() - looked[0] > LOOK:
            looked[0] = time.monotonic()
            bar.update(work.done() - bar.n)

    with bar:
        run_at_once([task(number, REPLACEMENTS) for number in range(count)], count, look)
        bar.update(work.done() - bar.n)
    check(work, faults, lost)
