"""Run the arms of a study that are not recorded yet; a failure costs only its arm.

The same call continues where an interrupted one stopped: train.py skips recorded runs, and refuses those of other settings.
"""

import json
import os
import shlex
import sys
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

from results.studies import Arm, Place, Study
from utils.environment import commit
from utils.errors import UserError
from utils.files import write_whole
from utils.records import ROOT, copy_record, record_folder
from utils.tasks import Task, reason, run_at_once

FINISHED, FAILED, STOPPED = "finished", "failed", "stopped"
DIVERGED, NOTES = "the loss is", "diverged.json"  # what train.py prints, and where that is noted
LAST_LINES = 15  # of what a measure printed, kept with an arm that did not finish


def run(
    name: str, study: Study, place: Place, *, only: tuple[str, ...] = (), jobs: int = 1, more: tuple[str, ...] = ()
) -> None:
    """Run the arms that are not recorded yet, at most `jobs` processes at once; `more` are further flags of train.py.

    `only` are patterns of arm names. Raises `UserError` if an arm fails, once the others have ended.
    """
    done, failed = [], {}

    def left() -> list[Arm]:
        arms = [arm for arm in study.arms_in(place.output) if arm not in done]
        return [arm for arm in arms if not only or any(fnmatch(arm.name, pattern) for pattern in only)]

    while (arms := left()) and not failed:
        runner = Runner(name, study, place, more, failed)
        run_at_once([task for arm in arms for task in runner.tasks(arm)], jobs)
        done += arms
    if failed:
        others = f" (and {len(failed) - 1} more failed)" if len(failed) > 1 else ""
        raise UserError(next(iter(failed.values())) + others)
    if not done:
        raise UserError(f"--only {' '.join(only)}: no such arm; there are {', '.join(arm.name for arm in study.arms)}")


