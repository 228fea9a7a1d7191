"""Sheets of faces as pictures inside the page: the first of each cell, small, the same bytes for the same images."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from PIL import Image, ImageOps

from datasets.faithful import FILE, SCORE, SCORER, read_scores
from datasets.images import WHOLE, read_part
from datasets.pairs import Pair, same_pair
from datasets.splits import Splits
from datasets.synthetic import cell_files
from utils.errors import UserError
from utils.files import is_inside

COLUMNS, ROWS = 6, 2
SIDES = {4: 96, 8: 64}  # pixels of a face by the number of cells; more cells get smaller ones
SMALLEST = 40


@dataclass(frozen=True)
class Sheet:
    """Some faces of a cell: the picture as a data URI ("" for none), how many faces it shows, of how many.

    `faithful` is what is known of how many show what they should.
    """

    uri: str
    shown: int
    count: int
    faithful: str = ""


def synthetic_sheets(root: Path, pair: Pair, prompt_type: str) -> dict[str, Sheet]:
    """A sheet of the synthetic images of each cell; empty where `root` has none of the pair and prompt type.

    Raises `UserError` where there is no `root`, or an image or a file of scores is damaged.
    """
    if not root.exists():
        raise UserError(f"--synthetic {root}: no such folder or file; give the --synthetic-data-root of the run")
    if root.suffix != ".csv" and not any(same_pair(folder.name, pair.name) for folder in root.iterdir()):
        return {}
    folder, files = cell_files(root, pair, prompt_type)
    if not any(files.values()):
        return {}
    faithful = _faithful(folder, files) if root.suffix != ".csv" else {}
    return {cell: _sheet(found, len(pair.cells), faithful.get(cell, "")) for cell, found in files.items()}


def real_sheets(lists: Splits, test: pd.DataFrame, pair: Pair, box: tuple[float, ...] = WHOLE) -> dict[str, Sheet]:
    """A sheet of the real test images of each cell; `test` has the columns name, target and protected.

    Of each image the part in `box` is shown, as the network sees it (`datasets.images.read_part`).

    Raises `UserError` where the data don't hold these images.
    """
    known, names = set(map(str, lists.tables["test"].index)), test["name"].astype(str)
    strangers = [name for name in names if name not in known or not is_inside(name)]
    if strangers:
        raise UserError(
            f"--real: {lists.folder} has no test image {strangers[0]!r}; give the data that the runs were tested on"
        )
    cell = test["target"].to_numpy() * (len(pair.cells) // 2) + test["protected"].to_numpy()
    return {
        pair.cells[i]: _sheet([lists.folder / name for name in names[cell == i]], len(pair.cells), box=box)
        for i in range(len(pair.cells))
    }


def _sheet(files: list[Path], cells: int, faithful: str = "", *, box: tuple[float, ...] = WHOLE) -> Sheet:
    shown = files[: COLUMNS * ROWS]
    if not shown:
        return Sheet("", 0, 0, faithful)
    side = next((side for most, side in SIDES.items() if cells <= most), SMALLEST)
    rows = -(-len(shown) // COLUMNS)
    picture = Image.new("RGB", (side * min(len(shown), COLUMNS), side * rows), "white")
    for index, path in enumerate(shown):
        tile = ImageOps.fit(read_part(path, box), (side, side), Image.Resampling.LANCZOS)
        picture.paste(tile, (index % COLUMNS * side, index // COLUMNS * side))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return Sheet(
        f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}", len(shown), len(files), faithful
    )


def _faithful(folder: Path, files: dict[str, list[Path]]) -> dict[str, str]:
    """For each cell the share of its scored images that show what they should, in words; none without a file of scores."""
    path = folder / FILE
    if not path.exists():
        return {}
    remedy = f"`python -m stable_diffusion.faithfulness --images {folder}` makes it"
    scores = read_scores(path, (SCORE,), remedy)
    said = {}
    for cell, found in files.items():
        own = scores.loc[scores.index.isin([file.relative_to(folder).as_posix() for file in found])]
        if len(own):
            by = f", by {', '.join(sorted(own[SCORER].unique()))}" if SCORER in own else ""
            said[cell] = (
                f"{100 * (own[SCORE] >= 0.5).mean():.1f} % of {len(own):,} scored images show what they should{by}"
            )
    return said
