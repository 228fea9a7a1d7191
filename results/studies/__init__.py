"""What a study is made of: `Study`, `Arm`, `Finding`. Each module here holds one value `STUDY` for `python -m results.study`.

A study consists of arms. An arm is one configuration and one folder of records, in one of two forms:

- With `methods` it calls train.py, in a process for each seed, with the study's `common` flags and its own `flags`. In a flag
  {data}, {weights} and {work} stand for --data, --weights and a scratch folder that all arms share. If training diverges, the
  arm's diverged.json notes it and the other methods go on. `program="runner.sh"` runs the whole chain, in one process.
  `words` splits flags that are written as in a shell.
- With `measure`, a function that takes a `Place` and yields `Finding`s, it calls that function in a process of its own. The
  findings go to <arm>.json with status, seconds and command. If an arm fails or meets its `limit`, it keeps what it found until
  then, and the next call tries it again.

If an arm depends on earlier records, `then` makes it: it gets the folder of the runs and returns further arms, none as long as
a record that it needs is missing. It is asked again whenever the arms so far have ended.

A page is a function of the packed records alone: the same records give the same bytes. `body` is its text: Markdown, and
functions that take the folder of packed records and return lines of Markdown. The commands and the machines are added below.
If a study has more pages or figures, `pages` writes them. `results/study_tables.py` has the tables that studies share.
A study imports no other study, and nothing that loads torch at import time: `late` imports a measure when it is called.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

from utils.errors import UserError


@dataclass(frozen=True)
class Finding:
    """One measured value; `holds` says whether a claim holds, None for a number without a claim."""

    what: str
    value: object  # float, str, bool, or a list or dict of them
    holds: bool | None = None


@dataclass(frozen=True)
class Place:
    """Scratch folder, folder of the study's records, and the command line's values, for the run of an arm."""

    work: Path
    output: Path
    device: str = "auto"
    small: bool = False
    data: Path | None = None
    weights: Path | None = None

    def fill(self, flags: tuple[str, ...]) -> list[str]:
        """Return flags with this call's values for {data}, {weights} and {work}. Raises `UserError` if one was not given."""
        for name in ("data", "weights"):
            if any(f"{{{name}}}" in flag for flag in flags):
                self.given(name, f"an arm has the flags {' '.join(flags)}")
        return [flag.format(**asdict(self)) for flag in flags]

    def given(self, name: str, why: str) -> Path:
        """Return --data or --weights. Raises `UserError` that says why it is needed if it was not given."""
        if not getattr(self, name):
            raise UserError(f"--{name} is needed: {why}")
        return getattr(self, name)


@dataclass(frozen=True)
class Arm:
    """One configuration, recorded in the folder `name` of the study's records.

    erm_of : name of the arm whose biased models are copied first; that arm comes before this one
    limit : seconds
    after : names of arms that must have ended before, if they run at all
    together : one process for all seeds, because something is chosen once for all of them
    """

    name: str
    flags: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (100, 200, 300)
    erm_of: str = ""
    measure: Callable[[Place], Iterator[Finding]] | None = None
    limit: float | None = None
    after: tuple[str, ...] = ()
    program: str = "train.py"
    together: bool = False


@dataclass(frozen=True)
class Study:
    """An experiment: its arms, and its page. `note` stands below the commands."""

    title: str
    body: tuple[str | Callable[[Path], list[str]], ...]
    arms: tuple[Arm, ...]
    common: tuple[str, ...] = ()
    then: Callable[[Path], tuple[Arm, ...]] | None = None
    pages: Callable[[Path, Path], None] | None = None  # (records, folder to write to)
    note: str = ""

    def arms_in(self, folder: Path) -> tuple[Arm, ...]:
        """Return all arms, those that follow from the records in `folder` included."""
        return (*self.arms, *(self.then(folder) if self.then else ()))


def words(flags: str) -> tuple[str, ...]:
    """Return flags, written as in a shell, one by one."""
    return tuple(flags.split())


def unbiased(path: str, balanced: int, imbalanced: int, held_out: int) -> tuple[str, ...]:
    """Return the flags of unbiased images below --data: how many of each group, how many biased ones, how many of each group held out."""
    numbers = f"--number-balanced-synthetic {balanced} --number-imbalanced-synthetic {imbalanced} --number-held-out-synthetic {held_out}"
    return words(f"--synthetic-data-root {{data}}/{path} {numbers}")


T2I = unbiased("t2i_faces/faces.csv", 100, 240, 29)  # all faces of SDXL, FLUX and Stable Diffusion 3


def late(function: str, *values: object) -> Callable[[Place], Iterator[Finding]]:
    """Return a measure that imports `function` when it is called, and gives it `values` before the place.

    function : below results.studies, such as "ranking_stop.measure.batches"
    """

    def measure(place: Place) -> Iterator[Finding]:
        module, _, name = function.rpartition(".")
        yield from getattr(import_module(f"{__name__}.{module}"), name)(*values, place)

    return measure
