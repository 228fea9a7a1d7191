"""The tables of repeated fine-tunings and of the criteria, and the comparisons that the answers come from."""

import re
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from results.between import between
from results.entries import places
from results.intervals import Difference, difference, holm
from results.records import RunSet, read_run_set
from results.rows import row_runs
from results.studies.selection.methods import CONFIRMED, FASTER, PLAIN, RANDOM_SINGLE, SINGLES, SOURCES, at_rates
from results.studies.selection.spread import POWER, complete, differences, least_told, of_repetitions, spread
from results.study_tables import entries_of, findings, less_table, mean_and_spread, numbers
from results.text import MISSING, as_table, in_points
from results.val_threshold import at_val_threshold

GRADIENTS = ("t2i", "generated")  # sources on which the criteria were measured
METRICS = ("EO", "ACC")
UNITS = ("weight", "neuron")  # of masks of weights, `models.methods.criterion`
DESIGNS = ((3, 1), (7, 1), (7, 5), (14, 5))  # biased models, and repetitions of each
WANTED = 2  # points of EO


class Compared(NamedTuple):
    """The difference between two methods on one source; `told` after Holm's correction over all of them."""

    source: str
    first: str
    second: str
    metric: str
    models: int
    runs: int
    found: Difference
    told: bool


def sources(records: Path) -> dict[str, RunSet]:
    """Return the sources that have records, by name; of those with val's threshold the runs have its answers and metrics."""
    found = {}
    for name, source in SOURCES.items():
        if (records / source.arm).is_dir():
            runs = read_run_set(records / source.arm)
            found[name] = at_val_threshold(runs) if source.at_val else runs
    return found


def comparisons(records: Path) -> list[Compared]:
    """Return every comparison of AIM-Fair with another method, over the biased models, two or more, that have all repetitions of both."""
    found = []
    for name, runs in sources(records).items():
        for first, second in SOURCES[name].pairs:
            if len(seeds := complete(runs, first, second)) < 2:
                continue
            one, two = ({seed: each[seed] for seed in seeds} for each in (places(first, runs), places(second, runs)))
            changes, count = difference(runs.accuracies, one, two), sum(map(len, one.values()))
            found += [(name, first, second, key, len(seeds), count, changes[key]) for key in METRICS if key in changes]
    return [Compared(*each, clear) for each, clear in zip(found, holm([each[-1].p for each in found]), strict=True)]


def of_seeds(records: Path, source: str, what: str = "") -> list[dict]:
    """Return what was measured of the criteria on a source for each biased model, under "seed N" and `what`."""
    found = findings(records, f"criteria_{source}")
    return [value for key, value in found.items() if re.fullmatch(rf"seed \d+{what}", key)]


def compared(records: Path) -> list[str]:
    """Return each method's metrics on each source, then AIM-Fair's differences to the others."""
    heads = ("share of the weights, %", "ACC", "WST of means", "mean of WST", "EO", "ACC to ERM", "EO to ERM")
    rows = [("source", "method", "biased models", *heads)]
    for name, runs in sources(records).items():
        entries = entries_of(runs)
        for row in (row for row in ("erm", *SOURCES[name].rows) if row in entries):
            count, *cells = numbers(entries[row], 1)
            rows.append((name, row, count, weights_of(runs, row), *cells))
    return [*as_table(rows), "", *differences_table(comparisons(records))]


def differences_table(every: list[Compared]) -> list[str]:
    """Return a row for each comparison; nothing without any."""
    rows = [("source", "difference", "metric", "biased models", "points", "p", "significant")]
    for each in every:
        what = f"{each.first} minus {each.second}"
        cells = in_points(each.found), f"{each.found.p:.2g}", "yes" if each.told else "no"
        rows.append((each.source, what, each.metric, str(each.models), *cells))
    return as_table(rows) if every else []


def confirmed(records: Path) -> list[Compared]:
    """Return every comparison of `CONFIRMED` with random weights, AIM-Fair and full fine-tuning, over the biased models of the arm `singles`."""
    if not all((records / arm).is_dir() for arm in ("singles", "t2i")):
        return []
    runs, found = [read_run_set(records / arm) for arm in ("singles", "t2i")], []
    for name, (own, others) in {"t2i": runs, "t2i, val's threshold": list(map(at_val_threshold, runs))}.items():
        for first, second in product(CONFIRMED, (RANDOM_SINGLE, FASTER[0], *PLAIN[:2])):
            models, changes = between((own, first), (others if second in PLAIN else own, second))
            if models > 1:
                found += [(name, first, second, key, models, 0, changes[key]) for key in METRICS]
    told = holm([each[-1].p for each in found])
    return [Compared(*each, clear) for each, clear in zip(found, told, strict=True)]


