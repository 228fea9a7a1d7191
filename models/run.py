"""What the methods of one seed share: the data, the biased model, the gradients at its weights, and how to train."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from datasets.images import LabelledImages, MixedSet
from datasets.synthetic import SyntheticSets
from models.batches import Batch, Compute, number_of_batches, of_mean_gradients
from models.classifier import new_classifier
from models.ranking import PATIENCE, SETS, RunningRanking, until_settled, with_batches
from models.selection import Gradients, GradientSum, mean_gradients, sensitivity_table
from models.settings import Settings
from models.tensorboard import curve_log
from models.training import (
    STATISTICS_BATCHES,
    Objective,
    RateFractions,
    Schedule,
    fit,
    lone_images_named,
    mean_loss,
    train_batches,
)
from models.weights import load_tensors
from utils.checkpoint import Unfinished
from utils.records import folder_name, record_folder, rerun
from utils.seeds import derived_seed, torch_generator


class Outcome(NamedTuple):
    """A trained model, its curve as `models.training.fit` returns it, more tables for the record, and held-out images."""

    model: nn.Module
    curve: list[dict]
    tables: dict[str, pd.DataFrame] = {}
    held_out: LabelledImages | None = None


@dataclass(eq=False)
class Run:
    """One seed of an experiment. `real` holds the sets train, val and test."""

    settings: Settings
    real: dict[str, LabelledImages]
    seed: int
    biased_weights: Path  # of the method erm, there once that has been recorded
    method: str = ""  # the folder of the one that is trained
    made_from: tuple[str, ...] = ()  # labels of the methods, recorded already, whose results it takes over or changes
    unfinished: Unfinished | None = None  # where trainings keep their checkpoints
    _gradients: dict = field(default_factory=dict)
    _rankings: dict = field(default_factory=dict)

    def new_network(self, seed: int | None = None) -> nn.Module:
        """A network on the device with the weights where training starts, its last layer drawn by the seed."""
        return self._on_device(self._network(self.settings.weights, self.seed if seed is None else seed))

    def biased_model(self) -> nn.Module:
        """A fresh copy of the seed's biased model, on the device. Raises `UserError` where its file is damaged."""
        model = self._network("none", self.seed)
        load_tensors(model, self.biased_weights, rerun(self.biased_weights.parent))
        return self._on_device(model)

    def recorded(self, label: str) -> tuple[nn.Module, list[dict]]:
        """Return a recorded method's model of this seed, on the device, and its curve. Raises UserError if a file is damaged."""
        folder = record_folder(self.biased_weights.parents[2], folder_name(label), self.seed)
        model = self._network("none", self.seed)
        load_tensors(model, folder / "model.safetensors", rerun(folder))
        return self._on_device(model), pd.read_csv(folder / "curve.csv").to_dict("records")

    def pre_train(
        self,
        data: LabelledImages | MixedSet,
        *,
        label: str,
        network: nn.Module | None = None,
        objective: Objective = mean_loss,
        sampling: np.ndarray | None = None,
        **changes,
    ) -> Outcome:
        """Train from the start as the biased model is trained: same schedule, less the `changes`, and same draws.

        `label` names the training in the progress bar and its checkpoint; `objective` and `sampling` are those of
        `models.training.fit`.
        """
        network = self.new_network() if network is None else network
        schedule = replace(self.settings.pre_training, **changes)
        options = {"objective": objective, "sampling": sampling}
        return Outcome(network, self._fit(network, data, schedule, "pre-train", label, **options))

    def fine_tune(
        self,
        model: nn.Module,
        synthetic: SyntheticSets,
        *,
        only: list[str],
        label: str,
        tables: dict | None = None,
        rate_fractions: RateFractions | None = None,
        **changes,
    ) -> Outcome:
        """Train the tensors of the biased model whose names are in `only`, on balanced synthetic images.

        `label` names the training in the progress bar and its checkpoint; `tables` are written beside the record;
        `rate_fractions` is that of `models.training.fit`; `changes` are of the schedule (`models.training.Schedule`).
        """
        schedule = replace(self.settings.fine_tuning, **changes)
        batch_norm = self.settings.batch_norm
        options = {"trainable": only, "rate_fractions": rate_fractions, "hold_statistics": batch_norm == "hold"}
        if batch_norm == "real":
            options["before_val"] = self._real_statistics
        if self.settings.fine_tune_batch_size:
            options["compute"] = replace(self.settings.compute, batch_size=self.settings.fine_tune_batch_size)
        curve = self._fit(model, synthetic.balanced, schedule, "fine-tune", label, **options)
        return Outcome(model, curve, tables or {}, synthetic.held_out)

    def rank(self, synthetic: SyntheticSets, top_k: int, measure: str = "absolute") -> pd.DataFrame:
        """Return the `models.selection.sensitivity_table` of the three mean gradients at the biased weights.

        They are the mean gradients over all batches unless `--ranking-batches` says otherwise: over the first ones, or, with
        "auto", until what `top_k` and `measure` choose has settled. Then columns say how many batches were used
        (`models.ranking.with_batches`).
        """
        asked = self.settings.ranking_batches
        if asked == "auto":
            return self._settled_ranking(synthetic, top_k, measure)
        table = sensitivity_table(*self.three_gradients(synthetic))
        if asked is None:
            return table
        compute = of_mean_gradients(self.settings.compute)
        counts = {name: number_of_batches(len(data), compute) for name, data in self._sets(synthetic).items()}
        return with_batches(table, {name: min(asked, count) for name, count in counts.items()})

    def _settled_ranking(self, synthetic: SyntheticSets, top_k: int, measure: str) -> pd.DataFrame:
        """Return the ranking after the batch from which on its choice has settled, and say so."""
        patience = self.settings.ranking_patience or PATIENCE
        with lone_images_named():
            table, settled = until_settled(self.running_ranking(synthetic), top_k, measure, patience)
        used = ", ".join(f"{table[f'{name}_batches'].iloc[0]} {name}" for name in SETS)
        how = f"unchanged for {patience}" if settled else f"all there are: not unchanged for {patience} before"
        print(f"seed {self.seed}, k {top_k}: mask after {used} batches ({how})", flush=True)
        return table

    def three_gradients(self, synthetic: SyntheticSets) -> tuple[Gradients, Gradients, Gradients]:
        """The mean gradients at the biased weights on real, on biased synthetic and on balanced synthetic images."""
        real, biased, balanced = (self._mean_gradients(name, data) for name, data in self._sets(synthetic).items())
        return real, biased, balanced

    def running_ranking(self, synthetic: SyntheticSets) -> RunningRanking:
        """The ranking batch by batch, the same one for all methods that share the three sets."""
        sets = self._sets(synthetic)
        key = tuple(_key(name, data) for name, data in sets.items())
        if key not in self._rankings:
            compute, model = self._ranking_compute(), self.biased_model()
            batches = {name: self._ranking_batches(name, data) for name, data in sets.items()}
            sums = {name: GradientSum(model, found, amp=compute.amp) for name, found in batches.items()}
            self._seed_dropout()
            self._rankings[key] = RunningRanking(sums, compute.device)
        return self._rankings[key]

    def _real_statistics(self, model: nn.Module) -> None:
        """Batch norm's running statistics become means over real training images; the same images every time."""
        batches = train_batches(self.real["train"], self.settings.compute, torch_generator(self.seed, "statistics"))
        update_bn((batch.inputs for batch in islice(batches, STATISTICS_BATCHES)), model)

    def _fit(
        self,
        model: nn.Module,
        data,
        schedule: Schedule,
        stream: str,
        label: str,
        *,
        compute: Compute | None = None,
        **options,
    ) -> list[dict]:
        label = f"seed {self.seed} {label}"
        checkpoint = self.unfinished and self.unfinished.checkpoint(label)
        # methods may share a label, and one may train twice under one: checkpoints are told apart already
        curve = f"{self.method}/{checkpoint.path.stem if checkpoint else label}"
        with curve_log(self.settings.tensorboard, curve) as log:
            return fit(
                model,
                data,
                self.real["val"],
                schedule,
                compute or self.settings.compute,
                generator=torch_generator(self.seed, stream),
                log=log,
                label=label,
                checkpoint=checkpoint,
                **options,
            )

    def _mean_gradients(self, name: str, data: LabelledImages) -> Gradients:
        """Under the training transform, once for each set: several methods ask for the same."""
        key, asked = _key(name, data), self.settings.ranking_batches
        if key not in self._gradients:
            most = asked if isinstance(asked, int) else None  # whoever asks for whole means gets them, with "auto" too
            batches, model = islice(self._ranking_batches(name, data), most), self.biased_model()
            self._seed_dropout()
            with lone_images_named():
                self._gradients[key] = mean_gradients(model, batches, amp=self._ranking_compute().amp)
        return self._gradients[key]

    def _ranking_batches(self, name: str, data: LabelledImages) -> Iterator[Batch]:
        """Under the training transform, by a stream of the set's own: the first ones are the same, however many are taken."""
        return train_batches(data, self._ranking_compute(), torch_generator(self.seed, f"gradient {name}"))

    def _ranking_compute(self) -> Compute:
        return of_mean_gradients(self.settings.compute)

    def _seed_dropout(self) -> None:
        torch.manual_seed(derived_seed(self.seed, "gradient"))  # dropout's draws, the same for all sets

    def _sets(self, synthetic: SyntheticSets) -> dict[str, LabelledImages]:
        """The three sets of the ranking, by the names of `models.ranking.SETS`."""
        return dict(zip(SETS, (self.real["train"], synthetic.biased, synthetic.balanced), strict=True))

    def _network(self, weights: str, seed: int) -> nn.Module:
        return new_classifier(weights, seed, self.settings.width, self.settings.network, self.settings.image_size)

    def _on_device(self, model: nn.Module) -> nn.Module:
        return model.to(self.settings.compute.device, memory_format=torch.channels_last)


def _key(name: str, data: LabelledImages) -> tuple:
    """What tells the sets apart that gradients are taken on."""
    return name, id(data.pixels), data.rows.tobytes()
