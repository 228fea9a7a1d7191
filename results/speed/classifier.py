"""What is measured of the classifier: training, validation, ranking and a whole seed, by both procedures and the bare network."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.fx.experimental.optimization import fuse

from datasets.toy import write_toy_celeba
from models.batches import Compute, evaluate
from models.classifier import new_classifier
from models.work import images_trained
from results.speed import ours, plain
from results.speed.bare import BareNetwork
from results.speed.plain import Files
from results.speed.turns import Row, by_turns

SIZE = (178, 218)  # CelebA's images
TOP_K = 55


class Bench:
    """The images, in files, and what each part measures on them."""

    def __init__(self, folder: Path, count: int, compute: Compute, workers: int, turns: int):
        self.folder, self.count, self.compute, self.workers, self.turns = folder, count, compute, workers, turns
        self.device, self.notes = compute.device, {}
        self.files = {name: self._files(name, count) for name in ("train", "val", "test", "synthetic")}
        start = time.perf_counter()
        self.sets = self._sets(self.files, folder / "cache")
        self.notes["decoding all images once, images/s"] = round(4 * count / (time.perf_counter() - start))
        self._warm_up()

    def training(self) -> Row:
        """An epoch."""
        model, fast, network = self._model(plain_layout=True), self._model(), self._bare()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
        batches = self._loader("train", train=True)
        works = {
            "plain": lambda: plain.train_epoch(model, batches, optimizer, self.device),
            "ours": lambda: ours.train_epoch(fast, self.sets["train"], self.compute),
            "bare": lambda: network.train(self.count),
        }
        row = self._by_turns(works, images_trained(self.count, self.compute))
        if self.device.type == "cuda":
            self.notes["fraction of a training epoch in which the GPU computes"] = round(
                busy_fraction(works["ours"]), 3
            )
        return row

    def validation(self) -> Row:
        """A validation, with its metrics."""
        batches, model = self._loader("val", train=False), self._model(plain_layout=True)
        fast, network = self._model(), self._bare()
        works = {
            "plain": lambda: plain.validate(model, batches, self.device),
            "ours": lambda: evaluate(fast, self.sets["val"], self.compute),
            "bare": lambda: network.infer(self.count),
        }
        return self._by_turns(works, self.count)

    def ranking(self) -> Row:
        """Three gradients and the choice of tensors."""
        model, network = self._model(plain_layout=True), self._bare()
        ours.save_biased(self._run(self.sets)[0], self._model())
        works = {
            "plain": lambda: self._plain_ranking(model, self.files),
            "ours": lambda: ours.rank(*self._run(self.sets), TOP_K),  # a new run each time: one keeps its gradients
            "bare": lambda: self._bare_ranking(network),
        }
        return self._by_turns(works)

    def seed(self) -> Row:
        """A whole seed: 3 epochs, ranking, 2 epochs, test; ours with the decoding of all images."""
        network, run = self._bare(), self._run(self.sets)
        ours.save_biased(run[0], self._model())
        moving = ours.rank(*run, TOP_K)
        works = {
            "plain": lambda: self._plain_seed(self.files),
            "ours": lambda: self._our_seed(self.files),
            "bare": lambda: self._bare_seed(network, moving),
        }
        return self._by_turns(works)

    def growth(self) -> Row:
        """A seed of ours with the images once and twice."""
        twice = {name: self._files(f"{name} twice", 2 * self.count) for name in self.files}
        return self._by_turns({"once": lambda: self._our_seed(self.files), "twice": lambda: self._our_seed(twice)})

    def switches(self) -> dict[str, Row]:
        """What a switch gains, beside the same work without it."""
        usual, train, val = replace(self.compute, compile=False), self.sets["train"], self.sets["val"]
        fp32, bf16 = replace(usual, amp=False), replace(usual, amp=True)
        model, rows = self._model(), {}
        trained = images_trained(self.count, usual)

        def epoch(network: nn.Module, compute: Compute) -> Callable[[], None]:
            return lambda: ours.train_epoch(network, train, compute)

        if self.compute.amp:
            works = {"without": epoch(model, fp32), "with": epoch(model, bf16)}
            rows["--precision bf16, training"] = self._by_turns(works, trained)
        works = {"without": lambda: evaluate(model, val, fp32), "with": lambda: evaluate(fuse(model.eval()), val, fp32)}
        rows["batch norm folded, fp32, validation (no flag: not built)"] = self._by_turns(works, self.count)
        if shutil.which("c++") or shutil.which("g++"):
            compiled = epoch(self._model(), replace(usual, compile=True))
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(self.folder / "compiler")  # nothing is there from another run
            start = time.perf_counter()
            compiled()
            self.notes["first epoch of --compile, compiling included, s"] = round(time.perf_counter() - start, 1)
            rows["--compile, training"] = self._by_turns({"without": epoch(model, usual), "with": compiled}, trained)
        else:
            self.notes["--compile"] = "not measured: no C++ compiler here"
        return rows

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
        fractions = {(0, 0): 1, (0, 1): 9, (1, 0): 9, (1, 1): 1}
        biased = np.concatenate(
            [
                np.flatnonzero((synthetic.target == t) & (synthetic.protected == p))[: each * fraction // 10]
                for (t, p), fraction in fractions.items()
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

    def _our_seed(self, files: dict[str, Files]) -> None:
        with tempfile.TemporaryDirectory(dir=self.folder) as cache:  # what was decoded before doesn't count
            ours.whole_seed(*self._run(self._sets(files, Path(cache)), 3, 2), TOP_K)

    def _bare_ranking(self, network: BareNetwork) -> None:
        for images in ours.ranked_sets(self.count):
            network.rank(images)

    def _bare_seed(self, network: BareNetwork, moving: list[str]) -> None:
        """The network's part of a seed, with the tensors that a ranking has chosen."""
        for _ in range(3):
            network.train(self.count)
            network.infer(self.count)
        self._bare_ranking(network)
        for _ in range(2):
            network.train(self.count, moving)
            network.infer(self.count)
        network.infer(self.count)

    def _run(self, sets: dict, pre: int = 1, fine: int = 1) -> tuple:
        return ours.seed_run(sets, pre, fine, self.compute, self.folder)

    def _bare(self) -> BareNetwork:
        return BareNetwork(self._model(), self.compute)

    def _by_turns(self, works: dict[str, Callable[[], object]], images: int | None = None) -> Row:
        return by_turns(works, self.turns, self.device, images)

    def _warm_up(self) -> None:
        few = self.sets["train"].subset(np.arange(2 * self.compute.batch_size) % self.count)
        ours.train_epoch(self._model(), few, self.compute)
        model, size = self._model(plain_layout=True), self.compute.image_size
        model(torch.zeros(self.compute.batch_size, 3, size, size, device=self.device)).sum().backward()


def busy_fraction(work: Callable[[], object]) -> float:
    """The fraction of the time of `work` in which a GPU runs kernels."""
    from torch.profiler import ProfilerActivity, profile

    start = time.perf_counter()
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        work()
        torch.cuda.synchronize()
    return sum(event.self_device_time_total for event in profiler.key_averages()) / 1e6 / (time.perf_counter() - start)
