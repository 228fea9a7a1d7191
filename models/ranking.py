"""The ranking batch by batch, and an early end once its mask no longer changes: `--ranking-batches auto`."""

from collections.abc import Iterable, Iterator

import pandas as pd
import torch

from models.selection import GradientSum, gaps, sensitivity_table, smallest_k

SETS = ("real", "biased", "balanced")


class RunningRanking:
    """The sensitivity tables after the first batch of each set, the second, and so on; can be iterated repeatedly.

    `sums` holds a `GradientSum` for each of `SETS`, on `device`. A set without further batches keeps its mean while the
    others continue, so the last table is the full ranking's. Each table is made once and kept: methods stop at
    different tables, and the result of a method must not depend on the methods before it.

    Each set has its own stream of dropout's draws, which starts at torch's global state at construction.
    Iterating raises `ValueError` if a set has no batch.
    """

    def __init__(self, sums: dict[str, GradientSum], device: torch.device):
        self._sums, self._device, self._tables = dict(sums), device, []
        self._draws = dict.fromkeys(sums, _random_state(device))

    def __iter__(self) -> Iterator[pd.DataFrame]:
        place = 0
        while place < len(self._tables) or self._go_on():
            yield self._tables[place]
            place += 1

    def _go_on(self) -> bool:
        """Add the next batch of each set and the resulting table; return False if no set has a batch left."""
        added = [self._add(name) for name in self._sums]
        if not any(added):
            self._sums = {}  # no longer needed: free the memory
            return False
        table = sensitivity_table(*(self._sums[name].mean() for name in SETS))
        self._tables.append(with_batches(table, {name: self._sums[name].count for name in SETS}))
        return True

    def _add(self, name: str) -> bool:
        _set_random_state(self._device, self._draws[name])
        added = self._sums[name].add()
        self._draws[name] = _random_state(self._device)
        return added


def until_settled(tables: Iterable[pd.DataFrame], top_k: int, measure: str, patience: int) -> tuple[pd.DataFrame, bool]:
    """Return the first table of a `RunningRanking` whose mask equals those of the `patience` tables before, and True.

    If there is none, return the last table and False. An empty mask never counts as equal. Raises `ValueError` if there
    is no table.
    """
    table, before, same = None, set(), 0
    for table in tables:
        mask = mask_of(table, top_k, measure)
        same = same + 1 if mask and mask == before else 0
        before = mask
        if same == patience:
            return table, True
    if table is None:
        raise ValueError("no table to take a mask from")
    return table, False


def mask_of(table: pd.DataFrame, top_k: int, measure: str = "absolute") -> set[str]:
    """Return the names that `choose_tensors` would choose; an empty set if it would raise `UserError`."""
    return {name for name, k in smallest_k(*gaps(table, measure)).items() if k <= top_k}


def with_batches(table: pd.DataFrame, batches: dict[str, int]) -> pd.DataFrame:
    """Return a sensitivity table with the number of batches used of each set in columns: real_batches, ..."""
    return table.assign(**{f"{name}_batches": count for name, count in batches.items()})


def batches_used(tables: dict[str, pd.DataFrame]) -> dict[str, dict[str, int]]:
    """Return the record's entry on the batches that a ranking used, from a method's tables (`with_batches`).

    It is empty for a method without a ranking, and if --ranking-batches was not given.
    """
    table = tables.get("sensitivity")
    if table is None or f"{SETS[0]}_batches" not in table:
        return {}
    return {"ranking_batches": {name: int(table[f"{name}_batches"].iloc[0]) for name in SETS}}


def _random_state(device: torch.device) -> list[torch.Tensor]:
    """Return the states of the generators of dropout: the CPU's, and the device's if it is another."""
    return [torch.get_rng_state(), *([] if device.type == "cpu" else [_module(device).get_rng_state(*_place(device))])]


def _set_random_state(device: torch.device, states: list[torch.Tensor]) -> None:
    torch.set_rng_state(states[0])
    for state in states[1:]:
        _module(device).set_rng_state(state, *_place(device))


def _module(device: torch.device):
    return torch.get_device_module(device)


def _place(device: torch.device) -> tuple:
    return () if device.type == "mps" else (device,)  # torch.mps has a single device
