"""The tables of the benchmark, a section for each device."""

from dataclasses import dataclass
from pathlib import Path
from statistics import median

from results.study_tables import as_cell, findings
from results.text import as_table

PARTS = ("training", "validation", "ranking", "seed", "growth", "profile", "switches", "generation", "threads")
RATIOS = {"ours : paper's": ("ours", "plain"), "the most possible": ("bare", "plain"), "ours : bare": ("ours", "bare")}
# least ratios: on a CPU, where the network takes most of the time, of ours : bare; on a GPU of ours : paper's
TARGETS = {"training": (0.95, 5), "validation": (0.95, 10), "ranking": (0.9, 5), "seed": (0.9, 6)}
TARGETS["generation"] = (0.95, 1.5)
MOST_GROWTH = 2.05
PARTS_HEADING = ("", "paper's procedure", "ours", "bare network", "", *RATIOS, "target")
SWITCHES_HEADING = ("switch", "without", "with", "", "gain")
THREADS_HEADING = ("threads", "variables", "number", "alone, images/s", "beside a neighbour", "ratio there")


@dataclass(frozen=True)
class Row:
    """Seconds of every turn of each work, and how many images a work takes, if its unit is images/s."""

    seconds: dict[str, list[float]]
    images: int | None = None

    def value(self, work: str) -> float:
        """Return images/s, or seconds if the row counts no images; both of the median turn."""
        seconds = median(self.seconds[work])
        return self.images / seconds if self.images else seconds

    def ratio(self, work: str, reference: str) -> float:
        """Return how many times as fast a work is as another."""
        return median(self.seconds[reference]) / median(self.seconds[work])

    def cells(self, *works: str) -> list[str]:
        """Return the values of works, and their unit."""
        return [*(f"{self.value(work):.2f}" for work in works), "images/s" if self.images else "s"]


def devices(records: Path) -> list[str]:
    """Return a section for the records in the folder, then one for each folder in it."""
    folders = [records, *sorted(path for path in records.iterdir() if path.is_dir())]
    return [line for folder in folders for line in ("", *section(folder))][1:]


def section(folder: Path) -> list[str]:
    """Return all that is recorded of a device; nothing without a record."""
    found = {part: findings(folder, part) for part in PARTS}
    setups = {part: each.pop("setup") for part, each in found.items() if each}
    if not setups:
        return []
    threads, gpu = found.pop("threads"), any(setup.get("type") == "cuda" for setup in setups.values())
    every = [item for each in found.values() for item in each.items()]
    rows = {what: Row(**value) for what, value in every if isinstance(value, dict)}
    notes = [f"- {what}: {value}" for what, value in every if not isinstance(value, dict)]
    if growth := rows.pop("growth", None):
        once, twice = growth.value("once"), growth.value("twice")
        target = f"target: at most {MOST_GROWTH}{', missed' * (twice / once > MOST_GROWTH)}"
        took = f"{twice / once:.2f} times as long ({once:.1f} s and {twice:.1f} s)"
        notes.append(f"- a seed of ours with twice the images ({target}): {took}")
    parts = [compared(name, rows.pop(name), gpu) for name in TARGETS if name in rows]
    gains = [
        (name, *row.cells("without", "with"), f"x {row.ratio('with', 'without'):.2f}") for name, row in rows.items()
    ]
    first = next(iter(setups.values()))
    lines = [
        f"## {first['device']}" + (f", ours in {first['precision of ours']}" if "precision of ours" in first else "")
    ]
    for heading, cells in ((PARTS_HEADING, parts), (SWITCHES_HEADING, gains), (THREADS_HEADING, of_threads(threads))):
        lines += ["", *as_table([heading, *cells])] if cells else []
    texts = {}
    for part, setup in setups.items():
        texts.setdefault(as_cell(setup), []).append(part)
    measured = [f"- {', '.join(parts)}: {text}" for text, parts in texts.items()]
    return [*lines, "", *notes, *[""] * bool(notes), "Measured with:", "", *measured]


def compared(name: str, row: Row, gpu: bool) -> list[str]:
    """Return the cells of a part, all ratios, and the target with a mark if it is missed."""
    key = "ours : paper's" if gpu else "ours : bare"
    missed = " (missed)" if row.ratio(*RATIOS[key]) < TARGETS[name][gpu] else ""
    ratios = [f"{row.ratio(*works):.2f}" for works in RATIOS.values()]
    return [name, *row.cells("plain", "ours", "bare"), *ratios, f"{key} at least {TARGETS[name][gpu]}{missed}"]


def of_threads(settings: dict[str, dict]) -> list[list[str]]:
    """Return a row for each setting of threads; the first one is torch's default."""
    rows, usual = [], median(next(iter(settings.values()))["beside"]) if settings else None
    for name, row in settings.items():
        alone, beside = median(row["alone"]), median(row["beside"])
        variables = " ".join(f"`{key}={value}`" for key, value in row["variables"].items()) or "–"
        rows.append([name, variables, row["threads"], f"{alone:.0f}", f"{beside:.0f}", f"{beside / usual:.2f}"])
    return rows
