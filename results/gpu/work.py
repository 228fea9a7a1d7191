"""What the steps share: where they work, the toy faces, the settings of a toy run, and processes that run side by side."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from datasets.celeba import image_folder, split_attributes
from results.processes import reason
from results.toy_runs import SEED
from utils.errors import UserError
from utils.files import locked, write_whole
from utils.records import ROOT

FACES = {"train": 7600, "val": 800, "test": 1600}  # as runner.sh draws them
OTHERS = 1600  # stand for generated ones; about as many of each cell
SMALL_FACES, SMALL_OTHERS = {"train": 600, "val": 60, "test": 100}, 200
# what runner.sh trains toy faces with, on one seed and in fp32
TRAINING = [
    "--weights", "toy", "--width", 0.25, "--image-size", 48, "--crop-scale", 0.6, 1, "--number-train-data-real", 1200,
    "--number-balanced-synthetic", 200, "--number-imbalanced-synthetic", 400, "--batch-size", 64, "--pre-train-epochs", 7,
    "--pre-train-lr", 0.02, "--milestones", 6, "--fine-tune-epochs", 5, "--fine-tune-lr", 0.02,
]  # fmt: skip
SMALL_TRAINING = [
    "--number-train-data-real", 128, "--number-balanced-synthetic", 20, "--number-imbalanced-synthetic", 40,
    "--batch-size", 32, "--pre-train-epochs", 2, "--fine-tune-epochs", 2,
]  # fmt: skip
ONE_THREAD = {"OMP_NUM_THREADS": "1"}  # for what runs beside many others; what a GPU computes needs no more
TWO_THREADS = {"OMP_NUM_THREADS": "2"}
FEW_THREADS = {"OMP_NUM_THREADS": "4"}  # for what is computed on the CPU

COMPILERS = {**ONE_THREAD, "TORCHINDUCTOR_COMPILE_THREADS": "4"}  # leaves cores to what runs beside them


class Place(NamedTuple):
    """Where a step works, where its records go, the device that it tries, and whether it takes but a few images."""

    work: Path
    output: Path
    device: str
    small: bool


class Job(NamedTuple):
    """A command, and environment variables that are its own."""

    command: list
    variables: dict[str, str] = ONE_THREAD


def start(job: Job, log: Path) -> subprocess.Popen:
    """A process of the job; what it says goes to `log`."""
    with open(log, "w") as file:
        options = {"stdout": file, "stderr": subprocess.STDOUT, "cwd": ROOT, "env": {**os.environ, **job.variables}}
        return subprocess.Popen([str(part) for part in job.command], **options)


def together(work: Path, jobs: dict[str, Job]) -> dict[str, float]:
    """Run jobs side by side, each with a log in `work`; returns the seconds of each. The keys are the names of the logs.

    Raises `UserError` with what the first that failed says, once all have ended.
    """
    work.mkdir(parents=True, exist_ok=True)
    begin, seconds, failed = time.perf_counter(), {}, []
    running = {name: start(job, work / f"{name}.log") for name, job in jobs.items()}
    while running:
        time.sleep(0.02)
        for name in [name for name, process in running.items() if process.poll() is not None]:
            seconds[name] = round(time.perf_counter() - begin, 2)
            if status := running.pop(name).returncode:
                said = (work / f"{name}.log").read_text(errors="replace")
                print(said, flush=True)
                failed.append(f"{name}: {reason(said, status)}")
    if failed:
        raise UserError("; ".join(failed))
    return seconds


def python(*arguments) -> list:
    """A command of this interpreter."""
    return [sys.executable, *arguments]


def draw_faces(place: Place) -> tuple[Path, Path]:
    """The folder of toy faces in CelebA's layout, and a CSV file of others; the step that comes first draws them.

    The seconds that it took are in seconds.json beside them.
    """
    folder = place.work / "faces"
    real, others, seconds = folder / "real", folder / "others", folder / "seconds.json"
    with locked(place.work / "faces.lock", wait=True):
        if not seconds.exists():
            counts, number = (SMALL_FACES, SMALL_OTHERS) if place.small else (FACES, OTHERS)
            sizes = [part for split, count in counts.items() for part in (f"--{split}", count)]
            more = ["--train", number, "--val", 0, "--test", 0, "--seed", 4]
            # processes of their own, for those that draw load again what the one that starts them has loaded
            jobs = {"real": Job(python("-m", "datasets.toy", "--output", real, *sizes))}
            jobs["others"] = Job(python("-m", "datasets.toy", "--output", others, *more))
            took = together(folder, jobs)
            labels = split_attributes(others)["train"][["Smiling", "Male"]].gt(0).astype(int)
            labels.index = [(image_folder(others) / name).relative_to(folder).as_posix() for name in labels.index]
            write_whole(folder / "others.csv", labels.to_csv(index_label="image"))
            write_whole(seconds, json.dumps(took))
    return real, folder / "others.csv"


def training_flags(place: Place, output: Path, *more, device: str = "") -> list:
    """The flags of train.py for a toy run into `output`; `more` come last, so they count."""
    faces, others = draw_faces(place)
    flags = ["--dataset", "toy", "--real-data-path", faces, "--synthetic-data-root", others, "--output", output]
    flags += ["--cache", place.work / "cache", "--device", device or place.device, "--seeds", SEED]
    return [*flags, *TRAINING, *(SMALL_TRAINING if place.small else ()), *more]


def train(place: Place, output: Path, *more, device: str = "", variables: dict[str, str] = ONE_THREAD) -> Job:
    """The job of train.py with `training_flags`."""
    return Job(python(ROOT / "train.py", *training_flags(place, output, *more, device=device)), variables)
