"""Finds synthetic images: in generation's folders <root>/<pair>/<prompt type>/<group>/, or by a CSV file that lists them."""

from pathlib import Path

from PIL import Image

from datasets.celeba import group_names
from datasets.columns import value_columns
from datasets.custom import find_images, read_lines
from datasets.faithful import is_listing
from datasets.pairs import Pair, same_pair
from utils.errors import UserError

SUFFIXES = frozenset(ext for ext, fmt in Image.registered_extensions().items() if fmt in Image.OPEN)


def group_files(root: Path, pair: Pair, prompt_type: str) -> tuple[Path, dict[str, list[Path]]]:
    """Return the folder (or CSV file) of a prompt type, and the images of each group in it."""
    if is_listing(root):
        return root, listed_files(root, pair)
    folder = pair_folder(root, pair.name) / prompt_type
    return folder, {group: image_files(folder / group) for group in pair.groups}


def existing_files(root: Path, pair: Pair, prompt_type: str) -> dict[str, list[Path]]:
    """Return the images of each group that exist, which may be none yet. Raises `UserError` if `root` is a listing with a fault."""
    try:
        return group_files(root, pair, prompt_type)[1]
    except UserError:
        if is_listing(root):
            raise
        return {group: [] for group in pair.groups}


def listed_files(path: Path, pair: Pair) -> dict[str, list[Path]]:
    """Return the images of each group in a CSV file, sorted. Raises `UserError` as `datasets.custom` does."""
    form = f"it needs the columns image and {', '.join(pair.attributes)}"
    table = read_lines(path, ("image", *pair.attributes), form)
    labels = value_columns(path, table, pair)
    table["image"] = find_images(path, table)
    groups = group_names(labels, pair)
    return {group: sorted(path.parent / name for name in table["image"][groups == group]) for group in pair.groups}


def image_files(folder: Path) -> list[Path]:
    """Return the image files of a folder, of any format of Pillow, sorted by name; none if there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))


def pair_folder(root: Path, pair: str) -> Path:
    """Return the folder of a pair in any spelling (`BlondHair_Male` or `Blond_Hair_Male`).

    Raises `UserError` unless there is exactly one.
    """
    folders = sorted(f for f in root.iterdir() if f.is_dir() and same_pair(f.name, pair)) if root.is_dir() else []
    if len(folders) > 1:
        raise UserError(f"{folders[0]} and {folders[1]} are both of {pair}; move one of them away")
    if folders:
        return folders[0]
    raise UserError(
        f"no folder {root / pair}; generate the images (stable_diffusion/generation.sh) or set --synthetic-data-root"
    )
