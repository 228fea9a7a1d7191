"""What the methods of one seed share: the data, the draws, the biased model and the gradients at its weights."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn

from datasets.images import FaceSet, MixedSet
from datasets.synthetic import SyntheticPlan, draw_cells
from models.aim_fair import Gradients, sensitivity_table
from models.classifier import new_classifier
from models.sensitivity import mean_gradients
from models.training import ACCURACY, Compute, Objective, Schedule, fit, lone_images_named, mean_loss, train_batches
from models.weights import load_tensors
from utils.checkpoint import Unfinished
from utils.records import rerun
from utils.seeds import derived_seed, torch_generator


@dataclass(frozen=True)
class Experiment:
    """What is the same for every seed and method; `real` holds the sets train, val and test."""

    real: dict[str, FaceSet]
    weights: str  # where training starts, as `models.classifier.new_classifier` takes it
    width: float  # of the network, likewise
    pre_training: Schedule
    fine_tuning: Schedule
    compute: Compute
    select_by: str = ACCURACY  # what chooses the epoch, as `models.training.fit` takes it


class Outcome(NamedTuple):
    """A trained model, its curve as `models.training.fit` returns it, more tables for the record, and held-out images."""

    model: nn.Module
    curve: list[dict]
    tables: dict[str, pd.DataFrame] = {}
    held_out: FaceSet | None = None


@dataclass(eq=False)
class SeedRun:
    """One seed of an experiment. What is expensive is made when it is first asked for, and kept."""

    experiment: Experiment
    seed: int
    biased_weights: Path  # of the method erm, there once that has been recorded
    unfinished: Unfinished | None = None  # where trainings keep their checkpoints
    _gradients: dict = field(default_factory=dict)

    def new_network(self, seed: int | None = None) -> nn.Module:
        """A network on the device with the weights where training starts, its last layer drawn by the seed."""
        return self._to_device(self._classifier(self.experiment.weights, self.seed if seed is None else seed))

    def biased_model(self) -> nn.Module:
        """A fresh copy of the seed's biased model, on the device. Raises `UserError` where its file is damaged."""
        model, remedy = self._classifier("none", self.seed), rerun(self.biased_weights.parent)
        load_tensors(model, self.biased_weights, remedy)
        return self._to_device(model)

    def pre_train(
        self,
        data: FaceSet | MixedSet,
        *,
        label: str,
        network: nn.Module | None = None,
        schedule: Schedule | None = None,
        objective: Objective = mean_loss,
        sampling: np.ndarray | None = None,
        select_by: str | None = None,
    ) -> Outcome:
        """Train from the start as the biased model is trained: same schedule, same draws, ties to the later epoch."""
        network = self.new_network() if network is None else network
        label = f"seed {self.seed} {label}"
        curve = fit(
            network,
            data,
            self.experiment.real["val"],
            schedule or self.experiment.pre_training,
            self.experiment.compute,
            torch_generator(self.seed, "pre-train"),
            objective=objective,
            sampling=sampling,
            later_wins_ties=True,
            select_by=select_by or self.experiment.select_by,
            label=label,
            checkpoint=self.unfinished and self.unfinished.checkpoint(label),
        )
        return Outcome(network, curve)

    def fine_tune(self, chosen: list[str], plan: SyntheticPlan, *, label: str, tables=None) -> Outcome:
        """Train the tensors called `chosen` of the biased model on balanced synthetic images; ties to the earlier epoch."""
        model, balanced = self.biased_model(), self.balanced(plan)
        label = f"seed {self.seed} {label}"
        curve = fit(
            model,
            balanced,
            self.experiment.real["val"],
            self.experiment.fine_tuning,
            self.experiment.compute,
            torch_generator(self.seed, "fine-tune"),
            trainable=chosen,
            later_wins_ties=False,
            select_by=self.experiment.select_by,
            label=label,
            checkpoint=self.unfinished and self.unfinished.checkpoint(label),
        )
        return Outcome(model, curve, tables or {}, self.held_out(plan))

    def balanced(self, plan: SyntheticPlan) -> FaceSet:
        """The balanced synthetic set, drawn independently of the biased one."""
        return draw_cells(plan.pool, plan.balanced, self._draws("balanced"))

    def biased(self, plan: SyntheticPlan) -> FaceSet:
        """The biased synthetic set."""
        return draw_cells(plan.pool, plan.biased, self._draws("biased"))

    def held_out(self, plan: SyntheticPlan) -> FaceSet | None:
        """As many images of each cell as the plan holds out, none of the balanced set; None where it holds out none."""
        if not plan.held_out:
            return None
        used = np.isin(plan.pool.rows, self.balanced(plan).rows)
        rest = plan.pool.subset(np.flatnonzero(~used))
        return draw_cells(rest, dict.fromkeys(plan.balanced, plan.held_out), self._draws("held out"))

    def sensitivity(self, plan: SyntheticPlan) -> pd.DataFrame:
        """How each tensor of the biased model reacts to domain and to bias: see `models.aim_fair.sensitivity_table`."""
        return sensitivity_table(
            self._mean_gradients("real", self.experiment.real["train"]),
            self._mean_gradients("biased", self.biased(plan), plan.prompt_type, *plan.biased.values()),
            self._mean_gradients("balanced", self.balanced(plan), plan.prompt_type, *plan.balanced.values()),
        )

    def _mean_gradients(self, name: str, data: FaceSet, *key) -> Gradients:
        """The mean gradients at the biased weights, under the training transform, once for each set."""
        if (name, *key) not in self._gradients:
            compute = replace(self.experiment.compute, keep_last_batch=False)  # a short one would weigh too much
            batches = train_batches(data, compute, torch_generator(self.seed, f"gradient {name}"))
            with lone_images_named():
                self._gradients[name, *key] = mean_gradients(self.biased_model(), batches, amp=compute.amp)
        return self._gradients[name, *key]

    def _draws(self, name: str) -> np.random.Generator:
        return np.random.default_rng(derived_seed(self.seed, f"draw {name}"))

    def _classifier(self, weights: str, seed: int) -> nn.Module:
        return new_classifier(weights, seed, self.experiment.width)

    def _to_device(self, model: nn.Module) -> nn.Module:
        return model.to(self.experiment.compute.device, memory_format=torch.channels_last)
