"""The cases of the study: what `real_faces` fine-tuned from one biased model on one source of unbiased images."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from results.records import read_run_set, run_set_folders
from utils.records import Record

# Methods that start from the biased model and see unbiased images, without their options.
FAMILY = ("aim-fair", "full", "linear-probe", "random-mask", "surgical", "cosine", "last-layer")


@dataclass(frozen=True)
class Candidate:
    """One fine-tuned model; all numbers are fractions.

    held_out : float (groups,), accuracy of each group on held-out images, in the order target 0 then target 1
    count : held-out images of each group
    """

    method: str
    setting: str
    val: float
    held_out: np.ndarray
    count: int
    accuracy: float
    odds: float


@dataclass(frozen=True)
class Case:
    """One biased model with all that was fine-tuned from it on one source."""

    pair: str
    source: str
    seed: int
    erm_val: float
    erm_accuracy: float
    erm_odds: float
    candidates: tuple[Candidate, ...]


def cases(records: Path) -> list[Case]:
    """Return every case that the records of `real_faces` have."""
    return [case for pair in sorted((records.parent / "real_faces").iterdir()) if pair.is_dir() for case in _of(pair)]


def _of(pair: Path) -> Iterator[Case]:
    erm = {
        seed: record
        for folder in sorted(pair.glob("erm_0.03"))
        for seed, record in read_run_set(folder).runs("erm").items()
    }
    for source in sorted(path for path in pair.iterdir() if path.is_dir() and not path.name.startswith("erm_")):
        found = [
            (column.name, record) for column in map(read_run_set, run_set_folders(source)) for record in column.records
        ]
        for seed in sorted(erm):
            own = tuple(_candidate(name, r) for name, r in found if r.seed == seed and r.method.split(":")[0] in FAMILY)
            if own:
                val, test = erm[seed].val_metrics, erm[seed].metrics
                yield Case(pair.name, source.name, seed, val.accuracy, test.accuracy, test.equalized_odds, own)


def _candidate(setting: str, record: Record) -> Candidate:
    held_out, test, val = record.held_out_metrics, record.metrics, record.val_metrics
    accuracies, count = np.array([*held_out.group_accuracy.values()]), min(held_out.group_count.values())
    return Candidate(record.method, setting, val.accuracy, accuracies, count, test.accuracy, test.equalized_odds)


def odds_of(accuracies: np.ndarray) -> np.ndarray:
    """Return the equalized odds difference of group accuracies: float (..., 4) -> (...)."""
    return np.abs(accuracies[..., ::2] - accuracies[..., 1::2]).max(axis=-1)
