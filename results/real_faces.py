"""The evidence on real faces: a ResNet-18 from ImageNet weights, biased real faces, and unbiased faces of several origins.

    python -m results.real_faces --data data --weights resnet18.safetensors --precision bf16 --jobs 12

--data holds celeba/ (CelebA's own layout), UTKFace/, t2i_faces/, utkface_smiles.csv and generated/ (stable_diffusion/generation.sh
--outdir data/generated): what `STUDIES` names. The steps, each of which skips what is recorded, so that an interrupted run goes on:
    erm       the biased models with the learning rates of `PRE_TRAIN_LRS`; what does better on val is every method's
    choose    for each source, the settings of `GRID` on the first seed; `models.choice` takes one for each fine-tuned method:
              accuracy on real val, and of the best the lowest equalized odds on held-out images of the source
    runs      all methods with their settings, and with the paper's, on all seeds
    settings  full fine-tuning and AIM-Fair in every setting on all seeds: what explains what
    start     what trains from the start: on real images alone (table 1), and with those of each source (table 3)

The test set plays no part before the tables are made (`python -m results.real_faces_page`). `--jobs N` keeps N processes at work:
a small network leaves a GPU idle, so let them share it. Other flags go to train.py. Minutes on a large GPU with 12 processes; on
two cores some 8 hours at 64 pixels (--image-size 64). Everything a call prints is in <output>/<study>/logs.
"""

import argparse
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import mean
from threading import BoundedSemaphore, Lock

from datasets.real import read_real, training_list
from models.choice import choose
from models.options import folder_name
from utils.arguments import positive_int, seed_number
from utils.errors import UserError, command_line
from utils.files import write_whole
from utils.records import ROOT, copy_record, read_record, record_folder

PRE_TRAIN_LRS = (0.01, 0.03)  # the first is the paper's
IMAGE_SIZE = 112  # CelebA's files here have 89 x 109 pixels
# Rows of the paper's tables 3 and 4, and the nearest relative.
TUNED = ("full", "linear-probe", "random-mask:share=0.7", "surgical", "aim-fair")
# With the settings that aim-fair got: the sweep of k, and the cosine in place of the difference.
LIKE_AIM_FAIR = (*(f"aim-fair:top-k={k}" for k in (35, 40, 45, 50, 60)), "cosine")
UNTUNED = ("last-layer",)  # it has no learning rate
REAL_ALONE = ("cvar-dro", "lff", "jtt", "eiil", "group-dro")
FROM_START = ("synthetic-only", "supplement", "ffr")
PAPER = "paper"  # 10 epochs at 0.06 in batches of 128; the statistics of batch norm follow the synthetic images
GRID = {
    PAPER: (),
    "paper_hold": ("--batch-norm", "hold"),
    **{
        f"{norm}_{lr:g}": ("--batch-norm", norm, "--fine-tune-lr", f"{lr:g}")
        for norm in ("follow", "hold", "real")
        for lr in (0.01, 0.002)
    },
}
DIVERGED, NOTES = "the loss is", "diverged.json"  # what train.py says of it, and where it is noted
REST = "rest"  # the source that has no path: real images of the same data


@dataclass(frozen=True)
class Source:
    """Where unbiased images come from, and how many of each cell, biased in all, and held out of each cell are used.

    `batch` is that of fine-tuning outside the paper's rows: an epoch of few images has few steps. Without a `path` it is
    the real images that are in none of the study's lists.
    """

    path: str | None
    balanced: int
    imbalanced: int
    held_out: int
    batch: int | None = None

    def counts(self) -> list[str]:
        """As train.py takes them."""
        numbers = {"balanced": self.balanced, "imbalanced": self.imbalanced, "held-out": self.held_out}
        return [text for name, number in numbers.items() for text in (f"--number-{name}-synthetic", str(number))]


@dataclass(frozen=True)
class Study:
    """A pair of a data set, `real` biased images of it, its sources of unbiased ones, and more flags of train.py."""

    pair: str
    dataset: str
    folder: str
    real: int
    sources: dict[str, Source]
    flags: tuple[str, ...] = ()


UTKFACE = Source("utkface_smiles.csv", balanced=1300, imbalanced=2600, held_out=200)
STUDIES = {
    "Smiling_Male": Study(
        "Smiling_Male",
        "celeba",
        "celeba",
        20000,
        {
            "t2i": Source("t2i_faces/faces.csv", balanced=100, imbalanced=240, held_out=29, batch=32),
            "generated": Source("generated", balanced=1000, imbalanced=2000, held_out=200),
            "utkface": UTKFACE,
            REST: Source(None, balanced=250, imbalanced=600, held_out=50, batch=32),
        },
    ),
    # UTKFace's images end at forehead and chin; this box of CelebA's has eyes and mouth at the same places.
    "Smiling_Male_cropped": Study(
        "Smiling_Male",
        "celeba",
        "celeba",
        20000,
        {"utkface": UTKFACE},
        ("--real-crop", "0.24", "0.37", "0.76", "0.84"),
    ),
    "Smiling_Young": Study(
        "Smiling_Young",
        "celeba",
        "celeba",
        5600,
        {"generated": Source("generated", balanced=1000, imbalanced=2000, held_out=200)},
    ),
    "Female_White": Study(
        "Female_White", "utkface", "UTKFace", 2400, {REST: Source(None, balanced=800, imbalanced=1600, held_out=100)}
    ),
}


