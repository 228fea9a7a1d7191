"""Checks of train.py's flags: do they fit each other, the network, and the images that generation will make?"""

from pathlib import Path

from torch import nn

from datasets.enough import biased_sizes, check_counts, images_needed
from datasets.images import LabelledImages
from datasets.pairs import Pair
from datasets.synthetic_files import existing_files
from models.averaging import batch_norms
from models.options import Method
from models.settings import Settings
from prompts import find_prompt_file, read_prompts
from utils.errors import UserError


def check_flags(settings: Settings, network: nn.Module) -> None:
    """Raise `UserError` if a flag contradicts another one or the network."""
    if settings.batch_norm != "follow" and not batch_norms(network):
        raise UserError(f"--batch-norm {settings.batch_norm}: {settings.network} has no batch norm; leave the flag out")
    if settings.ranking_patience and settings.ranking_batches != "auto":
        raise UserError(
            f"--ranking-patience {settings.ranking_patience} needs --ranking-batches auto: add that, or leave it out"
        )


def check_targets(settings: Settings, methods: list[Method], targets: int) -> None:
    """Raise `UserError` for what two targets alone have: a threshold."""
    asked = [method.label for method in methods if method.options.get("threshold", "0.5") != "0.5"]
    asked += [method.label for method in methods if method.options.get("select-by") == "best-threshold"]
    asked += ["--select-by best-threshold"] if settings.select_by == "best-threshold" else []
    if targets > 2 and asked:
        raise UserError(f"{asked[0]}: {targets} targets have no threshold between them; leave it out")


def check_groups(path: Path, pair: Pair) -> None:
    """Raise `UserError` if a prompt file is for other groups than those of the pair in the data."""
    drawn = read_prompts(path, pair.name).groups
    if missing := [group for group in pair.groups if group not in drawn]:
        raise UserError(
            f"{path} has no prompts for group {', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''} of the data, it has "
            f"{', '.join(drawn[:5])}{', ...' if len(drawn) > 5 else ''}; choose the data's values with --values, or write prompts "
            "for them (python -m prompts.write) and pass --prompts FILE"
        )


def check_to_come(methods: list[Method], settings: Settings, pair: Pair, train: LabelledImages) -> None:
    """Raise `UserError` if the images that generation will make, as --images-to-come says, are too few for a method."""
    prompt_type, number = settings.images_to_come or ("", 0)
    if settings.images_to_come:
        check_groups(settings.prompts or find_prompt_file(pair.name), pair)
    for method in (method for method in methods if method.needs_synthetic):
        if method.options["prompt-type"] != prompt_type:
            continue
        biased = biased_sizes(settings.number_imbalanced_synthetic, method.options.get("bias-degree"), pair)
        sizes = method.balanced_sizes(train, settings.number_balanced_synthetic)
        held_out = settings.number_held_out_synthetic if method.must_hold_out else 0
        files = existing_files(settings.synthetic_data_root, pair, prompt_type)
        counts = {group: max(number, len(found)) for group, found in files.items()}
        check_counts(settings.synthetic_data_root, prompt_type, counts, images_needed(sizes, biased, held_out))
