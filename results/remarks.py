"""Remarks on runs, printed beside their numbers, and the rule for which runs may be called the best."""

from collections.abc import Iterable, Sequence

import numpy as np

from models.labels import counts_groups, epoch_as_published, labels_taken, none, trains_on_groups
from utils.metrics import answers_alike, classes_of, hardly_biased, hardly_learned
from utils.records import Label, Record

# of methods in records that do not say it yet
OLDER = {"group-dro": trains_on_groups, "jtt": epoch_as_published, "repair": counts_groups}
ALIKE = "answers alike whether the target is there or not"
GUESSES = "is no better than a guess in every protected group"  # the same of more than two targets


def protected_labels(record: Record) -> dict[str, str]:
    """Return what a run took protected labels of real images for, by split; of an older record by its method's label."""
    select_by = record.real_settings.get("select_by", "accuracy")
    return record.content.get("protected_labels", labels_of_name(record.method, select_by))


def labels_of_name(method: str, select_by: str = "accuracy") -> dict[str, str]:
    """Return the same for one of this project's methods by its label."""
    label = Label.of(method)
    return labels_taken(OLDER.get(label.name, none), label.options, select_by)


def blind_seeds(records: Iterable[Record]) -> list[int]:
    """Return the seeds whose classifier answers alike with and without the target, so that its odds say nothing."""
    return list(dict.fromkeys(r.seed for r in records if answers_alike(r.metrics.group_accuracy)))


def remarks(records: Sequence[Record]) -> list[str]:
    """Return what pages say of a row's runs after the method's name, if anything."""
    said = list(dict.fromkeys(text for record in records for text in protected_labels(record).values()))
    chosen = [record.content["chosen"] for record in records if "chosen" in record.content]
    if len({(each["candidate"], each["step"]) for each in chosen}) > 1:
        said.append("not one choice for all seeds")
    if blind := blind_seeds(records):
        every = len(blind) == len({record.seed for record in records})
        said.append(alike(records[0]) if every else f"seed {', '.join(map(str, blind))} {alike(records[0])}")
    return said


def alike(record: Record) -> str:
    """Return what is said of a run in `blind_seeds`."""
    return ALIKE if classes_of(record.metrics.group_accuracy) == 2 else GUESSES


def may_be_best(records: Iterable[Record], erm: Iterable[Record]) -> bool:
    """Return True if runs may be called the best: none is blind, and they take protected labels of no split that ERM does not."""
    taken, known = ({split for record in part for split in protected_labels(record)} for part in (records, erm))
    return taken <= known and not blind_seeds(records)


def not_learned(erm: Sequence[Record]) -> str:
    """Return a warning if ERM, in the mean over its seeds, has hardly learned its task; "" if it has, or without counts."""
    if not erm or not erm[0].metrics.group_count:
        return ""
    return hardly_learned(float(np.mean([r.metrics.accuracy for r in erm])), erm[0].metrics.group_count)


def erm_warning(erm: Sequence[Record], consequence: str = "") -> str:
    """Return `not_learned` and its `consequence`, or a warning if ERM is hardly biased; "" if it is neither, or without counts."""
    if learned := not_learned(erm):
        return learned + consequence
    if not erm or not (counts := erm[0].metrics.group_count):
        return ""
    groups = {name: float(np.mean([r.metrics.group_accuracy[name] for r in erm])) for name in counts}
    return hardly_biased(float(np.mean([r.metrics.equalized_odds for r in erm])), groups, counts)