class Evidence:
    """One study: its folders, and the flags that all its calls share. `jobs` calls run at once, and no more."""

    def __init__(self, name: str, data: Path, weights: Path, output: Path, flags: list[str], jobs: BoundedSemaphore):
        self.name, self.study, self.data, self.output, self.jobs = name, STUDIES[name], data, output / name, jobs
        self.common = ["--dataset", self.study.dataset, "--real-data-path", str(data / self.study.folder)]
        self.common += ["--target-sensitive", self.study.pair, "--number-train-data-real", str(self.study.real)]
        self.common += ["--weights", str(weights), "--image-size", str(IMAGE_SIZE), "--cache", str(output / "cache")]
        self.common += [*self.study.flags, *flags]
        self._alone = Lock()

    def train(self, folder: str, methods: tuple[str, ...], seeds: list[int], flags: list[str]) -> None:
        """Run train.py, as anyone would, and note in <folder>/diverged.json what diverged.

        Raises `UserError` where it fails for another reason, with its log.
        """
        numbers, output = [str(seed) for seed in seeds], self.output / folder
        left = [method for method in methods if set(seeds) - set(diverged(output).get(method, ()))]
        if not left:
            return
        call = ["--methods", *left, "--seeds", *numbers, "--output", str(output), *self.common, *flags]
        log = self.output / "logs" / f"{folder.replace('/', '_')}_{'_'.join((*left[:1], *numbers))}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with self.jobs, open(log, "a+", encoding="utf-8") as file:
            start, end_before = time.perf_counter(), file.tell()
            status = subprocess.run([sys.executable, ROOT / "train.py", *call], stdout=file, stderr=file).returncode
            file.seek(end_before)
            printed = file.read()
        print(f"{time.perf_counter() - start:6.0f} s  {self.name} {folder} {' '.join((*left, *numbers))}", flush=True)
        if status and DIVERGED not in printed:
            raise UserError(f"train.py left with status {status}: see {log}")
        if status and len(left) * len(seeds) > 1:  # the others may do well
            for method, seed in product(left, seeds):
                self.train(folder, (method,), [seed], flags)
        elif status:
            with self._alone:
                noted = diverged(output)
                noted.setdefault(left[0], []).extend(seeds)
                write_whole(output / NOTES, json.dumps(noted) + "\n")

    def biased_models(self, seeds: list[int]) -> float:
        """Train the models of all seeds with each learning rate; returns the one that does best on val, in the mean."""

        def model(lr: float, seed: int) -> None:
            self.train(f"erm_{lr:g}", ("erm",), [seed], ["--pre-train-lr", str(lr)])

        at_once([lambda lr=lr, seed=seed: model(lr, seed) for seed in seeds for lr in PRE_TRAIN_LRS])
        found = {}
        for lr in PRE_TRAIN_LRS:
            places = [record_folder(self.output / f"erm_{lr:g}", "erm", seed) for seed in seeds]
            records = [read_record(place, "val_metrics.accuracy") for place in places]
            found[lr] = mean(record["val_metrics"]["accuracy"] for record in records)
        best = max(found, key=found.get)
        write_whole(self.output / "erm.json", json.dumps({"chosen": best, "val_accuracy": found}, indent=1) + "\n")
        return best

    def tune(self, source: str, setting: str, methods: tuple[str, ...], seeds: list[int], lr: float) -> Path:
        """Fine-tune with a setting of `GRID`; returns the folder of its records, with the biased models in it."""
        folder, own = f"{source}/{setting}", self.study.sources[source]
        for seed in seeds:
            erm = record_folder(self.output / f"erm_{lr:g}", "erm", seed)
            copy_record(erm, record_folder(self.output / folder, "erm", seed))
        batch = ["--fine-tune-batch-size", str(own.batch)] if own.batch and not setting.startswith(PAPER) else []
        root = ["--synthetic-data-root", str(self.data / own.path if own.path else self.rest())]
        flags = [*root, *own.counts(), *GRID[setting], *batch, "--pre-train-lr", str(lr)]
        self.train(folder, methods, seeds, flags)
        return self.output / folder

    def chosen(self, source: str, seed: int, lr: float) -> dict[str, str]:
        """The setting of each method, also written to chosen.json with what was measured."""
        calls = [lambda setting=setting: self.tune(source, setting, TUNED, [seed], lr) for setting in GRID]
        folders, table = dict(zip(GRID, at_once(calls), strict=True)), {}
        for method in TUNED:
            found = {s: place for s, place in folders.items() if seed not in diverged(place).get(method, ())}
            names = ("val_metrics.accuracy", "held_out_metrics.equalized_odds")
            records = [read_record(record_folder(p, folder_name(method), seed), *names) for p in found.values()]
            accuracy = [record["val_metrics"]["accuracy"] for record in records]
            odds = [record["held_out_metrics"]["equalized_odds"] for record in records]
            measured = dict(zip(found, zip(accuracy, odds, strict=True), strict=True))
            table[method] = {"chosen": list(found)[choose(accuracy, odds)], "val_accuracy, held_out_odds": measured}
        write_whole(self.output / source / "chosen.json", json.dumps(table, indent=1) + "\n")
        return {method: row["chosen"] for method, row in table.items()}

    def runs(self, source: str, chosen: dict[str, str], seeds: list[int], lr: float) -> None:
        """All methods with the chosen settings, and with the paper's."""
        by_setting = {PAPER: [*TUNED, *LIKE_AIM_FAIR, *UNTUNED]}
        for method, setting in chosen.items():
            by_setting.setdefault(setting, []).append(method)
        by_setting[chosen["aim-fair"]] += LIKE_AIM_FAIR
        at_once(
            [
                lambda setting=setting, methods=methods: self.tune(
                    source, setting, tuple(dict.fromkeys(methods)), seeds, lr
                )
                for setting, methods in by_setting.items()
            ]
        )

    def rest(self) -> Path:
        """A CSV file of the real images that are in no list, over a link to their folder: train.py reads below the file alone."""
        path, images = self.output / REST / "rest.csv", self.output / REST / "images"
        with self._alone:
            if path.exists():
                return path
            pair, folder, splits, _ = read_real(self.study.dataset, self.data / self.study.folder, self.study.pair)
            biased = training_list(splits["train"], pair, self.study.real, "1/9")
            table = splits["train"].drop(index=biased.index)[list(pair.attributes)].gt(0).astype(int)
            table.index = [f"{images.name}/{name}" for name in table.index]
            images.parent.mkdir(parents=True, exist_ok=True)
            images.unlink(missing_ok=True)
            images.symlink_to(folder.resolve(), target_is_directory=True)
            write_whole(path, table.to_csv(index_label="image"))
        return path


