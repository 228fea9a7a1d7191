"""What the tests share: where things lie, and ways to run the scripts."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("AIM_FAIR_SHARED", ROOT.parent / "shared"))
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_script(*arguments, cwd=ROOT, **options):
    """Run a command with this interpreter first on PATH; returns the completed process."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    command = [str(argument) for argument in arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, **options)


def run_here(main, *arguments):
    """Run a script's `main` as its command line does, without the seconds a process takes to load torch."""
    import torch

    from utils.errors import command_line

    out, err, status = io.StringIO(), io.StringIO(), 0
    handlers, chosen = list(map(signal.getsignal, STOPPING)), torch.are_deterministic_algorithms_enabled()
    command = [f"{main.__module__}.py", *map(str, arguments)]
    with mock.patch.object(sys, "argv", command), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            command_line(main)
        except SystemExit as end:
            status = end.code or 0
        except Exception:
            status = 1
            traceback.print_exc()
    for number, handler in zip(STOPPING, handlers, strict=True):
        signal.signal(number, handler)
    torch.use_deterministic_algorithms(chosen)
    return subprocess.CompletedProcess(command, status, out.getvalue(), err.getvalue())


def assert_one_line_error(process, *parts):
    """The process failed with status 2, one line that begins with "error:", and every part in it."""
    assert process.returncode == 2, process.stderr
    lines = [line for line in process.stderr.splitlines() if "error:" in line]
    assert len(lines) == 1 and "Traceback" not in process.stderr, process.stderr
    for part in parts:
        assert str(part) in lines[0], lines[0]
