"""What has to be said of runs beside their numbers, and whether they may be called the best: of every page the one place."""

from collections.abc import Iterable

from models.labels import counts_groups, epoch_as_published, labels_taken, none, trains_on_groups
from utils.metrics import answers_alike

# of methods in records that don't say it yet
OLDER = {"group-dro": trains_on_groups, "jtt": epoch_as_published, "repair": counts_groups}
ALIKE = "answers alike whether the target is there or not"


def protected_labels(record: dict) -> dict[str, str]:
    """What a run took protected labels of real images for, by split; of an older record by its method's name and options."""
    settings = record.get("settings", {})
    select_by = settings.get("biased_model", settings).get("select_by", "accuracy")
    return record.get("protected_labels", labels_of_name(record["method"], select_by))


def labels_of_name(method: str, select_by: str = "accuracy") -> dict[str, str]:
    """The same for one of this project's methods by its label."""
    name, _, rest = method.partition(":")
    options = dict(part.partition("=")[::2] for part in rest.split(","))
    return labels_taken(OLDER.get(name, none), options, select_by)


def blind_seeds(records: Iterable[dict]) -> list[int]:
    """The seeds whose classifier answers alike whether the target is there or not, so that its odds say nothing."""
    return [record["seed"] for record in records if answers_alike(record["metrics"]["group_accuracy"])]


def remarks(records: list[dict]) -> list[str]:
    """What is to be said of the runs of a row: nothing, or what goes on after the method's name."""
    said = list(dict.fromkeys(text for record in records for text in protected_labels(record).values()))
    blind = list(dict.fromkeys(blind_seeds(records)))
    if blind:
        every = len(blind) == len({record["seed"] for record in records})
        said.append(ALIKE if every else f"seed {', '.join(map(str, blind))} {ALIKE}")
    return said


def may_be_best(records: list[dict], erm: list[dict]) -> bool:
    """Whether runs may be called the best beside ERM: they take protected labels of no split that ERM doesn't, and none is blind."""
    taken, known = ({split for record in part for split in protected_labels(record)} for part in (records, erm))
    return taken <= known and not blind_seeds(records)


def sentence(method: str, said: list[str]) -> str:
    """Remarks on a method as a sentence."""
    return f"{method}: {'; '.join(said)}." if said else ""
