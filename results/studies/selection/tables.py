"""The tables of repeated fine-tunings, and the answers that they give."""

from pathlib import Path
from statistics import mean
from typing import NamedTuple

import numpy as np

from results.entries import places
from results.intervals import Difference, difference, holm
from results.records import RunSet, read_run_set
from results.studies.selection.spread import POWER, differences, least_told, of_repetitions, spread
from results.study_tables import entries_of, findings, mean_and_spread, methods_table, numbers
from results.text import MISSING, as_table, shown_change

RANDOM = "random-mask:share=0.775"  # 48 of 62 tensors, as many as AIM-Fair takes with k = 55
ROWS = ("aim-fair", "full", RANDOM)
PAIRS = (("aim-fair", "full"), ("aim-fair", RANDOM))
SOURCES = ("t2i", "generated")
METRICS = ("EO", "ACC")
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
    """Return the sources that have records, by name."""
    return {name: read_run_set(records / name) for name in SOURCES if (records / name).is_dir()}


def comparisons(records: Path) -> list[Compared]:
    """Return every comparison of AIM-Fair with another method, over the biased models that both have."""
    found = []
    for name, runs in sources(records).items():
        for first, second in PAIRS:
            one, two = places(first, runs), places(second, runs)
            both = one.keys() & two.keys()
            changes = difference(runs.accuracies, one, two)
            count = sum(len(one[seed]) for seed in both)
            found += [(name, first, second, key, len(both), count, changes[key]) for key in METRICS if key in changes]
    return [Compared(*each, told) for each, told in zip(found, holm([each[-1].p for each in found]), strict=True)]


def in_points(found: Difference) -> str:
    """Return a difference and its interval as text, in points."""
    return shown_change(tuple(100 * value for value in found[:3]), 1)


def answers(records: Path) -> list[str]:
    """Return what the comparisons say, in sentences."""
    every, lines = comparisons(records), []
    for one in (each for each in every if each.metric == "EO"):
        accuracy = next(each for each in every if each[:3] == one[:3] and each.metric == "ACC")
        said = "differs from 0" if one.told else "cannot be told from 0"
        lines.append(
            f"- **AIM-Fair less {name_of(one.second)} on `{one.source}`**: EO {in_points(one.found)} points, which {said} after Holm's correction "
            f"over {len(every)} comparisons; accuracy {in_points(accuracy.found)} ({one.models} biased models, {one.runs} fine-tunings of each method)."
        )
    return lines


def luck(records: Path) -> list[str]:
    """Return how much two fine-tunings of one biased model differ, in a sentence for each source."""
    lines = []
    for name, runs in sources(records).items():
        own, between = spread(values_of(runs, "aim-fair", "EO")), spread(differences(runs, *PAIRS[0], "EO"))
        if own and between:
            lines.append(
                f"- **Luck on `{name}`**: the EO of AIM-Fair has a standard deviation of {own.repetitions:.1f} points between fine-tunings of one biased "
                f"model, and its difference to full fine-tuning with the same order and crops {between.repetitions:.1f}. Three biased models with one "
                f"fine-tuning each tell {least_told(between, 3, 1):.0f} points, seven with five each {least_told(between, 7, 5):.1f}."
            )
    return lines


def size(records: Path) -> list[str]:
    """Return how much of AIM-Fair's choice is the size of the gradients, in a sentence."""
    own = {name: [seed["aim-fair"]["size"] for seed in of_seeds(records, name)] for name in SOURCES}
    own = {name: f"{mean(found):.2f} on `{name}` ({len(found)} biased models)" for name, found in own.items() if found}
    if not own:
        return []
    return [
        "- **What the rankings look at**: the order in which AIM-Fair chooses the tensors has a Spearman correlation with the order that the same rule gives "
        f"if both gaps are replaced by the mean size of the tensor's gradient: {', '.join(own.values())}."
    ]


