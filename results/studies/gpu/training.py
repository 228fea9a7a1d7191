"""The arms that train on a GPU: does it give what a CPU gives, the same each time, and after a kill?"""

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import torch

from results.processes import together
from results.studies import Finding, Place
from results.studies.gpu.compare import predictions, sensitivity
from results.studies.gpu.room import COMPILERS, FEW_THREADS, ONE_THREAD, TWO_THREADS, empty
from results.toy_runs import BYTES, FACES, METHODS, SEED, differing, draw_faces, kill_and_resume, train
from utils.environment import environment
from utils.records import copy_record, read_record, record_folder
from utils.tasks import with_variables

OTHERS = 1600  # stand for generated ones; about as many of each group
SMALL_FACES, SMALL_OTHERS = {"train": 600, "val": 60, "test": 100}, 200
# what runner.sh trains toy faces with, on one seed and in fp32
TRAINING = (
    *("--weights", "toy", "--width", 0.25, "--image-size", 48, "--crop-scale", 0.6, 1),
    *("--number-train-data-real", 1200, "--number-balanced-synthetic", 200, "--number-imbalanced-synthetic", 400),
    *("--batch-size", 64, "--pre-train-epochs", 7, "--pre-train-lr", 0.02, "--milestones", 6),
    *("--fine-tune-epochs", 5, "--fine-tune-lr", 0.02),
)
SMALL_TRAINING = (
    *("--number-train-data-real", 128, "--number-balanced-synthetic", 20, "--number-imbalanced-synthetic", 40),
    *("--batch-size", 32, "--pre-train-epochs", 2, "--fine-tune-epochs", 2),
)
ALL = ("--methods", "full", "aim-fair")  # and erm, always
FILES = (*BYTES, *(f"*/seed_{SEED}/{name}" for name in ("val_predictions.csv", "sensitivity.csv", "curve.csv")))
FP32 = "fp32"  # the folder of the device's run in fp32, which two arms use; the second one waits for the first
NO_TF32 = {**ONE_THREAD, "NVIDIA_TF32_OVERRIDE": "0"}  # NVIDIA's libraries then compute fp32 in fp32
NEAR = 3  # percent points of accuracy, two standard deviations over the seeds of a toy run


def machine(place: Place) -> Iterator[Finding]:
    """Yield the device, versions and what else decides the numbers, and whether the device computes."""
    device = torch.device(place.device)
    for what, value in environment(device).items():
        yield Finding(what, value)
    yield Finding("processor's cores", os.cpu_count())
    yield Finding("a C compiler, which --compile needs", shutil.which("cc") or shutil.which("gcc") or "none")
    yield Finding("TF32 in convolutions, unless forbidden", torch.backends.cudnn.allow_tf32)
    layer, inputs = torch.nn.Conv2d(3, 4, 3).to(device), torch.rand(2, 3, 8, 8, device=device)
    yield Finding("it computes a convolution", list(layer(inputs).shape), bool(layer(inputs).isfinite().all()))


def toy_run(place: Place, *more, device: str = "", variables: dict[str, str] = ONE_THREAD) -> list:
    """Return the command of a toy run; the flags in `more` come last, so they count."""
    counts, others = (SMALL_FACES, SMALL_OTHERS) if place.small else (FACES, OTHERS)
    faces, synthetic = draw_faces(place.work / "faces", counts, others)
    flags = ["--dataset", "toy", "--real-data-path", faces, "--synthetic-data-root", synthetic]
    flags += ["--cache", place.work / "cache", "--device", device or place.device]
    return [*with_variables(variables), *train(*flags, *TRAINING, *(SMALL_TRAINING if place.small else ()), *more)]


def agree(place: Place) -> Iterator[Finding]:
    """Run the same training in fp32 on the CPU and on the device, then both at the very same weights.

    How far the CPU alone is from itself, with another number of threads and so other sums, is the measure of the first.
    """
    work = empty(place, "agree")
    how = {
        "CPU": {"device": "cpu", "variables": FEW_THREADS},
        "CPU, other threads": {"device": "cpu", "variables": TWO_THREADS},
        "GPU": {},
        "GPU without TF32": {"variables": NO_TF32},
    }
    runs = {name: work / name for name in how} | {"GPU": place.work / FP32}
    jobs = {name: toy_run(place, "--output", runs[name], *ALL, **options) for name, options in how.items()}
    yield Finding("seconds of the command, beside others", together(jobs, work))
    erm = {name: record_folder(output, "erm", SEED) for name, output in runs.items()}
    losses = {name: float(pd.read_csv(folder / "curve.csv")["loss"][0]) for name, folder in erm.items()}
    yield Finding("erm: loss of the first epoch", losses)
    for method in ("erm", "full", "aim-fair"):
        yield from trained(method, {name: record_folder(output, method, SEED) for name, output in runs.items()})

    # with a learning rate of 0 and batch norm's statistics held, AIM-Fair ranks at the CPU's weights and leaves them
    still = ("--methods", "aim-fair", "--fine-tune-lr", 0, "--batch-norm", "hold", "--fine-tune-epochs", 1)
    same = {f"same weights, {name}": how[name] for name in ("GPU", "GPU without TF32")}
    for name in same:
        copy_record(erm["CPU"], record_folder(work / name, "erm", SEED))
    together({name: toy_run(place, "--output", work / name, *still, **options) for name, options in same.items()}, work)
    ranked = record_folder(runs["CPU"], "aim-fair", SEED)
    for name in same:
        yield from at_same_weights(name, erm["CPU"], ranked, record_folder(work / name, "aim-fair", SEED))


