"""The plain procedure of the benchmark does the same work as the fast path, and the benchmark runs."""

import json
import sys

import numpy as np
import pytest
import torch
from conftest import run_script
from torch import nn

from models.selection import mean_absolute_gap, mean_gradients, select_parameters
from results.speed import plain
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


@pytest.mark.slow
def test_the_benchmark_writes_what_it_measured(tmp_path):
    sizes = ["--images", 16, "--image-size", 16, "--batch-size", 8, "--workers", 0, "--device", "cpu"]
    parts = ["--parts", "validation", "ranking"]
    done = run_script(sys.executable, "-m", "results.speed", *sizes, *parts, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    [path] = tmp_path.glob("*.json")
    rows = json.loads(path.read_text())["rows"]
    assert list(rows) == ["validation", "ranking"] and all(min(row[:2]) > 0 for row in rows.values())
    assert "| ranking |" in path.with_suffix(".md").read_text()
