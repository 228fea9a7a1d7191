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
from utils.shared_work import LOOK, REPLACEMENTS, Work, bar_of, check, lost
from utils.tasks import reason, threads_each

TIMEOUTS = 100  # after which a job is not queued again
WORDS = {"true": True, "false": False}


def submit(work: Work, count: int, parameters: tuple[str, ...]) -> None:
    """Run `count` workers as an array of jobs through submitit, and wait for them; a pre-empted one is queued again.

    parameters : KEY=VALUE of submitit, such as timeout_min=600, gpus_per_node=1, slurm_partition=NAME; cluster=local or
        cluster=debug runs the jobs here

    Raises `UserError` if submitit is missing, refuses the parameters, or finds no cluster, if something is left undone, and if this
    process is interrupted: jobs of a cluster then go on.
    """
    try:
        import submitit
    except ImportError as error:
        raise UserError("--submit needs submitit: pip install submitit") from error
    values, asked = _read(parameters), f"--submit {' '.join(parameters)}"
    own = values.pop("cluster", None)
    if not own and "timeout_min" not in values:
        raise UserError(f"{asked}: give timeout_min, the minutes of a job; else submitit takes five")
    # the jobs find the class `Job` there
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    try:
        executor = submitit.AutoExecutor(folder=work.logs, cluster=own, slurm_max_num_timeout=TIMEOUTS)
        if executor.cluster in ("local", "debug") and not own:
            raise UserError(f"{asked}: there is no SLURM here; use --workers {count} alone, or add cluster=local")
        executor.update_parameters(**{"name": "aim-fair", **values})
        commands = [_command(work, number, count, here=executor.cluster != "slurm") for number in range(count)]
        jobs = executor.map_array(Job(), commands, [str(work.log(number)) for number in range(count)])
    except UserError:
        raise
    except (
        submitit.core.utils.FailedJobError,
        RuntimeError,
        NameError,
        ValueError,
        TypeError,
        AssertionError,
    ) as error:
        raise UserError(f"{asked}: submitit says: {' '.join(str(error).split())[:300]}") from error
    names = " ".join(job.job_id for job in jobs)
    with bar_of(work) as bar:
        bar.write(f"jobs {names} ({executor.cluster}); their logs: {work.logs}", file=sys.stderr)
        try:
            while not all(job.done() for job in jobs):
                with contextlib.suppress(OSError, UserError):  # a file that is just being replaced
                    bar.update(work.done() - bar.n)
                time.sleep(min(LOOK, 1.0) if executor.cluster != "slurm" else LOOK)
        except KeyboardInterrupt as error:
            if executor.cluster != "slurm":
                for job in jobs:
                    job.cancel()
                raise
            raise UserError(
                f"the jobs go on; scancel {names} ends them, then the same command does what is left"
            ) from error
        bar.update(work.done() - bar.n)
    gone = {job.job_id: job.exception() for job in jobs if job.exception()}
    faults = [f"job {job.job_id}: {job.result()}" for job in jobs if job.job_id not in gone and job.result()]
    check(work, faults, [f"job {name}: {' '.join(str(error).splitlines()[:2])}" for name, error in gone.items()])


class Job:
    """A worker as a job of submitit; one that is pre-empted saves, and is queued again."""

    def __init__(self):
        self._process = None

    def __call__(self, command: tuple[str, ...], log: str) -> str | None:
        """Run a worker, again if it is killed, and return its fault in one line; None if it has none."""
        for _ in range(REPLACEMENTS + 1):
            with open(log, "ab") as file:
                begin = file.tell()
                # the signal of a pre-emption is for this process, which then tells the worker to save
                options = {"preexec_fn": lambda: signal.signal(signal.SIGUSR2, signal.SIG_IGN)}
                self._process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, **options)
                status = self._process.wait()
            if not lost(status):
                break
        return reason(Path(log).read_bytes()[begin:].decode(errors="replace"), status) if status else None

    def checkpoint(self, command: tuple[str, ...], log: str):
        """Let the worker save, and return what submitit queues in its place."""
        import submitit

        if self._process:
            # not by its own methods, one of which this signal has interrupted: they would wait for each other
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(self._process.pid, signal.SIGTERM)
                os.waitpid(self._process.pid, 0)
        return submitit.helpers.DelayedSubmission(Job(), command, log)


def _command(work: Work, number: int, count: int, *, here: bool) -> tuple[str, ...]:
    """Return a job's command; on this machine each job takes its own GPU and its part of the cores, as other workers do."""
    if not here:
        return work.command(number, count)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")  # submitit shows all jobs the same GPUs
    more = threads_each(count) | ({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})
    return work.command(number, count, gpu=number, more=more, without=() if visible else ("CUDA_VISIBLE_DEVICES",))


def _read(parameters: tuple[str, ...]) -> dict[str, bool | int | float | str]:
    """Return submitit's parameters. Raises `UserError` for one that is no KEY=VALUE."""
    values = {}
    for text in parameters:
        key, sign, value = text.partition("=")
        if not (key and sign):
            raise UserError(f"--submit {text}: expected KEY=VALUE, such as timeout_min=600")
        values[key] = WORDS.get(value.lower(), value)
        if not (value.startswith("0") and value != "0"):  # an account such as 0123 is a name
            for kind in (float, int):
                with contextlib.suppress(ValueError):
                    values[key] = kind(value)
    return values
