"""Tables of the 63 choices of blocks: the effect of each block, and how good the best choice is."""

from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from results.group_accuracies import odds
from results.records import LABELS, RunSet, read_run_set, run_name
from results.studies.selection.spread import t_interval, value_of
from results.text import as_table, shown_change

BLOCKS = ("stem", "1", "2", "3", "4", "fc")
SPLITS = 100
LOST = 0.005  # of ERM's accuracy, that a choice may cost
Choice = tuple[str, ...]


class Scored(NamedTuple):
    """Accuracies and equalized odds differences in percent, of some runs."""

    accuracy: np.ndarray
    odds: np.ndarray


def method_of(chosen: Choice) -> str:
    """Return the method that updates these blocks."""
    return "full" if chosen == BLOCKS else f"blocks:update={'+'.join(chosen)}"


CHOICES = {
    method_of(each): each for size in range(1, len(BLOCKS) + 1) for each in combinations(BLOCKS, size)
}  # all 63, by method


def choices_of(records: Path) -> RunSet | None:
    """Return the runs of all choices; None unless a biased model has every one."""
    runs = read_run_set(records / "blocks") if (records / "blocks").is_dir() else None
    return runs if runs and complete(runs) else None


def complete(runs: RunSet) -> list[int]:
    """Return the seeds that have every choice."""
    return [seed for seed in runs.seeds if all(seed in runs.runs(method) for method in CHOICES)]


def effects(runs: RunSet, block: str, metric: str) -> np.ndarray:
    """Return, in points for each complete seed, the mean over all choices with a block less the mean over those without."""
    found = []
    for seed in complete(runs):
        values = {method: 100 * value_of(runs.runs(method)[seed], metric) for method in CHOICES}
        parts = [
            [value for method, value in values.items() if (block in CHOICES[method]) == there]
            for there in (True, False)
        ]
        found.append(np.mean(parts[0]) - np.mean(parts[1]))
    return np.array(found)


def effects_table(records: Path) -> list[str]:
    """Return a row for each block with its effects, with intervals over biased models if there are several."""
    runs, rows = choices_of(records), [("block", "biased models", "ACC, points", "EO, points")]
    for block in BLOCKS if runs else ():
        cells = [told(effects(runs, block, metric)) for metric in ("ACC", "EO")]
        rows.append((block, str(len(complete(runs))), *cells))
    return as_table(rows)


def blocks_told(records: Path) -> list[str]:
    """Return the blocks whose effect on EO has an interval without 0, in a sentence."""
    runs = choices_of(records)
    if not runs or len(complete(runs)) < 2:
        return []
    found = {block: t_interval(effects(runs, block, "EO")) for block in BLOCKS}
    clear = [f"{block} {shown_change(each, 1)}" for block, each in found.items() if each[1] > 0 or each[2] < 0]
    return [
        f"- **Blocks**: of the mean effects of the six blocks on EO, {len(clear)} have an interval without 0 (each for itself; {len(complete(runs))} biased "
        f"models, {len(CHOICES)} choices each){': ' if clear else ''}{'; '.join(clear)}. {' '.join(ceiling(records))}"
    ]


def told(values: np.ndarray) -> str:
    """Return the mean of models' values as text, with its interval if there are two or more."""
    return shown_change(t_interval(values), 1) if len(values) > 1 else f"{values.mean():+.1f}"


def single_table(records: Path) -> list[str]:
    """Return the paper's Table 4 at this size: each block alone, and all but one."""
    runs, rows = choices_of(records), [("fine-tuned", "biased models", "ACC", "EO")]
    singles = [(block,) for block in BLOCKS]
    frozen = [tuple(other for other in BLOCKS if other != block) for block in BLOCKS]
    for chosen in (*singles, *frozen, BLOCKS) if runs else ():
        found = [runs.runs(method_of(chosen))[seed] for seed in complete(runs)]
        cells = [f"{100 * np.mean([value_of(record, key) for record in found]):.1f}" for key in ("ACC", "EO")]
        left = [block for block in BLOCKS if block not in chosen]
        name = "all" if not left else f"{chosen[0]} alone" if len(chosen) == 1 else f"all but {left[0]}"
        rows.append((name, str(len(found)), *cells))
    return as_table(rows)


def best_of_others(runs: RunSet) -> list[tuple[float, float]]:
    """Return, for each complete seed, accuracy and odds of the best choice of blocks less those of full fine-tuning, in points.

    The choice is made by the other seeds on one half of the test images: the lowest mean odds among the choices whose mean accuracy is
    at most `LOST` below ERM's. It is scored by this seed on the other half. The mean is over `SPLITS` random halves. So neither the
    luck of a fine-tuning nor that of the images helps the choice.
    """
    seeds, methods = complete(runs), list(CHOICES)
    answers = {
        seed: np.stack([runs.predictions[run_name(method, seed)].to_numpy() for method in ("erm", *methods)], axis=1)
        for seed in seeds
    }
    target, protected = (runs.predictions[name].to_numpy() for name in LABELS[1:])
    group, draws = 2 * target + protected, np.random.default_rng(0)
    found = {seed: [] for seed in seeds}
    for _ in range(SPLITS):
        first = np.zeros(len(group), bool)
        for each in range(len(runs.groups)):
            members = np.flatnonzero(group == each)
            first[draws.permutation(members)[: len(members) // 2]] = True
        halves = [
            {seed: scored(answers[seed][half] == target[half, None], group[half]) for seed in seeds}
            for half in (first, ~first)
        ]
        for seed in seeds:
            others = [halves[0][other] for other in seeds if other != seed]
            accuracy, gap = (np.mean([getattr(each, key) for each in others], axis=0) for key in Scored._fields)
            good = accuracy[1:] >= accuracy[0] - 100 * LOST
            best = 1 + int(np.where(good, gap[1:], np.inf).argmin())
            own, full = halves[1][seed], 1 + methods.index("full")
            found[seed].append((own.accuracy[best] - own.accuracy[full], own.odds[best] - own.odds[full]))
    return [tuple(np.mean(each, axis=0)) for each in found.values()]


def scored(right: np.ndarray, group: np.ndarray) -> Scored:
    """Return the scores of runs from bool `right`, (images, runs), and the group of each image, from 0."""
    groups = np.stack([right[group == each].mean(axis=0) for each in range(4)], axis=1)
    return Scored(100 * right.mean(axis=0), 100 * odds(groups))


def ceiling(records: Path) -> list[str]:
    """Return what the best choice of blocks is worth beside full fine-tuning."""
    runs = choices_of(records)
    if not runs or len(complete(runs)) < 2:
        return ["With one biased model no other one can choose, so the ceiling is not known yet."]
    changes = np.array(best_of_others(runs)).T
    accuracy, gap = (shown_change(t_interval(values), 1) for values in changes)
    return [
        f"Beside full fine-tuning, the best of the 63 choices has an EO of {gap} and an accuracy of {accuracy} points "
        f"({len(complete(runs))} biased models, one fine-tuning each)."
    ]
