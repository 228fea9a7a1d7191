"""The runs of one study: its biased models, its fine-tunings, and what is chosen among them."""

import json
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from statistics import mean
from threading import Lock

from datasets.real import read_real, training_list
from models.choice import choose
from models.options import folder_name
from results.real_faces.jobs import Jobs
from results.real_faces.studies import (
    DIVERGED,
    ERM,
    GRID,
    IMAGE_SIZE,
    LIKE_AIM_FAIR,
    NOTES,
    PAPER,
    PRE_TRAIN_LRS,
    REST,
    STUDIES,
    TUNED,
    UNTUNED,
)
from utils.errors import UserError
from utils.files import write_whole
from utils.records import ROOT, copy_record, read_record, record_folder


class Evidence:
    """One study: its folders, and the flags that all its calls share."""

    def __init__(self, name: str, data: Path, weights: Path, output: Path, flags: list[str], jobs: Jobs):
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
        with open(log, "a+", encoding="utf-8") as file:
            end_before = file.tell()
            status, seconds = self.jobs.run([sys.executable, ROOT / "train.py", *call], file)
            file.seek(end_before)
            printed = file.read()
        print(f"{seconds:6.0f} s  {self.name} {folder} {' '.join((*left, *numbers))}", flush=True)
        if status and DIVERGED not in printed:
            last = (printed.strip().splitlines() or ["it said nothing"])[-1]
            raise UserError(f"train.py left with status {status}: {last.removeprefix('error: ')} (all of it: {log})")
        if status and len(left) * len(seeds) > 1:  # the others may do well
            for method, seed in product(left, seeds):
                self.train(folder, (method,), [seed], flags)
        elif status:
            with self._alone:
                noted = diverged(output)
                noted.setdefault(left[0], []).extend(seeds)
                write_whole(output / NOTES, json.dumps(noted) + "\n")

    def biased_models(self, seeds: list[int], lrs: Sequence[float] = PRE_TRAIN_LRS) -> float:
        """Train the models of all seeds with each learning rate; returns the one that does best on val, in the mean.

        Raises `UserError` where another one is noted as chosen: what was fine-tuned before began with its models.
        """

        def model(lr: float, seed: int) -> None:
            self.train(f"erm_{lr:g}", ("erm",), [seed], ["--pre-train-lr", str(lr)])

        self.jobs.at_once([lambda lr=lr, seed=seed: model(lr, seed) for seed in seeds for lr in lrs])
        found = {}
        for lr in lrs:
            if diverged(self.output / f"erm_{lr:g}").get("erm"):
                continue
            places = [record_folder(self.output / f"erm_{lr:g}", "erm", seed) for seed in seeds]
            records = [read_record(place, "val_metrics.accuracy") for place in places]
            found[lr] = mean(record["val_metrics"]["accuracy"] for record in records)
        if not found:
            raise UserError(
                f"{self.output}: ERM diverges with every learning rate of {lrs}; try smaller --pre-train-lrs"
            )
        best, path = max(found, key=found.get), self.output / ERM
        before = json.loads(path.read_text())["chosen"] if path.exists() else best
        if before != best:
            tried = " ".join(f"{lr:g}" for lr in lrs)
            raise UserError(
                f"{path}: {before:g} was chosen, and of {tried} it would be {best:g}; ask for --pre-train-lrs {before:g}, or for "
                "another --output"
            )
        write_whole(path, json.dumps({"chosen": best, "val_accuracy": found}, indent=1) + "\n")
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
        folders, table = dict(zip(GRID, self.jobs.at_once(calls), strict=True)), {}
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
        self.jobs.at_once(
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
