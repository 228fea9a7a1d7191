"""Tables of choices of blocks: the effect of each block, and what the best choice is worth.

The empty choice moves no weight; batch norm's running statistics follow the synthetic images, as they do in all choices. The
threshold is val's, because at 0.5 accuracy tells above all how far a choice moved all logits.
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
from results.text import MISSING, as_table, shown_change
from results.val_threshold import at_val_threshold

BLOCKS = ("stem", "1", "2", "3", "4", "fc")
EMPTY, FULL = f"blocks:update=fc,lr=0.0,{LATE}", f"full:{LATE}"  # EMPTY moves nothing
SPLITS = 100
LOST = 0.5  # points of full fine-tuning's accuracy that a choice may cost
COLUMNS = ("ACC", "EO", "ACC, val's threshold", "EO, val's threshold")  # of `scores_of`
Choice = tuple[str, ...]


class Scored(NamedTuple):
    """Accuracies and equalized odds differences of some runs, in percent."""

    accuracy: np.ndarray
    odds: np.ndarray


def method_of(chosen: Choice) -> str:
    """Return the method that updates these blocks."""
    return EMPTY if not chosen else FULL if chosen == BLOCKS else f"blocks:update={'+'.join(chosen)},{LATE}"


EVERY = [each for size in range(len(BLOCKS) + 1) for each in combinations(BLOCKS, size)]
# by method: the 32 choices with a frozen fc, because AIM-Fair's masks have no fc.weight, and those with fc that the paper's Table 4 has
CHOICES = {method_of(each): each for each in EVERY if "fc" not in each or len(each) in (1, 5, 6)}


def choices_of(records: Path) -> RunSet | None:
    """Return the runs of all choices; None unless a biased model has every one."""
    runs = read_run_set(records / "blocks") if (records / "blocks").is_dir() else None
    return runs if runs and whole(runs) else None


def whole(runs: RunSet) -> list[int]:
    """Return the seeds that have every choice."""
    return [seed for seed in runs.seeds if all(seed in runs.runs(method) for method in CHOICES)]


def scores_of(runs: RunSet) -> np.ndarray:
    """Return the scores of all choices, float (whole seeds, choices, `COLUMNS`), in percent."""
    both = (runs, at_val_threshold(runs))

    def score(method: str, seed: int) -> list[float]:
        return [100 * value_of(each.runs(method)[seed], key) for each in both for key in ("ACC", "EO")]

    return np.array([[score(method, seed) for method in CHOICES] for seed in whole(runs)])


def pairs_of_block(block: str) -> list[tuple[int, int]]:
    """Return the places in `CHOICES` of each two choices that differ in this block alone, the one with it first."""
    place = {chosen: number for number, chosen in enumerate(CHOICES.values())}
    without = {chosen: tuple(other for other in chosen if other != block) for chosen in place if block in chosen}
    return [(place[one], place[two]) for one, two in without.items() if two in place]


def effects(scores: np.ndarray, block: str) -> np.ndarray:
    """Return a block's effect, the mean over its pairs of the score with it less the score without, float (seeds, columns)."""
    one, two = np.transpose(pairs_of_block(block))
    return (scores[:, one] - scores[:, two]).mean(axis=1)


def blocks_tables(records: Path) -> list[str]:
    """Return the effects of the blocks, the worth of the best choice, and the paper's Table 4 at this size."""
    runs = choices_of(records)
    if not runs:
        return ["No biased model has all choices yet."]
    scores = scores_of(runs)
    return [
        f"The effect of a block is the mean difference between two choices that differ in it alone, in points, with 95 % intervals over the biased models, {len(scores)}; "
        "the test images and the order stay the same. *Alone*: only this block minus none; *last*: all blocks minus all but this one; both EO at val's threshold. *Significant* after "
        "Holm's correction over the six effects on EO at val's threshold:",
        "",
        *effects_table(scores),
        "",
        "The paper's Table 4: means over the biased models of one fine-tuning each:",
        "",
        *single_table(scores),
    ]


def effects_table(scores: np.ndarray) -> list[str]:
    """Return a row for each block with its effects; with several biased models intervals, and p of EO at val's threshold."""
    rows = [("block", "pairs", *COLUMNS, "p", "significant", "alone", "last")]
    found = {block: effects(scores, block) for block in BLOCKS}
    several = len(scores) > 1
    p = [t_interval(values[:, -1])[3] if several else 1.0 for values in found.values()]
    for (block, values), own, clear in zip(found.items(), p, holm(p), strict=True):
        tested = (f"{own:.2g}", "yes" if clear else "no") if several else (MISSING, MISSING)
        ends = (f"{one - two:+.1f}" for one, two in ends_of(scores[:, :, -1].mean(axis=0), block))
        rows.append((block, str(len(pairs_of_block(block))), *map(told, values.T), *tested, *ends))
    return as_table(rows)


def ends_of(odds_of: np.ndarray, block: str) -> list[tuple[float, float]]:
    """Return the values of the block alone and of nothing, then those of all blocks and of all others; `odds_of` is (choices,)."""
    place, others = list(CHOICES.values()), tuple(each for each in BLOCKS if each != block)
    return [(odds_of[place.index(one)], odds_of[place.index(two)]) for one, two in (((block,), ()), (BLOCKS, others))]


