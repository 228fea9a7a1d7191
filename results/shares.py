"""Where the seconds of a work go, by Python's profiler."""

import cProfile
import pstats
from collections.abc import Callable, Mapping


def shares(work: Callable[[], object], kinds: Mapping[str, str]) -> dict[str, float]:
    """Do a work, and return the fraction of its seconds that each kind of call takes, and "rest".

    The profiler adds a little to each call of Python, so it is for works whose calls are long.

    kinds : a part of the name of the functions of each kind

    Raises `ValueError` if the kinds have more seconds than the work, because such functions call each other.
    """
    profile = cProfile.Profile()
    profile.runcall(work)
    stats = pstats.Stats(profile)
    seconds = dict.fromkeys(kinds, 0.0)
    for (*_, function), (*_, with_what_it_calls, _) in stats.stats.items():
        for kind, part in kinds.items():
            seconds[kind] += with_what_it_calls * (part in function)
    found = {kind: value / stats.total_tt for kind, value in seconds.items()}
    if (rest := 1 - sum(found.values())) < -1e-6:
        raise ValueError(f"the kinds take {1 - rest:.2f} of the work, so their functions call each other: {found}")
    return {**found, "rest": rest}
