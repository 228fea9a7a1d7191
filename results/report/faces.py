"""Sheets of faces as pictures inside the page: the first of each group, small, the same bytes for the same images."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from datasets.decoding import read_part
from datasets.faithful import FILE, SCORE, SCORER, is_listing, read_scores
from datasets.known import WHOLE
from datasets.pairs import Pair, same_pair
from datasets.splits import Splits
from datasets.synthetic_files import group_files
from utils.errors import UserError
from utils.files import is_inside
from utils.metrics import classes_of

COLUMNS, ROWS = 6, 2
SIDES = {4: 96, 8: 64}  # pixels of a face by the number of groups; with more groups faces are smaller
SMALLEST = 40
MEAN_SIDE, MEAN_OF, MEAN_LEAST = 96, 200, 50  # a mean face: pixels, images it is made of at most and at least


@dataclass(frozen=True)
class Sheet:
    """Some faces of a group: the picture as a data URI ("" for none), the number of faces it shows, and of all.

    `faithful` says how many of all show what they should, if that is known.
    """

    uri: str
    shown: int
    count: int
    faithful: str = ""


def synthetic_sheets(root: Path, pair: Pair, prompt_type: str) -> dict[str, Sheet]:
    """Return a sheet of the synthetic images of each group; empty if `root` has none of the pair and prompt type.

    Raises UserError if there is no `root`, or if an image or a file of scores is damaged.
    """
    if not root.exists():
        raise UserError(f"--synthetic {root}: no such folder or file; give the --synthetic-data-root of the run")
    if not is_listing(root) and not any(same_pair(folder.name, pair.name) for folder in root.iterdir()):
        return {}
    folder, files = group_files(root, pair, prompt_type)
    if not any(files.values()):
        return {}
    faithful = _faithful(folder, files) if not is_listing(root) else {}
    return {group: _sheet(found, len(pair.groups), faithful.get(group, "")) for group, found in files.items()}


def real_sheets(lists: Splits, test: pd.DataFrame, pair: Pair, box: tuple[float, ...] = WHOLE) -> dict[str, Sheet]:
    """Return a sheet of the real test images of each group, each image cropped to `box`, as the network sees it.

    `test` has the columns name, target and protected. The data must hold these images (`check_tested_on`).
    """
    group = test["target"] * (len(pair.groups) // classes_of(pair.groups)) + test["protected"]
    names = [test["name"].astype(str)[group == number] for number in range(len(pair.groups))]
    return {
        name: _sheet([lists.folder / image for image in images], len(pair.groups), box=box)
        for name, images in zip(pair.groups, names)
    }


def check_tested_on(lists: Splits, test: pd.DataFrame) -> None:
    """Raise UserError if the data do not hold the test images in the column `name`."""
    known = set(map(str, lists.tables["test"].index))
    strangers = [name for name in test["name"].astype(str) if name not in known or not is_inside(name)]
    if strangers:
        raise UserError(
            f"--real: {lists.folder} has no test image {strangers[0]!r}; give the data that the runs were tested on"
        )


def mean_synthetic_face(root: Path, pair: Pair, prompt_type: str) -> Sheet:
    """Return the mean of synthetic images of all groups, which shows how they are framed."""
    return _mean_face([path for files in group_files(root, pair, prompt_type)[1].values() for path in files])


def mean_real_face(lists: Splits, box: tuple[float, ...] = WHOLE) -> Sheet:
    """Return the mean of real test images, each cropped to `box`. It shows nobody, because it is made of 50 or more."""
    return _mean_face([lists.folder / str(name) for name in lists.tables["test"].index], box)


def _mean_face(files: list[Path], box: tuple[float, ...] = WHOLE) -> Sheet:
    if len(files) < MEAN_LEAST:
        return Sheet("", 0, len(files))
    chosen = [files[i] for i in np.linspace(0, len(files) - 1, min(len(files), MEAN_OF), dtype=int)]
    side = (MEAN_SIDE, MEAN_SIDE)  # the aspect is not kept, as in the test transform
    total = sum(np.asarray(read_part(path, box).resize(side, Image.Resampling.BILINEAR), np.float64) for path in chosen)
    mean = Image.fromarray((total / len(chosen)).round().astype(np.uint8))
    return Sheet(_data_uri(mean), len(chosen), len(files))


def _sheet(files: list[Path], groups: int, faithful: str = "", *, box: tuple[float, ...] = WHOLE) -> Sheet:
    shown = files[: COLUMNS * ROWS]
    if not shown:
        return Sheet("", 0, 0, faithful)
    side = next((side for most, side in SIDES.items() if groups <= most), SMALLEST)
    rows = -(-len(shown) // COLUMNS)
    picture = Image.new("RGB", (side * min(len(shown), COLUMNS), side * rows), "white")
    for index, path in enumerate(shown):
        tile = ImageOps.fit(read_part(path, box), (side, side), Image.Resampling.LANCZOS)
        picture.paste(tile, (index % COLUMNS * side, index // COLUMNS * side))
    return Sheet(_data_uri(picture), len(shown), len(files), faithful)


def _data_uri(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _faithful(folder: Path, files: dict[str, list[Path]]) -> dict[str, str]:
    """Return for each group what fraction of its scored images show what they should, in words; none without a file of scores."""
    path = folder / FILE
    if not path.exists():
        return {}
    remedy = f"`python -m stable_diffusion.faithfulness --images {folder}` makes it"
    scores = read_scores(path, (SCORE,), remedy)
    said = {}
    for group, found in files.items():
        own = scores.loc[scores.index.isin([file.relative_to(folder).as_posix() for file in found])]
        if len(own):
            by = f", by {', '.join(sorted(own[SCORER].unique()))}" if SCORER in own else ""
            said[group] = (
                f"{100 * (own[SCORE] >= 0.5).mean():.1f} % of {len(own):,} scored images show what they should{by}"
            )
    return said
