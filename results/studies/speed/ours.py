"""The same work by this project's own code, on the same files and the same network."""

import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors.torch import save_file
from torch import nn

from datasets.bias import biased_group_sizes
from datasets.decoding import decode_images
from datasets.images import LabelledImages
from datasets.synthetic import SyntheticSets
from models.batches import Compute, evaluate
from models.run import Run
from models.schedule import Schedule
from models.selection import choose_tensors, sensitivity_table
from models.settings import Settings
from models.training import fit
from results.studies.speed.bench import TOP_K, Bench
from utils.seeds import torch_generator

RESIZED = ("val", "test")  # when they are decoded, as train.py does


class Ours:
    """What train.py does; `sets` are the decoded images by name, `decoding` the seconds that they took."""

    def __init__(self, bench: Bench):
        self.bench, self.compute, self.model = bench, bench.compute, bench.new_model()
        start = time.perf_counter()
        self.sets = self._decode(bench.folder / "cache")
        self.decoding = time.perf_counter() - start
        _save_biased(self._run(self.sets)[0], self.model)

    def training(self) -> None:
        """Train for one epoch."""
        train_epoch(self.model, self.sets["train"], self.compute)

    def validation(self) -> None:
        """Validate, with all metrics."""
        evaluate(self.model, self.sets["val"], self.compute)

    def ranking(self) -> list[str]:
        """Take the three gradients of random weights and return the chosen tensors."""
        return _rank(*self._run(self.sets))  # a new run, because a run keeps its gradients

    def seed(self) -> None:
        """Decode all images, pre-train for three epochs, rank, fine-tune for two, and test."""
        with tempfile.TemporaryDirectory(dir=self.bench.folder) as cache:  # what was decoded before does not count
            run, synthetic = self._run(self._decode(Path(cache)))
            _save_biased(run, run.pre_train(run.real["train"], label="pre-train").model)
            moving = _rank(run, synthetic)
            model = run.fine_tune(run.biased_model(), synthetic, only=moving, label="fine-tune").model
            evaluate(model, run.real["test"], self.compute)

    def _decode(self, cache: Path) -> dict[str, LabelledImages]:
        sets = {}
        for name in ("train", "synthetic", *RESIZED):
            paths, *labels = self.bench.files[name]
            pixels = decode_images(paths, cache, self.compute.image_size if name in RESIZED else None)
            images = LabelledImages(pixels, np.arange(len(paths)), *labels, tuple(map(str, paths)))
            sets[name] = images.on(self.compute.device)
        return sets

    def _run(self, sets: dict[str, LabelledImages]) -> tuple[Run, SyntheticSets]:
        own = {"batch_size": self.compute.batch_size, "image_size": self.compute.image_size}
        own |= {"device": str(self.compute.device), "precision": "bf16" if self.compute.amp else "fp32"}
        settings = Settings(
            self.bench.folder, weights="none", width=self.bench.width, pre_train_epochs=3, fine_tune_epochs=2, **own
        )
        pool, biased = sets["synthetic"], biased_group_sizes(len(sets["synthetic"]) // 2, "1/9")
        synthetic = SyntheticSets(pool, dict.fromkeys(pool.groups, len(pool) // 4), biased, 0, seed=100)
        return Run(settings, sets, 100, self.bench.folder / "biased.safetensors"), synthetic


def train_epoch(model: nn.Module, data: LabelledImages, compute: Compute) -> None:
    """Train for one epoch, validated on the first image of each group."""
    groups = [int(np.flatnonzero((data.target == t) & (data.protected == p))[0]) for t in (0, 1) for p in (0, 1)]
    few, schedule = data.subset(np.array(groups)), Schedule(1, 0.01, 1e-4, (10,))
    fit(model, data, few, schedule, compute, generator=torch_generator(0, "benchmark"), label="ours")


def _save_biased(run: Run, model: nn.Module) -> None:
    save_file({name: value.cpu().contiguous() for name, value in model.state_dict().items()}, run.biased_weights)


def _rank(run: Run, synthetic: SyntheticSets) -> list[str]:
    return choose_tensors(sensitivity_table(*run.three_gradients(synthetic)), TOP_K)
