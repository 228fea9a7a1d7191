"""The steps that train on a GPU: does it give what a CPU gives, the same each time, and after a kill?"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from results.gpu.compare import differing, first_loss, metrics, predictions, sensitivity
from results.gpu.work import COMPILERS, FEW_THREADS, ONE_THREAD, TWO_THREADS, Place, together, train, training_flags
from results.toy_runs import METHODS, SEED, kill_and_resume
from results.toy_runs import train as command
from utils.records import copy_record, record_folder

ALL = ("--methods", "full", "aim-fair")  # and erm, always
BYTES = tuple(
    f"*/seed_{SEED}/{name}"
    for name in ("model.safetensors", "test_predictions.csv", "val_predictions.csv", "sensitivity.csv", "curve.csv")
)
NO_TF32 = {**ONE_THREAD, "NVIDIA_TF32_OVERRIDE": "0"}  # NVIDIA's libraries then compute fp32 in fp32
NEAR = 0.03  # of accuracy: three percent points, two standard deviations over the seeds of a toy run


def agree(place: Place) -> Iterator[tuple]:
    """The same training in fp32 on the CPU and on the device, then both at the very same weights.

    How far the CPU alone is from itself, with another number of threads and so other sums, is the measure of the first.
    """
    work = place.work / "agree"
    jobs = {
        "CPU": train(place, work / "CPU", *ALL, device="cpu", variables=FEW_THREADS),
        "CPU, other threads": train(place, work / "CPU, other threads", *ALL, device="cpu", variables=TWO_THREADS),
        "GPU": train(place, fp32_run(place), *ALL),
        "GPU without TF32": train(place, work / "GPU without TF32", *ALL, variables=NO_TF32),
    }
    yield "seconds of the command, beside others", together(work, jobs)
    runs = {name: fp32_run(place) if name == "GPU" else work / name for name in jobs}
    erm = {name: record_folder(output, "erm", SEED) for name, output in runs.items()}
    yield "erm: loss of the first epoch", {name: first_loss(folder) for name, folder in erm.items()}
    for method in ("erm", "full", "aim-fair"):
        yield from trained(method, {name: record_folder(output, method, SEED) for name, output in runs.items()})

    # with a learning rate of 0 and batch norm's statistics held, AIM-Fair ranks at the CPU's weights and leaves them
    jobs, still = {}, ("--methods", "aim-fair", "--fine-tune-lr", 0, "--batch-norm", "hold", "--fine-tune-epochs", 1)
    for name, variables in (("GPU", ONE_THREAD), ("GPU without TF32", NO_TF32)):
        output = work / f"same weights, {name}"
        copy_record(erm["CPU"], record_folder(output, "erm", SEED))
        jobs[output.name] = train(place, output, *still, variables=variables)
    together(work, jobs)
    for name in jobs:
        yield from at_same_weights(
            name, erm["CPU"], record_folder(runs["CPU"], "aim-fair", SEED), record_folder(work / name, "aim-fair", SEED)
        )


def trained(method: str, records: dict[str, Path]) -> Iterator[tuple]:
    """How the runs of a method compare, the first of which is the CPU's: numbers, without a claim."""
    found = {name: metrics(folder) for name, folder in records.items()}
    cpu, *others = records
    yield f"{method}: test accuracy, %", {name: 100 * m["accuracy"] for name, m in found.items()}
    yield f"{method}: equalized odds, %", {name: 100 * m["equalized_odds"] for name, m in found.items()}
    groups = {name: group_gap(found[cpu], found[name]) for name in others}
    yield f"{method}: largest difference of a group's accuracy to the CPU's, points", groups
    apart = {name: predictions(records[cpu], records[name]) for name in others}
    yield (
        f"{method}: test decisions other than the CPU's",
        {name: f"{p['differ']} of {p['of']}" for name, p in apart.items()},
    )
    if method == "aim-fair":
        chosen = {name: sensitivity(records[cpu], records[name])["chosen in one alone"] for name in others}
        yield f"{method}: tensors chosen there or on the CPU alone", chosen


def group_gap(a: dict, b: dict) -> float:
    """The largest difference of a group's accuracy between two metrics, in percent points."""
    return max(abs(100 * (b["group_accuracy"][group] - value)) for group, value in a["group_accuracy"].items())


