"""Synthetic images, from the folders that generation writes: <root>/<pair>/<prompt type>/<cell>/."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from datasets.bias import biased_cell_sizes
from datasets.celeba import cell_names
from datasets.custom import binary_columns, find_images, read_lines
from datasets.faithful import faithful_files, is_listing
from datasets.images import FaceSet, decode_images
from datasets.pairs import Pair, cell_labels, same_pair
from utils.errors import UserError
from utils.files import copies
from utils.seeds import derived_seed

SUFFIXES = frozenset(ext for ext, fmt in Image.registered_extensions().items() if fmt in Image.OPEN)


@dataclass(frozen=True)
class SyntheticSets:
    """The synthetic images that a method works with: where they are drawn from, how many of each cell, and by which seed.

    `balanced_sizes` and `biased_sizes` name the cells of the two sets; `held_out_size` images of each cell, none of
    them in the balanced set, judge a fine-tuned model (0 where none is left). The two sets are drawn independently of
    each other, so they overlap. `left_out` counts, for each cell, the images that are not faithful enough to be in the
    pool; None where none was asked to be.
    """

    pool: FaceSet
    balanced_sizes: dict[str, int]
    biased_sizes: dict[str, int]
    held_out_size: int
    seed: int = 0
    left_out: dict[str, int] | None = None

    @cached_property
    def balanced(self) -> FaceSet:
        """S2 of the paper: the same number of images of each cell."""
        return draw_cells(self.pool, self.balanced_sizes, self._draws("balanced"))

    @cached_property
    def biased(self) -> FaceSet:
        """S1 of the paper: images biased as the real ones are. A method has them if `bias_degree` is one of its options."""
        if not self.biased_sizes:
            raise ValueError("no biased synthetic images: give the method a keyword argument bias_degree: BiasDegree")
        return draw_cells(self.pool, self.biased_sizes, self._draws("biased"))

    @cached_property
    def held_out(self) -> FaceSet | None:
        """The same number of images of each cell, none of the balanced set; None where none is left."""
        if not self.held_out_size:
            return None
        used = np.isin(self.pool.rows, self.balanced.rows)
        rest = self.pool.subset(np.flatnonzero(~used))
        return draw_cells(rest, dict.fromkeys(self.balanced_sizes, self.held_out_size), self._draws("held out"))

    def of_seed(self, seed: int) -> "SyntheticSets":
        """The same, drawn by another seed."""
        return replace(self, seed=seed)

    def _draws(self, name: str) -> np.random.Generator:
        return np.random.default_rng(derived_seed(self.seed, f"draw {name}"))


class SyntheticImages:
    """The synthetic images of a run, of any prompt type; how many to draw for the biased set and to hold out."""

    def __init__(
        self,
        root: Path,
        pair: Pair,
        *,
        number_imbalanced: int,
        number_held_out: int,
        cache: Path,
        decode_size: int | None = None,
        min_faithfulness: float | None = None,
        tested: Sequence[Path] = (),
        device: torch.device,
    ):
        self.root, self.pair, self.cache, self.decode_size, self.device = root, pair, cache, decode_size, device
        self.number_imbalanced, self.number_held_out, self._pools = number_imbalanced, number_held_out, {}
        self.min_faithfulness, self.tested = min_faithfulness, tested

    def sets(
        self, prompt_type: str, balanced: dict[str, int], bias_degree: str | None, *, must_hold_out: bool
    ) -> SyntheticSets:
        """The sets of a method; without a bias degree it draws no biased one.

        Raises `UserError` where the folder of the prompt type is missing or a cell has too few images, held-out ones
        included if they are required.
        """
        biased = {}
        if bias_degree is not None:
            biased = biased_cell_sizes(self.number_imbalanced, bias_degree, self.pair.cells)
        held_out = self.number_held_out if must_hold_out else 0
        needed = {cell: max(size + held_out, biased.get(cell, 0)) for cell, size in balanced.items()}
        pool = self._pool(prompt_type, needed)
        counts = pool.cell_counts()
        left = min(counts[cell] - size for cell, size in balanced.items())
        held_out = min(left, self.number_held_out)
        return SyntheticSets(pool, balanced, biased, held_out, left_out=self._left_out(prompt_type, counts))

    def _left_out(self, prompt_type: str, kept: dict[str, int]) -> dict[str, int] | None:
        if self.min_faithfulness is None:
            return None
        _, files = cell_files(self.root, self.pair, prompt_type)
        return {cell: len(found) - kept[cell] for cell, found in files.items()}

    def _pool(self, prompt_type: str, needed: dict[str, int]) -> FaceSet:
        if prompt_type not in self._pools:
            options = {"decode_size": self.decode_size, "min_faithfulness": self.min_faithfulness}
            pool = synthetic_pool(self.root, self.pair, prompt_type, needed, self.cache, tested=self.tested, **options)
            self._pools[prompt_type] = pool.on(self.device)
        counts = self._pools[prompt_type].cell_counts()
        check_counts(self.root, prompt_type, counts, needed, min_faithfulness=self.min_faithfulness)
        return self._pools[prompt_type]


def check_counts(
    folder: Path,
    prompt_type: str,
    counts: dict[str, int],
    needed: dict[str, int],
    *,
    min_faithfulness: float | None = None,
) -> None:
    """Raise `UserError` where a cell of the images in `folder` has fewer than needed."""
    short = [f"{cell} has {counts[cell]} of {needed[cell]}" for cell in needed if counts[cell] < needed[cell]]
    if short:
        faithful = "" if min_faithfulness is None else f"that --min-faithfulness {min_faithfulness:g} leaves "
        raise UserError(
            f"too few synthetic images {faithful}in {folder} (cells target_protected): {', '.join(short)}; generate more "
            f"(stable_diffusion/generation.sh --images-per-cell {max(needed.values())}"
            f"{'' if prompt_type == 'contextual' else f' --prompt-type {prompt_type}'}) or lower the number that is too high: "
            "--number-balanced-synthetic, --number-imbalanced-synthetic, --number-held-out-synthetic or a method's ratio"
        )


def cell_files(root: Path, pair: Pair, prompt_type: str) -> tuple[Path, dict[str, list[Path]]]:
    """The folder (or CSV file) that the images of a prompt type come from, and those of each cell."""
    if is_listing(root):
        return root, listed_files(root, pair)
    folder = pair_folder(root, pair.name) / prompt_type
    return folder, {cell: image_files(folder / cell) for cell in pair.cells}


def synthetic_pool(
    root: Path,
    pair: Pair,
    prompt_type: str,
    needed: dict[str, int],
    cache: Path,
    *,
    decode_size: int | None = None,
    min_faithfulness: float | None = None,
    tested: Sequence[Path] = (),
) -> FaceSet:
    """All images of the cells, labelled by their folder, sorted by cell and file name.

    A `root` that is a CSV file lists other images in their place: columns image and the pair's 0/1 attributes.

    `needed` names the cells and says how many images of each will be drawn. With `min_faithfulness`, from 0 to 1, images
    that score less are left out. Raises `UserError` if a folder is missing or holds fewer, an image has no score, or is the
    copy of one that is `tested` on.
    """
    folder, files = cell_files(root, pair, prompt_type)
    if min_faithfulness is not None and any(files.values()):
        files = faithful_files(folder, files, min_faithfulness)
    counts = {cell: len(found) for cell, found in files.items()}
    check_counts(folder, prompt_type, counts, needed, min_faithfulness=min_faithfulness)
    paths = [path for cell in needed for path in files[cell]]
    _check_copies(folder, paths, tested)
    labels = np.array([cell_labels(cell) for cell in needed for _ in files[cell]], dtype=np.int64)
    names = tuple(f"{path.parent.name}/{path.name}" for path in paths)
    return FaceSet(
        decode_images(paths, cache, decode_size),
        np.arange(len(paths)),
        labels[:, 0],
        labels[:, 1],
        names,
        tuple(needed),
    )


def _check_copies(folder: Path, paths: list[Path], tested: Sequence[Path]) -> None:
    """Refuse images that are copies of a tested one; print how many are copies of each other, or one image in two formats.

    Links count as copies; one image in two formats has one name, but for the suffix.
    """
    files = [*tested, *paths]
    groups = [group for group in copies(files) if group[-1] >= len(tested)]
    leaks = [group for group in groups if group[0] < len(tested)]
    if leaks:
        raise UserError(
            f"{folder}: {len(leaks)} of its images are test images too, the first is {files[leaks[0][-1]]}, a copy of "
            f"{files[leaks[0][0]]}; take them out: nothing may be trained on what it is tested on"
        )
    if groups:
        number, (first, other, *_) = sum(len(group) - 1 for group in groups), groups[0]
        print(f"{folder}: {number} images are copies of others, each counts: {files[first]} and {files[other]}")
    if twice := [pair for pair in pairwise(paths) if pair[0].with_suffix("") == pair[1].with_suffix("")]:
        print(f"{folder}: {len(twice)} images are there in two formats, each counts: {twice[0][0]} and {twice[0][1]}")


def listed_files(path: Path, pair: Pair) -> dict[str, list[Path]]:
    """The images that a CSV file lists for each cell, sorted. Raises `UserError` as `datasets.custom` does."""
    form = f"it needs the columns image and {', '.join(pair.attributes)}"
    table = read_lines(path, ("image", *pair.attributes), form)
    labels = binary_columns(path, table, pair)
    if labels.isna().any(axis=None):
        raise UserError(f"{path}: line {labels.index[labels.isna().any(axis=1)][0]} has an empty label; {form}")
    table["image"] = find_images(path, table)
    cells = cell_names(labels, pair.target, pair.protected)
    return {cell: sorted(path.parent / name for name in table["image"][cells == cell]) for cell in pair.cells}


def draw_cells(pool: FaceSet, sizes: dict[str, int], generator: np.random.Generator) -> FaceSet:
    """`sizes[cell]` images of each cell, drawn without replacement."""
    chosen = []
    for cell, size in sizes.items():
        target, group = cell_labels(cell)
        members = np.flatnonzero((pool.target == target) & (pool.protected == group))
        chosen.append(generator.choice(members, size=size, replace=False))
    return pool.subset(np.concatenate(chosen))


def image_files(folder: Path) -> list[Path]:
    """The image files of a folder, of any format Pillow reads, sorted by name; none where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(
        path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )


def pair_folder(root: Path, pair: str) -> Path:
    """The folder of a pair, however its name is spelled (`BlondHair_Male` or `Blond_Hair_Male`).

    Raises `UserError` if there is none, or more than one.
    """
    folders = sorted(f for f in root.iterdir() if f.is_dir() and same_pair(f.name, pair)) if root.is_dir() else []
    if len(folders) > 1:
        raise UserError(f"{folders[0]} and {folders[1]} are both of {pair}; move one of them away")
    if folders:
        return folders[0]
    raise UserError(
        f"no folder {root / pair}; generate the images (stable_diffusion/generation.sh) or set --synthetic-data-root"
    )
