"""Selection of generated images by their faithfulness to the prompt (`stable_diffusion.faithfulness`)."""

from pathlib import Path

import numpy as np
import pandas as pd

from datasets.custom import disk_names, read_lines
from utils.errors import UserError
from utils.files import digests

FILE, SCORE, SCORER, CONTENT = "faithfulness.csv", "faithfulness", "scorer", "content"


def is_listing(root: Path) -> bool:
    """Return whether a CSV file lists the images, instead of a folder that holds them."""
    return root.suffix.lower() == ".csv" or root.is_file()


def read_scores(path: Path, columns: tuple[str, ...], remedy: str) -> pd.DataFrame:
    """Read a file of scores, indexed by image; `columns` are float64 from 0 to 1, all others text.

    Raises `UserError`, which ends with `remedy`, if the file or a column is missing, or a score is no number from 0
    to 1.
    """
    table = read_lines(path, ("image", *columns), remedy)
    for name in columns:
        values = pd.to_numeric(table[name], errors="coerce")
        wrong = table.index[~values.between(0, 1)]
        if len(wrong):
            line, value = wrong[0], table[name][wrong[0]] or "empty"
            raise UserError(f"{path}: line {line}: {name} is no number from 0 to 1 ({value}); {remedy}")
        table[name] = values
    twice = table.index[table["image"].duplicated()]
    if len(twice):
        raise UserError(f"{path}: line {twice[0]}: {table['image'][twice[0]]} is listed a second time; {remedy}")
    return table.set_index("image")


def faithful_files(folder: Path, files: dict[str, list[Path]], minimum: float) -> dict[str, list[Path]]:
    """Return the images of each group with a score of at least `minimum`.

    `folder` has the groups and their scores, or is a CSV file of images with a column faithfulness. Raises `UserError`
    if an image has no score, or has changed since it was scored.
    """
    listed, remedy = is_listing(folder), f"`python -m stable_diffusion.faithfulness --images {folder}` makes it"
    if listed:
        remedy = f"--min-faithfulness needs a column {SCORE} in it, from 0 to 1"
    scores = read_scores(folder if listed else folder / FILE, (SCORE,), remedy)
    place = folder.parent if listed else folder
    known = {place / name: value for name, value in zip(disk_names(place, scores.index), scores[SCORE], strict=True)}
    paths = [path for found in files.values() for path in found]
    missing = [path for path in paths if path not in known]
    if missing:
        raise UserError(f"{folder / FILE} lacks {len(missing)} images, the first {missing[0]}; {remedy}")
    if CONTENT in scores and not listed:
        check_unchanged(folder, scores[CONTENT], paths, remedy)
    return {group: [path for path in found if known[path] >= minimum] for group, found in files.items()}


def check_unchanged(folder: Path, noted: pd.Series, paths: list[Path], remedy: str) -> None:
    """Raise `UserError` if an image has changed since it was scored."""
    names = [path.relative_to(folder).as_posix() for path in paths]
    changed = noted[names].to_numpy() != np.array(short_digests(paths), dtype=object)
    if changed.any():
        raise UserError(
            f"{folder / FILE}: {changed.sum()} images have changed since, first {names[changed.argmax()]}; {remedy}"
        )


def short_digests(paths: list[Path]) -> list[str]:
    """Return 12 digits of the SHA-256 of each image."""
    return [digest[:12] for digest in digests(paths)]
