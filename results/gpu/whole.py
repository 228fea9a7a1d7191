"""The steps that take the machine as it is: what it is, all of runner.sh, compiled networks, and speed."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from results.gpu.compare import FORMULA, grey_levels, ranked_images
from results.gpu.compare import ten_seeds as minutes
from results.gpu.drawing import draw, images
from results.gpu.training import near
from results.gpu.work import Job, Place, draw_faces, python, together, train
from results.networks import reason
from results.speed.report import TARGETS, ratio
from utils.errors import UserError
from utils.records import ROOT, environment

BATCH = 128
COMPILERS = {"OMP_NUM_THREADS": "1", "TORCHINDUCTOR_COMPILE_THREADS": "4"}  # leaves cores to the runner
SPEED_SETS = ("--images", 2048, "--image-size", 224, "--batch-size", BATCH)
SMALL_SETS = ("--images", 32, "--image-size", 32, "--batch-size", BATCH, "--workers", 0)


def machine(place: Place) -> Iterator[tuple]:
    """The device, versions and what else decides the numbers; and that the device computes."""
    import torch

    device = torch.device(place.device)
    yield from environment(device).items()
    yield "processor's cores", os.cpu_count()
    yield "a C compiler, which --compile needs", shutil.which("cc") or shutil.which("gcc") or "none"
    yield "TF32 in convolutions, unless forbidden", torch.backends.cudnn.allow_tf32
    layer, inputs = torch.nn.Conv2d(3, 4, 3).to(device), torch.rand(2, 3, 8, 8, device=device)
    yield "it computes a convolution", list(layer(inputs).shape), bool(layer(inputs).isfinite().all())


def runner(place: Place) -> Iterator[tuple]:
    """The whole of runner.sh on toy faces: the seconds of its stages, and its summary."""
    faces, _ = draw_faces(place)
    work = place.work / "runner"
    command = [
        "bash",
        ROOT / "runner.sh",
        "--device",
        place.device,
        "--real-data-path",
        faces,
        "--cache",
        work / "cache",
    ]
    command += ["--synthetic-data-root", work / "synthetic", "--output", work / "train"]
    if place.small:
        command += ["--images-per-cell", 24, "--seeds", 100, "--number-train-data-real", 128, "--pre-train-epochs", 1]
        command += ["--number-balanced-synthetic", 20, "--number-imbalanced-synthetic", 40, "--fine-tune-epochs", 1]
    # the environment that this runs in is complete: utils/setup.sh should take it, and install nothing
    variables = {"VIRTUAL_ENV": os.environ.get("VIRTUAL_ENV", sys.prefix)}
    yield (
        "seconds of drawing the toy faces, beside others",
        json.loads((faces.parent / "seconds.json").read_text())["real"],
    )
    stages, said, begin = {}, [], time.perf_counter()
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "cwd": ROOT}
    with subprocess.Popen(list(map(str, command)), env={**os.environ, **variables}, **options) as process:
        for line in process.stdout:
            said.append(line)
            print(line, end="", flush=True)
            if line.startswith("== "):
                stages[line.removeprefix("== ").strip()] = time.perf_counter()
    if process.returncode:
        raise UserError(f"runner.sh: {reason(''.join(said), process.returncode)}")
    ends = [*list(stages.values())[1:], time.perf_counter()]
    yield (
        "seconds of each stage, loading included",
        dict(zip(stages, (round(e - s, 1) for s, e in zip(stages.values(), ends)))),
    )
    yield "seconds in all", round(time.perf_counter() - begin, 1)
    table = [line for line in (work / "train" / "summary.md").read_text().splitlines() if line.startswith("|")]
    head, _, *rows = [line.strip("| ").split(" | ") for line in table]
    for cells in rows:
        yield f"summary: {cells[0]}", dict(zip(head[1:], cells[1:]))
    yield "report and model cards are there", (work / "train" / "report.html").exists(), report_is_whole(work / "train")


def report_is_whole(output: Path) -> bool:
    """Whether a run left its report, and a model card in each record."""
    records = list(output.glob("*/seed_*"))
    return (
        (output / "report.html").exists()
        and all((folder / "README.md").exists() for folder in records)
        and bool(records)
    )


def compiled(place: Place) -> Iterator[tuple]:
    """--compile of training and of drawing, beside the same without."""
    work = place.work / "compile"
    plain = {"images": draw(place, work / "images", "--precision", "fp16")}
    plain["training"] = train(place, work / "training", "--methods", "aim-fair")
    fast = {
        "compiled images": draw(
            place, work / "compiled images", "--precision", "fp16", "--compile", variables=COMPILERS
        )
    }
    flags = ("--compile", "--methods")
    with ThreadPoolExecutor(2) as pool:
        drawing = pool.submit(together, work, {**plain, **fast})
        for method in (
            "erm",
            "aim-fair",
        ):  # one after the other, so that the first is known if the second takes too long
            job = train(place, work / "compiled training", *flags, method, variables=COMPILERS)
            yield (
                f"{method}: seconds of the compiled command",
                together(work, {"compiled training": job})["compiled training"],
            )
            if method == "erm":
                yield "seconds of the other commands", drawing.result()
                apart = grey_levels(images(work / "images"), images(work / "compiled images"))
                yield "fp16 images: grey levels from those without --compile", apart
            yield from near(method, work / "training", work / "compiled training", "compiled")


def speed(place: Place) -> Iterator[tuple]:
    """The benchmark of the classifier, ours in bf16."""
    yield from benchmark(place, "speed", "bf16", "training", "validation", "ranking", "seed")


def speed_fp32(place: Place) -> Iterator[tuple]:
    """The benchmark of training and validation, ours in fp32."""
    yield from benchmark(place, "speed_fp32", "fp32", "training", "validation")


def benchmark(place: Place, name: str, precision: str, *parts: str) -> Iterator[tuple]:
    """Run results.speed into <output>/<name>; yields its rows, its notes, and our rates in images/s."""
    sets = SMALL_SETS if place.small else SPEED_SETS
    flags = [*sets, "--precision", precision, "--parts", *parts, "--device", place.device, "--scratch", place.work]
    content = measured(place, name, flags)
    yield from speed_rows(content)
    rows, batch = content["rows"], content["batch_size"]
    rates = {part: rows[part][1] for part in ("training", "validation")}
    if "ranking" in rows:
        rates["ranking"] = ranked_images(content["images"], batch) / rows["ranking"][1]
    yield "rates", {**rates, "decoding": content["notes"]["decoding all images once, images/s"]}


def generation_speed(place: Place) -> Iterator[tuple]:
    """The benchmark of generation, at the size of Stable Diffusion 2.1-base with random weights."""
    flags = ["--parts", "generation", "--generation-batch-size", 15, "--generation-images", 15]
    if place.small:
        flags = [
            "--parts",
            "generation",
            "--generation-batch-size",
            1,
            "--generation-images",
            1,
            "--generation-steps",
            1,
        ]
    content = measured(place, "generation_speed", [*flags, "--device", place.device, "--scratch", place.work])
    yield from speed_rows(content)


def measured(place: Place, name: str, flags: list) -> dict:
    """What results.speed writes into <output>/<name>, beside which it leaves a page."""
    output = place.output / name
    command = python("-m", "results.speed", *flags, "--output", output)
    together(place.work, {f"{name} itself": Job(command, {})})
    [path] = output.glob("*.json")
    return json.loads(path.read_text())


def speed_rows(content: dict) -> Iterator[tuple]:
    """The rows of a benchmark, a claim each: that the target of docs/speed.md is reached."""
    gpu = "cores" not in content["device"]  # how utils/records.py names a processor
    for name, (theirs, ours, unit) in content["rows"].items():
        found, target = ratio(name, theirs, ours), TARGETS[name][gpu]
        value = {"paper's procedure": theirs, "ours": ours, "unit": unit, "ratio": found, "target": target}
        yield name, value, found >= target
    for what, value in content["notes"].items():
        yield what, value


def ten_seeds(place: Place) -> Iterator[tuple]:
    """Minutes of the paper's experiment, from what the steps before have measured."""
    yield "minutes", FORMULA
    for precision, name in (("bf16", "speed"), ("fp32", "speed_fp32")):
        path = place.output / f"{name}.json"
        rows = json.loads(path.read_text())["rows"] if path.exists() else []
        rates = next((row["value"] for row in rows if row["what"] == "rates"), None)
        if rates is None:
            yield f"{precision}: not measured", f"step {name} has left no rates"
            continue
        if "ranking" not in rates:
            rates["ranking"] = rates["training"]
            yield f"{precision}: ranking is taken to be as fast as training", "assumed"
        yield f"{precision}: rates, images/s", rates
        yield f"{precision}: minutes of ten seeds", minutes(**rates)
