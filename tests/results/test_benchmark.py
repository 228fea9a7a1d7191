"""The plain procedure of the benchmark does the same work as the fast path, and the benchmark runs."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from support import run_script
from torch import nn

from models.batches import Compute
from models.selection import mean_absolute_gap, mean_gradients, select_parameters
from results.speed import classifier, plain, report
from results.speed.classifier import Bench
from results.speed.turns import Row, by_turns
from utils.metrics import fairness_metrics


class Batches(list):
    batch_size = 8


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1)
    )


def batches(seed, count=3):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.rand(count, 8, 3, 12, 12, generator=generator)
    labels = torch.randint(0, 2, (2, count, 8), generator=generator)
    return Batches(zip(inputs, *labels, strict=True))


def test_both_procedures_choose_the_same_tensors_by_the_same_gradients(model):
    sets = [batches(seed) for seed in range(3)]
    theirs = [plain.mean_gradients(model, data, torch.device("cpu")) for data in sets]
    real, biased, balanced = (mean_gradients(model, data) for data in sets)
    for name, value in real.items():
        np.testing.assert_allclose(theirs[0][name], value.numpy(), atol=1e-6)
    chosen = select_parameters(mean_absolute_gap(real, biased), mean_absolute_gap(biased, balanced), 4)
    assert plain.choose(*theirs, 4) == chosen


def test_both_procedures_count_the_same(model):
    data = batches(5, count=8)
    model.eval()
    with torch.no_grad():
        predictions = torch.cat([model(inputs)[:, 0] > 0 for inputs, _, _ in data]).numpy()
    target, protected = (torch.cat([batch[i] for batch in data]).numpy() for i in (1, 2))
    ours, theirs = fairness_metrics(target, protected, predictions), plain.validate(model, data, torch.device("cpu"))
    assert theirs == pytest.approx({key: ours[key] for key in theirs})


CONTENT = {
    "device": "A processor, 2 cores", "command": "python -m results.speed", "commit": "abc", "versions": {"torch": "2"},
    "python": "3.11", "turns": 3, "thread_settings": {"threads": "2"}, "source_size": (178, 218), "images": 512, "image_size": 64,
    "batch_size": 128, "precision": "bf16", "compile": False, "workers_of_the_plain_procedure": 2, "notes": {},
}  # fmt: skip
SLOW = Row({"plain": [9.0, 8.0, 99.0], "ours": [4.0, 1.0, 5.0], "bare": [2.0, 3.0, 3.0]}, images=36)


def test_a_row_is_of_medians():
    assert [SLOW.value(work) for work in ("plain", "ours", "bare")] == [4, 9, 12]
    assert report.found(SLOW) == {"ratio": 9 / 4, "possible": 3, "fraction": 3 / 4}


def test_a_target_that_is_missed_is_said():
    assert report.missed("training", SLOW, "cpu") == ["fraction"] and report.missed("training", SLOW, "cuda") == [
        "ratio",
        "fraction",
    ]
    twice = {"once": [1.0, 1.0, 1.0], "twice": [2.5, 2.0, 2.1]}
    assert report.missed("growth", Row(twice), "cpu") == ["growth"]
    page = report.as_markdown(CONTENT, {"training": SLOW, "growth": Row(twice)}, {}, "cpu")
    assert (
        "| training | 4.00 | 9.00 | 12.00 | images/s | 2.25 | 3.00 | 0.75 | ours : bare at least 0.95 (missed) |"
        in page
    )
    assert "2.10 times as long" in page and "threads 2" in page
    fast = Row({**SLOW.seconds, "ours": [2.0, 3.0, 3.1]}, 36)
    assert "missed" not in report.as_markdown(CONTENT, {"training": fast}, {}, "cpu")


def test_works_take_turns_and_each_begins_one():
    order = []
    row = by_turns({name: lambda name=name: order.append(name) for name in "abc"}, 3, torch.device("cpu"), 5)
    assert order == ["a", "b", "c", "b", "c", "a", "c", "a", "b"] and row.images == 5
    assert [len(turns) for turns in row.seconds.values()] == [3, 3, 3]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    made = {}

    def of(count, batch_size=8):
        key = count, batch_size
        if key not in made:
            compute = Compute(torch.device("cpu"), False, 16, batch_size)
            made[key] = Bench(tmp_path_factory.mktemp("bench"), count, compute, workers=0, turns=1)
        return made[key]

    return of


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [8, 64])  # a short last batch, less than one
@pytest.mark.parametrize("part", ["training", "validation", "ranking", "seed"])
def test_the_bare_network_sees_as_many_images_as_ours(bench, monkeypatch, part, batch_size):
    made, seen = bench(20, batch_size), {}

    def counting(works, turns, device, images=None):
        for name, work in works.items():
            seen[name] = [0, 0]

            def count_stem(module, inputs, name=name):
                if isinstance(module, nn.Conv2d) and module.in_channels == 3:
                    seen[name][module.training] += len(inputs[0])

            handle = nn.modules.module.register_module_forward_pre_hook(count_stem)
            work()
            handle.remove()
        return Row({name: [1.0] for name in works}, images)

    monkeypatch.setattr(classifier, "by_turns", counting)
    row = getattr(made, part)()
    evaluated, trained = seen["ours"]
    extra = 4 if part == "training" else 0  # one image of each group is its val
    assert seen["bare"] == [evaluated - extra, trained]
    assert row.images in (None, max(evaluated - extra, trained))


@pytest.mark.slow
def test_switches_are_beside_the_same_work_without_them(bench, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda model: compiled.append(model) or model)
    monkeypatch.setattr(classifier.shutil, "which", lambda name: name)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "somewhere")
    made = bench(16)
    monkeypatch.setattr(made, "compute", replace(made.compute, compile=True))
    rows = made.switches()
    assert list(rows) == ["batch norm folded, fp32, validation (no flag: not built)", "--compile, training"]
    assert len(compiled) == 2  # the first epoch and one turn: the work without it compiles nothing
    monkeypatch.setattr(classifier.shutil, "which", lambda name: None)
    assert len(made.switches()) == 1 and "no C++ compiler" in made.notes["--compile"]


@pytest.mark.slow
def test_the_benchmark_writes_what_it_measured(tmp_path):
    sizes = ["--images", 16, "--image-size", 16, "--batch-size", 8, "--workers", 0, "--device", "cpu", "--turns", 1]
    parts = ["--parts", "validation", "growth"]
    done = run_script(sys.executable, "-m", "results.speed", *sizes, *parts, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    [path] = tmp_path.glob("*.json")
    rows = {name: Row(**row) for name, row in json.loads(path.read_text())["rows"].items()}
    assert list(rows) == parts[1:] and all(
        min(min(turns) for turns in row.seconds.values()) > 0 for row in rows.values()
    )
    assert "| validation |" in path.with_suffix(".md").read_text()