def trained(method: str, records: dict[str, Path]) -> Iterator[Finding]:
    """Compare the runs of a method, the first of which is the CPU's: numbers, without a claim."""
    found = {name: read_record(folder)["metrics"] for name, folder in records.items()}
    cpu, *others = records
    for what, key in (("test accuracy", "accuracy"), ("equalized odds", "equalized_odds")):
        yield Finding(f"{method}: {what}, %", {name: 100 * m[key] for name, m in found.items()})
    groups = {name: group_gap(found[cpu], found[name]) for name in others}
    yield Finding(f"{method}: largest difference of a group's accuracy to the CPU's, points", groups)
    apart = {name: predictions(records[cpu], records[name]) for name in others}
    counts = {name: f"{p['differ']} of {p['of']}" for name, p in apart.items()}
    yield Finding(f"{method}: test decisions other than the CPU's", counts)
    if method == "aim-fair":
        chosen = {name: sensitivity(records[cpu], records[name])["chosen in one alone"] for name in others}
        yield Finding(f"{method}: tensors chosen there or on the CPU alone", chosen)


def group_gap(a: dict, b: dict) -> float:
    """Return the largest difference of a group's accuracy between two metrics, in percent points."""
    return max(abs(100 * (b["group_accuracy"][group] - value)) for group, value in a["group_accuracy"].items())


def at_same_weights(name: str, erm: Path, ranked: Path, other: Path) -> Iterator[Finding]:
    """Compare predictions and ranking at the weights of the CPU's erm: the CPU's own in `erm` and `ranked`, the device's in `other`."""
    apart, ranks = predictions(erm, other), sensitivity(ranked, other)
    differ, chosen = f"{apart['differ']} of {apart['of']}", ranks.pop("chosen in one alone")
    yield Finding(f"{name}: test decisions other than the CPU's", differ, apart["differ"] == 0)
    yield Finding(f"{name}: logits apart", {"largest": apart["largest gap"], "mean": apart["mean gap"]})
    yield Finding(f"{name}: tensors chosen there or on the CPU alone", chosen, not chosen)
    for what, value in ranks.items():
        yield Finding(f"{name}: {what}", value)


def deterministic(place: Place) -> Iterator[Finding]:
    """Look for the same bytes each time with --deterministic; and what is the same without."""
    work, flags = empty(place, "deterministic"), {"with": ("--deterministic",), "without": ()}
    runs = {f"{key} {n}": more for key, more in flags.items() for n in (1, 2)}
    jobs = {name: toy_run(place, "--output", work / name, *ALL, *more) for name, more in runs.items()}
    yield Finding("seconds of the command, beside others", together(jobs, work))
    same, other = (differing(work / f"{key} 1", work / f"{key} 2", FILES) for key in flags)
    yield Finding("files that differ between two runs with --deterministic", same, not same)
    yield Finding("files that differ between two runs without", other)


def resume(place: Place) -> Iterator[Finding]:
    """Kill a run in each of its trainings and start it again, with --deterministic: it should give the bytes of an unbroken run."""
    work = empty(place, "resume")
    flags = ("--methods", "aim-fair", "--deterministic", "--checkpoint-seconds", 0)
    broken = toy_run(place, *flags)
    os.environ |= ONE_THREAD  # of all its processes alike: on a CPU the number of threads decides how sums are rounded
    with ThreadPoolExecutor(1) as pool:
        unbroken = pool.submit(together, {"unbroken": toy_run(place, "--output", work / "unbroken", *flags)}, work)
        kill_and_resume(broken, work / "broken")
        yield Finding(f"killed at the first checkpoint of {' and '.join(METHODS)}", "SIGKILL")
        unbroken.result()
    differ = differing(work / "unbroken", work / "broken", FILES)
    yield Finding("files that differ from those of an unbroken run", differ, not differ)


def precision(place: Place) -> Iterator[Finding]:
    """Run bf16 beside fp32 on the device."""
    work, fp32 = empty(place, "precision"), place.work / FP32
    together({"bf16": toy_run(place, "--output", work / "bf16", *ALL, "--precision", "bf16")}, work)
    together({"fp32": toy_run(place, "--output", fp32, *ALL)}, work)  # recorded already, or soon, by the arm agree
    for method in ("erm", "full", "aim-fair"):
        yield from near(method, fp32, work / "bf16", "bf16")


def compiled(place: Place) -> Iterator[Finding]:
    """Run --compile beside the same without: erm first, so that it is known if both take too long."""
    work, how = empty(place, "compile"), {"plain": ((), ONE_THREAD), "compiled": (("--compile",), COMPILERS)}
    for method in METHODS:
        jobs = {
            name: toy_run(place, "--output", work / name, "--methods", method, *more, variables=variables)
            for name, (more, variables) in how.items()
        }
        yield Finding(f"{method}: seconds of the command, beside others", together(jobs, work))
        yield from near(method, work / "plain", work / "compiled", "compiled")


def near(method: str, fp32: Path, other: Path, name: str) -> Iterator[Finding]:
    """Compare accuracy and equalized odds of a method in two runs; that the accuracies are near is a claim."""
    records = {"fp32": record_folder(fp32, method, SEED), name: record_folder(other, method, SEED)}
    found = {key: read_record(folder)["metrics"] for key, folder in records.items()}
    accuracy, odds = ({key: 100 * m[of] for key, m in found.items()} for of in ("accuracy", "equalized_odds"))
    close = abs(accuracy["fp32"] - accuracy[name]) <= NEAR
    yield Finding(f"{method}: test accuracy, % (claim: within {NEAR} points)", accuracy, close)
    yield Finding(f"{method}: equalized odds, %", odds)
