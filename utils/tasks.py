"""Run processes side by side, each with its own log and time limit; they end with the command that started them."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from utils.errors import UserError

POLL = 0.02  # seconds
GRACE = 20  # seconds in which a process that is asked to end may write its checkpoint


@dataclass(frozen=True)
class Task:
    """A process to run once every task whose name is in `after` has ended.

    name : several tasks may share one; waiting for it means waiting for all of them
    limit : seconds after which it is stopped with all that it started
    begin : is called just before the start; if it raises `UserError`, the process is not started
    ended : gets the exit status (None: stopped at its limit or never started), the seconds, and what the process printed;
        returns the tasks that follow from that
    """

    name: str
    command: tuple
    log: Path
    ended: Callable[[int | None, float, str], "list[Task]"]
    begin: Callable[[], None] = lambda: None
    after: tuple[str, ...] = ()
    limit: float | None = None


def run_at_once(tasks: list[Task], jobs: int, look: Callable[[], None] = lambda: None) -> None:
    """Run all tasks and those that follow from them, at most `jobs` at once, in their order.

    Each gets its part of the cores: processes that all use every core are slower than one (results/records/speed).

    look : is called again and again while they run

    If this process is interrupted, every running process is asked to end and is waited for. Raises `UserError` if tasks
    wait for each other.
    """
    waiting, running = list(tasks), []
    try:
        while waiting or running:
            for task in list(waiting):
                if len(running) < jobs and not {each.name for each in waiting + [r[0] for r in running]} & {
                    *task.after
                }:
                    waiting.remove(task)
                    running += _start(task, waiting, threads_each(min(jobs, len(tasks))))
            if waiting and not running and all({each.name for each in waiting} & {*task.after} for task in waiting):
                raise UserError(f"{', '.join(sorted({task.name for task in waiting}))} wait for each other")
            time.sleep(POLL)
            look()
            for entry in list(running):
                task, process, start, size = entry
                status, seconds = process.poll(), time.monotonic() - start
                if status is None and seconds < (task.limit or float("inf")):
                    continue
                stop(process)  # also ends what it may have left running
                running.remove(entry)
                said = task.log.read_bytes()[size:].decode(errors="replace")
                waiting += task.ended(status, seconds, said)
    finally:
        for _, process, *_ in running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for _, process, *_ in running:
            stop(process, GRACE)


def threads_each(jobs: int) -> dict[str, str]:
    """Return the environment variable that gives each of several processes its part of the cores, unless the user has set it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {"OMP_NUM_THREADS": str(max(1, cores // jobs))} if jobs > 1 and "OMP_NUM_THREADS" not in os.environ else {}


def _start(task: Task, waiting: list[Task], variables: dict[str, str]) -> list[tuple]:
    """Start a task's process with further environment variables. If its `begin` fails, end the task at once."""
    try:
        task.begin()
    except UserError as error:
        waiting += task.ended(None, 0.0, f"error: {error}")
        return []
    task.log.parent.mkdir(parents=True, exist_ok=True)
    with open(task.log, "ab") as log:
        size, options = log.tell(), {"stdout": log, "stderr": subprocess.STDOUT, "start_new_session": True}
        options["env"] = os.environ | variables
        return [(task, subprocess.Popen([str(part) for part in task.command], **options), time.monotonic(), size)]


def stop(process: subprocess.Popen, grace: float = 0) -> None:
    """Kill a process, which leads its group, and all that it started; give it `grace` seconds to end by itself first."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(grace or POLL)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def with_variables(variables: dict[str, str], without: Iterable[str] = ()) -> list[str]:
    """Return the beginning of a command that runs with these environment variables, and without the others that are named."""
    unset = (part for name in without for part in ("-u", name))
    return ["env", *unset, *(f"{name}={value}" for name, value in variables.items())]


def reason(said: str, status: int | None) -> str:
    """Return one line of what a failed process printed: the last error, else the last line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["it printed nothing"]
    errors = [line.partition("error: ")[2] for line in lines if "error: " in line]
    return errors[-1] if errors else f"{lines[-1]} (status {status})"
