"""Tables of the 64 choices of blocks: the effect of each block, and what a choice by other biased models is worth.

The empty choice moves no weight; batch norm's running statistics follow the synthetic images, as they do in all choices.
"""

from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from results.group_accuracies import odds
from results.intervals import holm
from results.records import LABELS, RunSet, read_run_set, run_name
from results.studies.selection.methods import LATE
from results.studies.selection.spread import t_interval, value_of
from results.text import as_table, shown_change

BLOCKS = ("stem", "1", "2", "3", "4", "fc")
EMPTY, FULL = f"blocks:update=fc,lr=0.0,{LATE}", f"full:{LATE}"  # EMPTY moves nothing
SPLITS = 100
LOST = 0.5  # points of full fine-tuning's accuracy, that a choice may cost
Choice = tuple[str, ...]


class Scored(NamedTuple):
    """Accuracies and equalized odds differences of some runs, in percent."""

    accuracy: np.ndarray
    odds: np.ndarray


def method_of(chosen: Choice) -> str:
    """Return the method that updates these blocks."""
    return EMPTY if not chosen else FULL if chosen == BLOCKS else f"blocks:update={'+'.join(chosen)},{LATE}"


EVERY = [each for size in range(len(BLOCKS) + 1) for each in combinations(BLOCKS, size)]
# by method: the 32 choices with a frozen fc, as AIM-Fair leaves it, and those with fc that the paper's Table 4 has
CHOICES = {method_of(each): each for each in EVERY if "fc" not in each or len(each) in (1, 5, 6)}


def choices_of(records: Path) -> RunSet | None:
    """Return the runs of all choices; None unless a biased model has every one."""
    runs = read_run_set(records / "blocks") if (records / "blocks").is_dir() else None
    return runs if runs and whole(runs) else None


def whole(runs: RunSet) -> list[int]:
    """Return the seeds that have every choice."""
    return [seed for seed in runs.seeds if all(seed in runs.runs(method) for method in CHOICES)]


def effects(runs: RunSet, block: str, metric: str) -> np.ndarray:
    """Return, in points for each whole seed, the mean over the 32 choices with a block less the mean over the 32 without it."""
    found = []
    for seed in whole(runs):
        values = {method: 100 * value_of(runs.runs(method)[seed], metric) for method in CHOICES}
        parts = [
            [value for method, value in values.items() if (block in CHOICES[method]) == there]
            for there in (True, False)
        ]
        found.append(np.mean(parts[0]) - np.mean(parts[1]))
    return np.array(found)


def blocks_tables(records: Path) -> list[str]:
    """Return the effects of the blocks, and the paper's Table 4 at this size."""
    runs = choices_of(records)
    if not runs:
        return ["No biased model has all choices yet."]
    return [
        "The effect of a block is the mean over the 32 choices with it less the mean over the 32 without it, with 95 % intervals over biased models. *Told* after "
        "Holm's correction over the six effects on EO:",
        "",
        *effects_table(runs),
        "",
        "The paper's Table 4, means over biased models of one fine-tuning each:",
        "",
        *single_table(runs),
    ]


def effects_table(runs: RunSet) -> list[str]:
    """Return a row for each block with its effects; with several biased models intervals, and p of the effect on EO."""
    rows = [("block", "biased models", "ACC, points", "EO, points", "p of EO", "told")]
    found = {block: [effects(runs, block, metric) for metric in ("ACC", "EO")] for block in BLOCKS}
    several = len(whole(runs)) > 1
    p = [t_interval(odds)[3] if several else 1.0 for _, odds in found.values()]
    for (block, values), own, clear in zip(found.items(), p, holm(p), strict=True):
        tested = (f"{own:.2g}", "yes" if clear else "no") if several else ("–", "–")
        rows.append((block, str(len(whole(runs))), *map(told, values), *tested))
    return as_table(rows)


def told(values: np.ndarray) -> str:
    """Return the mean of models' values as text, with its interval if there are two or more."""
    return shown_change(t_interval(values)[:3], 1) if len(values) > 1 else f"{values.mean():+.1f}"