def diverged(folder: Path) -> dict[str, list[int]]:
    """The seeds of each method of which a setting's notes say that training diverged."""
    return json.loads((folder / NOTES).read_text()) if (folder / NOTES).exists() else {}


def at_once(calls: list) -> list:
    """The results of functions that are called in threads; the first failure is raised when all have ended."""
    with ThreadPoolExecutor(max(1, len(calls))) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def work(evidence: Evidence, sources: list[str], steps: list[str], seeds: list[int]) -> None:
    """The steps that were asked for; the biased models of the seeds come first in any case."""
    lr = evidence.biased_models(seeds)

    def of_source(source: str) -> None:
        if {"choose", "runs"} & set(steps):
            chosen = evidence.chosen(source, seeds[0], lr)
        if "runs" in steps:
            evidence.runs(source, chosen, seeds, lr)
        if "settings" in steps:
            at_once([lambda s=s: evidence.tune(source, s, ("full", "aim-fair"), seeds, lr) for s in GRID])
        if "start" in steps:
            at_once([lambda seed=seed: evidence.tune(source, PAPER, FROM_START, [seed], lr) for seed in seeds])

    def alone() -> None:
        if "start" in steps:
            lrs, folder = ["--pre-train-lr", str(lr)], f"erm_{lr:g}"
            at_once([lambda seed=seed: evidence.train(folder, REAL_ALONE, [seed], lrs) for seed in seeds])

    at_once([*(lambda source=source: of_source(source) for source in sources), alone])


def main() -> None:
    """The command line; flags that aren't listed go to train.py."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True, help="ResNet-18 trained on ImageNet")
    parser.add_argument("--output", type=Path, default=Path("results/runs/real_faces"))
    parser.add_argument("--seeds", type=seed_number, nargs="+", default=[100, 200, 300])
    parser.add_argument("--study", choices=tuple(STUDIES), default="Smiling_Male")
    parser.add_argument("--sources", nargs="+", help="default: all of the study")
    steps = ("erm", "choose", "runs", "settings", "start")
    parser.add_argument("--steps", nargs="+", choices=steps, default=["choose", "runs"], help="default: choose runs")
    parser.add_argument("--jobs", type=positive_int, default=1, help="processes at once (default: 1)")
    args, flags = parser.parse_known_args()
    known = STUDIES[args.study].sources
    if wrong := set(args.sources or ()) - set(known):
        raise UserError(f"--sources {min(wrong)}: {args.study} has {', '.join(known)}")
    jobs = BoundedSemaphore(args.jobs)
    evidence = Evidence(args.study, args.data, args.weights, args.output, flags, jobs)
    work(evidence, (args.sources or list(known)) if args.steps != ["erm"] else [], args.steps, args.seeds)


if __name__ == "__main__":
    command_line(main)
