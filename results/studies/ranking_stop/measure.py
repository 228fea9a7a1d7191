"""Measure after which batch a ranking's mask is final, and where `--ranking-batches auto` stops; nothing is trained or tested."""

from collections.abc import Iterator

import pandas as pd

from datasets.images import LabelledImages
from models.batches import Compute, of_mean_gradients, train_batches
from models.ranking import SETS, mask_of, until_settled
from models.run import Run
from models.selection import mean_gradients, sensitivity_table
from models.top_k import auto_top_k
from results.biased_models import biased_models
from results.studies import Finding, Place
from utils.seeds import torch_generator

PATIENCES = (3, 5, 10, 20, 40)


def batches(models: str, flags: tuple[str, ...], draws: int, place: Place) -> Iterator[Finding]:
    """Take the three gradients batch by batch, for each seed, and compare the masks of each k with those of the full ranking.

    models : name of the arm whose biased models are ranked
    flags : of train.py, as for that arm
    draws : number of further full rankings of the same images, in another order and otherwise cropped

    Raises `UserError` if a biased model is missing or was made with other settings.
    """
    for run, synthetic in biased_models(models, flags, place):
        sets = dict(zip(SETS, (run.real["train"], synthetic.biased, synthetic.balanced), strict=True))
        tables = list(run.running_ranking(synthetic))
        compute = of_mean_gradients(run.settings.compute)
        others = [another_draw(run, sets, compute, draw) for draw in range(1, draws + 1)]
        for k in auto_top_k(len(tables[-1])):
            apart = [len(mask_of(other, k) ^ mask_of(tables[-1], k)) for other in others]
            row = row_of(tables, run.seed, k) | ({"draws": apart} if draws else {})
            yield Finding(f"seed {run.seed}, k {k}", row)
    yield Finding("batch_size", run.settings.batch_size)
    yield Finding("images", {name: len(data) for name, data in sets.items()})
    yield Finding("batches", batches_of(tables[-1]))


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