def single_table(runs: RunSet) -> list[str]:
    """Return a row for each block alone, for all but one, for all, and for none."""
    rows = [("fine-tuned", "biased models", "ACC", "EO")]
    names = {(block,): f"{block} alone" for block in BLOCKS}
    names |= {tuple(other for other in BLOCKS if other != block): f"all but {block}" for block in BLOCKS}
    for chosen, name in (names | {BLOCKS: "all", (): "none, only batch norm's statistics"}).items():
        found = [runs.runs(method_of(chosen))[seed] for seed in whole(runs)]
        cells = [f"{100 * np.mean([value_of(record, key) for record in found]):.1f}" for key in ("ACC", "EO")]
        rows.append((name, str(len(found)), *cells))
    return as_table(rows)


def chosen_by_others(runs: RunSet) -> tuple[np.ndarray, Counter]:
    """Return for each whole seed accuracy and EO of a choice of blocks less those of full fine-tuning, and how often each was chosen.

    The choice is made by the other seeds on one half of the test images: the lowest mean EO among the choices whose mean accuracy is at
    most `LOST` below that of full fine-tuning, which is one of them. It is scored by this seed on the other half; float (seeds, 2), in
    points, means over `SPLITS` random halves. So neither the luck of a fine-tuning nor that of the images helps the choice.
    """
    seeds, methods, full = whole(runs), list(CHOICES), list(CHOICES).index(FULL)
    answers = {
        seed: np.stack([runs.predictions[run_name(method, seed)].to_numpy() for method in methods], axis=1)
        for seed in seeds
    }
    target, protected = (runs.predictions[name].to_numpy() for name in LABELS[1:])
    group, draws = 2 * target + protected, np.random.default_rng(0)
    found, counted = {seed: [] for seed in seeds}, Counter()
    for _ in range(SPLITS):
        first = np.zeros(len(group), bool)
        for each in range(len(runs.groups)):
            members = np.flatnonzero(group == each)
            first[draws.permutation(members)[: len(members) // 2]] = True
        seen, kept = (
            {seed: scored(answers[seed][half] == target[half, None], group[half]) for seed in seeds}
            for half in (first, ~first)
        )
        for seed in seeds:
            others = [seen[other] for other in seeds if other != seed]
            accuracy, gap = (np.mean([getattr(each, key) for each in others], axis=0) for key in Scored._fields)
            best = int(np.where(accuracy >= accuracy[full] - LOST, gap, np.inf).argmin())
            own = kept[seed]
            found[seed].append((own.accuracy[best] - own.accuracy[full], own.odds[best] - own.odds[full]))
            counted[methods[best]] += 1
    return np.array([np.mean(each, axis=0) for each in found.values()]), counted


def scored(right: np.ndarray, group: np.ndarray) -> Scored:
    """Return the scores of runs from bool `right`, (images, runs), and the group of each image, from 0."""
    groups = np.stack([right[group == each].mean(axis=0) for each in range(4)], axis=1)
    return Scored(100 * right.mean(axis=0), 100 * odds(groups))


def best_of_others(records: Path) -> list[str]:
    """Return what a choice of blocks by other biased models is worth, in a sentence; nothing unless there are two models."""
    runs = choices_of(records)
    if not runs or len(whole(runs)) < 2:
        return []
    changes, counted = chosen_by_others(runs)
    accuracy, gap = (shown_change(t_interval(values)[:3], 1) for values in changes.T)
    [(often, count)] = counted.most_common(1)
    return [
        f"- **Blocks chosen by other biased models** have beside full fine-tuning an EO of {gap} and an accuracy of {accuracy} points ({len(whole(runs))} biased "
        f"models, one fine-tuning each). {len(counted)} of the {len(CHOICES)} choices were taken, most often `{often}`, in {100 * count / counted.total():.0f} %. "
        "The best choice may be better than one that others find."
    ]
