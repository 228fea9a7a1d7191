"""The images that are used, and works measured by turns in one process."""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import nn

from datasets.bias import biased_group_sizes
from datasets.toy import write_toy_celeba
from models.batches import Compute
from models.classifier import new_classifier
from results.studies import Finding, Place
from results.studies.speed.page import Row
from utils.device import choose_device
from utils.environment import environment

SIZE = (178, 218)  # CelebA's images
TOP_K = 55
THREAD_VARIABLES = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "OMP_PROC_BIND", "OMP_PLACES", "GOMP_SPINCOUNT"),
    "GOMP_CPU_AFFINITY",
)
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


class Files(NamedTuple):
    """Image files with their targets and protected labels, int64 (n,)."""

    paths: list[Path]
    target: np.ndarray
    protected: np.ndarray


@dataclass(frozen=True)
class Bench:
    """Image files by set (train, val, test, synthetic, and biased, a part of synthetic), and how they are used."""

    files: dict[str, Files]
    count: int  # images in each set
    folder: Path
    compute: Compute  # of ours and the bare network
    workers: int  # of the plain procedure
    turns: int
    width: float = 1  # of the network

    def new_model(self, layout: torch.memory_format = torch.channels_last) -> nn.Module:
        """Return a ResNet-18 with random weights on the device."""
        return new_classifier("none", 0, self.width).to(self.compute.device, memory_format=layout)

    def setup(self) -> Finding:
        """Return what the numbers depend on."""
        own, pixels = self.compute, {"pixels of the files": list(SIZE), "pixels used": self.compute.image_size}
        sizes = {"turns": self.turns, "images in each set": self.count, **pixels, "batch": own.batch_size}
        sizes |= {"precision of ours": "bf16" if own.amp else "fp32", "workers of the plain": self.workers}
        return setup(own.device, sizes)


@contextmanager
def new_bench(place: Place) -> Iterator[Bench]:
    """Draw images into a scratch folder, and warm up. The sizes follow from the device."""
    device = choose_device(place.device)
    gpu = device.type == "cuda"
    count, side, batch, turns = (40, 16, 8, 1) if place.small else (8192, 224, 128, 3) if gpu else (512, 64, 128, 3)
    with tempfile.TemporaryDirectory(dir=place.work) as scratch:
        folder, compute = Path(scratch), Compute(device, gpu or fast_bf16(), side, batch)
        workers, width = (0, 0.125) if place.small else (CORES, 1)
        bench = Bench(draw_files(folder, count), count, folder, compute, workers, turns, width)
        bench.new_model(torch.contiguous_format)(torch.zeros(batch, 3, side, side, device=device)).sum().backward()
        yield bench


def setup(device: torch.device, sizes: dict[str, object]) -> Finding:
    """Return what the numbers depend on: sizes, the machine, and the variables that decide how threads wait and where they run."""
    variables = {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ}
    return Finding("setup", {**sizes, "cores": CORES, **variables, "type": device.type, **environment(device)})


def fast_bf16() -> bool:
    """Return whether the processor computes in bf16 itself; if not, bf16 is slower than fp32."""
    path = Path("/proc/cpuinfo")
    return path.exists() and bool(re.search("avx512_bf16|amx_bf16", path.read_text()))


def draw_files(folder: Path, count: int) -> dict[str, Files]:
    """Write JPEG files of toy faces, `count` in each set; drawing is slow, so a few are copied under many names."""
    write_toy_celeba(folder / "drawn", {"train": min(64, count // 4), "val": 0, "test": 0}, seed=0, size=SIZE[1])
    drawn, sets, places = sorted((folder / "drawn").rglob("*.jpg")), {}, np.arange(count)
    for path in drawn:
        with Image.open(path) as image:
            image.convert("RGB").resize(SIZE).save(path, quality=95)
    for name in ("train", "val", "test", "synthetic"):
        (folder / name).mkdir()
        paths = [shutil.copyfile(drawn[i % len(drawn)], folder / name / f"{i:06d}.jpg") for i in places]
        sets[name] = Files(paths, places % 2, places // 2 % 2)
    groups, sizes = np.array([f"{i % 2}_{i // 2 % 2}" for i in places]), biased_group_sizes(count // 2, "1/9")
    kept = np.concatenate([places[groups == group][:size] for group, size in sizes.items()])
    return sets | {"biased": Files([paths[i] for i in kept], kept % 2, kept // 2 % 2)}


def by_turns(
    works: dict[str, Callable[[], object]], turns: int, device: torch.device, images: int | None = None
) -> dict:
    """Measure works one after another in each turn, and return a `Row` as a dict.

    Each turn begins with another work, so what one leaves behind, such as warm caches, does not always meet the same other one.
    """
    names, seconds = list(works), {name: [] for name in works}
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    for turn in range(turns):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            wait()
            start = time.perf_counter()
            works[name]()
            wait()
            seconds[name].append(time.perf_counter() - start)
    return asdict(Row(seconds, images))
