"""The estimated cost of a run: rows, one for each stage, and the table that shows them.

python -m utils.cost ROWS        # prints the table of the rows that dry runs have written to the file ROWS
"""

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from utils.errors import UserError, command_line

if TYPE_CHECKING:
    import torch

GENERATION = "generation"
ASSUMED = (
    "estimated from a few timed steps of each stage, assuming an idle machine; what is recorded already "
    "costs nothing, a training that was interrupted counts whole"
)


@dataclass(frozen=True)
class Row:
    """The cost of one stage.

    key : names what is made; rows of one key cost once
    seconds : in all seeds together; None if not measured
    seeds : number of seeds that pay for it; 0 if they share it
    disk : bytes
    memory : bytes, the peak of the process on a CPU, else of the GPU
    note : printed below the table
    """

    stage: str
    key: str
    images: int = 0
    seconds: float | None = 0.0
    seeds: int = 0
    disk: int = 0
    memory: int = 0
    note: str = ""


def cost_table(rows: Iterable[Row]) -> str:
    """Return an estimate as a table: one line for each stage, generation first, and the sum."""
    rows = sorted(unique(rows), key=lambda row: row.stage != GENERATION)
    stages = list(dict.fromkeys(row.stage for row in rows))
    lines = [("stage", "images", "a seed", "in all", "disk", "memory")]
    lines += [_line(stage, [row for row in rows if row.stage == stage]) for stage in stages]
    lines.append(_line("in all", rows))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip() for line in lines]
    notes = [f"  {note}" for note in dict.fromkeys(row.note for row in rows) if note]
    return "\n".join([ASSUMED, *shown, *notes])


def unique(rows: Iterable[Row]) -> list[Row]:
    """Return one row for each key: the one that takes longest."""
    kept = {}
    for row in rows:
        if row.key not in kept or _known(row) > _known(kept[row.key]):
            kept[row.key] = row
    return list(kept.values())


def add_rows(path: Path, rows: Iterable[Row]) -> None:
    """Append rows to a file, one line of JSON for each."""
    with open(path, "a", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(row)) + "\n" for row in rows)


def read_rows(path: Path) -> list[Row]:
    """Read the rows that `add_rows` wrote."""
    return [Row(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def check_flags(dry_run: bool, **flags: object) -> None:
    """Raise `UserError` if one of the `flags`, which are for a dry run, is given without it: the command would start hours of work."""
    given = [name.replace("_", "-") for name, value in flags.items() if value]
    if given and not dry_run:
        raise UserError(f"--{given[0]} is for a dry run: add --dry-run, or leave it out")


def report(rows: list[Row], path: Path | None) -> None:
    """Print the table of an estimate, or append its rows to the file `path`, to be shown with others later."""
    if path:
        add_rows(path, rows)
    else:
        print(cost_table(rows))


def peak_memory(device: "torch.device") -> int:
    """Return the peak memory in bytes: of torch on a GPU, else of this process."""
    import torch  # takes a second to load, too long for printing a table

    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else resident_memory()


def resident_memory(children: bool = False) -> int:
    """Return the peak main memory of this process, or with `children` of its ended child processes, in bytes."""
    import resource  # missing on Windows

    who = resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF
    return resource.getrusage(who).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def duration(seconds: float) -> str:
    """Return a time as seconds, minutes or hours, whichever reads best."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def size(count: int) -> str:
    """Return a number of bytes as MB or GB."""
    return f"{count / 1e6:.0f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"


def _line(stage: str, rows: list[Row]) -> tuple[str, ...]:
    unmeasured = any(row.seconds is None for row in rows)
    per_seed = sum(_known(row) / row.seeds for row in rows if row.seeds)
    total = sum(map(_known, rows))
    disk, memory = sum(row.disk for row in rows), max((row.memory for row in rows), default=0)
    images = sum(row.images for row in rows)
    return (
        stage,
        f"{images:,}" if images and stage != "in all" else "",
        duration(per_seed) if any(row.seeds for row in rows) else "",
        ("more than " + duration(total) if total else "not measured") if unmeasured else duration(total),
        size(disk) if disk else "",
        size(memory) if memory else "",
    )


def _known(row: Row) -> float:
    return row.seconds or 0.0


if __name__ == "__main__":
    command_line(lambda: print(cost_table(read_rows(Path(sys.argv[1])))))
