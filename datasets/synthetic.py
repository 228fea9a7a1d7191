"""Synthetic images, from the folders that generation writes: <root>/<pair>/<prompt type>/<cell>/."""

from pathlib import Path

import numpy as np
from PIL import Image

from datasets.images import FaceSet, decode_images
from datasets.pairs import CELLS, same_pair
from utils.errors import UserError

SUFFIXES = frozenset(ext for ext, fmt in Image.registered_extensions().items() if fmt in Image.OPEN)


def synthetic_pool(root: Path, pair: str, prompt_type: str, needed: dict[str, int], cache: Path) -> FaceSet:
    """All images of the four cells, labelled by their folder, sorted by cell and file name.

    `needed` says how many images of each cell will be drawn. Raises `UserError` where a folder is missing or
    holds fewer.
    """
    folder = pair_folder(root, pair) / prompt_type
    files = {cell: image_files(folder / cell) for cell in CELLS}
    short = [f"{cell} has {len(files[cell])} of {needed[cell]}" for cell in CELLS if len(files[cell]) < needed[cell]]
    if short:
        raise UserError(
            f"too few synthetic images in {folder} (cells target_protected): {', '.join(short)}; generate more "
            f"(stable_diffusion/generation.sh --images-per-cell {max(needed.values())}) or lower "
            "--number-balanced-synthetic and --number-imbalanced-synthetic"
        )
    paths = [path for cell in CELLS for path in files[cell]]
    labels = np.array([(int(cell[0]), int(cell[2])) for cell in CELLS for _ in files[cell]], dtype=np.int64)
    names = tuple(f"{path.parent.name}/{path.name}" for path in paths)
    return FaceSet(decode_images(paths, cache), np.arange(len(paths)), labels[:, 0], labels[:, 1], names)


def draw_cells(pool: FaceSet, sizes: dict[str, int], generator: np.random.Generator) -> FaceSet:
    """`sizes[cell]` images of each cell, drawn without replacement."""
    chosen = []
    for cell in CELLS:
        members = np.flatnonzero((pool.target == int(cell[0])) & (pool.protected == int(cell[2])))
        chosen.append(generator.choice(members, size=sizes[cell], replace=False))
    return pool.subset(np.concatenate(chosen))


def image_files(folder: Path) -> list[Path]:
    """The image files of a folder, of any format Pillow reads, sorted by name; none where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(
        path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )


def pair_folder(root: Path, pair: str) -> Path:
    """The folder of a pair, however its name is spelled (`BlondHair_Male` or `Blond_Hair_Male`)."""
    if root.is_dir():
        for folder in sorted(root.iterdir()):
            if folder.is_dir() and same_pair(folder.name, pair):
                return folder
    raise UserError(
        f"no folder {root / pair}; generate the images (stable_diffusion/generation.sh) or set --synthetic-data-root"
    )
