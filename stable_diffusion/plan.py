"""Plan a set of images: which one gets which prompt and seed."""

import json
from dataclasses import dataclass

from utils.seeds import derived_seed


@dataclass(frozen=True)
class Job:
    """One image: its file (relative to the set's folder), group (in the manifest: cell), prompt and seed."""

    image: str
    group: str
    prompt: str
    seed: int

    @property
    def line(self) -> str:
        """The image's line of the manifest, in JSON. Its key for the group is older than the word."""
        return json.dumps({"image": self.image, "cell": self.group, "prompt": self.prompt, "seed": self.seed})


def plan(prompts: dict[str, list[str]], images_per_cell: int, seed: int) -> list[Job]:
    """Return all images of a set, group by turn and in each group prompt by turn, so that every part of it is balanced.

    An image's seed comes from the base seed, its group and its number alone.
    """
    return [
        Job(f"{group}/{i:06d}.png", group, prompts[group][i % len(prompts[group])], derived_seed(seed, group, i))
        for i in range(images_per_cell)
        for group in prompts
    ]