def of_seeds(records: Path, source: str) -> list[dict]:
    """Return what was measured of the criteria on a source, for each biased model."""
    return [value for what, value in findings(records, f"criteria_{source}").items() if what.startswith("seed ")]


def name_of(row: str) -> str:
    """Return a method's name in a sentence."""
    return {"full": "full fine-tuning", RANDOM: "a random mask of the same size"}[row]


def compared(records: Path) -> list[str]:
    """Return each method's metrics on each source, then AIM-Fair's differences to the others."""
    rows = [
        ("source", "method", "biased models", "ACC", "WST of means", "mean of WST", "EO", "ACC to ERM", "EO to ERM")
    ]
    for name, runs in sources(records).items():
        entries = entries_of(runs)
        rows += [(name, row, *numbers(entries[row], 1)) for row in ("erm", *ROWS) if row in entries]
    more = [("source", "difference", "metric", "biased models", "points", "p", "told")]
    for each in comparisons(records):
        what = f"{each.first} less {each.second}"
        cells = in_points(each.found), f"{each.found.p:.2g}", "yes" if each.told else "no"
        more.append((each.source, what, each.metric, str(each.models), *cells))
    return [*as_table(rows), "", *as_table(more)]


def spreads(records: Path) -> list[str]:
    """Return the spread of each method, and of each difference, between biased models and between repetitions."""
    rows = [
        (
            "source",
            "of",
            "models x repetitions",
            *(f"{key}: {of}" for key in METRICS for of in ("models", "repetitions")),
        )
    ]
    for name, runs in sources(records).items():
        for row in (*ROWS, *PAIRS):
            values = {key: values_of(runs, row, key) for key in METRICS}
            cells = [cell for key in METRICS for cell in as_cells(values[key])]
            label = row if isinstance(row, str) else " less ".join(row)
            rows.append((name, label, " x ".join(map(str, values["EO"].shape)), *cells))
    return as_table(rows)


def values_of(runs: RunSet, row: str | tuple[str, str], metric: str) -> np.ndarray:
    """Return the values of a method, or the differences of two, float (models, repetitions), in points."""
    if not isinstance(row, str):
        return differences(runs, *row, metric)
    found = of_repetitions(runs, row, metric).values()
    most = max(map(len, found), default=0)
    return np.array([each for each in found if len(each) == most])


def as_cells(values: np.ndarray) -> list[str]:
    """Return the spread of values as two cells."""
    found = spread(values)
    return [MISSING, MISSING] if found is None else [f"{number:.1f}" for number in found]


def power(records: Path) -> list[str]:
    """Return which difference in EO several designs tell, by the spread of AIM-Fair less full fine-tuning."""
    rows = [("source", *(f"{models} models x {times}" for models, times in DESIGNS))]
    for name, runs in sources(records).items():
        if found := spread(differences(runs, *PAIRS[0], "EO")):
            rows.append((name, *(f"{least_told(found, *design):.1f}" for design in DESIGNS)))
    if len(rows) == 1:
        return []
    text = f"Points of EO by which two methods must differ to be told apart with a probability of {100 * POWER:.0f} %, wanted {WANTED}:"
    return ["", text, "", *as_table(rows)]


def reliability(records: Path) -> list[str]:
    """Return, for each criterion, how its scores correlate between halves of the images, biased models, and with gradients' size."""
    rows = [("source", "criterion", "halves", "biased models", "size of the gradient")]
    for name in SOURCES:
        found, seeds = findings(records, f"criteria_{name}"), of_seeds(records, name)
        for by in seeds[0] if seeds else ():
            halves, size = (mean_and_spread([seed[by][key] for seed in seeds]) for key in ("halves", "size"))
            rows.append((name, by, halves, f"{found[f'biased models, {by}']:.2f}", size))
    return as_table(rows)


def few(records: Path) -> list[str]:
    """Return the methods that fine-tune a fifth of the tensors; nothing without records."""
    return methods_table("small")(records) if (records / "small").is_dir() else []
