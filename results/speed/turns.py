"""Works measured by turns in one process, and the row that comes of it."""

import os
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch

THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "OMP_PROC_BIND", "OMP_PLACES", "GOMP_SPINCOUNT",
    "GOMP_CPU_AFFINITY",
)  # fmt: skip


class Row(NamedTuple):
    """Seconds of every turn of each work, and how many images a work takes, where its unit is images/s."""

    seconds: dict[str, list[float]]
    images: int | None = None

    def median(self, work: str) -> float:
        """The median seconds of a work."""
        return statistics.median(self.seconds[work])

    def value(self, work: str) -> float:
        """What is shown of a work: images/s, or seconds where the row counts no images."""
        return self.images / self.median(work) if self.images else self.median(work)

    def ratio(self, work: str, reference: str) -> float:
        """How many times as fast a work is as another."""
        return self.median(reference) / self.median(work)


def by_turns(
    works: dict[str, Callable[[], object]], turns: int, device: torch.device, images: int | None = None
) -> Row:
    """Measure works, one after another in each turn, each turn from another one on.

    So a machine that is slow for a while is so to all, and what one work leaves behind (warm caches, a hot processor) meets
    not always the same other one.
    """
    names, seconds = list(works), {name: [] for name in works}
    for turn in range(turns):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            seconds[name].append(_seconds(works[name], device))
    return Row(seconds, images)


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def thread_settings() -> dict[str, str]:
    """Torch's threads, the cores, and the variables that decide how threads wait and where they run."""
    found = {"threads": str(torch.get_num_threads()), "cores": str(cores())}
    return found | {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ}


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    _wait(device)
    start = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
