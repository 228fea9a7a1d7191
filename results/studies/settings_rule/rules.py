"""Rules that choose a fine-tuned model, and what their choice is worth on the test set."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from results.studies.settings_rule.cases import Case, odds_of

TOLERANCES = (0, 0.0025, 0.005, 0.01, 0.02, 0.03)
WEIGHTS = (0.05, 0.1, 0.2, 0.3, 0.5, 1)
TAKEN = "within 1 point"
PAPER = ("aim-fair", "paper")

# From a case and the held-out odds of its candidates to the place of the one to take; None leaves the model as it is.
Rule = Callable[[Case, np.ndarray], int | None]


def within(case: Case, odds: np.ndarray, *, tolerance: float, only: str = "") -> int | None:
    """Take the lowest odds among candidates at most `tolerance` below the best accuracy on val, the biased model's included."""
    val = np.array([c.val if c.method.startswith(only) else -1 for c in case.candidates])
    good = np.flatnonzero(val >= max(val.max(), case.erm_val) - tolerance - 1e-9)
    return int(min(good, key=lambda i: (odds[i], -val[i], i))) if len(good) else None


def weighed(case: Case, odds: np.ndarray, *, weight: float) -> int | None:
    """Take the largest accuracy on val less `weight` times the odds, if that candidate is no worse than ERM on val by a point."""
    best = int(np.argmax([c.val - weight * gap for c, gap in zip(case.candidates, odds, strict=True)]))
    return best if case.candidates[best].val >= case.erm_val - 0.01 else None


def smoothed(case: Case, odds: np.ndarray) -> int | None:
    """Take as `within` one point does, by the mean of the two gaps, which is less noisy than the larger one."""
    gaps = np.array([np.abs(c.held_out[::2] - c.held_out[1::2]).mean() for c in case.candidates])
    return within(case, gaps, tolerance=0.01)


def lowest(case: Case, odds: np.ndarray) -> int | None:
    """Take the lowest odds, whatever the accuracy."""
    return int(np.argmin(odds))


def papers(case: Case, odds: np.ndarray) -> int | None:
    """Take AIM-Fair with the paper's settings."""
    return next(i for i, c in enumerate(case.candidates) if (c.method, c.setting) == PAPER)


def leave(case: Case, odds: np.ndarray) -> int | None:
    """Leave every biased model as it is."""


RULES: dict[str, Rule] = {
    "the biased model": leave,
    "AIM-Fair with the paper's settings": papers,
    "lowest held-out odds": lowest,
    **{f"within {100 * t:g} point{'s' * (t != 0.01)}": partial(within, tolerance=t) for t in TOLERANCES},
    **{f"accuracy - {w:g} x odds": partial(weighed, weight=w) for w in WEIGHTS},
    "within 1 point, mean of both gaps": smoothed,
    "within 1 point, of AIM-Fair alone": partial(within, tolerance=0.01, only="aim-fair"),
}


@dataclass(frozen=True)
class Outcome:
    """What a rule's choice is worth in one case, on the test set, in points."""

    accuracy: float
    odds: float
    gain: float  # accuracy less ERM's
    change: float  # odds less ERM's
    regret: float  # odds less the lowest among those no more than half a point less accurate than ERM


def outcome(case: Case, place: int | None) -> Outcome:
    """Return what taking the candidate at `place` is worth; None is the biased model."""
    taken = case.candidates[place] if place is not None else None
    accuracy, odds = (taken.accuracy, taken.odds) if taken else (case.erm_accuracy, case.erm_odds)
    safe = [c.odds for c in case.candidates if c.accuracy >= case.erm_accuracy - 0.005]
    values = (accuracy, odds, accuracy - case.erm_accuracy, odds - case.erm_odds, odds - min([*safe, case.erm_odds]))
    return Outcome(*(100 * value for value in values))


def outcomes(rule: Rule, found: list[Case]) -> list[Outcome]:
    """Return what a rule is worth in each case."""
    return [outcome(case, rule(case, np.array([odds_of(c.held_out) for c in case.candidates]))) for case in found]
