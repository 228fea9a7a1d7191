"""Find images of one colour, which a decoder makes when it overflows; versions before this check saved them as finished."""

from pathlib import Path

from PIL import Image

from stable_diffusion.plan import Job

HEADERS, FRACTION = (
    300,
    100,
)  # bytes of a PNG beside its pixels; a single colour takes up far less than this part of them


def remove_flat(jobs: list[Job], folder: Path, save_size: int) -> int:
    """Remove the images of one colour among those of `jobs`, so that they count as missing; return how many there were.

    Only files too small for a photograph are opened, so a sound set costs only a look at each file's size.
    """
    limit = HEADERS + 3 * save_size * save_size // FRACTION
    small = [folder / job.image for job in jobs if 0 <= _size(folder / job.image) <= limit]
    flat = [path for path in small if _one_colour(path)]
    for path in flat:
        path.unlink(missing_ok=True)
    return len(flat)


def _size(path: Path) -> int:
    """Return the bytes of a file, -1 if there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def _one_colour(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            extrema = image.convert("RGB").getextrema()
    except (OSError, ValueError, SyntaxError):
        return False  # no image: those who read it will name it
    return all(low == high for low, high in extrema)
