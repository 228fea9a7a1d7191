"""One seed of an experiment, shared by all its methods: data, biased model, gradients at its weights, and training."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn

from datasets.images import LabelledImages, MixedSet
from datasets.synthetic import SyntheticSets
from models.averaging import estimate_statistics
from models.batches import Batch, Compute, lone_images_named, number_of_batches, of_mean_gradients, train_batches
from models.choice import Choice
from models.classifier import new_classifier
from models.ranking import SETS, RunningRanking, until_settled, with_batches
from models.schedule import Schedule
from models.selection import Gradients, GradientSum, mean_gradients, sensitivity_table
from models.settings import Settings
from models.tensorboard import curve_log
from models.top_k import PATIENCE
from models.training import Masks, Objective, RateFractions, fit, mean_loss
from models.weights import load_tensors
from utils.checkpoint import Unfinished
from utils.records import folder_name, record_folder, rerun
from utils.seeds import derived_seed, torch_generator


class TrainedModel(NamedTuple):
    """The result of a method.

    model : the module to test and to save
    curve : one row for each epoch, as `models.training.fit` returns them
    tables : further tables for the record, by name; each becomes a CSV file
    held_out : synthetic images for `held_out_metrics` of the record, by which `--top-k auto` chooses
    """

    model: nn.Module
    curve: list[dict]
    tables: dict[str, pd.DataFrame] = {}
    held_out: LabelledImages | None = None


@dataclass(eq=False)
class Run:
    """One seed of an experiment.

    real : the images of the splits train, val and test
    biased_weights : file of the biased model; it exists once the method erm is recorded
    method : folder of the method that is being trained
    made_from : labels of the methods, recorded already, whose results that method copies, changes or chooses among
    unfinished : checkpoints of its trainings; None: no checkpoints are kept
    repeat : number of a repetition, each with another order and other crops in fine-tuning
    choice : what a method takes that chooses among other methods' results (`models.auto`)
    """

    settings: Settings
    real: dict[str, LabelledImages]
    seed: int
    biased_weights: Path
    method: str = ""
    made_from: tuple[str, ...] = ()
    repeat: int = 1
    choice: Choice | None = None
    unfinished: Unfinished | None = None
    _gradients: dict = field(default_factory=dict)
    _rankings: dict = field(default_factory=dict)

    def new_network(self, seed: int | None = None) -> nn.Module:
        """Return a network on the device with the weights from which training starts; `seed` initialises the last layer."""
        return self._network(self.settings.weights, self.seed if seed is None else seed)

    def biased_model(self) -> nn.Module:
        """Return a fresh copy of the seed's biased model, on the device. Raises `UserError` if its file is damaged."""
        return self._loaded(self.biased_weights)

    def weights_of(self, label: str) -> Path:
        """Return the file of a recorded method's weights of this seed."""
        return record_folder(self.biased_weights.parents[2], folder_name(label), self.seed) / "model.safetensors"

    def recorded(self, label: str) -> tuple[nn.Module, list[dict]]:
        """Return a recorded method's model of this seed, on the device, and its curve.

        Raises `UserError` if the file of its weights is damaged.
        """
        weights = self.weights_of(label)
        return self._loaded(weights), pd.read_csv(weights.with_name("curve.csv")).to_dict("records")

    def pre_train(
        self,
        data: LabelledImages | MixedSet,
        *,
        label: str,
        network: nn.Module | None = None,
        objective: Objective = mean_loss,
        sampling: np.ndarray | None = None,
        **changes,
    ) -> TrainedModel:
        """Train from scratch, or from `network`, with the biased model's schedule and random streams.

        objective, sampling : see `models.training.Variant`; the others as in `fine_tune`
        """
        network = self.new_network() if network is None else network
        schedule = replace(self.settings.pre_training, **changes)
        options = {"objective": objective, "sampling": sampling}
        return TrainedModel(network, self._fit(network, data, schedule, ("pre-train",), label, **options))

    def fine_tune(
        self,
        model: nn.Module,
        synthetic: SyntheticSets,
        *,
        only: list[str] | Masks,
        label: str,
        tables: dict[str, pd.DataFrame] | None = None,
        rate_fractions: RateFractions | None = None,
        **changes,
    ) -> TrainedModel:
        """Fine-tune the biased model on balanced synthetic images.

        only : the tensors or weights that may change, as `trainable` of `models.training.Variant`
        label : names the training in the progress bar and its checkpoint; tables : further tables for the record
        rate_fractions : see `models.training.Variant`
        changes : fields of the schedule (`models.schedule.Schedule`) with other values
        """
        schedule = replace(self.settings.fine_tuning, **changes)
        batch_norm = self.settings.batch_norm
        options = {"trainable": only, "rate_fractions": rate_fractions, "hold_statistics": batch_norm == "hold"}
        if batch_norm == "real":
            options["before_val"] = self._real_statistics
        if self.settings.fine_tune_batch_size:
            options["compute"] = replace(self.settings.compute, batch_size=self.settings.fine_tune_batch_size)
        stream = ("fine-tune", self.repeat) if self.repeat > 1 else ("fine-tune",)  # the first is that of older records
        curve = self._fit(model, synthetic.balanced, schedule, stream, label, **options)
        return TrainedModel(model, curve, tables or {}, synthetic.held_out)

    def rank(self, synthetic: SyntheticSets, top_k: int, measure: str = "absolute") -> pd.DataFrame:
        """Return the table of domain gaps, bias gaps and ranks of all tensors (`models.selection.sensitivity_table`).

        It compares three mean gradients at the biased weights: over all batches of the three sets, or over fewer with
        --ranking-batches. With "auto" the batches end when the choice by `top_k` and `measure` no longer changes. If
        the flag is given, columns of the table tell how many batches were used (`models.ranking.with_batches`).
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
        patience = self.settings.ranking_patience or PATIENCE
        with lone_images_named():
            table, settled = until_settled(self.running_ranking(synthetic), top_k, measure, patience)
        used = ", ".join(f"{table[f'{name}_batches'].iloc[0]} {name}" for name in SETS)
        how = (
            f"unchanged for {patience}" if settled else f"all there are: the mask never stayed unchanged for {patience}"
        )
        print(f"seed {self.seed}, k {top_k}: mask after {used} batches ({how})", flush=True)
        return table

    def three_gradients(self, synthetic: SyntheticSets) -> tuple[Gradients, Gradients, Gradients]:
        """Return the mean gradients at the biased weights on real, biased synthetic and balanced synthetic images."""
        real, biased, balanced = (self._mean_gradients(name, data) for name, data in self._sets(synthetic).items())
        return real, biased, balanced

    def running_ranking(self, synthetic: SyntheticSets) -> RunningRanking:
        """Return the ranking batch by batch; methods that share the three sets share one."""
        sets = self._sets(synthetic)
        key = tuple(_key(name, data) for name, data in sets.items())
        if key not in self._rankings:
            compute = of_mean_gradients(self.settings.compute)
            batches = {name: self._ranking_batches(name, data) for name, data in sets.items()}
            sums = {name: GradientSum(self._reference, found, amp=compute.amp) for name, found in batches.items()}
            self._seed_dropout()
            self._rankings[key] = RunningRanking(sums, compute.device)
        return self._rankings[key]

    @cached_property
    def _reference(self) -> nn.Module:
        return self.biased_model()  # gradients are taken at copies of it

    def _real_statistics(self, model: nn.Module) -> None:
        """Set batch norm's running statistics to means over real training images, the same images at each call."""
        own = torch_generator(self.seed, "statistics")
        estimate_statistics(model, self.real["train"], self.settings.compute, own)

    def _fit(
        self,
        model: nn.Module,
        data: LabelledImages | MixedSet,
        schedule: Schedule,
        stream: tuple[str | int, ...],
        label: str,
        *,
        compute: Compute | None = None,
        **options,
    ) -> list[dict]:
        label = f"seed {self.seed} {label}"
        checkpoint = self.unfinished and self.unfinished.checkpoint(label)
        # labels are not unique, because methods can share one or use it twice; checkpoint names are
        name = f"{self.method}/{checkpoint.path.stem if checkpoint else label}"
        compute, generator = compute or self.settings.compute, torch_generator(self.seed, *stream)
        options |= {"generator": generator, "label": label, "checkpoint": checkpoint}
        with curve_log(self.settings.tensorboard, name) as log:
            return fit(model, data, self.real["val"], schedule, compute, log=log, **options)

    def _mean_gradients(self, name: str, data: LabelledImages) -> Gradients:
        """Return the mean gradient on a set under the training transform, computed once for all methods."""
        key, asked = _key(name, data), self.settings.ranking_batches
        if key not in self._gradients:
            most = asked if isinstance(asked, int) else None  # "auto" stops in `rank` alone; here all batches count
            batches, model = islice(self._ranking_batches(name, data), most), self._reference
            self._seed_dropout()  # after the model is built, which draws
            with lone_images_named():
                self._gradients[key] = mean_gradients(model, batches, amp=self.settings.compute.amp)
        return self._gradients[key]

    def _ranking_batches(self, name: str, data: LabelledImages) -> Iterator[Batch]:
        """Yield a set's batches from its own random stream, so that the first ones are the same however many are used."""
        compute = of_mean_gradients(self.settings.compute)
        return train_batches(data, compute, torch_generator(self.seed, f"gradient {name}"))

    def _seed_dropout(self) -> None:
        torch.manual_seed(derived_seed(self.seed, "gradient"))  # the same draws for all sets

    def _sets(self, synthetic: SyntheticSets) -> dict[str, LabelledImages]:
        """Return the three sets of the ranking by the names in `models.ranking.SETS`."""
        return dict(zip(SETS, (self.real["train"], synthetic.biased, synthetic.balanced), strict=True))

    def _network(self, weights: str, seed: int) -> nn.Module:
        own = self.settings.width, self.settings.network, self.settings.image_size, self.real["train"].targets
        return new_classifier(weights, seed, *own).to(self.settings.compute.device, memory_format=torch.channels_last)

    def _loaded(self, weights: Path) -> nn.Module:
        model = self._network("none", self.seed)
        load_tensors(model, weights, rerun(weights.parent))
        return model


def _key(name: str, data: LabelledImages) -> tuple:
    return name, id(data.pixels), data.rows.tobytes()
