"""Workers that share a command: places, threads, replacements, faults, and jobs of a cluster."""

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from support import ROOT

from utils.errors import UserError
from utils.shared_work import MARK, REPLACEMENTS, Work
from utils.workers import run_here, run_workers, starts_workers

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


def there(path, seconds=60):
    """Wait for a file, and return whether it came."""
    deadline = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return path.exists()


def begun(tmp_path, number):
    return len(list(tmp_path.glob(f"begun_{number}_*")))


def test_each_worker_has_a_place_threads_and_a_log(tmp_path, monkeypatch, capfd):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    names, begin = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "OMP_NUM_THREADS", MARK), time.time()
    run_workers(work(tmp_path, f"print(*[os.environ[name] for name in {names}])" + END), 2)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    for number in (0, 1):
        *said, began = (tmp_path / "logs" / f"worker_{number}.log").read_text().split()
        assert said == [str(number), "2", str(number), str(max(1, cores // 2))]
        assert begin <= float(began) <= time.time()
    assert "2/2" in capfd.readouterr().err


def test_threads_that_were_asked_for_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    run_here(work(tmp_path, "print(os.environ['OMP_NUM_THREADS'])" + END), 2)
    assert (tmp_path / "logs" / "worker_0.log").read_text() == "7\n"


def test_there_are_no_more_workers_than_there_is_work(tmp_path):
    (tmp_path / "done_7").touch()
    run_workers(work(tmp_path, END), 5)
    assert [begun(tmp_path, number) for number in range(5)] == [1, 0, 0, 0, 0]


def test_without_locks_there_are_no_workers(tmp_path, monkeypatch):
    monkeypatch.setattr("fcntl.flock", lambda *_: (_ for _ in ()).throw(OSError("no locks")))
    with pytest.raises(UserError, match="has no locks, so workers would all do the same; start one process for each"):
        run_workers(work(tmp_path, END), 2)
    assert not begun(tmp_path, 0)


def test_what_cannot_be_shared_is_one_line(monkeypatch):
    asked = SimpleNamespace(workers=2, submit=(), dry_run=False, device="auto")
    assert starts_workers(asked)
    for other in ({"workers": 1}, {"dry_run": True}):
        assert not starts_workers(SimpleNamespace(**{**vars(asked), **other}))
    with pytest.raises(UserError, match="--device cuda:1: all workers would use this GPU; .* CUDA_VISIBLE_DEVICES=1"):
        starts_workers(SimpleNamespace(**{**vars(asked), "device": "cuda:1"}))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="leave out torchrun, accelerate launch"):
        starts_workers(asked)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_lost_worker_is_replaced(tmp_path, number):
    once = f"""
print(os.environ["AIM_FAIR_WORKER"])
if number and not (out / "lost").exists():
    (out / "lost").touch()
    sys.stdout.flush()
    os.kill(os.getpid(), {int(number)})
    sys.exit(143)
"""
    run_here(work(tmp_path, once + END), 2)
    assert (begun(tmp_path, 0), begun(tmp_path, 1)) == (1, 2)
    began = [(tmp_path / "logs" / f"worker_{worker}.log").read_text().split() for worker in (0, 1)]
    assert len({*began[0], *began[1]}) == 1  # so that it takes notes of a divergence as the lost one did


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


def test_a_fault_of_one_worker_is_a_note_if_the_others_did_its_part(tmp_path, capfd):
    fault = "if number: sys.exit('error: no such face')\n"
    run_here(work(tmp_path, fault + END, total=1), 2)
    assert "note: worker 1: no such face" in capfd.readouterr().err


def test_a_worker_saves_and_ends_if_what_started_it_is_killed(tmp_path):
    waits = f"""
sys.path.insert(0, {str(ROOT)!r})
from types import SimpleNamespace
from utils.workers import starts_workers
def saved(*_):
    (out / "saved").touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, saved)
assert not starts_workers(SimpleNamespace(workers=2))  # it is one
(out / "ready").touch()
time.sleep(60)
"""
    made = work(tmp_path, waits)
    code = f"""
from pathlib import Path
from utils.shared_work import Work
from utils.workers import run_here
run_here(Work({made.program!r}, Path({str(made.logs)!r}), lambda: 0, 2, "piece"), 1)
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL)
    assert there(tmp_path / "ready")
    process.kill()
    assert there(tmp_path / "saved")


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
from utils.shared_work import Work
from utils.workers import run_here
command_line(lambda: run_here(Work({made.program!r}, Path({str(made.logs)!r}), lambda: 0, 2, "piece"), 2))
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert there(tmp_path / "ready_0") and there(tmp_path / "ready_1")
    process.send_signal(signal.SIGTERM)
    assert "goes on where it stopped" in process.communicate(timeout=60)[1] and process.returncode == 143
    assert len(list(tmp_path.glob("saved_*"))) == 2


@pytest.mark.slow
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


def test_a_worker_in_a_job_is_started_again_if_it_is_killed(tmp_path):
    pytest.importorskip("submitit")
    from utils.cluster import submit

    killed = "if not list(out.glob('begun_0_*'))[1:]: os.kill(os.getpid(), signal.SIGKILL)\n"
    submit(work(tmp_path, killed + END, total=1), 1, ("cluster=local", "timeout_min=1"))
    assert begun(tmp_path, 0) == 2


def test_jobs_on_this_machine_share_its_gpus_and_cores(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    from utils.cluster import submit

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    said = "print(*[os.environ[name] for name in ('CUDA_VISIBLE_DEVICES', 'LOCAL_RANK', 'OMP_NUM_THREADS')])"
    submit(work(tmp_path, said + END), 2, ("cluster=local", "timeout_min=1", "gpus_per_node=1"))
    assert (tmp_path / "logs" / "worker_1.log").read_text().split()[:2] == ["4,5", "1"]


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
        (("slurm_partition=gpu",), "give timeout_min"),
        (("timeout_min=5", "slurm_partition=gpu"), "there is no SLURM here; use --workers 1 alone"),
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
