"""Runs of recorded biased models, with their images, for what is measured at their weights."""

from collections.abc import Iterator
from dataclasses import replace

from torch import nn

from datasets.synthetic import SyntheticSets
from models.experiment import Experiment
from models.options import BiasDegree
from models.run import Run, TrainedModel
from models.settings import Settings
from results.studies import Place
from utils.errors import UserError
from utils.records import read_record, record_folder
from utils.same_settings import check_settings
from utils.settings import parse


def biased_models(arm: str, flags: tuple[str, ...], place: Place) -> Iterator[tuple[Run, SyntheticSets]]:
    """Yield the run of each seed, with the synthetic images of a method that ranks.

    arm : whose biased models are taken
    flags : of train.py, as for that arm

    Raises `UserError` if a biased model is missing or was made with other settings.
    """
    output = place.output / arm
    call = [*place.fill(flags), "--output", str(output), "--cache", str(place.work / "cache"), "--device", place.device]
    settings = replace(parse(Settings, "", call), methods=("ranking",), ranking_batches=None, ranking_patience=None)
    experiment = Experiment(settings, {"erm": erm, "ranking": ranking})
    experiment.load()
    for run in experiment.runs():
        folder = record_folder(output, "erm", run.seed)
        check_settings((read_record(folder, "settings") or erm(run)).settings, experiment.of_erm, folder)
        yield run, experiment.sets["ranking"].of_seed(run.seed)


def erm(run: Run) -> TrainedModel:
    """Stand for the biased model, which has to be there."""
    raise UserError(f"no biased model in {run.biased_weights.parent}: run its arm first")


def ranking(run: Run, biased_model: nn.Module, synthetic: SyntheticSets, *, bias_degree: BiasDegree) -> TrainedModel:
    """Stand for a method that ranks: `Experiment` draws sets by its parameters, and nothing calls it."""
    raise NotImplementedError
