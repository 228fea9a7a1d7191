"""Progress bars for a terminal, short in a log file."""

import sys

from tqdm import tqdm


def progress(iterable=None, *, desc: str, total: int | None = None, unit: str = "it", initial: int = 0) -> tqdm:
    """Return a tqdm bar; if standard error is no terminal, it prints at most one line every ten seconds."""
    interval = 0.1 if sys.stderr.isatty() else 10.0
    return tqdm(iterable, desc=desc, total=total, unit=unit, initial=initial, mininterval=interval, dynamic_ncols=True)
