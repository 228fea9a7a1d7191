"""Sentences for the top of the page, made from the records."""

from pathlib import Path
from statistics import mean

from results.entries import places
from results.intervals import difference
from results.studies.selection.methods import CONFIRMED, NAMES, SOURCES, plain
from results.studies.selection.spread import complete
from results.studies.selection.tables import GRADIENTS, Compared, comparisons, confirmed, of_seeds, sources
from results.text import in_points

IN_WORDS = {"EO": "EO", "ACC": "accuracy"}
TENSORS = 62  # of ResNet-18


def answers(records: Path) -> list[str]:
    """Return what fine-tuning does to the biased models, AIM-Fair's differences to each of the other methods, and which are significant."""
    every, lines = comparisons(records), repair(records)
    for second in dict.fromkeys(plain(each.second) for each in every):
        by_arm = {}
        for each in every:
            if plain(each.second) == second and each.metric == "EO":
                by_arm.setdefault(SOURCES[each.source].arm, []).append(each)
        said = (f"{in_arm(own)} {' / '.join(in_points(each.found) for each in own)}" for own in by_arm.values())
        lines.append(
            f"- **AIM-Fair minus {NAMES[second]}**, points of EO at 0.5 / at val's threshold: {'; '.join(said)}."
        )
    if every:
        told, least = [each for each in every if each.told], min(every, key=lambda each: each.found.p)
        clear = f"these are significant: {'; '.join(map(in_words, told))}" if told else "none is significant"
        lines.append(
            f"- **After Holm's correction** over all {len(every)} differences between AIM-Fair and another fine-tuning, in the second table below, {clear}. "
            f"The smallest p is {least.found.p:.2g} ({in_words(least)}). That does not show that they are equal."
        )
    return lines


def in_arm(own: list[Compared]) -> str:
    """Return an arm with its number of biased models and of fine-tunings of each, from comparisons on it."""
    first = own[0]
    return f"{SOURCES[first.source].words} ({first.models} biased models, {first.runs // first.models} fine-tunings of each)"


def capital(text: str) -> str:
    """Return a text with its first letter as a capital; the others stay as they are."""
    return text[:1].upper() + text[1:]


def in_words(compared: Compared) -> str:
    """Return a difference with its metric, source and other method."""
    return f"{IN_WORDS[compared.metric]}, {compared.source}, {in_points(compared.found)} to {NAMES[plain(compared.second)]}"


def repair(records: Path) -> list[str]:
    """Return by how much each method changes the biased models' EO and accuracy on the first source with two or more, in a sentence."""
    for name, runs in sources(records).items():
        erm, said, source = places("erm", runs), [], SOURCES[name]
        seeds = [seed for seed in complete(runs, *source.rows) if seed in erm]
        for row in source.rows if len(seeds) > 1 else ():
            own = places(row, runs)
            found = difference(
                runs.accuracies, {seed: own[seed] for seed in seeds}, {seed: erm[seed] for seed in seeds}
            )
            said.append(f"{NAMES[row]} EO {in_points(found['EO'])}, accuracy {in_points(found['ACC'])}")
        if said:
            head = f"- **Each method minus the biased model, ERM,** on {source.words} ({len(seeds)} biased models), in points"
            return [f"{head}: {'; '.join(said)}."]
    return []


def size(records: Path) -> list[str]:
    """Return how much of AIM-Fair's choice is the size of the gradients, in a sentence."""
    said = []
    for name in GRADIENTS:
        if own := of_seeds(records, name, ", ranking"):
            shared, mask = (mean(each[key] for each in own) for key in ("shared", "mask"))
            size = mean(each["size"] for each in own)
            left_out = TENSORS - mask
            said.append(
                f"on `{name}` {left_out - (mask - shared):.0f} of the {left_out:.0f} tensors that the masks leave out are the same (by chance {left_out**2 / TENSORS:.0f}), and the orders in which "
                f"tensors are chosen have a Spearman correlation of {size:.2f} ({len(own)} biased models)"
            )
    if not said:
        return []
    return [
        "- **AIM-Fair leaves out the tensors with the largest gradients and those with the smallest**: with the mean absolute gradient on balanced images in place of both gaps, its mask is nearly the same. "
        f"{capital('; '.join(said))}. Such a mask was not trained."
    ]


def few_weights(records: Path) -> list[str]:
    """Return how two choices of single weights differ from other fine-tunings in EO, from biased models that played no part in their choice."""
    if not (every := confirmed(records)):
        return []
    said = {}
    for each in (each for each in every if each.metric == "EO"):
        own = said.setdefault(CONFIRMED[each.first], {}).setdefault(NAMES[each.second], [])
        own.append(in_points(each.found) + "*" * each.told)
    lines = (
        f"{first} minus {', minus '.join(f'{name} {values[0]} / {values[1]}' for name, values in others.items())}"
        for first, others in said.items()
    )
    return [
        f"- **A twentieth of the weights, chosen one by one**, points of EO at 0.5 / at val's threshold on `t2i` ({every[0].models} biased models, 2 fine-tunings by each choice; * : significant after "
        f"Holm's correction over {len(every)} differences in EO and accuracy): {'; '.join(lines)}."
    ]
