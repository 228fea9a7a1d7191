"""A set of images on disk: which are planned, which exist, who may write them, and how the set was begun."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prompts import Prompts
from stable_diffusion import manifest
from stable_diffusion.drawing.contact_sheet import write_contact_sheets
from stable_diffusion.drawing.flat import remove_flat
from stable_diffusion.loading.source import Noted, renamed
from stable_diffusion.plan import Job
from stable_diffusion.recipe import Recipe
from utils.errors import UserError
from utils.files import locked
from utils.processes import Place
from utils.shared_work import Work

PROGRAM = ("-m", "stable_diffusion.generate")


class ImageSet:
    """The images of a pair and prompt type: `jobs` are all that are planned, in `folder`."""

    def __init__(self, folder: Path, jobs: list[Job]):
        self.folder, self.jobs, self._start = folder, jobs, folder / ".start.lock"

    @property
    def noted(self) -> Noted:
        """The settings with which the set was begun, as its manifest keeps them; empty if there is no image yet."""
        return manifest.noted_settings(self.folder)

    def missing(self) -> list[Job]:
        """Return the jobs whose image doesn't exist."""
        there = manifest.existing(self.folder, (job.image for job in self.jobs))
        return [job for job in self.jobs if job.image not in there]

    @property
    def joined(self) -> bool:
        """True if one manifest lists the images of all processes."""
        return [path.name for path in manifest.manifests(self.folder)] == [manifest.NAME]

    @property
    def work(self) -> Work:
        """The set as work for several processes."""
        total = len(self.jobs)
        return Work(PROGRAM, self.folder.absolute() / "logs", lambda: total - len(self.missing()), total, "image")

    def complete(self, model: str) -> bool:
        """Return whether every image exists, and the model need not be loaded to tell whether it drew them."""
        return not self.missing() and not renamed(self.noted, model)

    def check(self, recipe: Recipe) -> None:
        """Raise `UserError`, showing both, if the folder holds images of another recipe, or of none that is known."""
        manifest.check_manifest(self.folder, recipe.noted())

    @contextmanager
    def claim(self, process: Place, save_size: int) -> Iterator[None]:
        """Keep other processes of the same number out of the folder, and remove images that were saved broken.

        Raises `UserError` if another process is at work there.
        """
        with locked(manifest.lock_of(self.folder, process), wait=False) as alone:
            if not alone:
                raise UserError(f"another process generates into {self.folder}; wait for it or choose another --outdir")
            if flat := remove_flat(self.jobs, self.folder, save_size):
                print(f"{flat} images in {self.folder} were of one colour, from an overflow: they are made again")
            yield

    def batch_size(self, recipe: Recipe, asked: int | None, free: Callable[[], int]) -> int:
        """Return the batch size that is asked for, else that with which the set was begun, else `free()`."""
        return asked or manifest.noted_batch_size(self.folder, recipe.noted()) or free()

    def begin(self, recipe: Recipe, process: Place, asked: int | None, free: Callable[[], int]) -> manifest.Manifest:
        """Open this process's manifest. All processes take the `batch_size` of the first.

        Raises `UserError` if another process that is at work in the folder has another recipe.
        """
        with locked(self._start, wait=True):
            manifest.check_running(self.folder, recipe.noted(), process)
            size = self.batch_size(recipe, asked, free)
            jobs = self.jobs if process.count == 1 else []  # of several, `finish` adds what is missing
            return manifest.Manifest(self.folder, recipe.noted(), size, jobs, process)

    def finish(self, recipe: Recipe, prompts: Prompts) -> None:
        """Write one manifest and a contact sheet of each group, once every image exists: the last process does this."""
        with locked(self._start, wait=True):
            if left := len(self.missing()):
                print(f"this process is done; {left} images are left to others, or to the next start")
                return
            manifest.merge_parts(self.folder, recipe.noted(), self.jobs)
            for path in write_contact_sheets(self.folder, prompts, recipe.save_size):
                print(f"contact sheet: {path}")
