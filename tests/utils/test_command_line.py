"""How a command line ends: told to stop, with its output closed or its reader gone, on a system without file locks."""

import os
import pty
import signal
import subprocess
import sys
import time

import pytest
from support import ROOT, run_script

# prints more than a pipe holds, and ends with a record
WORK = """
import sys, time
from pathlib import Path
from utils.errors import UserError, command_line
from utils.files import write_whole
from utils.progress import progress

def main():
    for index in progress(range(20), desc="epochs"):
        print("epoch", index, 10_000 * ".", flush=index % 2)
        print("note", 10_000 * "!", file=sys.stderr)
    write_whole(Path("record"), "whole")
    if "--fail" in sys.argv:
        raise UserError("wrong")

command_line(main)
"""
# saves for a while when it is told to stop
STOPPED = """
import time
from pathlib import Path
from utils.errors import command_line

def main():
    try:
        print("begun", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        time.sleep(0.5)
        Path("saved").touch()
        raise

command_line(main)
"""


@pytest.mark.parametrize("streams", ["| head -n 1", "2>&1 | true", ">&-", "2>&-", "<&- >&- 2>&-", ">&- 2>/dev/null"])
@pytest.mark.parametrize("flag", ["", "--fail"])
def test_work_is_done_whoever_reads(tmp_path, streams, flag):
    (tmp_path / "work.py").write_text(WORK)
    command = f"set -o pipefail; '{sys.executable}' work.py {flag} {streams}"
    done = run_script("bash", "-c", command, cwd=tmp_path)
    assert done.returncode == (2 if flag else 0), done.stderr
    assert (tmp_path / "record").read_text() == "whole"
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


def test_work_is_done_when_the_terminal_is_closed(tmp_path):
    (tmp_path / "work.py").write_text("import time; time.sleep(0.5)\n" + WORK)
    mine, its = pty.openpty()
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "work.py"], cwd=tmp_path, env=variables, stdin=its, stdout=its, stderr=its
    )
    os.close(its)
    os.close(mine)
    assert process.wait(timeout=30) == 0
    assert (tmp_path / "record").read_text() == "whole"


def test_a_full_disk_under_the_output_is_not_a_reader_that_went(tmp_path):
    (tmp_path / "work.py").write_text(WORK)
    done = run_script("bash", "-c", f"'{sys.executable}' work.py >/dev/full", cwd=tmp_path)
    assert done.returncode == 2 and "the disk is full" in done.stderr and "Traceback" not in done.stderr


def test_a_file_that_is_larger_than_allowed_is_a_line(tmp_path):
    (tmp_path / "work.py").write_text(WORK.replace('"whole"', "10**6 * '.'"))
    done = run_script("bash", "-c", f"ulimit -f 100; '{sys.executable}' work.py", cwd=tmp_path)
    assert done.returncode == 2 and "error: a file is larger" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "record").exists()


def test_help_that_nobody_reads_is_quiet():
    done = run_script("bash", "-c", f"set -o pipefail; '{sys.executable}' -m prompts.check --help | true")
    assert done.returncode == 0 and not done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_stop_is_heard_once(tmp_path, number):
    process = start_stopped(tmp_path)
    for _ in range(3):  # an impatient user; a scheduler that tells every process of a job, and its runner
        process.send_signal(number)
        time.sleep(0.1)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + number and (tmp_path / "saved").exists()
    assert errors == "interrupted; the same command goes on where it stopped\n"


def test_a_signal_that_is_ignored_stays_so(tmp_path):
    process = start_stopped(tmp_path, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)
    process.kill()
    process.communicate()


def start_stopped(folder, script="stopped.py", **options):
    (folder / "stopped.py").write_text(STOPPED)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, script], cwd=folder, env=variables, **pipes, **options)
    assert process.stdout.readline() == "begun\n"
    return process


def test_a_child_is_told_to_stop_and_waited_for(tmp_path):
    (tmp_path / "parent.py").write_text(f"""
from utils.errors import command_line
from utils.processes import run_child
command_line(lambda: run_child(["{sys.executable}", "stopped.py"]))
""")
    process = start_stopped(tmp_path, "parent.py")
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 143 and (tmp_path / "saved").exists()


def test_a_system_without_file_locks_is_refused_in_a_line():
    code = """
import sys
sys.modules["fcntl"] = sys.modules["resource"] = None  # as on Windows
import utils.cost, utils.files
from utils.errors import command_line
command_line(lambda: print("begun"))
"""
    done = run_script(sys.executable, "-c", code)
    assert done.returncode == 2 and not done.stdout
    assert len(done.stderr.splitlines()) == 1 and "WSL" in done.stderr


def test_train_finds_its_own_packages_first(tmp_path):
    """Whatever Python is told of the path, and whichever `datasets` is installed besides."""
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "__init__.py").touch()
    # stands in for the first package that train.py imports
    (tmp_path / "pandas.py").write_text("import datasets, sys; sys.exit(datasets.__path__[0])")
    for more in ({"PYTHONSAFEPATH": "1"}, {}):
        variables = {**os.environ, "PYTHONPATH": str(tmp_path), **more}
        command = [sys.executable, ROOT / "train.py", "--real-data-path", tmp_path]
        done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True)
        assert done.stderr.strip() == str(ROOT / "datasets")
