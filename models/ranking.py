"""The ranking while the batches come in, and the batch after which its mask has settled: `--ranking-batches auto`."""

from collections.abc import Iterable, Iterator

import pandas as pd
import torch

from models.selection import GradientSum, gaps, sensitivity_table, smallest_k

SETS = ("real", "biased", "balanced")
PATIENCE = 20  # batches without a change after which a mask counts as settled: results/records/ranking_stop/README.md


class RunningRanking:
    """The sensitivity tables after the first batch of each set, after the second, and so on; iterate as often as you like.

    `sums` holds a `GradientSum` for each of `SETS`, on `device`. They go in lockstep; one whose set is at its end keeps its
    mean, which is then whole, and the others go on. So the last table is the full ranking's. Every table is made once, when it
    is first asked for, and kept: methods that choose differently (k, measure) stop at different tables, and what one of them gets
    does not depend on who came before. Gradients are not kept, but for the sums that may have to go on.

    Each set has a stream of dropout's draws of its own, which begins as torch's global one is when this is made.

    Raises `ValueError`, on iterating, where a set has no batch.
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
        """Add a batch of each set that has one left, and the table after it; False where none has."""
        added = [self._add(name) for name in self._sums]
        if not any(added):
            self._sums = {}  # nothing can be added any more: let the memory go
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
    """The first of a `RunningRanking`'s tables whose mask is that of each of the `patience` tables before it, and True.

    The mask is what `models.selection.choose_tensors` picks; an empty one is no mask. Without such a table, the last one and
    False. Raises `ValueError` where there is no table.
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
    """What `models.selection.choose_tensors` picks from a table, or nothing where that raises `UserError` for an empty mask."""
    return {name for name, k in smallest_k(*gaps(table, measure)).items() if k <= top_k}


def with_batches(table: pd.DataFrame, batches: dict[str, int]) -> pd.DataFrame:
    """A sensitivity table with a column for each set that says how many of its batches were used: real_batches, ..."""
    return table.assign(**{f"{name}_batches": count for name, count in batches.items()})


def batches_used(tables: dict[str, pd.DataFrame]) -> dict[str, dict[str, int]]:
    """For the record of a method with these tables: how many batches of each set its ranking used, as `with_batches` noted.

    Empty for a method without a ranking, and for one that took every batch because nothing else was asked for.
    """
    table = tables.get("sensitivity")
    if table is None or f"{SETS[0]}_batches" not in table:
        return {}
    return {"ranking_batches": {name: int(table[f"{name}_batches"].iloc[0]) for name in SETS}}


def _random_state(device: torch.device) -> list[torch.Tensor]:
    """The states of the generators that dropout draws from: the CPU's, and that of another device."""
    return [torch.get_rng_state(), *([] if device.type == "cpu" else [_module(device).get_rng_state(*_place(device))])]


def _set_random_state(device: torch.device, states: list[torch.Tensor]) -> None:
    torch.set_rng_state(states[0])
    for state in states[1:]:
        _module(device).set_rng_state(state, *_place(device))


def _module(device: torch.device):
    return torch.get_device_module(device)


def _place(device: torch.device) -> tuple:
    return () if device.type == "mps" else (device,)  # torch.mps knows one device alone