def told(values: np.ndarray) -> str:
    """Return the mean of models' values as text, with its interval if there are two or more."""
    return shown_change(t_interval(values)[:3], 1) if len(values) > 1 else f"{values.mean():+.1f}"


def each_model(values: np.ndarray) -> str:
    """Return the mean of models' values that depend on each other, and the values, as text."""
    return f"{values.mean():+.1f} (single models {', '.join(f'{value:+.1f}' for value in values)})"


def single_table(scores: np.ndarray) -> list[str]:
    """Return a row for each block alone, for all but one, for all, and for none."""
    rows, place = [("fine-tuned", *COLUMNS)], list(CHOICES.values())
    names = {(block,): f"{block} alone" for block in BLOCKS}
    names |= {tuple(other for other in BLOCKS if other != block): f"all but {block}" for block in BLOCKS}
    for chosen, name in (names | {BLOCKS: "all", (): "none, only batch norm's statistics"}).items():
        rows.append((name, *(f"{mean:.1f}" for mean in scores[:, place.index(chosen)].mean(axis=0))))
    return as_table(rows)


def best_choices(runs: RunSet) -> tuple[np.ndarray, Counter]:
    """Return for each whole seed accuracy and EO of a choice of blocks less those of full fine-tuning, and how often each was chosen.

    The choice is made on one half of the test images: the lowest EO among the choices whose accuracy is at most `LOST` below that of
    full fine-tuning, which is one of them. It is scored on the other half; float (seeds, 2), in points, means over `SPLITS` random
    halves, so the luck of the images does not help it. Each seed takes the choice by the means of the other seeds, so the luck of its own
    fine-tunings does not help it either.
    """
    seeds, methods = whole(runs), list(CHOICES)
    full = methods.index(FULL)
    target, protected = (runs.predictions[name].to_numpy() for name in LABELS[1:])
    group = 2 * target + protected
    right = {
        seed: runs.predictions[[run_name(each, seed) for each in methods]].to_numpy() == target[:, None]
        for seed in seeds
    }
    draws = np.random.default_rng(0)
    found, counted = {seed: [] for seed in seeds}, Counter()
    for _ in range(SPLITS):
        first = np.zeros(len(group), bool)
        for each in range(len(runs.groups)):
            members = np.flatnonzero(group == each)
            first[draws.permutation(members)[: len(members) // 2]] = True
        seen, kept = ({seed: scored(right[seed][half], group[half]) for seed in seeds} for half in (first, ~first))
        for seed in seeds:
            judges = [seen[other] for other in seeds if other != seed]
            accuracy, gap = (np.mean([getattr(each, key) for each in judges], axis=0) for key in Scored._fields)
            best = int(np.where(accuracy >= accuracy[full] - LOST, gap, np.inf).argmin())
            score = kept[seed]
            found[seed].append((score.accuracy[best] - score.accuracy[full], score.odds[best] - score.odds[full]))
            counted[methods[best]] += 1
    return np.array([np.mean(each, axis=0) for each in found.values()]), counted


def scored(right: np.ndarray, group: np.ndarray) -> Scored:
    """Return the scores of runs from bool `right`, (images, runs), and the group of each image, from 0."""
    groups = np.stack([right[group == each].mean(axis=0) for each in range(4)], axis=1)
    return Scored(100 * right.mean(axis=0), 100 * odds(groups))


def where(records: Path) -> list[str]:
    """Return which blocks the repair is in, in a sentence; nothing unless there are two biased models."""
    runs = choices_of(records)
    if not runs or len(whole(runs)) < 2:
        return []
    scores = scores_of(runs)
    most = BLOCKS[:-1]  # fc has few pairs, most of them with four other blocks
    found = [f"block {block} {told(effects(scores, block)[:, -1])}" for block in most]
    return [
        f"- **Which blocks** (`t2i`, 4,000 biased faces, means of the late epochs): one more block changes EO, in points at val's threshold and on average over what else is fine-tuned, by "
        f"{', '.join(found)} ({len(scores)} biased models, {len(CHOICES)} choices of blocks each; the intervals are for other biased models, with the same test images)."
    ]


def ceiling(records: Path) -> list[str]:
    """Return what the best choice of blocks is worth, in a sentence; nothing unless there are two biased models."""
    runs = choices_of(records)
    if not runs or len(whole(runs)) < 2:
        return []
    found, counted = best_choices(at_val_threshold(runs))
    [(often, count)] = counted.most_common(1)
    return [
        f"- **The best choice of blocks minus full fine-tuning**, in points at val's threshold: EO {each_model(found[:, 1])}, accuracy {each_model(found[:, 0])}, if each biased model takes "
        f"the choice that is best for the others, most often `{often}` ({100 * count / counted.total():.0f} % of {counted.total()} choices, each on a random half of the test images and scored on the "
        f"other; {len(found)} biased models, {len(CHOICES)} choices, one fine-tuning of each). More images to choose by, or masks within blocks, may do more."
    ]
