"""What is measured of the classifier: training, validation, ranking and a whole seed, by both procedures and the bare network."""

import resource
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
from models.batches import Compute, evaluate, inference_batch, number_of_batches
from models.classifier import new_classifier
from results.speed import bare, ours, plain
from results.speed.plain import Files
from results.speed.turns import Row, by_turns

SIZE = (178, 218)  # CelebA's images
TOP_K = 55


class Bench:
    """The images, in files, and what each part measures on them."""

    def __init__(self, folder: Path, count: int, compute: Compute, workers: int):
        self.folder, self.count, self.compute, self.workers, self.notes = folder, count, compute, workers, {}
        self.device = compute.device
        self.files = {name: self._files(name, count) for name in ("train", "val", "test", "synthetic")}
        start = time.perf_counter()
        self.sets = self._sets(self.files, folder / "cache")
        self.notes["decoding all images once, images/s"] = round(4 * count / (time.perf_counter() - start))
        self._warm_up()

    def training(self) -> Row:
        """An epoch."""
        model, fast, network = self._model(plain_layout=True), self._model(), self._model()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
        batches = self._loader("train", train=True)
        row = self._by_turns(
            plain=lambda: plain.train_epoch(model, batches, optimizer, self.device),
            ours=lambda: ours.train_epoch(fast, self.sets["train"], self.compute),
            bare=lambda: bare.train(network, self.compute, number_of_batches(self.count, self.compute)),
        )
        if self.device.type == "cuda":
            share = busy_share(lambda: ours.train_epoch(fast, self.sets["train"], self.compute))
            self.notes["share of a training epoch in which the GPU computes"] = round(share, 3)
        return row

    def validation(self) -> Row:
        """A validation, with its metrics."""
        batches, model, fast = self._loader("val", train=False), self._model(plain_layout=True), self._model()
        return self._by_turns(
            plain=lambda: plain.validate(model, batches, self.device),
            ours=lambda: evaluate(fast, self.sets["val"], self.compute),
            bare=lambda: self._infer(fast),
        )

    def ranking(self) -> Row:
        """Three gradients and the choice of tensors."""
        model, network = self._model(plain_layout=True), self._model()
        sets = self.sets, 1, 1, self.compute, self.folder
        ours.save_biased(ours.seed_run(*sets)[0], self._model())
        return by_turns(
            {
                "plain": lambda: self._plain_ranking(model, self.files),
                "ours": lambda: ours.rank(*ours.seed_run(*sets), TOP_K),  # a new run each time: one keeps its gradients
                "bare": lambda: self._bare_ranking(network),
            },
            self.device,
        )

    def seed(self) -> Row:
        """A whole seed: 3 epochs, ranking, 2 epochs, test; ours with the decoding of all images."""
        chosen = []

        def our_seed() -> None:
            self._reset_memory()
            chosen[:] = self._our_seed(self.files)
            # a CPU keeps the peak of all that ran before
            self.notes.setdefault("peak memory of a seed, ours, GB", self._peak_memory())

        works = {
            "ours": our_seed,
            "plain": lambda: self._plain_seed(self.files),
            "bare": lambda: self._bare_seed(chosen),
        }
        return by_turns(works, self.device)

    def growth(self) -> Row:
        """A seed of ours with the images once and twice."""
        twice = {name: self._files(f"{name} twice", 2 * self.count) for name in self.files}
        works = {"once": lambda: self._our_seed(self.files), "twice": lambda: self._our_seed(twice)}
        return by_turns(works, self.device)

    def switches(self) -> dict[str, Row]:
        """What each switch gains, beside the same work without it; compiling itself is a note."""
        fp32, bf16 = replace(self.compute, amp=False), replace(self.compute, amp=True)
        compiled, train = replace(self.compute, compile=True), self.sets["train"]
        model, network = self._model(), self._model()
        start = time.perf_counter()
        ours.train_epoch(network, train, compiled)
        self.notes["first epoch of --compile, s"] = round(time.perf_counter() - start, 1)
        rows = {
            "--compile, training": self._without_and_with(
                lambda: ours.train_epoch(model, train, self.compute), lambda: ours.train_epoch(network, train, compiled)
            ),
            "batch norm folded into the convolutions, validation in fp32 (not built)": self._without_and_with(
                lambda: evaluate(model, self.sets["val"], fp32),
                lambda: evaluate(fuse(model.eval()), self.sets["val"], fp32),
            ),
        }
        if self.compute.amp:
            rows["--precision bf16, training"] = self._without_and_with(
                lambda: ours.train_epoch(model, train, fp32), lambda: ours.train_epoch(model, train, bf16)
            )
        return rows

    def _by_turns(self, **works: Callable[[], object]) -> Row:
        return by_turns(works, self.device, self.count)

    def _without_and_with(self, without: Callable[[], object], changed: Callable[[], object]) -> Row:
        return by_turns({"without": without, "with": changed}, self.device, self.count)

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

    def _our_seed(self, files: dict[str, Files]) -> list[str]:
        with tempfile.TemporaryDirectory(dir=self.folder) as cache:  # what was decoded before doesn't count
            run, synthetic = ours.seed_run(self._sets(files, Path(cache)), 3, 2, self.compute, self.folder)
            return ours.whole_seed(run, synthetic, TOP_K)

    def _infer(self, model: nn.Module) -> None:
        bare.infer(model, self.compute, self.count, inference_batch(self.compute))

    def _bare_ranking(self, model: nn.Module) -> None:
        for images in ours.ranked_sets(self.count):
            bare.backward(model.train(), self.compute, number_of_batches(images, self.compute))

    def _bare_seed(self, chosen: list[str]) -> None:
        """The network's part of a seed, with the tensors that were chosen."""
        model, steps = self._model(), number_of_batches(self.count, self.compute)
        for _ in range(3):
            bare.train(model, self.compute, steps)
            self._infer(model)
        self._bare_ranking(model)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in chosen)
        for _ in range(2):
            bare.train(model, self.compute, steps)
            self._infer(model)
        self._infer(model)

    def _warm_up(self) -> None:
        few = self.sets["train"].subset(np.arange(2 * self.compute.batch_size) % self.count)
        ours.train_epoch(self._model(), few, self.compute)
        model, size = self._model(plain_layout=True), self.compute.image_size
        model(torch.zeros(self.compute.batch_size, 3, size, size, device=self.device)).sum().backward()

    def _reset_memory(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def _peak_memory(self) -> float:
        if self.device.type == "cuda":
            return round(torch.cuda.max_memory_allocated(self.device) / 1e9, 2)
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2)


def busy_share(work: Callable[[], object]) -> float:
    """The share of the time of `work` in which a GPU runs kernels."""
    from torch.profiler import ProfilerActivity, profile

    start = time.perf_counter()
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        work()
        torch.cuda.synchronize()
    return sum(event.self_device_time_total for event in profiler.key_averages()) / 1e6 / (time.perf_counter() - start)
