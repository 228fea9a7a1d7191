"""How processes that run one command share its trainings: each takes what no other one is at, method by method."""

import time
from collections.abc import Iterator
from pathlib import Path

from models.experiment import LOCKS, Experiment
from models.options import Method
from models.run import Run
from utils.files import locked
from utils.records import ROOT
from utils.shared_work import Work

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

    def done() -> int:
        return sum(experiment.is_recorded(*pair) for pair in pairs)

    return Work(PROGRAM, experiment.settings.output.absolute() / "logs", done, len(pairs), "training")


def _free(experiment: Experiment, left: list, pairs: list, run: Run | None) -> Iterator[tuple[Method, Run]]:
    """Yield those of the pairs of seed and method that can begin and that no other process is at; strike them off `left`."""
    for seed, method in pairs:
        needs = {other.label for other in experiment.starts_from(method)}
        if any(other == seed and each.label in needs for other, each in left):
            continue
        with locked(_lock(experiment.settings.output, method, seed), wait=False) as mine:
            if mine or experiment.is_recorded(method, seed):
                left.remove((seed, method))
                run = run if run and run.seed == seed else experiment.run(seed)
                yield method, run


def _lock(output: Path, method: Method, seed: int) -> Path:
    return output / LOCKS / f"{method.folder}_{seed}"
