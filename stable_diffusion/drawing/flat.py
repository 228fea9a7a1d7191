"""Find images of one colour, which a decoder makes when it overflows; versions before this check saved them as finished."""

from pathlib import Path

from PIL import Image

from stable_diffusion.plan import Job

HEADERS, FRACTION = 300, 100  # bytes of a PNG beside its pixels, of which a single colour takes less than a hundredth


def remove_flat(jobs: list[Job], folder: Path, save_size: int) -> int:
    """Remove the images of one colour among those of `jobs`, so that they count as missing; return how many there were.

    Only files too small for a photograph are opened, so a sound set costs only a look at each file's size.
    """
    limit = HEADERS + 3 * save_size * save_size // FRACTION
    flat = [path for job in jobs if _one_colour(path := folder / job.image, limit)]
    for path in flat:
        path.unlink(missing_ok=True)
    return len(flat)


def _one_colour(path: Path, limit: int) -> bool:
    try:
        if path.stat().st_size > limit:
            return False
        with Image.open(path) as image:
            extrema = image.convert("RGB").getextrema()
    except (OSError, ValueError, SyntaxError):
        return False  # no image yet, or a damaged one, which those who read it will name
    return all(low == high for low, high in extrema)
