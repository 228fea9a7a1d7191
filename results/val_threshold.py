"""Apply to each run the threshold with the highest accuracy on val, in place of 0.5."""

from dataclasses import replace

import pandas as pd

from results.logits import answers_at_threshold
from results.records import LABELS, RunSet, names_of
from utils.metrics import fairness_metrics
from utils.records import Record


def at_val_threshold(runs: RunSet) -> RunSet:
    """Return the runs with the answers on test, and the metrics of these, that they have at the threshold from val.

    Raises KeyError if a run has no logits.
    """
    labels, names, records = runs.predictions[LABELS], names_of(runs.records), []
    answers = {name: answers_at_threshold(runs.logits, name).astype(int) for name in names}
    for name, record in zip(names, runs.records, strict=True):
        metrics = fairness_metrics(labels["target"], labels["protected"], answers[name], runs.groups)
        records.append(Record.of({**record.content, "metrics": metrics}, record.folder))
    return replace(runs, records=records, predictions=pd.DataFrame({**dict(labels), **answers}))
