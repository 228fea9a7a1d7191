"""Comparison of recorded settings: whether records may stand in one output or in one table."""

from collections.abc import Iterable
from pathlib import Path

from utils.errors import UserError
from utils.records import REPETITIONS, Record

INSIDE = "biased_model."  # before the biased model's settings, if those of a method hold them
OLDER = {  # what it says of a record if it lacks a setting, and the remedy
    "drop_last": "it is from before an epoch's last short batch was left out: add --keep-last-batch, or ",
    "inputs": "it is from before this network's inputs were scaled once, not twice: ",
}


def check_settings(found: dict, asked: dict, where: Path | str, besides: Iterable[str] = ()) -> None:
    """Raise UserError, naming the differences, if a record was made with other settings.

    `besides` names settings that are not compared. If both name the content of the weights that training starts from,
    their name or path may differ; older records have the name alone.
    """
    apart = _differences(found, asked, besides)
    if apart:
        differences = "; ".join(f"{key}: {there!r} there, {here!r} asked" for key, (there, here) in apart.items())
        lacking = {key.removeprefix(INSIDE) for key, (there, here) in apart.items() if there is None and here}
        hint = "".join(hint for key, hint in OLDER.items() if key in lacking)
        raise UserError(f"{where} was made with other settings ({differences}); {hint}choose another --output")


def check_alike(records: dict[Path | str, Record]) -> None:
    """Raise UserError if records of one table, by their folders, were made with different settings.

    The seeds and repetitions of a method must agree in all settings, and every method with ERM in those of the biased model. Records
    without settings, which are of an early version, are not compared.
    """
    first = {}  # of each row the record that says most, since older ones lack what weights hold
    for place, record in sorted(records.items(), key=lambda item: -len(_flat(item[1].settings))):
        if "settings" in record.content:
            there, settings = first.setdefault(record.label.row, (place, record.settings))
            _check_pair(there, settings, place, record.settings, REPETITIONS)
    if "erm" in first:
        erm, biased = first.pop("erm")
        for place, settings in first.values():
            _check_pair(erm, biased, place, of_biased_model(settings, biased))


def of_biased_model(settings: dict, like: dict) -> dict:
    """Return the settings of the biased model in those of a method; of one trained from the start, those that are in `like`."""
    return settings.get("biased_model", {key: value for key, value in settings.items() if key in like})


def _check_pair(one: Path | str, settings: dict, other: Path | str, others: dict, besides: Iterable[str] = ()) -> None:
    if apart := _differences(settings, others, besides):
        differences = "; ".join(f"{key}: {a!r} and {b!r}" for key, (a, b) in apart.items())
        raise UserError(
            f"{one} and {other} were made with different settings ({differences}), so they don't belong in one table; "
            "keep each kind in a folder of its own, or remove one and run it again with the settings of the other"
        )


def _differences(one: dict, other: dict, besides: Iterable[str] = ()) -> dict[str, tuple]:
    """Return the settings that differ, with both values."""
    one, other, besides = _flat(one), _flat(other), set(besides)
    inside = INSIDE if any(key.startswith(INSIDE) for key in one.keys() | other.keys()) else ""
    name, content = f"{inside}weights", f"{inside}weights_content"
    keys = (one.keys() | other.keys()) - {name if content in one and content in other else content}
    keys = sorted(key for key in keys if key.removeprefix(INSIDE) not in besides)
    return {key: (one.get(key), other.get(key)) for key in keys if one.get(key) != other.get(key)}


def _flat(settings: dict) -> dict:
    """Return the settings with those of the biased model, which a fine-tuned record holds inside, as "biased_model.lr"."""
    inner = settings.get("biased_model")
    if not isinstance(inner, dict):
        return settings
    own = {key: value for key, value in settings.items() if key != "biased_model"}
    return own | {f"{INSIDE}{key}": value for key, value in inner.items()}
