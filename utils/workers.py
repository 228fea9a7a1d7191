"""Several processes, the workers, that run one command, on this machine or on a cluster."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial

from utils.arguments import positive_int
from utils.cluster import submit
from utils.errors import UserError
from utils.files import locked
from utils.processes import place
from utils.shared_work import LOOK, MARK, REPLACEMENTS, Work, bar_of, check, lost
from utils.tasks import Task, reason, run_at_once

ORPHAN = 1.0  # seconds between two looks at whether the process that started this one is there


def workers_flag(of_group: Callable) -> int:
    """Return the field of --workers for a class of settings; `of_group` is `utils.settings.flag` with a group."""
    text = "processes that share the work, each with a GPU, or with its part of the cores (docs/many_gpus.md)"
    return of_group(1, text, type=positive_int)


def submit_flag(of_group: Callable) -> tuple[str, ...]:
    """Return the field of --submit for a class of settings; `of_group` is `utils.settings.flag` with a group."""
    text = "run the workers as jobs of a cluster, through submitit, with these parameters of it (docs/many_gpus.md)"
    return of_group((), text, nargs="+", metavar="KEY=VALUE")


def starts_workers(settings) -> bool:
    """Return True if this process is to let workers do what `settings` ask for; a worker itself ends when its starter does.

    Raises `UserError` if they can't share: on one GPU that is named, or in one of several processes that something else started.
    """
    if MARK in os.environ:
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
        return False
    if settings.dry_run or (settings.workers == 1 and not settings.submit):
        return False
    if place().count > 1:
        raise UserError(
            "--workers starts the processes itself: leave out torchrun, accelerate launch, RANK and WORLD_SIZE"
        )
    if settings.device.startswith("cuda:"):
        number = settings.device.removeprefix("cuda:")
        raise UserError(
            f"--device {settings.device}: all workers would use this GPU; leave it out, or if you want that, set CUDA_VISIBLE_DEVICES={number}"
        )
    return True


def run_workers(work: Work, count: int, parameters: tuple[str, ...] = ()) -> None:
    """Let at most `count` workers do what is left, on this machine, or with `parameters` on a cluster (`utils.cluster.submit`).

    Raises `UserError` if something is left, or if the folder's file system has no locks.
    """
    with locked(work.logs / ".lock", wait=True), locked(work.logs / ".lock", wait=False) as twice:
        if twice:
            raise UserError(
                f"the file system of {work.logs} has no locks, so workers would all do the same; start one process for each part "
                "of --seeds (docs/many_gpus.md)"
            )
    count = max(1, min(count, work.left))
    if parameters:
        submit(work, count, parameters)
    else:
        run_here(work, count)


def run_here(work: Work, count: int) -> None:
    """Run `count` workers on this machine and show how far they are together; a lost one is replaced.

    If this process is interrupted, all are asked to end, and save. Raises `UserError` with the first fault of a worker,
    once the others have ended, if something is left.
    """
    faults, gone, bar, looked = [], [], bar_of(work), [0.0]
    bar.write(f"{count} workers; their logs: {work.logs}", file=sys.stderr)

    def task(number: int, more: int) -> Task:
        command = work.command(number, count, gpu=number)
        return Task(f"worker {number}", command, work.log(number), partial(ended, number, more))

    def ended(number: int, more: int, status: int | None, _: float, said: str) -> list[Task]:
        if not status:
            return []
        if lost(status):
            bar.write(f"worker {number} was stopped from outside", file=sys.stderr)
            if more:
                return [task(number, more - 1)]
            gone.append(f"worker {number} was stopped from outside {REPLACEMENTS + 1} times ({work.log(number)})")
        else:
            faults.append(f"worker {number}: {reason(said, status)} ({work.log(number)})")
            bar.write(f"{faults[-1]}; the others go on", file=sys.stderr)
        return []

    def look() -> None:
        if time.monotonic() - looked[0] > LOOK:
            looked[0] = time.monotonic()
            with contextlib.suppress(OSError, UserError):  # a file that is just being replaced
                bar.update(work.done() - bar.n)

    with bar:
        run_at_once([task(number, REPLACEMENTS) for number in range(count)], count, look)
        bar.update(work.done() - bar.n)
    check(work, faults, gone)


def _end_with(starter: int) -> None:
    """Tell this process to stop, and so to save, when the one that started it is gone."""
    while os.getppid() == starter:
        time.sleep(ORPHAN)
    os.kill(os.getpid(), signal.SIGTERM)
