"""The result of one method with one seed: training it, testing the model, and writing the record."""

import shlex
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from datasets.images import LabelledImages
from datasets.synthetic import SyntheticSets
from models.auto import changed, chosen_of, take_best
from models.batches import evaluate, memory_named, predict
from models.options import Method
from models.ranking import batches_used
from models.run import Run, TrainedModel
from models.weights import as_safetensors
from utils.checkpoint import Unfinished
from utils.metrics import answers, fairness_metrics, logit_columns
from utils.records import ROOT, write_record


def train_and_record(
    method: Method, run: Run, sets: SyntheticSets | None, folder: Path, settings: dict, environment: dict
) -> None:
    """Train a method, test its model, and write a record with `settings` and `environment` into `folder`."""
    run.method, threads = method.folder, torch.get_num_threads()
    run.unfinished = Unfinished(folder, settings, run.settings.checkpoint_seconds, environment)
    start = time.perf_counter()
    trained = train_method(method, run, sets)
    trained_in = round(run.unfinished.spent + time.perf_counter() - start, 2)
    start = time.perf_counter()
    metrics, predictions = evaluate_all(trained, run)
    content = {
        "method": method.label,
        "seed": run.seed,
        **metrics,
        "seconds": {"train": trained_in, "test": round(time.perf_counter() - start, 2)},
        "command": shlex.join(["python", "train.py", *sys.argv[1:]]).replace(f"{ROOT}/", ""),
        **environment,
        "threads": torch.get_num_threads(),  # a resumed training keeps its first number of threads
        **batches_used(trained.tables),
        **chosen_of(trained.tables, run.settings.seeds),
    }
    begun = {key: value for key, value in run.unfinished.begun.items() if content.get(key) != value}
    content |= {"begun": begun} if begun and run.unfinished.spent else {}
    content["protected_labels"] = method.protected_labels(run.settings.select_by)
    content["settings"] = settings
    tables = {"curve": pd.DataFrame(trained.curve), **predictions, **trained.tables}
    weights = as_safetensors(trained.model)
    write_record(folder, content, tables, lambda path: path.write_bytes(weights))
    run.unfinished.remove()
    torch.set_num_threads(threads)  # what resumes takes those that it began with; the next training takes its own


def train_method(method: Method, run: Run, sets: SyntheticSets | None) -> TrainedModel:
    """Train a method with the arguments that its parameters name.

    Raises `UserError` if the GPU's memory is too small.
    """
    needs = {"synthetic": sets.of_seed(run.seed)} if method.needs_synthetic else {}
    if method.fine_tunes:
        needs["biased_model"] = run.biased_model()
    own = run.settings.fine_tune_batch_size if method.fine_tunes else None
    with memory_named(run.settings.batch_size, f"seed {run.seed} {method.label}", fine_tune=own):
        if method.chooses:
            trained = take_best(run, **needs, threshold=method.options["threshold"])
        elif method.changes:
            own = {name: method.options[name] for name in ("step", "threshold") if name in method.options}
            trained = changed(run, needs.get("synthetic"), **own)
        else:
            trained = method.train(run, **needs, **method.keywords)
    if not isinstance(trained, TrainedModel):
        raise TypeError(f"method {method.name} returned a {type(trained).__name__}, not a models.run.TrainedModel")
    return trained


def evaluate_all(trained: TrainedModel, run: Run) -> tuple[dict[str, dict], dict[str, pd.DataFrame]]:
    """Return the metrics on test, val and held-out images, and tables with the logits of each test and val image."""
    compute, metrics, predictions = run.settings.compute, {}, {}
    for split, key in (("test", "metrics"), ("val", "val_metrics")):
        faces = run.real[split]
        logits = predict(trained.model, faces, compute)
        metrics[key] = fairness_metrics(faces.target, faces.protected, answers(logits), faces.groups)
        predictions[f"{split}_predictions"] = _predictions(faces, logits)
    if trained.held_out:
        metrics["held_out_metrics"] = evaluate(trained.model, trained.held_out, compute)
    return metrics, predictions


def _predictions(faces: LabelledImages, logits: np.ndarray) -> pd.DataFrame:
    columns = {"name": faces.names, "target": faces.target, "protected": faces.protected}
    names = logit_columns(faces.groups)
    return pd.DataFrame(columns | dict(zip(names, logits.reshape(len(faces), -1).T, strict=True)))
