"""Helpers of all arms: an empty working folder, and environment variables for processes."""

import shutil
from pathlib import Path

from results.studies import Place

ONE_THREAD = {"OMP_NUM_THREADS": "1"}  # for what runs beside many others; what a GPU computes needs no more
TWO_THREADS = {"OMP_NUM_THREADS": "2"}
FEW_THREADS = {"OMP_NUM_THREADS": "4"}  # for what is computed on the CPU
COMPILERS = {**ONE_THREAD, "TORCHINDUCTOR_COMPILE_THREADS": "4"}  # leaves cores to what runs beside them


def empty(place: Place, name: str) -> Path:
    """Return an arm's own folder, without what an earlier attempt left there."""
    shutil.rmtree(place.work / name, ignore_errors=True)
    return place.work / name
