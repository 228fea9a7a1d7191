"""Workers that share a command: places, threads, replacements, faults, and jobs of a cluster."""

import os
import signal
import subprocess
import sys
import time

import pytest
from support import ROOT

from utils.errors import UserError
from utils.shared_work import MARK, Work
from utils.workers import REPLACEMENTS, run_here, run_workers

BEGIN = """
import os, signal, sys, time
from pathlib import Path
out, number = Path({out!r}), int(os.environ["RANK"])
(out / f"begun_{{number}}_{{os.getpid()}}").touch()
"""
END = """
(out / f"done_{number}").touch()
"""


def work(tmp_path, code, total=2):
    """Return work whose workers run a program: what of it is done are the files that it leaves."""
    program = tmp_path / "program.py"
    program.write_text(BEGIN.format(out=str(tmp_path)) + code)
    done = lambda: len(list(tmp_path.glob("done_*")))  # noqa: E731
    return Work((str(program),), tmp_path / "logs", done, total, "piece")


def begun(tmp_path, number):
    return len(list(tmp_path.glob(f"begun_{number}_*")))


def test_each_worker_has_a_place_threads_and_a_log(tmp_path, monkeypatch, capfd):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "OMP_NUM_THREADS", MARK)
    run_workers(work(tmp_path, f"print(*[os.environ[name] for name in {names}])" + END), 2)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    for number in (0, 1):
        said = (tmp_path / "logs" / f"worker_{number}.log").read_text()
        assert said.split() == [str(number), "2", str(number), str(max(1, cores // 2)), "1"]
    assert "2/2" in capfd.readouterr().err


def test_threads_that_were_asked_for_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    run_here(work(tmp_path, "print(os.environ['OMP_NUM_THREADS'])" + END), 2)
    assert (tmp_path / "logs" / "worker_0.log").read_text() == "7\n"


def test_nothing_is_started_if_nothing_is_left(tmp_path):
    run_workers(work(tmp_path, "", total=0), 2)
    assert not begun(tmp_path, 0)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_lost_worker_is_replaced(tmp_path, number):
    once = f"""
if number and not (out / "lost").exists():
    (out / "lost").touch()
    os.kill(os.getpid(), {int(number)})
    sys.exit(143)
"""
    run_here(work(tmp_path, once + END), 2)
    assert (begun(tmp_path, 0), begun(tmp_path, 1)) == (1, 2)


def test_what_kills_every_worker_ends_with_its_log_named(tmp_path):
    always = "if number: os.kill(os.getpid(), signal.SIGKILL)\n"
    with pytest.raises(UserError, match=r"1 of 2 pieces are left: worker 1 was stopped .* 4 times \(.*worker_1.log\)"):
        run_here(work(tmp_path, always + END), 2)
    assert begun(tmp_path, 1) == REPLACEMENTS + 1


def test_a_fault_is_one_line_and_the_others_end_their_part(tmp_path):
    fault = "if number: sys.exit('error: no such face')\n"
    with pytest.raises(UserError, match=r"^worker 1: no such face \(.*worker_1.log\)$"):
        run_here(work(tmp_path, fault + END), 2)
    assert (tmp_path / "done_0").exists() and begun(tmp_path, 1) == 1


def test_an_interrupt_ends_all_workers_when_they_have_saved(tmp_path):
    save = """
def saved(*_):
    (out / f"saved_{number}").touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, saved)
(out / f"ready_{number}").touch()
time.sleep(60)
"""
    made = work(tmp_path, save)
    code = f"""
from pathlib import Path
from utils.errors import command_line
from utils.workers import Work, run_here
command_line(lambda: run_here(Work({made.program!r}, Path({str(made.logs)!r}), lambda: 0, 2, "piece"), 2))
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("ready_*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert "goes on where it stopped" in process.communicate(timeout=60)[1] and process.returncode == 143
    assert len(list(tmp_path.glob("saved_*"))) == 2


def test_a_job_of_a_cluster_that_is_preempted_saves_and_goes_on(tmp_path):
    """By submitit's local executor: of ten jobs one gets the signal that SLURM sends before it takes a node away."""
    pytest.importorskip("submitit")
    from utils.cluster import submit

    preempted = """
signal.signal(signal.SIGTERM, lambda *_: sys.exit((out / "saved").touch() or 143))
if number == 3 and not (out / "saved").exists():
    os.kill(os.getppid(), signal.SIGUSR2)
    time.sleep(60)
"""
    made = work(tmp_path, preempted + END, total=10)
    submit(made, 10, ("cluster=local", "timeout_min=1"))
    assert made.done() == 10 and [begun(tmp_path, number) for number in (2, 3)] == [1, 2]


def test_a_fault_in_a_job_of_a_cluster_is_one_line(tmp_path):
    pytest.importorskip("submitit")
    from utils.cluster import submit

    with pytest.raises(UserError, match="^job .*: no such face$"):
        submit(work(tmp_path, "sys.exit('error: no such face')"), 1, ("cluster=local", "timeout_min=1"))


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        (("timeout_min",), "expected KEY=VALUE"),
        (("cluster=local", "nodes=2"), "submitit says"),
        (("cluster=moon",), "submitit says"),
    ],
)
def test_parameters_that_cannot_be_are_one_line(tmp_path, parameters, says):
    pytest.importorskip("submitit")
    from utils.cluster import submit

    with pytest.raises(UserError, match=says):
        submit(work(tmp_path, END), 1, parameters)


def test_without_submitit_the_package_is_named(tmp_path, monkeypatch):
    from utils.cluster import submit

    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match="pip install submitit"):
        submit(work(tmp_path, END), 1, ("cluster=local",))
