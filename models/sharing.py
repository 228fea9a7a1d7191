"""Shares the trainings of one command among its processes: each takes methods that no other process is training."""

import time
from collections.abc import Iterator
from pathlib import Path

from models.experiment import LOCKS, Experiment
from models.options import Method
from models.run import Run
from utils.files import locked
from utils.records import ROOT
from utils.shared_work import Work, began

PROGRAM = (str(ROOT / "train.py"),)
POLL = 0.5  # seconds between two looks for work that others have left or made possible


def share(experiment: Experiment, methods: list[Method]) -> Iterator[tuple[Method, Run]]:
    """Yield each method with the run of each seed, after all that it starts from; a lock keeps other processes off it.

    A process first takes seeds for itself, whose gradients it then computes once. After that it takes single methods of
    seeds that others are at. What another process recorded is yielded, too, so the caller must look for a record. It
    ends when all are recorded, or were tried here.
    """
    left = [(seed, method) for seed in experiment.settings.seeds for method in methods]
    for run in experiment.free_runs():
        yield from _free(experiment, left, [pair for pair in left if pair[0] == run.seed], run)
    last, said = None, False
    while left:
        number, at_hand = len(left), last and last.seed
        for method, run in _free(experiment, left, sorted(left, key=lambda pair: pair[0] != at_hand), last):
            last = run
            yield method, run
        if len(left) == number:
            if not said:
                print(f"{number} trainings are run by other processes; waiting for them", flush=True)
            said = True
            time.sleep(POLL)


def work_of(experiment: Experiment) -> Work:
    """Return an experiment as work for several processes."""
    pairs = [(method, seed) for seed in experiment.settings.seeds for method in experiment.methods]

    recorded = set()  # what is recorded stays so, and need not be read again

    def done() -> int:
        recorded.update(
            index for index, pair in enumerate(pairs) if index not in recorded and experiment.is_recorded(*pair)
        )
        return len(recorded)

    return Work(PROGRAM, experiment.settings.output.absolute() / "logs", done, len(pairs), "training")


def _free(experiment: Experiment, left: list, pairs: list, run: Run | None) -> Iterator[tuple[Method, Run]]:
    """Yield those of the pairs of seed and method that can begin and that no other process is at; strike them off `left`."""
    for seed, method in pairs:
        needs = {other.label for other in experiment.starts_from(method)}
        if any(other == seed and each.label in needs for other, each in left):
            continue
        with locked(lock_of(experiment.settings.output, method, seed), wait=False) as mine:
            recorded = experiment.is_recorded(method, seed)
            if mine or recorded:
                left.remove((seed, method))
                if recorded or not _has_diverged(experiment.settings.output, method, seed):
                    run = run if run and run.seed == seed else experiment.run(seed)
                    yield method, run


def note_divergence(output: Path, method: Method, seed: int) -> None:
    """Note that a training diverged, so that other workers of the same command don't try it again."""
    note = _note_of(output, method, seed)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.touch()


def _has_diverged(output: Path, method: Method, seed: int) -> bool:
    """Return True if another worker noted that a training diverged, since this command began."""
    note = _note_of(output, method, seed)
    return note.exists() and note.stat().st_mtime >= began()


def _note_of(output: Path, method: Method, seed: int) -> Path:
    lock = lock_of(output, method, seed)
    return lock.with_name(f"{lock.name}_diverged")


def lock_of(output: Path, method: Method, seed: int) -> Path:
    """Return the file that a process locks while it is at a method of a seed."""
    return output / LOCKS / f"{method.folder}_{seed}"
