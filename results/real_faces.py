"""The evidence on real faces: a ResNet-18 from ImageNet weights, biased CelebA, and unbiased faces of several origins.

    python -m results.real_faces --data data --weights resnet18.safetensors --output results/runs/real_faces

--data holds celeba/ (CelebA's own layout), t2i_faces/ and UTKFace/ with utkface_smiles.csv; `--generated DIR` is a folder of
images by stable_diffusion/generation.sh, a fourth source. Smiling/Male, 8,000 biased faces at 64 pixels.

Three steps, each of which skips what is recorded, so that an interrupted run goes on:
    1. ERM with two learning rates; the better on val (accuracy, first seed) is every method's biased model.
    2. For each source and fine-tuning method, on the first seed, the settings in `GRID`; one is chosen by
       `models.choice`: accuracy on real val, and of the best the lowest equalized odds on held-out images of the source.
    3. All methods with their settings, and with the paper's own, on all seeds.

The test set plays no part before the tables are made. On two cores with bf16: ERM 15 minutes a seed on one thread, a fine-tuning
one to three minutes; in all some 8 hours on one thread for three seeds and three sources. `--only erm|choose|runs` does one step.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from models.choice import choose
from models.options import folder_name
from utils.arguments import seed_number
from utils.errors import command_line
from utils.files import write_whole
from utils.records import ROOT, copy_record, read_record, record_folder

PRE_TRAIN_LRS = (0.03, 0.01)
COMMON = ("--image-size", "64", "--number-train-data-real", "8000")
# Rows of the paper's tables 3 and 4, the sweep of k, and the nearest relatives.
TUNED = ("full", "linear-probe", "random-mask:share=0.7", "surgical", "aim-fair")
SWEEP = tuple(f"aim-fair:top-k={k}" for k in (40, 45, 50, 60))  # with the settings of aim-fair
PAPER = ()  # 10 epochs at 0.06, the statistics of batch norm follow the synthetic images
GRID = {
    "paper": PAPER,
    **{
        f"{norm}_{lr:g}": ("--batch-norm", norm, "--fine-tune-lr", f"{lr:g}")
        for norm in ("follow", "hold", "real")
        for lr in (0.01, 0.002)
    },
}


@dataclass(frozen=True)
class Source:
    """Where unbiased images come from, and how many of each cell, biased in all, and held out of each cell are used.

    `batch` is that of fine-tuning outside the paper's row: an epoch of few images has few steps.
    """

    path: str
    balanced: int
    imbalanced: int
    held_out: int
    batch: int | None = None

    def flags(self, data: Path) -> list[str]:
        """As train.py takes them."""
        numbers = {"balanced": self.balanced, "imbalanced": self.imbalanced, "held-out": self.held_out}
        counts = [text for name, number in numbers.items() for text in (f"--number-{name}-synthetic", str(number))]
        return ["--synthetic-data-root", str(data / self.path), *counts]


SOURCES = {
    "t2i": Source("t2i_faces/faces.csv", balanced=100, imbalanced=240, held_out=29, batch=32),
    "utkface": Source("utkface_smiles.csv", balanced=1300, imbalanced=2600, held_out=200),
    "generated": Source("generated", balanced=1000, imbalanced=2000, held_out=200),
}


class Evidence:
    """The folders and the flags that all calls share."""

    def __init__(self, data: Path, weights: Path, output: Path, flags: list[str]):
        self.data, self.output, self.more = data, output, flags
        self.common = ["--real-data-path", str(data / "celeba"), "--weights", str(weights), *COMMON]
        self.common += ["--cache", str(output / "cache")]

    def train(self, output: Path, methods: tuple[str, ...], seeds: list[int], flags: list[str]) -> None:
        """Run train.py, as anyone would; leave with its status where it fails."""
        numbers = [str(seed) for seed in seeds]
        call = ["--methods", *methods, "--seeds", *numbers, "--output", str(output), *self.common, *flags, *self.more]
        print("train.py", *call, flush=True)
        if status := subprocess.run([sys.executable, ROOT / "train.py", *call]).returncode:
            sys.exit(status)

    def biased_models(self, seeds: list[int]) -> float:
        """Step 1: returns the learning rate that was chosen, and trains the models of all seeds with it."""
        found = {}
        for lr in PRE_TRAIN_LRS:
            folder = self.output / f"erm_{lr:g}"
            self.train(folder, ("erm",), seeds[:1], ["--pre-train-lr", str(lr)])
            record = read_record(record_folder(folder, "erm", seeds[0]), "val_metrics.accuracy")
            found[lr] = record["val_metrics"]["accuracy"]
        best = max(found, key=found.get)
        self.train(self.output / f"erm_{best:g}", ("erm",), seeds, ["--pre-train-lr", str(best)])
        return best

    def tune(self, source: str, setting: str, methods: tuple[str, ...], seeds: list[int], lr: float) -> Path:
        """Fine-tune with a setting of `GRID`; returns the folder of its records, with the biased models in it."""
        folder = self.output / source / setting
        for seed in seeds:
            copy_record(record_folder(self.output / f"erm_{lr:g}", "erm", seed), record_folder(folder, "erm", seed))
        own = SOURCES[source]
        batch = ["--fine-tune-batch-size", str(own.batch)] if own.batch and setting != "paper" else []
        flags = [*own.flags(self.data), *GRID[setting], *batch, "--pre-train-lr", str(lr)]
        self.train(folder, methods, seeds, flags)
        return folder

    def chosen(self, source: str, seed: int, lr: float) -> dict[str, str]:
        """Step 2: the setting of each method, also written to chosen.json with what was measured."""
        folders = {setting: self.tune(source, setting, TUNED, [seed], lr) for setting in GRID}
        table = {}
        for method in TUNED:
            names = ("val_metrics.accuracy", "held_out_metrics.equalized_odds")
            records = [
                read_record(record_folder(place, folder_name(method), seed), *names) for place in folders.values()
            ]
            accuracy = [record["val_metrics"]["accuracy"] for record in records]
            odds = [record["held_out_metrics"]["equalized_odds"] for record in records]
            measured = dict(zip(GRID, zip(accuracy, odds, strict=True), strict=True))
            table[method] = {"chosen": list(GRID)[choose(accuracy, odds)], "val_accuracy, held_out_odds": measured}
        write_whole(self.output / source / "chosen.json", json.dumps(table, indent=1) + "\n")
        return {method: row["chosen"] for method, row in table.items()}

    def runs(self, source: str, chosen: dict[str, str], seeds: list[int], lr: float) -> None:
        """Step 3: all methods with the chosen settings, and with the paper's."""
        by_setting = {"paper": [*TUNED, *SWEEP]}
        for method, setting in chosen.items():
            by_setting.setdefault(setting, []).append(method)
        by_setting[chosen["aim-fair"]] += SWEEP
        for setting, methods in by_setting.items():
            self.tune(source, setting, tuple(dict.fromkeys(methods)), seeds, lr)


def main() -> None:
    """The command line; flags that aren't listed go to train.py."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True, help="ResNet-18 trained on ImageNet")
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "runs" / "real_faces")
    parser.add_argument("--seeds", type=seed_number, nargs="+", default=[100, 200, 300])
    parser.add_argument("--sources", nargs="+", choices=tuple(SOURCES), default=["t2i", "utkface"])
    parser.add_argument("--only", choices=("erm", "choose", "runs"), help="up to this step")
    args, flags = parser.parse_known_args()
    evidence = Evidence(args.data.resolve(), args.weights.resolve(), args.output.resolve(), flags)
    lr = evidence.biased_models(args.seeds if args.only != "choose" else args.seeds[:1])
    for source in args.sources if args.only != "erm" else ():
        chosen = evidence.chosen(source, args.seeds[0], lr)
        if args.only != "choose":
            evidence.runs(source, chosen, args.seeds, lr)


if __name__ == "__main__":
    command_line(main)
