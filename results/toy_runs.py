"""Small runs of train.py on toy faces, which studies compare: their faces, kills in the middle, and files that differ."""

import sys
from collections.abc import Iterable
from pathlib import Path

from results.processes import kill_once, together
from utils.errors import UserError
from utils.files import locked, write_whole
from utils.records import ROOT

SEED = 1
FACES = {"train": 7600, "val": 800, "test": 1600}  # as runner.sh draws them
METHODS = ("erm", "aim-fair")  # the two trainings of a run with --methods aim-fair
BYTES = tuple(f"*/seed_{SEED}/{name}" for name in ("model.safetensors", "test_predictions.csv"))


def train(*flags) -> list:
    """Return the command of train.py with these flags and one seed."""
    return [sys.executable, ROOT / "train.py", "--seeds", SEED, *flags]


def draw_faces(folder: Path, counts: dict[str, int], others: int) -> tuple[Path, Path]:
    """Return a folder of toy faces in CelebA's layout, and a CSV file of `others` more that stand for generated ones.

    Several processes may call this; the first one draws.
    """
    from datasets.celeba import image_folder, split_attributes

    with locked(folder.parent / f"{folder.name}.lock", wait=True):
        if not (folder / "others.csv").exists():
            draw = [sys.executable, "-m", "datasets.toy", "--output"]
            sizes = [part for split, count in counts.items() for part in (f"--{split}", count)]
            more = ["--train", others, "--val", 0, "--test", 0, "--seed", 4]
            together({"real": [*draw, folder / "real", *sizes], "others": [*draw, folder / "others", *more]}, folder)
            labels = split_attributes(folder / "others")["train"][["Smiling", "Male"]].gt(0).astype(int)
            images = image_folder(folder / "others").relative_to(folder)
            labels.index = [(images / name).as_posix() for name in labels.index]
            write_whole(folder / "others.csv", labels.to_csv(index_label="image"))
    return folder / "real", folder / "others.csv"


def kill_and_resume(command: list, output: Path) -> None:
    """Run train.py into `output`; kill it at the first checkpoint of each of `METHODS`, then run it to its end.

    Raises `UserError` if it fails, or ends before it could be killed.
    """
    command = [*command, "--output", output, "--checkpoint-seconds", 0]
    for method in METHODS:
        unfinished = output / method / f".seed_{SEED}.unfinished"
        kill_once(lambda folder=unfinished: any(folder.glob("*.pt")), command, output.with_suffix(f".{method}.log"))
        if not unfinished.exists():
            raise UserError(f"{output} has no unfinished {method}: it ended just before it was killed")
    together({output.name: command}, output.parent)


def differing(a: Path, b: Path, patterns: Iterable[str]) -> list[str]:
    """Return the files of the patterns, relative to the folders, that are not in both with the same bytes.

    Raises `UserError` if there is no such file at all, because nothing was compared then.
    """
    names = sorted({p.relative_to(f).as_posix() for f in (a, b) for pattern in patterns for p in f.glob(pattern)})
    if not names:
        raise UserError(f"no {', '.join(patterns)} in {a} or {b}")
    return [name for name in names if not _same(a / name, b / name)]


def _same(a: Path, b: Path) -> bool:
    return a.exists() and b.exists() and a.read_bytes() == b.read_bytes()
