"""Measure after which batch a ranking's mask is final, and where `--ranking-batches auto` stops; nothing is trained or tested."""

from collections.abc import Iterator
from dataclasses import replace

import pandas as pd
from torch import nn

from datasets.images import LabelledImages
from datasets.synthetic import SyntheticSets
from models.batches import Compute, train_batches
from models.experiment import Experiment
from models.options import BiasDegree
from models.ranking import SETS, mask_of, until_settled
from models.run import Run, TrainedModel
from models.selection import mean_gradients, sensitivity_table
from models.settings import Settings
from models.top_k import auto_top_k
from results.studies import Finding, Place
from utils.errors import UserError
from utils.records import read_record, record_folder
from utils.same_settings import check_settings
from utils.seeds import torch_generator
from utils.settings import parse

PATIENCES = (3, 5, 10, 20, 40)


def batches(models: str, flags: tuple[str, ...], draws: int, place: Place) -> Iterator[Finding]:
    """Take the three gradients batch by batch, for each seed, and compare the masks of each k with those of the full ranking.

    models : name of the arm whose biased models are ranked
    flags : of train.py, as for that arm
    draws : number of further full rankings of the same images, in another order and otherwise cropped

    Raises `UserError` if a biased model is missing or was made with other settings.
    """
    output = place.output / models
    call = [*place.fill(flags), "--output", str(output), "--cache", str(place.work / "cache"), "--device", place.device]
    settings = replace(parse(Settings, "", call), methods=("ranking",), ranking_batches=None, ranking_patience=None)
    experiment = Experiment(settings, {"erm": erm, "ranking": ranking})
    experiment.load()
    compute = replace(settings.compute, keep_last_batch=False)
    yield Finding("batch_size", settings.batch_size)
    for run in experiment.runs():
        folder = record_folder(output, "erm", run.seed)
        check_settings((read_record(folder, "settings") or erm(run)).settings, experiment.of_erm, folder)
        synthetic = experiment.sets["ranking"].of_seed(run.seed)
        sets = dict(zip(SETS, (run.real["train"], synthetic.biased, synthetic.balanced), strict=True))
        tables = list(run.running_ranking(synthetic))
        others = [another_draw(run, sets, compute, draw) for draw in range(1, draws + 1)]
        for k in auto_top_k(experiment.tensors):
            apart = [len(mask_of(other, k) ^ mask_of(tables[-1], k)) for other in others]
            row = row_of(tables, run.seed, k) | ({"draws": apart} if draws else {})
            yield Finding(f"seed {run.seed}, k {k}", row)
    yield Finding("images", {name: len(data) for name, data in sets.items()})
    yield Finding("batches", batches_of(tables[-1]))


def erm(run: Run) -> TrainedModel:
    """Stand for the biased model, which has to be there."""
    raise UserError(f"no biased model in {run.biased_weights.parent}: run its arm first")


def ranking(run: Run, biased_model: nn.Module, synthetic: SyntheticSets, *, bias_degree: BiasDegree) -> TrainedModel:
    """Stand for a method that ranks: `Experiment` draws sets by its parameters, and nothing calls it."""
    raise NotImplementedError


def another_draw(run: Run, sets: dict[str, LabelledImages], compute: Compute, draw: int) -> pd.DataFrame:
    """Return the sensitivity table of a full ranking with other random order and crops; `draw` numbers them."""
    means = []
    for name, data in sets.items():
        found = train_batches(data, compute, torch_generator(run.seed, f"another draw {name}", draw))
        means.append(mean_gradients(run.biased_model(), found, amp=compute.amp))
    return sensitivity_table(*means)


def row_of(tables: list[pd.DataFrame], seed: int, k: int) -> dict[str, object]:
    """Return what is recorded of a seed and k; `tables` are the sensitivity tables after each batch, the last is the full ranking's.

    mask : tensors in the full ranking's mask
    differ : for each batch, the number of tensors that are in the mask after it or in the full one, but not in both
    stops : by patience, after which batch auto stops, and whether because nothing had changed
    """
    masks, stops = [mask_of(table, k) for table in tables], {}
    for patience in PATIENCES:
        table, settled = until_settled(tables, k, "absolute", patience)
        stops[str(patience)] = {"after": max(batches_of(table).values()), "settled": settled}
    differ = [len(mask ^ masks[-1]) for mask in masks]
    return {"seed": seed, "k": k, "mask": len(masks[-1]), "differ": differ, "stops": stops}


def batches_of(table: pd.DataFrame) -> dict[str, int]:
    """Return the batches of each set that a table of a `models.ranking.RunningRanking` is made from."""
    return {name: int(table[f"{name}_batches"].iloc[0]) for name in SETS}
