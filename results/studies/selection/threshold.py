"""Runs with the threshold that suits val best, each its own, in place of 0.5."""

from dataclasses import replace

from results.logits import answers_at_threshold
from results.records import LABELS, RunSet, names_of
from utils.metrics import fairness_metrics
from utils.records import Record


def at_val_threshold(runs: RunSet) -> RunSet:
    """Return the runs with the answers on test, and the metrics of these, that they have at the threshold from val.

    Raises KeyError if a run has no logits.
    """
    predictions, records = runs.predictions[LABELS].copy(), []
    labels = [predictions[name] for name in LABELS[1:]]
    for name, record in zip(names_of(runs.records), runs.records, strict=True):
        predictions[name] = answers_at_threshold(runs.logits, name).astype(int)
        metrics = fairness_metrics(*labels, predictions[name], runs.groups)
        records.append(Record.of({**record.content, "metrics": metrics}, record.folder))
    return replace(runs, records=records, predictions=predictions)