def at_same_weights(name: str, erm: Path, ranked: Path, other: Path) -> Iterator[tuple]:
    """Predictions and ranking at the weights of the CPU's erm: the CPU's own in `erm` and `ranked`, the device's in `other`."""
    apart, ranks = predictions(erm, other), sensitivity(ranked, other)
    yield f"{name}: test decisions other than the CPU's", f"{apart['differ']} of {apart['of']}", apart["differ"] == 0
    yield f"{name}: logits apart", {"largest": apart["largest gap"], "mean": apart["mean gap"]}
    chosen = ranks.pop("chosen in one alone")
    yield f"{name}: tensors chosen there or on the CPU alone", chosen, not chosen
    for what, value in ranks.items():
        yield f"{name}: {what}", value


def fp32_run(place: Place) -> Path:
    """Where the device's run in fp32 is, which two steps use; whichever is second waits for the other."""
    return place.work / "fp32"


def deterministic(place: Place) -> Iterator[tuple]:
    """The same bytes each time with --deterministic; and what is the same without."""
    work, flags = place.work / "deterministic", {"with": ("--deterministic",), "without": ()}
    jobs = {f"{key} {n}": train(place, work / f"{key} {n}", *ALL, *more) for key, more in flags.items() for n in (1, 2)}
    yield "seconds of the command, beside others", together(work, jobs)
    differ = differing(work / "with 1", work / "with 2", BYTES)
    yield "files that differ between two runs with --deterministic", differ, not differ
    yield "files that differ between two runs without", differing(work / "without 1", work / "without 2", BYTES)


def resume(place: Place) -> Iterator[tuple]:
    """Killed in each of its trainings and started again, with --deterministic: the bytes of an unbroken run."""
    work = place.work / "resume"
    flags = ("--methods", "aim-fair", "--deterministic", "--checkpoint-seconds", 0)
    broken = command(*training_flags(place, work / "broken", *flags))
    os.environ |= ONE_THREAD  # of all its processes alike: on a CPU the number of threads decides how sums are rounded
    with ThreadPoolExecutor(1) as pool:
        unbroken = pool.submit(together, work, {"unbroken": train(place, work / "unbroken", *flags)})
        kill_and_resume(broken, work / "broken")
        yield f"killed at the first checkpoint of {' and '.join(METHODS)}", "SIGKILL"
        unbroken.result()
    differ = differing(work / "unbroken", work / "broken", BYTES)
    yield "files that differ from those of an unbroken run", differ, not differ


def precision(place: Place) -> Iterator[tuple]:
    """bf16 beside fp32 on the device."""
    work = place.work / "precision"
    together(work, {"bf16": train(place, work / "bf16", *ALL, "--precision", "bf16")})
    together(work, {"fp32": train(place, fp32_run(place), *ALL)})  # recorded already, or soon, by the step agree
    for method in ("erm", "full", "aim-fair"):
        yield from near(method, fp32_run(place), work / "bf16", "bf16")


def compiled(place: Place) -> Iterator[tuple]:
    """--compile beside the same without: erm first, so that it is known if both take too long."""
    work = place.work / "compile"
    for method in METHODS:
        jobs = {"plain": train(place, work / "plain", "--methods", method)}
        jobs["compiled"] = train(place, work / "compiled", "--methods", method, "--compile", variables=COMPILERS)
        yield f"{method}: seconds of the command, beside others", together(work, jobs)
        yield from near(method, work / "plain", work / "compiled", "compiled")


def near(method: str, fp32: Path, other: Path, name: str) -> Iterator[tuple]:
    """Accuracy and equalized odds of a method in two runs; that the accuracies are near is a claim."""
    found = {key: metrics(record_folder(run, method, SEED)) for key, run in (("fp32", fp32), (name, other))}
    accuracy = {key: m["accuracy"] for key, m in found.items()}
    close = abs(accuracy["fp32"] - accuracy[name]) <= NEAR
    yield f"{method}: test accuracy, % (claim: within {100 * NEAR:g} points)", _percent(accuracy), close
    yield f"{method}: equalized odds, %", _percent({key: m["equalized_odds"] for key, m in found.items()})


def _percent(values: dict[str, float]) -> dict[str, float]:
    return {key: 100 * value for key, value in values.items()}
