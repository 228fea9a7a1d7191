"""How fast training is with several settings of threads, alone and beside a busy neighbour: the network of the toy run."""

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import torch

from models.batches import Compute
from models.classifier import new_classifier
from results.processes import kill_once, together
from results.studies import Finding, Place
from results.studies.speed.bare import Bare
from results.studies.speed.bench import THREAD_VARIABLES, setup
from utils.tasks import with_variables

SETTINGS = {
    "torch's default": {},
    "one thread": {"OMP_NUM_THREADS": "1"},
    "waiting threads sleep": {"OMP_WAIT_POLICY": "passive"},
    "waiting threads sleep, bound": {"OMP_WAIT_POLICY": "passive", "OMP_PROC_BIND": "true"},
    "bound": {"OMP_PROC_BIND": "true"},
    "waiting threads turn briefly": {"GOMP_SPINCOUNT": "1000"},
}
CPU = torch.device("cpu")
SIZE, WIDTH, BATCH = 48, 0.25, 64


def threads(place: Place) -> Iterator[Finding]:
    """Measure each setting in a process of its own, because torch's threads are set when it is loaded; the settings take turns."""
    turns, seconds = (1, 0.1) if place.small else (3, 4.0)
    sizes = {"turns": turns, "seconds of a turn": seconds, "pixels": SIZE, "width": WIDTH, "batch": BATCH}
    yield setup(CPU, {**sizes, "precision": "fp32"})
    found = {name: {"variables": SETTINGS[name], "alone": [], "beside": []} for name in SETTINGS}
    for where in ("alone", "beside") * turns:
        with ThreadPoolExecutor(1) as pool:
            ended, busy = Event(), command(3600.0, SETTINGS["one thread"])
            neighbour = where == "beside" and pool.submit(kill_once, ended.is_set, busy, place.work / "neighbour.log")
            try:
                for name, variables in SETTINGS.items():
                    together({name: command(seconds, variables)}, place.work)
                    rate, found[name]["threads"] = (place.work / f"{name}.log").read_text().split()
                    found[name][where].append(float(rate))
            finally:
                ended.set()
            if neighbour:
                neighbour.result()  # raises what ended it before
    yield from (Finding(name, row) for name, row in found.items())


def command(seconds: float, variables: dict[str, str]) -> list[str]:
    """Return the command of a process that trains for some seconds with these variables and no others on threads."""
    call = f"from results.studies.speed.threads import train; train({seconds})"
    return [*with_variables(variables, without=THREAD_VARIABLES), sys.executable, "-c", call]


def train(seconds: float) -> None:
    """Train for some seconds, and print images/s and torch's threads."""
    compute, images = Compute(CPU, False, SIZE, BATCH), 4 * BATCH
    network, steps = Bare(new_classifier("none", 1, WIDTH), compute, images), 0
    network.training()  # warms up
    start = time.perf_counter()
    while (taken := time.perf_counter() - start) < seconds or not steps:
        network.training()
        steps += 1
    print(steps * images / taken, torch.get_num_threads())
