"""The settings in a record, the check of an output's records against them, and the choice among records."""

from pathlib import Path

import pandas as pd

from datasets.images import LabelledImages, fingerprint
from datasets.synthetic import SyntheticSets
from models.choice import best_of
from models.facts import facts_of
from models.options import Method
from models.settings import Settings
from utils.checkpoint import check_unfinished
from utils.errors import UserError
from utils.records import adopt_record, check_once, read_record, record_folder
from utils.same_settings import check_settings, of_biased_model

NEED_SYNTHETIC = ("synthetic_data", "unfaithful_left_out", "held_out_synthetic")  # known once synthetic images are read


def method_settings(
    method: Method, settings: Settings, of_erm: dict, train: LabelledImages, sets: SyntheticSets | None
) -> dict:
    """Return all settings that a method's result depends on; `of_erm` are those of the biased model.

    Of `train` only the labels are used. Without `sets`, the settings in `NEED_SYNTHETIC` are left out. Raises `UserError`
    if an option of the method has the name of a setting.
    """
    options, settings = method.recorded(), method.applied(settings)
    if not method.needs_synthetic:
        own = {method.name: options} if options else {}
        if method.fine_tunes:
            return {"biased_model": of_erm} | own | settings.of_fine_tuning()
        return of_erm | own
    taken = settings.of_fine_tuning().keys() | settings.of_ranking().keys()
    taken |= set() if method.fine_tunes else of_erm.keys()
    if clash := taken & options.keys():
        raise UserError(f"method {method.name}: its option {min(clash)} has the name of a setting; call it otherwise")
    sizes = method.balanced_sizes(train, settings.number_balanced_synthetic)
    options |= {"synthetic_data": fingerprint(sets.pool)} if sets else {}
    options["number_balanced_synthetic"] = sizes if facts_of(method.train).group_sizes else min(sizes.values())
    if method.options.get("bias-degree") is not None:
        options["number_imbalanced_synthetic"] = settings.number_imbalanced_synthetic
        options |= settings.of_ranking() if method.ranks else {}
    if settings.min_faithfulness is not None:
        options["min_faithfulness"] = settings.min_faithfulness
        options |= {"unfaithful_left_out": sets.left_out} if sets else {}
    if not method.fine_tunes:
        return of_erm | options
    held_out = {"held_out_synthetic": sets.held_out_size} if sets else {}
    return {"biased_model": of_erm} | options | settings.of_fine_tuning() | held_out


def check_output(output: Path, asked: dict[str, dict], of_erm: dict, seeds: tuple[int, ...], *, drawn: bool) -> None:
    """Raise `UserError` if a record or unfinished training in `output` has other settings, or a record is there twice.

    asked : the settings of each method by its folder
    of_erm : settings of the biased model, which records of other methods must share
    seeds : seeds whose unfinished trainings are checked; records of all seeds are, because the tables average them
    drawn : `asked` has the settings in `NEED_SYNTHETIC`
    """
    besides = () if drawn else NEED_SYNTHETIC
    folders = [path.parent for path in output.glob("*/seed_*/metrics.json")]
    folders = sorted(folders, key=lambda folder: (folder.parent.name != "erm", folder))
    records = {folder: read_record(folder, "settings") for folder in folders}
    check_once(records)
    for folder, record in records.items():
        found = record.settings
        if folder.parent.name in asked:
            check_settings(found, asked[folder.parent.name], folder, besides)
        else:
            check_settings(of_biased_model(found, of_erm), of_erm, f"the biased model of {folder}", besides)
    for method, settings in asked.items():
        for seed in seeds:
            check_unfinished(record_folder(output, method, seed), settings, besides)


def adopt_best(output: Path, choices: list[Method], method: Method, seed: int, settings: dict) -> None:
    """Copy the best record of the `choices` as that of `method`; the test set plays no part (`models.choice`)."""
    folders = [record_folder(output, choice.folder, seed) for choice in choices]
    found = [read_record(folder, "val_metrics.accuracy", "held_out_metrics.equalized_odds") for folder in folders]
    best, ks = best_of(found), [choice.options["top-k"] for choice in choices]
    columns = {
        "top_k": ks,
        "val_accuracy": [record.val_metrics.accuracy for record in found],
        "held_out_equalized_odds": [record.held_out_metrics.equalized_odds for record in found],
    }
    content = {**found[best].content, "method": method.label, "settings": settings, "chosen_top_k": ks[best]}
    adopt_record(folders[best], record_folder(output, method.folder, seed), content, {"top_k": pd.DataFrame(columns)})
    print(f"seed {seed}: top-k {ks[best]} chosen")
