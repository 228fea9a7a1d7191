"""Synthetic images, from the folders that generation writes: <root>/<pair>/<prompt type>/<group>/."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from datasets.bias import biased_group_sizes
from datasets.celeba import group_names
from datasets.custom import binary_columns, find_images, read_lines
from datasets.faithful import faithful_files, is_listing
from datasets.images import LabelledImages, decode_images
from datasets.pairs import Pair, group_labels, same_pair
from utils.errors import UserError
from utils.files import copies
from utils.seeds import derived_seed

SUFFIXES = frozenset(ext for ext, fmt in Image.registered_extensions().items() if fmt in Image.OPEN)


@dataclass(frozen=True)
class SyntheticSets:
    """The synthetic images that a method works with: where they are drawn from, how many of each group, and by which seed.

    `balanced_sizes` and `biased_sizes` name the groups of the two sets; `held_out_size` images of each group, none of
    them in the balanced set, judge a fine-tuned model (0 where none is left). The two sets are drawn independently of
    each other, so they overlap. `left_out` counts, for each group, the images that are not faithful enough to be in the
    pool; None where none was asked to be.
    """

    pool: LabelledImages
    balanced_sizes: dict[str, int]
    biased_sizes: dict[str, int]
    held_out_size: int
    seed: int = 0
    left_out: dict[str, int] | None = None

    @cached_property
    def balanced(self) -> LabelledImages:
        """S2 of the paper: the same number of images of each group."""
        return draw_groups(self.pool, self.balanced_sizes, self._draws("balanced"))

    @cached_property
    def biased(self) -> LabelledImages:
        """S1 of the paper: images biased as the real ones are. A method has them if `bias_degree` is one of its options."""
        if not self.biased_sizes:
            raise ValueError("no biased synthetic images: give the method a keyword argument bias_degree: BiasDegree")
        return draw_groups(self.pool, self.biased_sizes, self._draws("biased"))

    @cached_property
    def held_out(self) -> LabelledImages | None:
        """The same number of images of each group, none of the balanced set; None where none is left."""
        if not self.held_out_size:
            return None
        used = np.isin(self.pool.rows, self.balanced.rows)
        rest = self.pool.subset(np.flatnonzero(~used))
        return draw_groups(rest, dict.fromkeys(self.balanced_sizes, self.held_out_size), self._draws("held out"))

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

        Raises `UserError` where the folder of the prompt type is missing or a group has too few images, held-out ones
        included if they are required.
        """
        biased = {}
        if bias_degree is not None:
            biased = biased_group_sizes(self.number_imbalanced, bias_degree, self.pair.groups)
        held_out = self.number_held_out if must_hold_out else 0
        needed = {group: max(size + held_out, biased.get(group, 0)) for group, size in balanced.items()}
        pool = self._pool(prompt_type, needed)
        counts = pool.group_counts()
        left = min(counts[group] - size for group, size in balanced.items())
        held_out = min(left, self.number_held_out)
        return SyntheticSets(pool, balanced, biased, held_out, left_out=self._left_out(prompt_type, counts))

    def _left_out(self, prompt_type: str, kept: dict[str, int]) -> dict[str, int] | None:
        if self.min_faithfulness is None:
            return None
        _, files = group_files(self.root, self.pair, prompt_type)
        return {group: len(found) - kept[group] for group, found in files.items()}

    def _pool(self, prompt_type: str, needed: dict[str, int]) -> LabelledImages:
        if prompt_type not in self._pools:
            options = {"decode_size": self.decode_size, "min_faithfulness": self.min_faithfulness}
            pool = synthetic_pool(self.root, self.pair, prompt_type, needed, self.cache, tested=self.tested, **options)
            self._pools[prompt_type] = pool.on(self.device)
        counts = self._pools[prompt_type].group_counts()
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
    """Raise `UserError` where a group of the images in `folder` has fewer than needed."""
    short = [f"{group} has {counts[group]} of {needed[group]}" for group in needed if counts[group] < needed[group]]
    if short:
        faithful = "" if min_faithfulness is None else f"that --min-faithfulness {min_faithfulness:g} leaves "
        raise UserError(
            f"too few synthetic images {faithful}in {folder} (groups target_protected): {', '.join(short)}; generate more "
            f"(stable_diffusion/generation.sh --images-per-cell {max(needed.values())}"
            f"{'' if prompt_type == 'contextual' else f' --prompt-type {prompt_type}'}) or lower the number that is too high: "
            "--number-balanced-synthetic, --number-imbalanced-synthetic, --number-held-out-synthetic or a method's ratio"
        )


def group_files(root: Path, pair: Pair, prompt_type: str) -> tuple[Path, dict[str, list[Path]]]:
    """The folder (or CSV file) that the images of a prompt type come from, and those of each group."""
    if is_listing(root):
        return root, listed_files(root, pair)
    folder = pair_folder(root, pair.name) / prompt_type
    return folder, {group: image_files(folder / group) for group in pair.groups}


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
) -> LabelledImages:
    """All images of the groups, labelled by their folder, sorted by group and file name.

    A `root` that is a CSV file lists other images in their place: columns image and the pair's 0/1 attributes.

    `needed` names the groups and says how many images of each will be drawn. With `min_faithfulness`, from 0 to 1, images
    that score less are left out. Raises `UserError` if a folder is missing or holds fewer, an image has no score, or is the
    copy of one that is `tested` on.
    """
    folder, files = group_files(root, pair, prompt_type)
    if min_faithfulness is not None and any(files.values()):
        files = faithful_files(folder, files, min_faithfulness)
    counts = {group: len(found) for group, found in files.items()}
    check_counts(folder, prompt_type, counts, needed, min_faithfulness=min_faithfulness)
    paths = [path for group in needed for path in files[group]]
    _check_copies(folder, paths, tested)
    labels = np.array([group_labels(group) for group in needed for _ in files[group]], dtype=np.int64)
    names = tuple(f"{path.parent.name}/{path.name}" for path in paths)
    return LabelledImages(
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
    """The images that a CSV file lists for each group, sorted. Raises `UserError` as `datasets.custom` does."""
    form = f"it needs the columns image and {', '.join(pair.attributes)}"
    table = read_lines(path, ("image", *pair.attributes), form)
    labels = binary_columns(path, table, pair)
    if labels.isna().any(axis=None):
        raise UserError(f"{path}: line {labels.index[labels.isna().any(axis=1)][0]} has an empty label; {form}")
    table["image"] = find_images(path, table)
    groups = group_names(labels, pair.target, pair.protected)
    return {group: sorted(path.parent / name for name in table["image"][groups == group]) for group in pair.groups}


def draw_groups(pool: LabelledImages, sizes: dict[str, int], generator: np.random.Generator) -> LabelledImages:
    """`sizes[group]` images of each group, drawn without replacement."""
    chosen = []
    for group, size in sizes.items():
        target, protected = group_labels(group)
        members = np.flatnonzero((pool.target == target) & (pool.protected == protected))
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
