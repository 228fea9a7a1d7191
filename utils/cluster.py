"""Workers as jobs of a cluster, through submitit."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from utils.errors import UserError
from utils.records import ROOT
from utils.shared_work import LOOK, Work, bar_of, check
from utils.tasks import reason


def submit(work: Work, count: int, parameters: tuple[str, ...]) -> None:
    """Run `count` workers as an array of jobs through submitit, and wait for them; a pre-empted one is queued again.

    parameters : KEY=VALUE of submitit, such as timeout_min=600, gpus_per_node=1, slurm_partition=NAME; cluster=local or
        cluster=debug runs the jobs here

    If this process is interrupted, the jobs go on. Raises `UserError` if submitit is missing, refuses the parameters, or
    something is left undone.
    """
    try:
        import submitit
    except ImportError as error:
        raise UserError("--submit needs submitit: pip install submitit") from error
    values = _read(parameters)
    try:
        executor = submitit.AutoExecutor(folder=work.logs, cluster=values.pop("cluster", None))
        executor.update_parameters(**{"name": "aim-fair", **values})
    except (RuntimeError, NameError, ValueError, TypeError, AssertionError) as error:
        raise UserError(f"--submit {' '.join(parameters)}: submitit says: {error}") from error
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))
    )  # where jobs find `Job`
    logs = [str(work.log(number)) for number in range(count)]
    jobs = executor.map_array(Job(), [work.command(number, count) for number in range(count)], logs)
    names = " ".join(job.job_id for job in jobs)
    with bar_of(work) as bar:
        bar.write(f"jobs {names} ({executor.cluster}); their logs: {work.logs}", file=sys.stderr)
        try:
            while not all(job.done() for job in jobs):
                bar.update(work.done() - bar.n)
                time.sleep(LOOK)
        except KeyboardInterrupt:
            print(f"the jobs go on: {names}", file=sys.stderr)
            raise
        bar.update(work.done() - bar.n)
    lost = {job.job_id: job.exception() for job in jobs if job.exception()}
    faults = [f"job {job.job_id}: {job.result()}" for job in jobs if job.job_id not in lost and job.result()]
    check(work, faults, [f"job {name}: {' '.join(str(error).splitlines()[:2])}" for name, error in lost.items()])


class Job:
    """A worker as a job of submitit; one that is pre-empted saves, and is queued again."""

    def __init__(self):
        self._process = None

    def __call__(self, command: tuple[str, ...], log: str) -> str | None:
        """Run a worker, and return its fault in one line; None if it has none."""
        with open(log, "ab") as file:
            begin = file.tell()
            self._process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
            status = self._process.wait()
        return reason(Path(log).read_bytes()[begin:].decode(errors="replace"), status) if status else None

    def checkpoint(self, command: tuple[str, ...], log: str):
        """Let the worker save, and return what submitit queues in its place."""
        import submitit

        if (
            self._process
        ):  # not by its own methods, one of which this signal has interrupted: they would wait for each other
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(self._process.pid, signal.SIGTERM)
                os.waitpid(self._process.pid, 0)
        return submitit.helpers.DelayedSubmission(Job(), command, log)


def _read(parameters: tuple[str, ...]) -> dict[str, int | str]:
    """Return submitit's parameters. Raises `UserError` for one that is no KEY=VALUE."""
    values = {}
    for text in parameters:
        key, sign, value = text.partition("=")
        if not (key and sign):
            raise UserError(f"--submit {text}: expected KEY=VALUE, such as timeout_min=600")
        values[key] = int(value) if value.isdecimal() else value
    return values
