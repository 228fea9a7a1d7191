"""What only a GPU can show: that it gives what a CPU gives, that it repeats itself, and how fast it is.

    python -m results.gpu --output results/records/gpu                    # five minutes at most (--limit)
    python -m results.gpu --output DIR --steps agree resume               # some of the steps
    python -m results.gpu --output DIR --device cpu --small --limit 900   # the same steps in miniature, without a GPU

Each step is a process of its own with a limit of its own. What is compared runs side by side, what is timed runs alone.
A step that fails or takes too long costs only itself: its record says what it found until then and the last it said. Every
step's record goes to <output>/<step>.json as soon as it ends, and all together to <output>/table.md. A step that is recorded
as finished is not run again; any other one is tried again. Faces, images and trainings lie in a temporary folder.
"""

import argparse
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from results.gpu.table import markdown, verdict
from utils.errors import UserError, command_line
from utils.files import write_whole
from utils.records import ROOT, commit

FINISHED, FAILED, STOPPED = "finished", "failed", "stopped"
LAST_LINES = 15  # of what a step said, for the record of one that didn't finish
POLL = 0.05  # seconds
ENOUGH = 10  # seconds that must be left for a step to be started, unless it takes no longer
PATIENCE = 10  # times the limits of the steps with --small, which is for slow machines


class Step(NamedTuple):
    """Its limit in seconds, and the steps that must have ended before it starts, of those that are run at all."""

    limit: float
    after: tuple[str, ...] = ()


CORRECT = ("machine", "agree", "deterministic", "resume", "precision", "generation")  # side by side
# the two left out are chains of processes, few of them at their end: they hardly spoil what is timed beside them
MANY = ("machine", "deterministic", "precision", "generation")
BESIDE = (*CORRECT, "compile", "compile_drawing", "runner")
STEPS = {
    **{name: Step(75) for name in CORRECT},
    "runner": Step(60, MANY),
    "compile": Step(90),
    "compile_drawing": Step(90),
    "speed": Step(100, BESIDE),  # what is timed is alone
    "generation_speed": Step(60, (*BESIDE, "speed")),
    "speed_fp32": Step(40, (*BESIDE, "speed", "generation_speed")),
    "ten_seeds": Step(10, ("speed", "speed_fp32")),
}


def main() -> None:
    """Every step that is not recorded as finished, and the table."""
    args = parse_args()
    asked = {"device": args.device, "small": args.small}
    args.output.mkdir(parents=True, exist_ok=True)
    kept = read_steps(args.output)
    left = [name for name in STEPS if name in args.steps and not is_finished(kept.get(name), asked, args.output)]
    for name in args.steps:
        if name not in left:
            print(f"{name}: recorded already", flush=True)
    origin = {"command": shlex.join(["python", "-m", "results.gpu", *sys.argv[1:]]), "commit": commit(), **asked}
    with tempfile.TemporaryDirectory(dir=args.scratch, ignore_cleanup_errors=True) as work:
        for name, found in run_steps(left, args, Path(work).resolve()):
            write_whole(args.output / f"{name}.json", json.dumps({**found, **origin}, indent=1) + "\n")
            print(f"{name}: {found['status']} after {found['seconds']:.1f} s; {verdict(found)}", flush=True)
            write_whole(args.output / "table.md", markdown(read_steps(args.output)))
    print(f"table: {args.output / 'table.md'}")


def read_steps(output: Path) -> dict[str, dict]:
    """The records there are, by step, in the order of the steps. Raises `UserError` where one is damaged."""
    found = {}
    for name in STEPS:
        path = output / f"{name}.json"
        if path.exists():
            try:
                found[name] = json.loads(path.read_text())
                _ = found[name]["status"], found[name]["rows"], found[name]["seconds"]
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(f"{path} is damaged ({error}); remove it to run the step again") from error
    return found


