"""What is measured of the classifier: training, validation, ranking and a whole seed, by both procedures."""

import resource
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from datasets.toy import write_toy_celeba
from models.batches import Compute, evaluate
from models.classifier import new_classifier
from results.speed import ours, plain
from results.speed.plain import Files

SIZE = (178, 218)  # CelebA's images
TOP_K = 55
ROUNDS = 3


class Bench:
    """The images, in files, and what each part measures on them. Every part returns rows: name to (plain, ours, unit)."""

    def __init__(self, folder: Path, count: int, compute: Compute, workers: int):
        self.folder, self.count, self.compute, self.workers, self.notes = folder, count, compute, workers, {}
        self.device = compute.device
        self.files = {name: self._files(name, count) for name in ("train", "val", "test", "synthetic")}
        start = time.perf_counter()
        self.sets = self._sets(self.files, folder / "cache")
        self.notes["decoding all images once, images/s"] = round(4 * count / (time.perf_counter() - start))
        self._warm_up()

    def training(self) -> dict:
        """An epoch, and the bare network beside it."""
        model, fast, bare = self._model(plain_layout=True), self._model(), self._model()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
        batches = self._loader("train", train=True)
        steps = -(-self.count // self.compute.batch_size)
        theirs, mine, network = self._medians(
            lambda: plain.train_epoch(model, batches, optimizer, self.device),
            lambda: ours.train_epoch(fast, self.sets["train"], self.compute),
            lambda: ours.bare_network(bare, self.compute, steps),
        )
        network *= self.count / (steps * self.compute.batch_size)
        if self.device.type == "cuda":
            share = busy_share(lambda: ours.train_epoch(fast, self.sets["train"], self.compute))
            self.notes["share of a training epoch in which the GPU computes"] = round(share, 3)
        return {
            "training": (self.count / theirs, self.count / mine, "images/s"),
            "share of the bare network": (network / theirs, network / mine, "of its speed"),
        }

    def validation(self) -> dict:
        """A validation, with its metrics."""
        batches, model, fast = self._loader("val", train=False), self._model(plain_layout=True), self._model()
        theirs, mine = self._medians(
            lambda: plain.validate(model, batches, self.device), lambda: evaluate(fast, self.sets["val"], self.compute)
        )
        return {"validation": (self.count / theirs, self.count / mine, "images/s")}

    def ranking(self) -> dict:
        """Three gradients and the choice of tensors."""
        model = self._model(plain_layout=True)
        sets = self.sets, 1, 1, self.compute, self.folder
        ours.save_biased(ours.seed_run(*sets)[0], self._model())
        medians = self._medians(  # a new seed each time, as one keeps its gradients
            lambda: self._plain_ranking(model, self.files), lambda: ours.rank(*ours.seed_run(*sets), TOP_K)
        )
        return {"ranking": (*medians, "s")}

    def seed(self) -> dict:
        """A whole seed: 3 epochs, ranking, 2 epochs, test; ours with the decoding of all images."""
        self._reset_memory()
        mine = self._seconds(lambda: self._our_seed(self.files, self.folder / "cache of the seed"))
        self.notes["peak memory of a seed, ours, GB"] = self._peak_memory()
        self._reset_memory()
        theirs = self._seconds(lambda: self._plain_seed(self.files))
        self.notes["peak memory of a seed, plain, GB (on a CPU: not less than ours, and with its workers)"] = (
            self._peak_memory(self.workers)
        )
        return {"seed": (theirs, mine, "s")}

    def growth(self) -> dict:
        """A seed of ours with twice the images: seconds of both, and how many times as long."""
        twice = {name: self._files(f"{name} twice", 2 * self.count) for name in self.files}
        one = self._seconds(lambda: self._our_seed(self.files, self.folder / "cache of one"))
        two = self._seconds(lambda: self._our_seed(twice, self.folder / "cache of two"))
        return {"growth": (one, two, "s, images once and twice")}

    def _files(self, name: str, count: int) -> Files:
        """JPEG files of drawn faces; drawing is slow, so a few are copied under many names."""
        drawn = self.folder / "drawn"
        if not drawn.exists():
            write_toy_celeba(drawn, {"train": 64, "val": 0, "test": 0}, seed=0, size=SIZE[1])
            for path in drawn.rglob("*.jpg"):
                with Image.open(path) as image:
                    image.convert("RGB").resize(SIZE).save(path, quality=95)
        sources = sorted(drawn.rglob("*.jpg"))
        folder = self.folder / name
        folder.mkdir()
        paths = [folder / f"{i:06d}.jpg" for i in range(count)]
        for i, path in enumerate(paths):
            shutil.copyfile(sources[i % len(sources)], path)
        places = np.arange(count)
        return Files(paths, places % 2, places // 2 % 2)

    def _sets(self, files: dict[str, Files], cache: Path) -> dict:
        sizes = {"val": self.compute.image_size, "test": self.compute.image_size}
        return {name: ours.face_set(found, cache, sizes.get(name), self.device) for name, found in files.items()}

    def _model(self, plain_layout: bool = False) -> nn.Module:
        model = new_classifier("none", 0).to(self.device)
        return model if plain_layout else model.to(memory_format=torch.channels_last)

    def _loader(self, name: str, *, train: bool, files: dict[str, Files] | None = None):
        found = (files or self.files)[name]
        return plain.loader(found, self.compute.image_size, self.compute.batch_size, self.workers, train=train)

    def _plain_ranking(self, model: nn.Module, files: dict[str, Files]) -> list[str]:
        synthetic, each = files["synthetic"], len(files["synthetic"].paths) // 4
        shares = {(0, 0): 1, (0, 1): 9, (1, 0): 9, (1, 1): 1}
        biased = np.concatenate(
            [
                np.flatnonzero((synthetic.target == t) & (synthetic.protected == p))[: each * share // 10]
                for (t, p), share in shares.items()
            ]
        )
        few = Files([synthetic.paths[i] for i in biased], synthetic.target[biased], synthetic.protected[biased])
        sets = {"real": files["train"], "biased": few, "balanced": synthetic}
        gradients = [
            plain.mean_gradients(model, self._loader(name, train=True, files=sets), self.device) for name in sets
        ]
        return plain.choose(*gradients, TOP_K)

    def _plain_seed(self, files: dict[str, Files]) -> dict:
        model = self._model(plain_layout=True)
        val = self._loader("val", train=False, files=files)
        plain.train(model, self._loader("train", train=True, files=files), val, self.device, epochs=3, lr=0.01)
        chosen = self._plain_ranking(model, files)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in chosen)
        plain.train(model, self._loader("synthetic", train=True, files=files), val, self.device, epochs=2, lr=0.06)
        return plain.validate(model, self._loader("test", train=False, files=files), self.device)

    def _our_seed(self, files: dict[str, Files], cache: Path) -> dict:
        run, synthetic = ours.seed_run(self._sets(files, cache), 3, 2, self.compute, self.folder)
        return ours.whole_seed(run, synthetic, TOP_K)

    def _warm_up(self) -> None:
        few = self.sets["train"].subset(np.arange(2 * self.compute.batch_size) % self.count)
        ours.train_epoch(self._model(), few, self.compute)
        model, size = self._model(plain_layout=True), self.compute.image_size
        model(torch.zeros(self.compute.batch_size, 3, size, size, device=self.device)).sum().backward()

    def _seconds(self, work: Callable[[], object]) -> float:
        self._wait()
        start = time.perf_counter()
        work()
        self._wait()
        return time.perf_counter() - start

    def _medians(self, *works: Callable[[], object]) -> list[float]:
        """The median seconds of each, taken by turns, so that a machine that is slow for a while is so to all."""
        rounds = [[self._seconds(work) for work in works] for _ in range(ROUNDS)]
        return [statistics.median(seconds) for seconds in zip(*rounds, strict=True)]

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _reset_memory(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def _peak_memory(self, workers: int = 0) -> float:
        if self.device.type == "cuda":
            return round(torch.cuda.max_memory_allocated(self.device) / 1e9, 2)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return round((peak + workers * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1e6, 2)


def busy_share(work: Callable[[], object]) -> float:
    """The share of the time of `work` in which a GPU runs kernels."""
    from torch.profiler import ProfilerActivity, profile

    start = time.perf_counter()
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        work()
        torch.cuda.synchronize()
    return sum(event.self_device_time_total for event in profiler.key_averages()) / 1e6 / (time.perf_counter() - start)
