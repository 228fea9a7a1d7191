"""Results made from recorded ones without training: the best of several, a shorter step, another threshold."""

import zlib
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from datasets.images import LabelledImages
from datasets.synthetic import SyntheticSets
from models.after import between, move_threshold
from models.batches import evaluate, predict
from models.choice import choose
from models.classifier import linear_head
from models.run import Run, TrainedModel
from models.weights import load_state
from utils.errors import UserError
from utils.files import write_whole
from utils.metrics import best_threshold

STEPS = (0.25, 0.5, 0.75, 1.0)  # from the biased model to the fine-tuned one
BIASED = "erm"
SEEN = ["candidate", "step", "val_accuracy", "held_out_equalized_odds"]
KEPT = [*SEEN[:2], "threshold", "held_out", *SEEN[2:]]


def judge(run: Run, labels: list[str], held_out: LabelledImages, threshold: str) -> pd.DataFrame:
    """Return what a choice sees of the biased model and of several steps towards each recorded result of this seed.

    Its columns are `SEEN`; the two numbers are fractions. The file `judged_file` keeps them for all choices of the seed. Only rows that
    it lacks, or whose weights are younger than the file, are computed. Neither the test set nor a protected label of a real image
    is used.
    """
    path, images = judged_file(run), zlib.crc32("\n".join(held_out.names).encode())
    found = {key: seen for key, seen in _kept(path).items() if not _younger(run.weights_of(key[0]), path)}
    steps = [(BIASED, 1.0), *((label, step) for label in labels for step in STEPS)]
    for label, step in steps:
        if (key := (label, step, threshold, images)) in found:
            continue
        model = run.biased_model() if label == BIASED else stepped(run, run.recorded(label)[0], step)
        model = with_threshold(run, model, held_out, threshold)
        accuracy = evaluate(model, run.real["val"], run.settings.compute)["accuracy"]
        found[key] = accuracy, evaluate(model, held_out, run.settings.compute)["equalized_odds"]
        table = pd.DataFrame([(*key, *found[key]) for key in found], columns=KEPT)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, table.to_csv(index=False, float_format="%.8g"))
    found = _kept(path)  # what is interrupted and goes on sees the same numbers, to the last digit
    return pd.DataFrame([(*step, *found[*step, threshold, images]) for step in steps], columns=SEEN)


def judged_file(run: Run) -> Path:
    """Return the file that keeps what choices of a seed saw: `KEPT`, with a checksum of the names of the held-out images."""
    return run.weights_of(BIASED).parents[2] / "judged" / f"seed_{run.seed}.csv"


def choose_once(tables: list[pd.DataFrame]) -> tuple[str, float]:
    """Return candidate and step of the best by `models.choice`, by the means of several seeds' tables, which have the same rows."""
    accuracy, odds = (np.mean([table[key] for table in tables], axis=0) for key in SEEN[2:])
    best = tables[0].iloc[choose(accuracy.tolist(), odds.tolist())]
    return best["candidate"], float(best["step"])


def take_best(run: Run, biased_model: nn.Module, synthetic: SyntheticSets, *, threshold: str = "0.5") -> TrainedModel:
    """Return the result that `run.choice` names. The table `choice` is that of `judge`, with a column `chosen`."""
    label, step, table = run.choice
    print(f"seed {run.seed}: {label} chosen" + (f", {step:g} of the way to it" if step < 1 else ""), flush=True)
    model, curve = run.recorded(label)
    model = with_threshold(run, stepped(run, model, step), synthetic.held_out, threshold)
    table = table.assign(chosen=(table["candidate"] == label) & (table["step"] == step))
    return TrainedModel(model, curve, {"choice": table}, synthetic.held_out)


def chosen_of(tables: dict[str, pd.DataFrame], seeds: tuple[int, ...]) -> dict:
    """Return what a record says of a choice: candidate, step, and the seeds that it was made over; nothing without a choice."""
    if "choice" not in tables:
        return {}
    row = tables["choice"].query("chosen").iloc[0]
    return {"chosen": {"candidate": row["candidate"], "step": float(row["step"]), "seeds": list(seeds)}}


def changed(run: Run, synthetic: SyntheticSets | None, *, step: float = 1.0, threshold: str) -> TrainedModel:
    """Return the result that `run.made_from` names, at a shorter step from the biased model or with another threshold."""
    model, curve = run.recorded(run.made_from[0])
    held_out = synthetic and synthetic.held_out
    model = with_threshold(run, stepped(run, model, step), held_out, threshold)
    return TrainedModel(model, curve, {}, held_out)


def with_threshold(run: Run, model: nn.Module, held_out: LabelledImages | None, threshold: str) -> nn.Module:
    """Move a model's threshold, in place, to where most answers on real val, or on held-out synthetic images, are right.

    Target labels alone are used. "0.5" leaves the model as it is.
    """
    if threshold != "0.5":
        faces = run.real["val"] if threshold == "val" else held_out
        logits = predict(model, faces, run.settings.compute)
        move_threshold(linear_head(model, run.settings.network), best_threshold(logits, faces.target))
    return model


def stepped(run: Run, model: nn.Module, step: float) -> nn.Module:
    """Put the weights of a model at `step` of the way from the biased model to it, in place."""
    if step < 1:
        load_state(model, between(run.biased_model().state_dict(), model.state_dict(), step))
    return model


def _younger(weights: Path, path: Path) -> bool:
    return not weights.exists() or weights.stat().st_mtime > path.stat().st_mtime


def _kept(path: Path) -> dict[tuple, tuple[float, float]]:
    """Return the rows of an earlier `judge`. Raises UserError if the file is damaged."""
    if not path.exists():
        return {}
    try:
        table = pd.read_csv(path, dtype={"threshold": str})[KEPT]
        return {
            (label, float(step), *key): (val, odds) for label, step, *key, val, odds in table.itertuples(index=False)
        }
    except (ValueError, KeyError) as error:
        raise UserError(f"{path} is damaged; remove it, and it is made again") from error
