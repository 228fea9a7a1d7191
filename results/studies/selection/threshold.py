"""The comparisons again with the threshold that suits val best, for each run, in place of 0.5."""

from functools import partial
from pathlib import Path

from results.logits import at_threshold
from results.records import RunSet, run_name
from results.studies.selection.methods import pairs_of
from results.studies.selection.spread import complete, differences, of_repetitions, t_interval
from results.studies.selection.tables import METRICS, sources
from results.text import MISSING, as_table, shown_change
from utils.records import Record


def at_val(runs: RunSet, record: Record, metric: str) -> float:
    """Return a run's accuracy ("ACC") or equalized odds difference ("EO") on test, a fraction, at the threshold from val."""
    found = at_threshold(runs.logits, run_name(record.method, record.seed), runs.groups)
    return found[{"ACC": "accuracy", "EO": "equalized_odds"}[metric]]


def at_threshold_table(records: Path) -> list[str]:
    """Return each method's metrics with the threshold from val, and AIM-Fair's differences to it over biased models."""
    rows = [
        ("source", "method", "biased models", *METRICS, *(f"AIM-Fair less it: {key}" for key in METRICS), "p of EO")
    ]
    for name, runs in sources(records).items():
        value, pairs = partial(at_val, runs), pairs_of(name)
        seeds = complete(runs, *dict.fromkeys(row for pair in pairs for row in pair))
        if len(seeds) < 2:
            continue
        for row in ("erm", pairs[0][0], *(second for _, second in pairs)):
            found = {key: of_repetitions(runs, row, key, value) for key in METRICS}
            means = [f"{sum(each[seed].mean() for seed in seeds) / len(seeds):.1f}" for each in found.values()]
            cells = [MISSING] * 3
            if (pairs[0][0], row) in pairs:
                changes = [t_interval(differences(runs, pairs[0][0], row, key, value).mean(axis=1)) for key in METRICS]
                cells = [*(shown_change(each[:3], 1) for each in changes), f"{changes[0][3]:.2g}"]
            rows.append((name, row, str(len(seeds)), *means, *cells))
    return as_table(rows)