@dataclass(frozen=True)
class Runner:
    """Processes of arms, with notes of how they end; `failed` maps an arm's name to what went wrong."""

    name: str
    study: Study
    place: Place
    more: tuple[str, ...]
    failed: dict[str, str]

    def tasks(self, arm: Arm) -> list[Task]:
        """Return the processes of an arm; none for a measure that is recorded as finished.

        Raises `UserError` if it was measured on another device or size, or if a flag needs what was not given.
        """
        if not arm.measure:
            if arm.program != "train.py" or arm.together:
                return [self._training(arm, arm.seeds, arm.methods)]
            return [self._training(arm, (seed,), arm.methods) for seed in arm.seeds]
        path, asked = self._record(arm), {"device": self.place.device, "small": self.place.small}
        if path.exists():
            found = read_measured(path)
            if (there := {key: found.get(key) for key in asked}) != asked:
                raise UserError(f"{path} was measured with {there}, asked for {asked}; choose another --output")
            if found["status"] == FINISHED:
                print(f"{arm.name}: recorded already", flush=True)
                return []
        rows, command = path.with_suffix(".rows"), [sys.executable, "-m", "results.study", self.name, "measure"]
        command += ["--only", arm.name, "--output", self.place.output.resolve(), "--device", self.place.device]
        command += [*(["--small"] if self.place.small else []), *self._given("data"), *self._given("weights")]
        begin, ended = partial(rows.unlink, missing_ok=True), partial(self._measured, arm, asked)
        return [Task(arm.name, tuple(command), self._log(arm), ended, begin, arm.after, arm.limit)]

    def _training(self, arm: Arm, seeds: tuple[int, ...], methods: tuple[str, ...]) -> Task:
        """Return the process that trains `methods` with `seeds`, less what is noted as diverged."""
        lost = diverged(self.place.output / arm.name)
        methods = tuple(method for method in methods if {*seeds} - {*lost.get(method, ())}) or ("erm",)
        program = [sys.executable, ROOT / "train.py"] if arm.program == "train.py" else ["bash", ROOT / arm.program]
        if arm.program != "train.py":  # its set-up takes an active environment as it is, and installs nothing
            program = ["env", f"VIRTUAL_ENV={os.environ.get('VIRTUAL_ENV', sys.prefix)}", *program]
        call = ["--seeds", *map(str, seeds), "--output", self.place.output / arm.name]
        call += ["--methods", *methods] if arm.methods else []
        call += ["--cache", self.place.work / "cache", *self.place.fill((*self.study.common, *arm.flags)), *self.more]

        def begin() -> None:
            for seed in seeds if arm.erm_of else ():
                source = record_folder(self.place.output / arm.erm_of, "erm", seed)
                if not source.exists():
                    raise UserError(
                        f"{arm.name} needs the biased models of {arm.erm_of}: run --only {arm.erm_of} first"
                    )
                copy_record(source, record_folder(self.place.output / arm.name, "erm", seed))

        ended, after = partial(self._trained, arm, seeds, methods), (*arm.after, *([arm.erm_of] * bool(arm.erm_of)))
        log = self._log(arm, methods[0], *seeds)
        return Task(arm.name, (*program, *call), log, ended, begin, after, arm.limit)

    def _trained(self, arm: Arm, seeds, methods, status: int | None, seconds: float, said: str) -> list[Task]:
        """Note what diverged; a call of several methods or seeds is tried again one by one, since the others may do well."""
        state = "" if status == 0 else ": failed"
        print(f"{seconds:6.0f} s  {arm.name} {' '.join((*methods, *map(str, seeds)))}{state}", flush=True)
        if status and DIVERGED in said and arm.program == "train.py":
            if len(methods) > 1:
                return [self._training(arm, seeds, (method,)) for method in methods]
            if len(seeds) > 1:
                return [self._training(arm, (seed,), methods) for seed in seeds]
            path = self.place.output / arm.name / NOTES
            noted = diverged(path.parent)
            noted[methods[0]] = sorted({*noted.get(methods[0], ()), *seeds})
            write_whole(path, json.dumps(noted) + "\n")
        elif status != 0:
            self._fail(arm, status, said, self._log(arm, methods[0], *seeds))
        return []

    def _measured(self, arm: Arm, asked: dict, status: int | None, seconds: float, said: str) -> list[Task]:
        """Write the record of a measured arm."""
        path, rows = self._record(arm), []
        for line in path.with_suffix(".rows").read_text().splitlines() if path.with_suffix(".rows").exists() else ():
            try:
                rows.append(json.loads(line))
            except ValueError:  # cut off by a kill
                break
        state = STOPPED if status is None else FAILED if status else FINISHED
        found = {"step": arm.name, "status": state, "seconds": round(seconds, 2), "rows": rows}
        if status != 0:
            self._fail(arm, status, said, self._log(arm))
            lines = [line.replace(str(self.place.work), "<work>") for line in said.splitlines() if line.strip()]
            found["said"] = lines[-LAST_LINES:]
        origin = {"command": shlex.join(["python", "-m", "results.study", *sys.argv[1:]]), "commit": commit()}
        write_whole(path, json.dumps({**found, **origin, **asked}, indent=1) + "\n")
        path.with_suffix(".rows").unlink(missing_ok=True)
        print(f"{seconds:6.0f} s  {arm.name}: {state}, {len(rows)} findings", flush=True)
        return []

    def _fail(self, arm: Arm, status: int | None, said: str, log: Path) -> None:
        what = f"stopped at its limit of {arm.limit:g} s" if status is None and arm.limit else reason(said, status)
        self.failed.setdefault(arm.name, f"{self.name} {arm.name}: {what} (log: {log})")

    def _given(self, name: str) -> list[str]:
        value = getattr(self.place, name)
        return [f"--{name}", str(value.resolve())] if value else []

    def _record(self, arm: Arm) -> Path:
        return self.place.output / f"{arm.name}.json"

    def _log(self, arm: Arm, *parts) -> Path:
        return self.place.output / "logs" / ("_".join(map(str, (arm.name.replace("/", "_"), *parts))) + ".log")


def measure(study: Study, place: Place, name: str) -> None:
    """Call the function of one arm in this process, and write each finding to <arm>.rows as it comes."""
    [arm] = [arm for arm in study.arms_in(place.output) if arm.name == name]
    place.work.mkdir(parents=True, exist_ok=True)
    path = place.output / f"{name}.rows"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        for found in arm.measure(place):
            row = {key: value for key, value in asdict(found).items() if value is not None or key == "value"}
            file.write(json.dumps(row) + "\n")
            file.flush()
            print(row, flush=True)


def diverged(folder: Path) -> dict[str, list[int]]:
    """Return the seeds of each method whose training diverged, as an arm's folder notes them."""
    return json.loads((folder / NOTES).read_text()) if (folder / NOTES).exists() else {}


def read_measured(path: Path) -> dict[str, Any]:
    """Return the record of a measured arm. Raises `UserError` if it is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        _ = found["status"], found["rows"], found["seconds"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}); remove it to measure this arm again") from error
    return found
