"""Read and write the manifest of a set: how it is drawn, and which images are finished."""

import json
import re
from collections.abc import Iterable
from pathlib import Path

from stable_diffusion.loading.family import PAPER_BATCH
from stable_diffusion.loading.source import Noted
from stable_diffusion.plan import Job
from utils.errors import UserError
from utils.files import locked, write_whole
from utils.processes import ALONE, Place

NAME = "manifest.jsonl"
OTHER = "choose another --outdir (runner.sh: --synthetic-data-root)"
PART = re.compile(r"manifest\.part-(\d+)-of-(\d+)\.jsonl")


def existing(folder: Path, images: Iterable[str]) -> set[str]:
    """Return those of some images, named relative to a set's folder, that are there."""
    return {image for image in images if (folder / image).exists()}


class Manifest:
    """A line with the settings and the batch size, then a line for each finished image.

    It is `manifest.jsonl`; each of several processes writes a part of its own. Opened again, it drops lines whose image
    is gone or that a crash cut off, and adds those images of `jobs` that were finished just before a crash.
    """

    def __init__(self, folder: Path, settings: Noted, batch_size: int, jobs: list[Job], process: Place = ALONE):
        self.folder, self.batch_size, self.process = folder, batch_size, process
        self.path = folder / (NAME if process.count == 1 else f"manifest.part-{process.rank}-of-{process.count}.jsonl")
        folder.mkdir(parents=True, exist_ok=True)
        _write(self.path, settings, batch_size, _noted_images(self.path) | _lines(jobs))

    def add(self, jobs: list[Job]) -> None:
        """Note finished images."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.writelines(job.line + "\n" for job in jobs)


def merge_parts(folder: Path, settings: Noted, jobs: list[Job]) -> None:
    """Put the parts of several processes and the finished images of `jobs` into `manifest.jsonl`, and remove the parts.

    Raises `UserError` if a part was made with other settings.
    """
    whole, parts, noted = folder / NAME, manifests(folder), {}
    for path in parts:
        noted |= _noted_images(path)
    if parts == [whole] and noted.keys() >= {job.image for job in jobs}:
        return
    check_manifest(folder, settings)
    _write(whole, settings, noted_batch_size(folder, settings) or PAPER_BATCH, noted | _lines(jobs))
    for path in parts:
        if path != whole:
            path.unlink()


def manifests(folder: Path) -> list[Path]:
    """Return the manifest and its parts that exist."""
    return [*folder.glob(NAME), *sorted(folder.glob("manifest.part-*.jsonl"))]


def check_manifest(folder: Path, settings: Noted) -> None:
    """Raise `UserError`, showing both, if the folder holds images of other settings, or if nothing says of which.

    A set that notes its generator's `weights` is compared by them, and never by its name.
    """
    if not any(folder.glob("*/*.png")):
        return
    if not manifests(folder):
        raise UserError(f"{folder} holds images and no {NAME}, so nothing tells how they were made; {OTHER}")
    for path in manifests(folder):
        _check_head(path, settings)


def check_running(folder: Path, settings: Noted, process: Place) -> None:
    """Raise `UserError` if another process that generates into the folder now has other settings, images or not."""
    for path in manifests(folder):
        numbers = PART.fullmatch(path.name)
        other = Place(*map(int, numbers.groups())) if numbers else ALONE
        if other[:2] != process[:2]:
            with locked(lock_of(folder, other), wait=False) as free:
                if not free:
                    _check_head(path, settings)


def lock_of(folder: Path, process: Place) -> Path:
    """Return the file that a process locks while it generates into a folder."""
    return folder / f".process-{process.rank}-of-{process.count}.lock"


def _check_head(path: Path, settings: Noted) -> None:
    found = _head(path).get("settings")
    if not isinstance(found, dict):
        raise UserError(f"{path}: the first line should hold the settings; {OTHER}")
    changed = [key for key in {**found, **settings} if found.get(key) != settings.get(key)]
    if "weights" in found and "weights" not in changed:
        changed = [key for key in changed if key != "model"]  # the same generator under another name
    if changed:
        there, asked = (", ".join(f"{key} {values.get(key)!r}" for key in changed) for values in (found, settings))
        raise UserError(f"{path.parent} was made with other settings: {there}; asked for: {asked}; {OTHER}")


def noted_batch_size(folder: Path, settings: Noted) -> int | None:
    """Return the batch size with which a set of these settings was begun and is to be finished; None if it has no images."""
    for head in map(_head, manifests(folder)):
        size = head.get("batch_size")
        if head.get("settings") == settings and isinstance(size, int) and size > 0:
            return size
    return None


def noted_settings(folder: Path) -> Noted:
    """Return the settings with which a set was begun; empty if there are no images, or no line with settings."""
    for head in map(_head, manifests(folder) if any(folder.glob("*/*.png")) else ()):
        if isinstance(head.get("settings"), dict):
            return head["settings"]
    return {}


def _head(path: Path) -> dict:
    """Return the first line's object; empty if it is damaged or cut off."""
    with open(path, encoding="utf-8") as file:
        try:
            head = json.loads(file.readline())
        except ValueError:
            return {}
    return head if isinstance(head, dict) else {}


def _lines(jobs: list[Job]) -> dict[str, str]:
    return {job.image: job.line for job in jobs}


def _write(path: Path, settings: Noted, batch_size: int, lines: dict[str, str]) -> None:
    """Write a manifest with the lines of those images that exist."""
    head, there = json.dumps({"settings": settings, "batch_size": batch_size}), existing(path.parent, lines)
    write_whole(path, "\n".join([head, *(line for image, line in lines.items() if image in there)]) + "\n")


def _noted_images(path: Path) -> dict[str, str]:
    """Return the line of each image; lines that a crash cut off are left out."""
    entries = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines()[1:] if path.exists() else ():
        try:
            entries[json.loads(line)["image"]] = line
        except (ValueError, KeyError, TypeError):
            continue
    return entries
