"""Plan a set of images: which one gets which prompt and seed."""

from dataclasses import dataclass

from utils.seeds import derived_seed


@dataclass(frozen=True)
class Job:
    """One image: its file (relative to the set's folder), group (in the manifest: cell), prompt and seed."""

    image: str
    cell: str
    prompt: str
    seed: int


def plan(prompts: dict[str, list[str]], images_per_cell: int, seed: int) -> list[Job]:
    """Return all images of a set, group by turn and in each group prompt by turn, so that every part of it is balanced.

    An image's seed comes from the base seed, its group and its number alone.
    """
    return [
        Job(f"{cell}/{i:06d}.png", cell, prompts[cell][i % len(prompts[cell])], derived_seed(seed, cell, i))
        for i in range(images_per_cell)
        for cell in prompts
    ]
