"""The plain procedure of the benchmark does the same work as the fast path, and the benchmark measures and shows it."""

import sys

import numpy as np
import pytest
import torch
from support import run_script
from torch import nn

from models.batches import Compute
from models.selection import mean_absolute_gap, mean_gradients, select_parameters
from models.work import images_trained
from results.studies import Finding, Place, cost
from results.studies.speed import STUDY, measure, plain
from results.studies.speed.bare import Bare
from results.studies.speed.bench import Bench, by_turns, draw_files
from results.studies.speed.ours import Ours
from results.studies.speed.page import Row, compared, devices
from results.study import pack
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


SLOW = Row({"plain": [9.0, 8.0, 99.0], "ours": [4.0, 1.0, 5.0], "bare": [2.0, 3.0, 3.0]}, images=36)


def test_a_row_is_of_medians_and_a_missed_target_is_marked():
    ratios = ["2.25", "3.00", "0.75"]
    expected = ["training", "4.00", "9.00", "12.00", "images/s", *ratios]
    assert compared("training", SLOW, False) == [*expected, "ours : bare at least 0.95 (missed)"]
    assert compared("training", SLOW, True) == [*expected, "ours : paper's at least 5 (missed)"]
    fast = Row({**SLOW.seconds, "ours": [2.0, 3.0, 3.1]}, 36)
    assert compared("training", fast, False)[-1] == "ours : bare at least 0.95"


def test_works_take_turns_and_each_begins_one():
    order = []
    row = by_turns({name: lambda name=name: order.append(name) for name in "abc"}, 3, torch.device("cpu"), 5)
    assert order == ["a", "b", "c", "b", "c", "a", "c", "a", "b"] and row["images"] == 5
    assert [len(turns) for turns in row["seconds"].values()] == [3, 3, 3]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    return folder, draw_files(folder, 44)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [8, 64])  # a short last batch, less than one
def test_the_bare_network_sees_as_many_images_as_ours(files, batch_size):
    compute = Compute(torch.device("cpu"), False, 16, batch_size)
    bench = Bench(files[1], 44, files[0], compute, workers=0, turns=1, width=0.125)
    ours = Ours(bench)
    bare = Bare(bench.new_model(), compute, bench.count, ours.ranking())
    for part in ("training", "validation", "ranking", "seed"):
        seen = {}
        for name, work in (("ours", ours), ("bare", bare)):
            seen[name] = [0, 0]

            def count_stem(module, inputs, counts=seen[name]):
                if isinstance(module, nn.Conv2d) and module.in_channels == 3:
                    counts[module.training] += len(inputs[0])

            handle = nn.modules.module.register_module_forward_pre_hook(count_stem)
            getattr(work, part)()
            handle.remove()
        evaluated, trained = seen["ours"]
        extra = 4 if part == "training" else 0  # one image of each group is its val
        assert seen["bare"] == [evaluated - extra, trained], part
        assert part != "training" or trained == images_trained(bench.count, compute)


@pytest.mark.slow
def test_switches_are_beside_the_same_work_without_them(tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda model: compiled.append(model) or model)
    monkeypatch.setattr(measure.shutil, "which", lambda name: name)
    monkeypatch.setattr("results.studies.speed.bench.fast_bf16", lambda: False)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "somewhere")
    place = Place(tmp_path, tmp_path, "cpu", small=True)
    found = {finding.what: finding.value for finding in measure.switches(place)}
    rows = [what for what, value in found.items() if isinstance(value, dict)]
    assert rows == ["setup", "--compile, training"]
    assert len(compiled) == 2  # the first epoch and one turn: the work without it compiles nothing
    monkeypatch.setattr(measure.shutil, "which", lambda name: None)
    assert list(measure.switches(place))[-1] == Finding("--compile", "not measured: no C++ compiler here")


@pytest.mark.slow
def test_the_benchmark_runs_by_its_command_and_its_page_has_a_section_for_each_device(tmp_path):
    arms = ("validation", "growth", "profile")
    call = [sys.executable, "-m", "results.study", "speed", "run", "--small", "--device", "cpu", "--output", tmp_path]
    done = run_script(*call, "--only", *arms)
    assert done.returncode == 0, done.stderr
    for folder in (tmp_path / "records", tmp_path / "records" / "another"):
        pack(STUDY, tmp_path, folder)
    text = "\n".join(devices(tmp_path / "records"))
    assert (
        text.count("\n| validation |") == 2
        and text.count("times as long") == 2
        and "- validation, growth, profile: turns 1;" in text
        and text.count("- the seconds of a seed of ours: forward ") == 2
    )
    assert "| training |" not in text


def test_all_that_is_timed_is_timed_alone():
    for study in (STUDY, cost.STUDY):
        for i, arm in enumerate(study.arms):
            assert arm.after == tuple(other.name for other in study.arms[:i])
