"""The steps that take the machine as it is: what it is, all of runner.sh, and speed."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from results.gpu.compare import FORMULA, ranked_images
from results.gpu.compare import ten_seeds as minutes
from results.gpu.work import Place, draw_faces, python
from results.processes import reason
from results.speed.report import TARGETS, found, missed, unit
from results.speed.turns import Row
from utils.errors import UserError
from utils.records import ROOT, environment

BATCH = 128
SMALL_RUN = [
    "--images-per-cell", 24, "--seeds", 100, "--number-train-data-real", 128, "--number-balanced-synthetic", 20,
    "--number-imbalanced-synthetic", 40, "--pre-train-epochs", 1, "--fine-tune-epochs", 1,
]  # fmt: skip
# few images, for time: the workers of the paper's procedure start anew for each pass, which weighs more in a short one
SPEED_SETS = ("--images", 2048, "--image-size", 224, "--batch-size", BATCH, "--workers", os.cpu_count(), "--turns", 2)
SMALL_SETS = ("--images", 32, "--image-size", 32, "--batch-size", BATCH, "--workers", 0, "--turns", 1)


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
    """The whole of runner.sh on toy faces: the seconds of its stages, beside the last of the comparisons, and its summary."""
    faces, _ = draw_faces(place)
    drawn = json.loads((faces.parent / "seconds.json").read_text())
    yield "seconds of drawing the toy faces", drawn["real"]
    work = place.work / "runner"
    flags = ["--device", place.device, "--real-data-path", faces, "--synthetic-data-root", work / "synthetic"]
    flags += ["--output", work / "train", "--cache", work / "cache", *(SMALL_RUN if place.small else ())]
    stages = timed_stages(["bash", ROOT / "runner.sh", *flags])
    yield "seconds of each stage, loading included", stages
    yield "seconds in all", round(sum(stages.values()), 1)
    yield from summary_rows((work / "train" / "summary.md").read_text())
    made = report_is_whole(work / "train")
    yield "report and model cards are there", made, made


def timed_stages(command: list) -> dict[str, float]:
    """Run a command that heads its stages with "== "; the seconds of each, of what comes before the first as "start".

    Raises `UserError` with what it says where it fails.
    """
    # the environment that this runs in is complete: utils/setup.sh should take it, and install nothing
    variables = {**os.environ, "VIRTUAL_ENV": os.environ.get("VIRTUAL_ENV", sys.prefix)}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "cwd": ROOT, "env": variables}
    moments, said = {"start": time.perf_counter()}, []
    with subprocess.Popen(list(map(str, command)), **options) as process:
        for line in process.stdout:
            said.append(line)
            print(line, end="", flush=True)
            if line.startswith("== "):
                moments[line.removeprefix("== ").strip()] = time.perf_counter()
    if process.returncode:
        raise UserError(f"{command[1].name}: {reason(''.join(said), process.returncode)}")
    ends = [*list(moments.values())[1:], time.perf_counter()]
    return {stage: round(end - begin, 1) for (stage, begin), end in zip(moments.items(), ends, strict=True)}


def summary_rows(page: str) -> Iterator[tuple]:
    """A row for each method of a summary.md."""
    head, _, *rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("|")]
    for method, *cells in rows:
        yield f"summary: {method}", dict(zip(head[1:], cells, strict=True))


def report_is_whole(output: Path) -> bool:
    """Whether a run left records, a model card in each, and its report."""
    records = list(output.glob("*/seed_*"))
    cards = all((folder / "README.md").exists() for folder in records)
    return bool(records) and cards and (output / "report.html").exists()


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
    rows, batch = benchmark_rows(content), content["batch_size"]
    rates = {part: rows[part].value("ours") for part in ("training", "validation")}
    if "ranking" in rows:
        rates["ranking"] = ranked_images(content["images"], batch) / rows["ranking"].value("ours")
    yield "rates", {**rates, "decoding": content["notes"]["decoding all images once, images/s"]}


def generation_speed(place: Place) -> Iterator[tuple]:
    """The benchmark of generation, at the size of Stable Diffusion 2.1-base with random weights."""
    images, turns, steps = (1, 1, ["--generation-steps", 1]) if place.small else (15, 2, [])
    flags = [
        "--parts",
        "generation",
        "--generation-batch-size",
        images,
        "--generation-images",
        images,
        "--turns",
        turns,
    ]
    flags += steps
    content = measured(place, "generation_speed", [*flags, "--device", place.device, "--scratch", place.work])
    yield from speed_rows(content)


def measured(place: Place, name: str, flags: list) -> dict:
    """What results.speed writes into <output>/<name>, beside which it leaves a page."""
    output = place.output / name
    command = python("-m", "results.speed", *flags, "--output", output)
    # what it says goes to this step's log, so that the rows found until then are known if it takes too long
    status = subprocess.run(list(map(str, command)), cwd=ROOT).returncode
    if status:
        raise UserError(f"results.speed ended with status {status}")
    [path] = output.glob("*.json")
    return json.loads(path.read_text())


def benchmark_rows(content: dict) -> dict[str, Row]:
    """The rows of a benchmark's record."""
    return {name: Row(**row) for name, row in content["rows"].items()}


def speed_rows(content: dict) -> Iterator[tuple]:
    """The rows of a benchmark, a claim each: that the targets of results/speed/report.py are reached."""
    kind = "cpu" if "cores" in content["device"] else "cuda"  # how utils/records.py names a processor
    for name, row in benchmark_rows(content).items():
        values = {work: row.value(work) for work in row.seconds}
        value = {**values, "unit": unit(row), **found(row), "targets": TARGETS[kind][name]}
        yield name, value, not missed(name, row, kind)
    for what, value in content["notes"].items():
        yield what, value


def ten_seeds(place: Place) -> Iterator[tuple]:
    """Minutes of the paper's experiment, from what the steps before have measured.

    Raises `UserError`, once it has said the others, where a precision was not measured.
    """
    yield "minutes", FORMULA
    missing = []
    for precision, name in (("bf16", "speed"), ("fp32", "speed_fp32")):
        path = place.output / f"{name}.json"
        rows = json.loads(path.read_text())["rows"] if path.exists() else []
        rates = next((row["value"] for row in rows if row["what"] == "rates"), None)
        if rates is None:
            missing.append(name)
            continue
        if "ranking" not in rates:
            rates["ranking"] = rates["training"]
            yield f"{precision}: ranking is taken to be as fast as training", "assumed"
        yield f"{precision}: rates, images/s", rates
        yield f"{precision}: minutes of ten seeds", minutes(**rates)
    if missing:
        raise UserError(f"no rates of {' and '.join(missing)} yet: run --steps {' '.join(missing)} ten_seeds")
