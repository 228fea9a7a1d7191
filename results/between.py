"""Differences between two methods whose runs lie in two folders of records, tested on the same images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from results.entries import places
from results.group_accuracies import group_accuracies
from results.intervals import Difference, difference
from results.records import LABELS, RunSet, names_of, read_run_set, run_name
from results.text import as_table, in_points
from utils.errors import UserError

SHOWN = ("ACC", "EO")
Place = tuple[str, str]  # an arm, and a row in it


def between(one: tuple[RunSet, str], two: tuple[RunSet, str]) -> tuple[int, dict[str, Difference]]:
    """Return the number of seeds that both rows have, and for each metric the first minus the second with its interval.

    one, two : runs, and a row of them (`results.rows`); repetitions of a seed are averaged first

    Raises `UserError` if the two were tested on other images, or if a seed's biased models differ.
    """
    labels = one[0].predictions[LABELS]
    if not labels.equals(two[0].predictions[LABELS]):
        raise UserError(f"{one[0].name} and {two[0].name} were tested on other images")
    found = [places(row, runs) for runs, row in (one, two)]
    seeds = sorted(found[0].keys() & found[1].keys())
    for name in (run_name("erm", seed) for seed in seeds):
        biased = [runs.predictions[name] for runs, _ in (one, two) if name in runs.predictions]
        if biased and not biased[0].equals(biased[-1]):
            raise UserError(f"{one[0].name} and {two[0].name} have different biased models of {name}")
    columns, moved = [], []
    for (runs, _), of_seed in zip((one, two), found, strict=True):
        names = names_of(runs.records)
        moved.append({})
        for seed in seeds:
            moved[-1][seed] = [len(columns) + number for number in range(len(of_seed[seed]))]
            columns += [runs.predictions[names[place]] for place in of_seed[seed]]
    if not seeds:
        return 0, {}
    target, protected = (labels[name] for name in LABELS[1:])
    accuracies = group_accuracies(target, protected, np.column_stack(columns), tuple(one[0].groups))
    return len(seeds), difference(accuracies, *moved)


def between_arms(*pairs: tuple[Place, Place]) -> Callable[[Path], list[str]]:
    """Return a function that shows the method of the first place minus that of the second in points, for each pair with records."""

    def table(records: Path) -> list[str]:
        rows = [("method, arm", "minus", "n", *SHOWN)]
        for pair in pairs:
            if not all((records / arm).is_dir() for arm, _ in pair):
                continue
            n, found = between(*((read_run_set(records / arm), row) for arm, row in pair))
            cells = (in_points(found[key]) for key in SHOWN if found)
            rows += [(*(f"{row}, {arm}" for arm, row in pair), str(n), *cells)] if found else []
        return as_table(rows) if len(rows) > 1 else []

    return table