def weights_of(runs: RunSet, row: str) -> str:
    """Return the share of the network's weights in a row's masks as text: the range over its runs, in percent."""
    table, method = runs.sensitivity, row.partition(":")[0]
    if method not in ("aim-fair", "random-mask") or table.empty:
        return "100" if method == "full" else MISSING
    first = table[table["seed"] == table["seed"].iloc[0]].drop_duplicates("name")
    sizes = dict(zip(first["name"], first["size"], strict=True))
    if method == "aim-fair":
        masks = [set(each["name"][each["chosen"].astype(bool)]) for _, each in table.groupby("seed")]
    else:
        from models.methods.fine_tuning import random_tensors, random_tensors_of_size  # they load torch

        given = [(seed, record.label.options) for seed, found in row_runs(row, runs).items() for record in found]
        masks = [
            drawn(part, float(o["share"]), seed, int(o.get("draw", 1)))
            for seed, o in given
            for drawn, part in [(random_tensors_of_size, sizes) if "of" in o else (random_tensors, list(sizes))]
        ]
    shares = [100 * sum(sizes[name] for name in mask) / sum(sizes.values()) for mask in masks]
    return " to ".join(dict.fromkeys(f"{share:.0f}" for share in (min(shares), max(shares))))


def spreads(records: Path) -> list[str]:
    """Return the spread of AIM-Fair, and of each difference, between biased models and between repetitions."""
    parts = [f"{key}: {of}" for key in METRICS for of in ("models (at most)", "repetitions (of each model)")]
    rows = [("source", "of", "models x repetitions", *parts)]
    for name, runs in sources(records).items():
        for row in (SOURCES[name].rows[0], *SOURCES[name].pairs):
            values = {key: values_of(runs, row, key) for key in METRICS}
            if not spread(values["EO"]):
                continue
            cells = [cell for key in METRICS for cell in as_cells(values[key])]
            label = row if isinstance(row, str) else " minus ".join(row)
            rows.append((name, label, " x ".join(map(str, values["EO"].shape)), *cells))
    return as_table(rows)


def values_of(runs: RunSet, row: str | tuple[str, str], metric: str) -> np.ndarray:
    """Return the values of a method, or the differences of two, float (models, repetitions), in points."""
    if not isinstance(row, str):
        return differences(runs, *row, metric)
    found = of_repetitions(runs, row, metric)
    return np.array([found[seed] for seed in complete(runs, row)])


def as_cells(values: np.ndarray) -> list[str]:
    """Return the spread of values as two cells."""
    found = spread(values)
    if found is None:
        return [MISSING, MISSING]
    each = values.std(axis=1, ddof=1)
    return [f"{found.models:.1f} ({found.most:.1f})", f"{found.repetitions:.1f} ({each.min():.1f} to {each.max():.1f})"]


def power(records: Path) -> list[str]:
    """Return which difference in EO several designs tell, by the spread of AIM-Fair minus full fine-tuning."""
    rows = [("source", "spread between models", *(f"{models} models x {times}" for models, times in DESIGNS))]
    for name, runs in sources(records).items():
        if found := spread(differences(runs, *SOURCES[name].pairs[0], "EO")):
            for said, models in (("as measured", found.models), ("at most", found.most)):
                told = (f"{least_told(models, found.repetitions, *design):.1f}" for design in DESIGNS)
                rows.append((name, f"{said}: {models:.1f}", *told))
    if len(rows) == 1:
        return []
    text = (
        f"Points of EO by which AIM-Fair and full fine-tuning must differ so that a t test of this one comparison finds it with a probability of {100 * POWER:.0f} %; "
        f"{WANTED} were wanted. The intervals above also allow for the bias of EO, and Holm's correction asks for more, so they need a larger difference:"
    )
    return ["", text, "", *as_table(rows)]


def reliability_table(records: Path) -> list[str]:
    """Return, for each criterion, how its scores correlate between halves of the images, biased models, and with gradients' size, and what masks share."""
    heads = ("halves", "biased models", "size of the gradient", "shared, all weights", "shared, each neuron's")
    rows = [("source", "criterion", *heads)]
    for name in GRADIENTS:
        found, seeds = findings(records, f"criteria_{name}"), of_seeds(records, name)
        for by in seeds[0] if seeds else ():
            values = {key: [seed[by][key] for seed in seeds] for key in seeds[0][by]}
            halves, size = (mean_and_spread(values[key]) for key in ("halves", "size"))
            masks = [f"{mean_and_spread(values[unit], 0)} %" if unit in values else MISSING for unit in UNITS]
            rows.append((name, by, halves, f"{found[f'biased models, {by}']:.2f}", size, *masks))
    return as_table(rows)


def single_weights(records: Path) -> list[str]:
    """Return each choice of single weights minus as many random ones at the same learning rate, and those at the lower one minus random ones at more."""
    runs = read_run_set(records / "small") if (records / "small").is_dir() else None
    pairs = [pair for method in SINGLES for pair in zip(at_rates((method,)), at_rates((RANDOM_SINGLE,)), strict=True)]
    pairs += [(at_rates((method,))[0], FASTER[0]) for method in CONFIRMED]
    return less_table(("method", "minus"), [(pair, runs, *pair) for pair in pairs]) if runs else []
