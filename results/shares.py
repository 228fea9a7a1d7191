"""What fraction of its time a function spends in each kind of call, by Python's profiler."""

import cProfile
import pstats
from collections.abc import Callable, Mapping


def shares(work: Callable[[], object], kinds: Mapping[str, str]) -> dict[str, float]:
    """Call `work`, and return the fraction of its time that each kind of call takes, and "rest".

    The profiler slows every call of a Python function a little, so the calls should be few and long.

    kinds : for each kind a part of its functions' names

    Raises `ValueError` if the kinds take more time than `work`, because functions of one call those of another.
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
        raise ValueError(f"the kinds take {1 - rest:.2f} of the time, so their functions call each other: {found}")
    return {**found, "rest": rest}
