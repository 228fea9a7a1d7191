"""Results made from recorded ones without training: the best of several, a shorter step, another threshold."""

import pandas as pd
from torch import nn

from datasets.synthetic import SyntheticSets
from models.after import between, move_threshold
from models.batches import evaluate, predict
from models.choice import choose
from models.classifier import linear_head
from models.run import Run, TrainedModel
from models.weights import load_state
from utils.metrics import best_threshold

STEPS = (0.25, 0.5, 0.75, 1.0)  # from the biased model to the fine-tuned one
BIASED = "erm"


def take_best(run: Run, biased_model: nn.Module, synthetic: SyntheticSets, *, threshold: str = "0.5") -> TrainedModel:
    """Return the best of the results that `run.made_from` names, of shorter steps towards them, and of the biased model.

    `models.choice` says which is best. Neither the test set nor a protected label of a real image decides. The table `choice`
    has a row for each: candidate, step, val_accuracy, held_out_equalized_odds, chosen. Raises UserError if no images are held
    out.
    """
    table = judged(run, biased_model, synthetic, threshold)
    label, step = table.loc[table["chosen"], ["candidate", "step"]].iloc[0]
    print(f"seed {run.seed}: {label} chosen" + (f", {step:g} of the way to it" if step < 1 else ""), flush=True)
    model, curve = run.recorded(label)
    model = with_threshold(run, stepped(run, model, step), synthetic, threshold)
    return TrainedModel(model, curve, {"choice": table}, synthetic.held_out)


def best_trial(run: Run, biased_model: nn.Module, synthetic: SyntheticSets, threshold: str) -> str:
    """Return the label of the result that `take_best` would take now; `BIASED` if it is the biased model."""
    table = judged(run, biased_model, synthetic, threshold)
    return table.loc[table["chosen"], "candidate"].iloc[0]


def judged(run: Run, biased_model: nn.Module, synthetic: SyntheticSets, threshold: str) -> pd.DataFrame:
    """Return the table `choice` (see `take_best`). `run` remembers the numbers, which several methods may need."""
    held_out, compute, rows = synthetic.held_out, run.settings.compute, []
    for label in (BIASED, *run.made_from):
        for step in STEPS if label != BIASED else (1.0,):
            key = (label, step, threshold, id(held_out.pixels), held_out.rows.tobytes())
            if key not in run.judged:
                model = biased_model if label == BIASED else stepped(run, run.recorded(label)[0], step)
                model = with_threshold(run, model, synthetic, threshold)
                accuracy = evaluate(model, run.real["val"], compute)["accuracy"]
                run.judged[key] = accuracy, evaluate(model, held_out, compute)["equalized_odds"]
            rows.append((label, step, *run.judged[key]))
    table = pd.DataFrame(rows, columns=["candidate", "step", "val_accuracy", "held_out_equalized_odds"])
    best = choose(table["val_accuracy"].tolist(), table["held_out_equalized_odds"].tolist())
    return table.assign(chosen=table.index == best)


def chosen_of(tables: dict[str, pd.DataFrame]) -> dict:
    """Return what a record says of a choice: candidate and step; nothing without a choice."""
    if "choice" not in tables:
        return {}
    row = tables["choice"].query("chosen").iloc[0]
    return {"chosen": {"candidate": row["candidate"], "step": float(row["step"])}}


def changed(run: Run, synthetic: SyntheticSets | None, *, step: float = 1.0, threshold: str) -> TrainedModel:
    """Return the result that `run.made_from` names, at a shorter step from the biased model or with another threshold."""
    model, curve = run.recorded(run.made_from[0])
    model = with_threshold(run, stepped(run, model, step), synthetic, threshold)
    return TrainedModel(model, curve, {}, synthetic and synthetic.held_out)


def with_threshold(run: Run, model: nn.Module, synthetic: SyntheticSets | None, threshold: str) -> nn.Module:
    """Move a model's threshold, in place, to where most answers on real val, or on held-out synthetic images, are right.

    Target labels alone are used. "0.5" leaves the model as it is.
    """
    if threshold != "0.5":
        faces = run.real["val"] if threshold == "val" else synthetic.held_out
        logits = predict(model, faces, run.settings.compute)
        move_threshold(linear_head(model, run.settings.network), best_threshold(logits, faces.target))
    return model


def stepped(run: Run, model: nn.Module, step: float) -> nn.Module:
    """Put the weights of a model at `step` of the way from the biased model to it, in place."""
    if step < 1:
        load_state(model, between(run.biased_model().state_dict(), model.state_dict(), step))
    return model
