"""The choice among trained models without protected labels of real data."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from utils.records import Record

if TYPE_CHECKING:
    import pandas as pd


def choose(val_accuracy: list[float], held_out_odds: list[float], tolerance: float = 0.01) -> int:
    """Return the index of the candidate to take.

    It has the lowest equalized odds difference on held-out balanced synthetic images, among all whose accuracy on real
    validation images is at most `tolerance` below the best. Ties go to the higher accuracy, then to the first
    candidate. Both lists hold a fraction for each candidate. Raises `ValueError` if they are empty or differ in length.
    """
    if not val_accuracy or len(val_accuracy) != len(held_out_odds):
        raise ValueError(f"{len(val_accuracy)} accuracies and {len(held_out_odds)} equalized odds to choose from")
    floor = max(val_accuracy) - tolerance - 1e-9  # 0.90 - 0.01 is no more than 0.89
    good = [i for i, accuracy in enumerate(val_accuracy) if accuracy >= floor]
    return min(good, key=lambda i: (held_out_odds[i], -val_accuracy[i], i))


def best_of(records: Sequence[Record]) -> int:
    """Return the index of the record that `choose` takes, by its `val_metrics` and `held_out_metrics`."""
    odds = [record.held_out_metrics.equalized_odds for record in records]
    return choose([record.val_metrics.accuracy for record in records], odds)


class Choice(NamedTuple):
    """The recorded result to take, by its label, at a step from the biased model; `table` is that of `models.auto.judge`."""

    candidate: str
    step: float
    table: "pd.DataFrame"

    def differs(self, chosen: dict) -> bool:
        """True if a record's `chosen` names something else."""
        return (chosen["candidate"], chosen["step"]) != (self.candidate, self.step)
