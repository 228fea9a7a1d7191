"""What is to be generated, what is there already, and the manifest that says so."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from utils.errors import UserError
from utils.seeds import derived_seed

NAME = "manifest.jsonl"


@dataclass(frozen=True)
class Job:
    """One image: its file (relative to the set's folder), cell, prompt and seed."""

    image: str
    cell: str
    prompt: str
    seed: int


def plan(prompts: dict[str, list[str]], images_per_cell: int, seed: int) -> list[Job]:
    """All images of a set, cell by turn and in each cell prompt by turn, so that every part of it is balanced.

    An image's seed comes from the base seed, its cell and its number alone.
    """
    return [
        Job(f"{cell}/{i:06d}.png", cell, prompts[cell][i % len(prompts[cell])], derived_seed(seed, cell, i))
        for i in range(images_per_cell)
        for cell in prompts
    ]


class Manifest:
    """`manifest.jsonl`: a line with the settings and the batch size, then a line for each finished image.

    Opened again, it forgets lines whose image is gone, drops a line cut off by a crash, and adds the
    images of `done` that were finished just before one.
    """

    def __init__(self, folder: Path, settings: dict, batch_size: int, done: list[Job]):
        self.path = folder / NAME
        folder.mkdir(parents=True, exist_ok=True)
        noted = {image: line for image, line in _noted_images(self.path).items() if (folder / image).exists()}
        present = {job.image: json.dumps(asdict(job)) for job in done}
        lines = [json.dumps({"settings": settings, "batch_size": batch_size}), *{**noted, **present}.values()]
        partial = self.path.with_suffix(".partial")
        partial.write_text("\n".join(lines) + "\n")
        os.replace(partial, self.path)

    def add(self, jobs: list[Job]) -> None:
        """Note finished images."""
        with open(self.path, "a") as file:
            file.writelines(json.dumps(asdict(job)) + "\n" for job in jobs)


def check_manifest(folder: Path, settings: dict) -> None:
    """Raise `UserError`, showing both, where the folder holds images of other settings."""
    path = folder / NAME
    if not path.exists() or not any(folder.glob("*/*.png")):
        return
    try:
        found = json.loads(path.read_text().partition("\n")[0])["settings"]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: the first line should hold the settings; choose another --outdir (runner.sh: --synthetic-data-root)"
        ) from error
    if found != settings:
        changed = [key for key in {**found, **settings} if found.get(key) != settings.get(key)]
        there = ", ".join(f"{key} {found.get(key)!r}" for key in changed)
        asked = ", ".join(f"{key} {settings.get(key)!r}" for key in changed)
        raise UserError(
            f"{folder} was made with other settings: {there}; asked for: {asked}; choose another --outdir (runner.sh: --synthetic-data-root)"
        )


def noted_batch_size(folder: Path) -> int | None:
    """The batch size that a set was begun with, so that it is finished with the same; None for a new one.

    Call it after `check_manifest`, which vouches for the first line.
    """
    path = folder / NAME
    if not path.exists() or not any(folder.glob("*/*.png")):
        return None
    return json.loads(path.read_text().partition("\n")[0]).get("batch_size")


def _noted_images(path: Path) -> dict[str, str]:
    """The line of each image; lines that a crash cut off are left out."""
    entries = {}
    for line in path.read_text().splitlines()[1:] if path.exists() else ():
        try:
            entries[json.loads(line)["image"]] = line
        except (ValueError, KeyError, TypeError):
            continue
    return entries