def is_finished(record: dict | None, asked: dict, output: Path) -> bool:
    """Whether a step needs no other run. Raises `UserError` where it was run on another device or at another size."""
    if not record:
        return False
    there = {key: record.get(key) for key in asked}
    if there != asked:
        raise UserError(f"{output} holds steps of {there}, asked for {asked}; choose another --output")
    return record["status"] == FINISHED


def run_steps(names: list[str], args: argparse.Namespace, work: Path) -> Iterator[tuple[str, dict]]:
    """Run steps, each as soon as those that it waits for have ended; yields the name and the record of each as it ends.

    One that outlives its own limit or `args.limit` is killed with all that it started; one that comes too late is left out.
    """
    deadline, patience = time.monotonic() + args.limit, PATIENCE if args.small else 1
    waiting, running = list(names), {}
    try:
        while waiting or running:
            for name in [name for name in waiting if not {*waiting, *running} & {*STEPS[name].after}]:
                waiting.remove(name)
                now, limit = time.monotonic(), STEPS[name].limit * patience
                if deadline - now < min(limit, ENOUGH):
                    print(f"{name}: no time left; the same command goes on with it", flush=True)
                else:
                    running[name] = start_step(name, args, work), now, min(now + limit, deadline)
            time.sleep(POLL)
            for name, (process, start, end) in list(running.items()):
                status, now = process.poll(), time.monotonic()
                if status is None and now < end:
                    continue
                stop(process)  # and what it may have left running
                del running[name]
                outcome = STOPPED if status is None else FAILED if status else FINISHED
                yield name, record(name, work, outcome, round(now - start, 2))
    finally:
        for process, *_ in running.values():
            stop(process)


def start_step(name: str, args: argparse.Namespace, work: Path) -> subprocess.Popen:
    """The process of a step; what it says goes to <work>/<step>.log."""
    command = [sys.executable, "-m", "results.gpu.steps", name, "--work", work, "--output", args.output.resolve()]
    command += ["--device", args.device, *(["--small"] if args.small else [])]
    with open(work / f"{name}.log", "w") as log:
        options = {"stdout": log, "stderr": subprocess.STDOUT, "start_new_session": True}
        return subprocess.Popen([str(part) for part in command], cwd=ROOT, **options)


def stop(process: subprocess.Popen) -> None:
    """Kill a step and all that it started."""
    with contextlib.suppress(ProcessLookupError):  # it ended just now
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def record(name: str, work: Path, status: str, seconds: float) -> dict:
    """What a step found; of one that didn't finish also the last lines that it and its processes said."""
    path, rows = work / f"{name}.rows", []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break  # cut off by a kill
    found = {"step": name, "status": status, "seconds": seconds, "rows": rows}
    if status == FINISHED:
        return found
    inner = [f"{log.stem}: {line}" for log in sorted((work / name).glob("*.log")) for line in tail(log, 3)]
    said = [*inner, *tail(work / f"{name}.log", LAST_LINES)]
    return {**found, "said": [line.replace(str(work), "<work>") for line in said]}


def tail(log: Path, count: int) -> list[str]:
    """The last lines of a log that hold anything."""
    lines = (line for line in log.read_text(errors="replace").splitlines() if line.strip())
    return [line for line in lines if not line.startswith("{'what'")][-count:]  # its rows are in the record already


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder for the records and table.md")
    parser.add_argument("--device", default="cuda", help="what is compared with the CPU (default: cuda)")
    parser.add_argument("--steps", nargs="+", choices=tuple(STEPS), default=tuple(STEPS), metavar="NAME")
    parser.add_argument("--limit", type=float, default=300, help="seconds in all (default: 300)")
    parser.add_argument("--small", action="store_true", help="a few images everywhere, to try the command itself")
    parser.add_argument("--scratch", type=Path, help="folder for the temporary one (default: the system's)")
    return parser.parse_args()


if __name__ == "__main__":
    command_line(main)
