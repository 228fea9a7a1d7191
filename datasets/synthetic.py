"""Sets of synthetic images, drawn from a pool by a seed."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from datasets.decoding import decode_images
from datasets.enough import biased_sizes, check_counts, images_needed
from datasets.faithful import faithful_files
from datasets.images import LabelledImages
from datasets.pairs import Pair, labels_in
from datasets.synthetic_files import group_files
from utils.errors import UserError
from utils.files import copies
from utils.seeds import derived_seed


@dataclass(frozen=True)
class SyntheticSets:
    """The synthetic images of a method, drawn from a pool by a seed.

    balanced_sizes, biased_sizes : images of each group in the two sets, which are drawn independently and so overlap
    held_out_size : images of each group, outside the balanced set, on which fine-tuned models are compared; 0 if none
        is left
    left_out : images of each group that are not faithful enough for the pool; None without --min-faithfulness
    """

    pool: LabelledImages
    balanced_sizes: dict[str, int]
    biased_sizes: dict[str, int]
    held_out_size: int
    seed: int = 0
    left_out: dict[str, int] | None = None

    @cached_property
    def balanced(self) -> LabelledImages:
        """The balanced set, S2 of the paper: equally many images of each group."""
        return draw_groups(self.pool, self.balanced_sizes, self._draws("balanced"))

    @cached_property
    def biased(self) -> LabelledImages:
        """The biased set, S1 of the paper, for methods with an option `bias_degree`."""
        if not self.biased_sizes:
            raise ValueError("no biased synthetic images: give the method a keyword argument bias_degree: BiasDegree")
        return draw_groups(self.pool, self.biased_sizes, self._draws("biased"))

    @cached_property
    def held_out(self) -> LabelledImages | None:
        """Equally many images of each group outside the balanced set; None if none is left."""
        if not self.held_out_size:
            return None
        used = np.isin(self.pool.rows, self.balanced.rows)
        rest = self.pool.subset(np.flatnonzero(~used))
        return draw_groups(rest, dict.fromkeys(self.balanced_sizes, self.held_out_size), self._draws("held out"))

    def of_seed(self, seed: int) -> "SyntheticSets":
        """Return the sets drawn by another seed."""
        return replace(self, seed=seed)

    def _draws(self, name: str) -> np.random.Generator:
        return np.random.default_rng(derived_seed(self.seed, f"draw {name}"))


@dataclass(eq=False)
class SyntheticImages:
    """The synthetic images of a run, of any prompt type.

    number_imbalanced : images in a biased set
    number_held_out : images of each group to hold out, or fewer if fewer are left
    tested : test images; no synthetic image may be a copy of one
    """

    root: Path
    pair: Pair
    number_imbalanced: int
    number_held_out: int
    cache: Path
    device: torch.device
    decode_size: int | None = None
    min_faithfulness: float | None = None
    tested: Sequence[Path] = ()
    _pools: dict[str, LabelledImages] = field(default_factory=dict)

    def sets(
        self, prompt_type: str, balanced: dict[str, int], bias_degree: str | None, *, must_hold_out: bool
    ) -> SyntheticSets:
        """Return the sets of a method; without a bias degree there is no biased set.

        Raises `UserError` if the prompt type has no folder, or a group has too few images (with `must_hold_out` for the
        held-out ones, too).
        """
        biased = biased_sizes(self.number_imbalanced, bias_degree, self.pair)
        needed = images_needed(balanced, biased, self.number_held_out if must_hold_out else 0)
        pool = self._pool(prompt_type, needed)
        counts = pool.group_counts()
        left = min(counts[group] - size for group, size in balanced.items())
        held_out = min(left, self.number_held_out)
        left_out = None
        if self.min_faithfulness is not None:
            _, files = group_files(self.root, self.pair, prompt_type)
            left_out = {group: len(found) - counts[group] for group, found in files.items()}
        return SyntheticSets(pool, balanced, biased, held_out, left_out=left_out)

    def _pool(self, prompt_type: str, needed: dict[str, int]) -> LabelledImages:
        if prompt_type not in self._pools:
            options = {"decode_size": self.decode_size, "min_faithfulness": self.min_faithfulness}
            pool = synthetic_pool(self.root, self.pair, prompt_type, needed, self.cache, tested=self.tested, **options)
            self._pools[prompt_type] = pool.on(self.device)
        counts = self._pools[prompt_type].group_counts()
        check_counts(self.root, prompt_type, counts, needed, min_faithfulness=self.min_faithfulness)
        return self._pools[prompt_type]


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
    """Return all synthetic images of a prompt type, sorted by group and file name.

    root : folder that has a folder of each pair, or a CSV file with the columns image and the pair's 0/1 attributes
    needed : images of each group that will be drawn
    min_faithfulness : from 0 to 1; images with a lower score are left out
    tested : test images

    Raises `UserError` if a folder is missing or has too few images, if an image has no score, or if it is a copy of a
    test image.
    """
    folder, files = group_files(root, pair, prompt_type)
    if min_faithfulness is not None and any(files.values()):
        files = faithful_files(folder, files, min_faithfulness)
    counts = {group: len(found) for group, found in files.items()}
    check_counts(folder, prompt_type, counts, needed, min_faithfulness=min_faithfulness)
    paths = [path for group in needed for path in files[group]]
    _check_copies(folder, paths, tested)
    of_group = labels_in(tuple(needed))
    labels = np.array([of_group[group] for group in needed for _ in files[group]], dtype=np.int64)
    names = tuple(f"{path.parent.name}/{path.name}" for path in paths)
    pixels = decode_images(paths, cache, decode_size)
    return LabelledImages(pixels, np.arange(len(paths)), labels[:, 0], labels[:, 1], names, tuple(needed))


def _check_copies(folder: Path, paths: list[Path], tested: Sequence[Path]) -> None:
    """Raise `UserError` for copies of test images; print the number of other copies, and of images in two formats.

    Links count as copies. Images in two formats have the same name except for the suffix.
    """
    files = [*tested, *paths]
    groups = [group for group in copies(files) if group[-1] >= len(tested)]
    leaks = [group for group in groups if group[0] < len(tested)]
    if leaks:
        raise UserError(
            f"{folder}: {len(leaks)} of its images are test images too, the first is {files[leaks[0][-1]]}, a copy of "
            f"{files[leaks[0][0]]}; take them out: no model may be trained on its test images"
        )
    if groups:
        number, (first, other, *_) = sum(len(group) - 1 for group in groups), groups[0]
        print(f"{folder}: {number} images are copies of others, each counts: {files[first]} and {files[other]}")
    if twice := [pair for pair in pairwise(paths) if pair[0].with_suffix("") == pair[1].with_suffix("")]:
        print(f"{folder}: {len(twice)} images are there in two formats, each counts: {twice[0][0]} and {twice[0][1]}")


def draw_groups(pool: LabelledImages, sizes: dict[str, int], generator: np.random.Generator) -> LabelledImages:
    """Draw `sizes[group]` images of each group without replacement."""
    chosen, labels = [], labels_in(pool.groups)
    for group, size in sizes.items():
        target, protected = labels[group]
        members = np.flatnonzero((pool.target == target) & (pool.protected == protected))
        chosen.append(generator.choice(members, size=size, replace=False))
    return pool.subset(np.concatenate(chosen))
