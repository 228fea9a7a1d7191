"""Commands that a measure runs side by side, or kills, from inside its own process."""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from utils.errors import UserError
from utils.records import ROOT
from utils.tasks import POLL, reason


def together(commands: dict[str, tuple | list], logs: Path) -> dict[str, float]:
    """Run commands side by side, from inside a measure, and return the seconds of each; `logs` is a folder.

    They belong to this process's group, so what stops this process stops them too. Raises `UserError` with what each command
    that failed printed, once all have ended.
    """
    begin, seconds, failed = time.monotonic(), {}, []
    running = {name: _child(command, logs / f"{name}.log") for name, command in commands.items()}
    try:
        while running:
            time.sleep(POLL)
            for name in [name for name, process in running.items() if process.poll() is not None]:
                seconds[name] = round(time.monotonic() - begin, 2)
                if status := running.pop(name).returncode:
                    said = (logs / f"{name}.log").read_text(errors="replace")
                    print(said, flush=True)
                    failed.append(f"{name}: {reason(said, status)}")
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    if failed:
        raise UserError("; ".join(failed))
    return seconds


def kill_once(there: Callable[[], bool], command: tuple | list, log: Path) -> None:
    """Run a command and kill it (SIGKILL) as soon as `there()` is true. Raises `UserError` if it ends before that."""
    process = _child(command, log)
    try:
        while process.poll() is None and not there():
            time.sleep(0.005)
    finally:
        process.kill()
        process.wait()
    if process.returncode != -signal.SIGKILL:
        why = reason(log.read_text(errors="replace"), process.returncode)
        raise UserError(f"could not be killed: it ended before, with: {why}")


def _child(command: tuple | list, log: Path) -> subprocess.Popen:
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w") as file:
        return subprocess.Popen([str(part) for part in command], stdout=file, stderr=subprocess.STDOUT, cwd=ROOT)
