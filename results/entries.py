"""The rows of tables: each method's metrics in one column of records, and how it differs from ERM."""

from dataclasses import dataclass, field, replace

import numpy as np

from results.group_accuracies import LOWER_IS_BETTER, METRICS, GroupAccuracies, pooled, statistics
from results.intervals import difference
from results.records import RunSet
from results.remarks import erm_warning, may_be_best, remarks
from results.rows import row_runs

COMPARED = ("ACC", "WST", "EO")  # metrics whose difference to ERM is shown
BY_SEED = {"WST": "WST by seed", "STD": "STD by seed"}  # the paper takes them of mean groups; here also of each seed


@dataclass(frozen=True)
class Entry:
    """A row of a table in one column, in percent.

    ours : metric to (value, sample standard deviation over runs, or None). ACC, EO and those of `BY_SEED` are means of the
        seeds' values. WST and STD are of the mean group accuracies, as in the paper, and have no standard deviation.
    change : metric to (difference to ERM, low, high); p : metric to the p-value of that difference.
    n, runs : seeds, and runs, of which a seed may have several; n_compared : seeds that ERM has too.
    said : what `results.remarks` says of the runs, None if there are none; may_be_best : True if they may be marked.
    """

    row: str
    n: int
    ours: dict[str, tuple[float, float | None]]
    paper: dict[str, float]
    change: dict[str, tuple[float, float, float]]
    marked: frozenset[str] = frozenset()
    runs: int = 0
    p: dict[str, float] = field(default_factory=dict)
    n_compared: int = 0
    said: tuple[str, ...] | None = None
    may_be_best: bool = True


def make_entries(rows: list[str], runs: RunSet, paper: dict[str, dict[str, float]] | None = None) -> list[Entry]:
    """Return the rows of a table in one column, nothing marked yet; `paper` has the paper's metrics of each row."""
    entries = []
    for row in rows:
        own = places(row, runs)
        erm = places("erm", runs) if row != "erm" else {}
        found = difference(runs.accuracies, own, erm)
        change = {key: tuple(100 * value for value in found[key][:3]) for key in COMPARED if key in found}
        records = [runs.records[place] for part in own.values() for place in part]
        entries.append(
            Entry(
                row,
                len(own),
                own_values(runs.accuracies, own),
                (paper or {}).get(row, {}),
                change,
                runs=len(records),
                p={key: found[key].p for key in change},
                n_compared=len(own.keys() & erm.keys()),
                said=tuple(remarks(records)) if records else None,
                may_be_best=may_be_best(records, runs.runs("erm").values()),
            )
        )
    return entries


def own_values(accuracies: GroupAccuracies, runs: dict[int, list[int]]) -> dict[str, tuple[float, float | None]]:
    """Return an `Entry`'s `ours` for the runs at these places of each seed; empty if there is none."""
    if not runs:
        return {}
    values = pooled(accuracies, runs)
    every = [place for found in runs.values() for place in found]
    weights = np.concatenate([np.full(len(found), 1 / len(found) / len(runs)) for found in runs.values()])
    own = statistics(accuracies.observed[every][:, None, :], accuracies.fractions, accuracies.classes)  # each alone

    def spread(metric):
        return 100 * float(own[metric].std(ddof=1)) if len(every) > 1 else None

    ours = {key: (100 * float(values[key]), None if key in BY_SEED else spread(key)) for key in METRICS}
    return ours | {name: (100 * float(weights @ own[key]), spread(key)) for key, name in BY_SEED.items()}


def places(row: str, runs: RunSet) -> dict[int, list[int]]:
    """Return for each seed of a row the places of its runs among the records."""
    order = {(record.method, record.seed): place for place, record in enumerate(runs.records)}
    return {seed: [order[r.method, seed] for r in records] for seed, records in row_runs(row, runs).items()}


def mark(entries: list[Entry], runs: RunSet) -> list[Entry]:
    """Return the entries with the best values marked, if the interval of the difference to the second best excludes 0.

    That of the second best alone is enough, however many rows there are: Gutmann and Maymin, Annals of Statistics 15,
    456 (1987). It guards each metric of a column by itself, not all of them together.
    """
    marked = {entry.row: set() for entry in entries}
    for metric in METRICS:
        sign = -1 if metric in LOWER_IS_BETTER else 1
        ranked = [entry for entry in entries if entry.ours and entry.may_be_best]
        ranked.sort(key=lambda entry: -sign * entry.ours[metric][0])
        if len(ranked) > 1:
            best, second = (places(entry.row, runs) for entry in ranked[:2])
            _, low, high, _ = difference(runs.accuracies, best, second).get(metric, (0.0, 0.0, 0.0, 1.0))
            # the sign matters: over the seeds that both have, the second may well be the better one
            if (low if sign > 0 else -high) > 0:
                marked[ranked[0].row].add(metric)
    return [replace(entry, marked=frozenset(marked[entry.row])) for entry in entries]


def warning(runs: RunSet, entries: list[Entry]) -> str:
    """Return what to say before a column whose ERM has hardly learned its task or is hardly biased; else ""."""
    shown = any(entry.row == "erm" and entry.ours for entry in entries)
    nothing = " This column shows that its rows run, and says nothing of the methods."
    said = shown and erm_warning(list(runs.runs("erm").values()), nothing)
    return f"**{said}**" if said else ""
