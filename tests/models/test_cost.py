"""The estimate of a dry run: what it counts is what a run does, and what is recorded costs nothing."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from support import ROOT, assert_one_line_error, run_here, run_script
from support.generation import TINY, command
from support.small import SMALL

import train
from models import batches, timing
from models.batches import Compute
from models.cost import AT_MOST, Asked, Rates, ranking_rows, ranking_work, remark, trained, training_rows
from models.experiment import Experiment
from models.options import parse_method
from models.settings import Settings
from models.stages import stages
from models.work import Sizes, Work, images_trained
from results import run_table
from stable_diffusion import generate
from stable_diffusion.drawing import cost
from stable_diffusion.drawing.sampling import Sampling
from stable_diffusion.loading.folder import not_here
from utils.cost import GENERATION, Row, add_rows, cost_table, duration, read_rows, size, unique
from utils.settings import parse

FLAGS = {"top-k": 55, "prompt-type": "contextual", "bias-degree": "1/9"}
COMPUTE = Compute(torch.device("cpu"), False, 32, 10)
EVERY = (  # every kind of training but lff's, which has two networks and is below
    *("synthetic-only", "supplement", "repair", "ffr", "linear-probe", "full", "surgical", "last-layer", "cosine"),
    *("aim-fair", "aim-fair:ratio=0.6", "aim-fair:bias-degree=1/2", "jtt:epochs=2", "cvar-dro", "group-dro"),
    *("eiil:steps=2", "eiil:steps=2,protocol=published", "random-mask", "aim-fair:top-k=auto"),
)


def asked(name, **sizes):
    made = Sizes(**{"train": 105, "val": 30, "test": 50, "pre_epochs": 3, "fine_epochs": 2} | sizes)
    return parse_method(name, train.METHODS, FLAGS), made


def test_a_table_sums_up_a_stages_rows_and_takes_what_is_made_once_once():
    first, again = Row("erm", "a/erm", 10, 100.0, 2, 3_000_000, 2_500_000_000), Row("erm", "a/erm", 10, 90.0, 2)
    other = Row("erm", "b/erm", 5, 7200.0, 2, 3_000_000)
    assert unique([again, first, other]) == [first, other]
    lines = cost_table([first, again, other, Row(GENERATION, "set", 1000, 30.0, disk=4_000_000)]).splitlines()
    assert lines[2].split() == ["generation", "1,000", "30", "s", "4", "MB"]
    assert lines[3].split() == ["erm", "15", "60.8", "min", "2.0", "h", "6", "MB", "2.5", "GB"]
    assert lines[4].split() == ["in", "all", "60.8", "min", "2.0", "h", "10", "MB", "2.5", "GB"]
    assert [duration(s) for s in (0, 89.4, 90, 5399, 5400)] == ["0 s", "89 s", "1.5 min", "90.0 min", "1.5 h"]
    assert size(4_000_000_000) == "4.0 GB"


def test_rows_go_through_a_file_and_what_was_not_measured_is_told(tmp_path):
    rows = [Row(GENERATION, "sét", 8, None, note="because"), Row("erm", "erm", 1, 60.0, 1)]
    for row in rows:
        add_rows(tmp_path / "rows", [row])
    assert read_rows(tmp_path / "rows") == rows
    table = cost_table(rows).splitlines()
    assert "not measured" in table[2] and "more than 60 s" in table[4] and table[5] == "  because"


def test_the_work_of_a_training_follows_from_its_images_and_epochs():
    once = Work(trained=300, predicted=90)  # of 105 images in batches of 10 the last 5 are left out
    assert trained(*asked("erm"), COMPUTE) == once
    assert trained(*asked("lff"), COMPUTE) == once + Work(trained=300)
    assert trained(*asked("full", balanced=40), COMPUTE) == Work(trained=80, predicted=60)
    assert trained(*asked("linear-probe", balanced=40), COMPUTE) == Work(head=80, predicted=60)
    assert trained(*asked("aim-fair:top-k=auto", balanced=40, biased=40), COMPUTE) == Work()
    assert trained(*asked("full", balanced=40, fine_batch=16), COMPUTE).trained == 64
    assert trained(*asked("full", balanced=40, statistics=100), COMPUTE).predicted == 60 + 200
    assert trained(*asked("full", balanced=40, val_once=True), COMPUTE) == Work(trained=80, predicted=30)


def test_a_slow_step_is_taken_once_a_fast_one_after_one_that_warms_up(monkeypatch):
    for lengths, median, calls in (([5.0], 5.0, 1), ([1.0, 0.5, 0.7], 0.6, 3), ([0.3] + [0.1] * 8, 0.1, 9)):
        clock = iter([moment for length in lengths for moment in (0.0, length)])
        monkeypatch.setattr(timing.time, "perf_counter", lambda clock=clock: next(clock))
        steps = []
        assert timing.median_seconds(lambda steps=steps: steps.append(1)) == median and len(steps) == calls


def test_rows_multiply_by_rates_and_seeds_and_name_strangers():
    given = [Asked(*asked("erm"), (1, 2), "erm"), Asked(*asked("aim-fair", balanced=40, biased=20), (1,), "aim-fair")]
    rows = training_rows(given, Rates(2.0, 1.0, 0.5), COMPUTE, weights=7, memory=9)
    assert [(row.stage, row.seconds, row.seeds, row.disk) for row in rows[:3]] == [
        ("erm", 2 * (600 + 45), 2, 14),
        ("ranking (mean gradients)", 2 * (100 + 20 + 40), 1, 0),
        ("aim-fair", 2 * 80 + 0.5 * 60, 1, 7),
    ]
    one, other = (asked(name, balanced=40, biased=20) for name in ("aim-fair", "cosine"))
    for lacking, seeds in (((1,), 1), ((2,), 2), ((1, 2), 2)):  # a seed that is recorded is not ranked again
        given = [Asked(*one, (1,), "aim-fair"), Asked(*other, lacking, "cosine")]
        [ranking] = ranking_rows(given, Rates(1, 1, 1), COMPUTE, None)
        assert (ranking.images, ranking.seeds) == (160 * seeds, seeds)
    own = parse_method("mine", {"mine": lambda run, biased_model: None}, FLAGS)
    assert remark(own) == "mine: counted as one fine-tuning" and not remark(given[0].method)


def test_a_ranking_of_fewer_batches_costs_less_and_one_that_stops_by_itself_at_most_as_much():
    given = [asked(name, balanced=40, biased=20) for name in ("aim-fair", "cosine")]
    other = asked("aim-fair:bias-degree=1/2", balanced=40, biased=20)
    assert ranking_work(given, COMPUTE) == ranking_work(given, COMPUTE, "auto") == Work(trained=100 + 20 + 40)
    assert ranking_work(given, COMPUTE, 3) == Work(trained=30 + 20 + 30)
    # another biased set shares the other two sets if the number of batches is fixed; with auto it is a ranking of its own
    assert ranking_work([*given, other], COMPUTE, 3) == Work(trained=30 + 20 + 30 + 20)
    assert ranking_work([*given, other], COMPUTE, "auto") == Work(trained=2 * (100 + 20 + 40))
    assert [images_trained(7, COMPUTE, most) for most in (None, 1, 2)] == [7, 7, 7]  # the only batch, though short
    row = [Asked(*given[0], (1, 2), "aim-fair")]
    for most, images, note in ((None, 320, ""), (3, 160, ""), ("auto", 320, AT_MOST)):
        rows = training_rows(row, Rates(1, 1, 1), COMPUTE, weights=1, memory=1, ranking_batches=most)
        [ranking] = [found for found in rows if found.stage.startswith("ranking")]
        assert (ranking.images, ranking.note) == (images, note)


@pytest.fixture
def settings(toy, tmp_path):
    for group in ("0_0", "0_1", "1_0", "1_1"):
        folder = tmp_path / "synthetic" / "Smiling_Male" / "contextual" / group
        folder.mkdir(parents=True)
        for i in range(12):
            Image.effect_noise((32, 32), 60 + i).convert("RGB").save(folder / f"{i}.png")
    paths = ["--real-data-path", toy, "--synthetic-data-root", tmp_path / "synthetic", "--output", tmp_path / "out"]
    paths += ["--number-held-out-synthetic", 2]
    flags = [*paths, *SMALL, "--pre-train-epochs", 2, "--width", 0.125, "--seeds", 1, 2, "--methods", *EVERY]
    return parse(Settings, "", [str(flag) for flag in flags])


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ranking_batches": 1},
        {"ranking_batches": "auto", "ranking_patience": 99},
        {"keep_last_batch": True, "methods": ("aim-fair", "surgical", "full", "jtt", "last-layer"), "batch_size": 7},
        {"keep_last_batch": True, "methods": ("surgical", "full"), "batch_size": 7, "fine_tune_batch_size": 9},
        {"batch_norm": "real", "methods": ("full", "surgical"), "batch_size": 7},
        {"methods": ("full:settings=auto", "auto"), "pre_train_epochs": 1, "fine_tune_epochs": 3},
    ],
)
def test_it_counts_the_images_that_a_run_takes_through_the_network(settings, monkeypatch, changes):
    if changes:
        methods = ("aim-fair", "cosine", "aim-fair:bias-degree=1/2")
        settings = replace(settings, **({"seeds": (1,), "methods": methods, "batch_size": 8} | changes))
    seen = {"trained": 0, "predicted": 0}

    def counting(name):
        made = getattr(batches, name)

        def count(pixels, *rest):
            seen["trained" if torch.is_grad_enabled() else "predicted"] += len(pixels)
            return made(pixels, *rest)

        return count

    experiment = Experiment(settings, train.METHODS)
    given = [settings, experiment.methods, experiment.lists, experiment.finals]
    expected = {}
    for name, rates in (("trained", Rates(1, 1, 0)), ("predicted", Rates(0, 0, 1))):
        monkeypatch.setattr(timing, "measure", lambda *_, rates=rates, **__: (rates, torch.nn.Linear(1, 1)))
        rows = [row for row in timing.estimate(*given) if row.stage not in ("start", "decoding")]
        expected[name] = sum(row.seconds for row in rows)
    for name in ("crop_and_resize", "resize_whole"):
        monkeypatch.setattr(batches, name, counting(name))
    experiment.load()
    for methods in stages(experiment):
        for run in experiment.runs():
            for method in methods:
                experiment.record(method, run)
    assert min(seen.values()) > (100 if changes else 1000)
    if any(experiment.finals.values()):  # at most: the biased model may be better than every short trial
        assert all(0.5 * expected[name] < seen[name] <= expected[name] for name in seen)
    else:
        assert seen == expected
    left = timing.estimate(*given)
    assert [row.stage for row in left] == ["start"]  # all recorded, all decoded


@pytest.mark.slow
def test_a_dry_run_prints_the_cost_and_writes_nothing(toy, tmp_path):
    base = ["--real-data-path", toy, "--synthetic-data-root", tmp_path / "none", "--output", tmp_path / "out", *SMALL]
    done = run_here(train.main, *base, "--seeds", 1, "--dry-run")
    assert done.returncode == 0, done.stderr
    lines = {line.split("  ")[0]: line for line in done.stdout.splitlines()}
    assert {"start", "decoding", "erm", "ranking (mean gradients)", "aim-fair", "evaluation", "in all"} <= lines.keys()
    assert lines["erm"].split()[1] == "32" and "45 MB" in lines["erm"]
    assert "counted as 20 of the size of the real ones" in done.stdout
    assert not (tmp_path / "out").exists()
    assert "estimated" not in run_here(train.main, *base, "--dry-run", "--no-estimate").stdout
    assert not run_here(train.main, *base, "--dry-run", "--cost-rows", tmp_path / "rows").stdout.count("estimated")
    assert "erm" in [row.stage for row in read_rows(tmp_path / "rows")]


@pytest.mark.parametrize("flag", ["--no-estimate", "--cost-rows=rows"])
def test_flags_of_the_estimate_start_nothing_without_a_dry_run(flag, tmp_path):
    name = flag.partition("=")[0]
    for main, more in ((train.main, ["--real-data-path", tmp_path]), (generate.main, ["--outdir", tmp_path])):
        assert_one_line_error(run_here(main, *more, flag), f"{name} is for a dry run")
    done = run_script("bash", ROOT / "runner.sh", flag)
    assert done.returncode == 2 and f"{name} is for a dry run" in done.stderr and "== 1" not in done.stdout


def test_a_batch_that_training_would_refuse_is_refused_by_its_estimate(toy, tmp_path, monkeypatch):
    flags = ["--real-data-path", toy, "--output", tmp_path / "out", *SMALL, "--dry-run"]
    assert_one_line_error(run_here(train.main, *flags, "--batch-size", 1), "a training batch holds a single image")

    def full(*_, **__):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(timing, "measure", full)
    assert_one_line_error(run_here(train.main, *flags), "out of memory; lower --batch-size (now 16)")


def test_generation_counts_what_is_missing(tmp_path):
    rows = tmp_path / "rows"
    (tmp_path / "Smiling_Male" / "contextual" / "0_0").mkdir(parents=True)
    for flags in (["--dry-run", "--cost-rows", rows], [], ["--dry-run", "--cost-rows", rows]):
        done = run_here(generate.main, *command(tmp_path, *flags, per_group=2))
        assert done.returncode == 0, done.stderr
    before, after = read_rows(rows)
    assert before.images == 8 and before.seconds > 0 and before.memory > 1e8
    assert before.disk == pytest.approx(8 * 2000, rel=0.5)  # 32 pixels a side
    assert (after.images, after.seconds, after.disk) == (0, 0.0, 0)


def test_the_time_of_an_image_grows_with_its_steps(monkeypatch):
    clock = iter(np.cumsum([0, 3, 0, 40, 0, 80]))  # one image, then four in two steps, and in six
    monkeypatch.setattr(cost.time, "perf_counter", lambda: next(clock))
    drawn = []

    def render(_, jobs, sampling):
        drawn.append((len(jobs), sampling.steps))
        return np.random.default_rng(0).integers(0, 256, (len(jobs), 8, 8, 3), dtype=np.uint8)

    monkeypatch.setattr(cost, "render_batch", render)
    monkeypatch.setattr(cost, "LIMIT", 60.0)
    seconds, png, note = cost.time_rendering(None, [None] * 4, 4, Sampling(50, 9.0, 8, 8))
    assert drawn == [(1, 2), (4, 2), (4, 6)] and note == ""
    assert seconds == (20 + 50 * 10) / 4 and png > 192  # a step takes ten seconds, what is around them twenty
    clock = iter([0, 100])
    seconds, _, note = cost.time_rendering(None, [None] * 4, 4, Sampling(50, 9.0, 8, 8))
    assert seconds == 2500 and "at most" in note


def test_a_model_that_is_not_here_is_not_fetched_and_its_size_is_told(monkeypatch, tmp_path):
    assert not_here(str(TINY)) == ""
    files = [str(path.relative_to(TINY)) for path in TINY.rglob("*.*")]
    siblings = [SimpleNamespace(rfilename=name, size=1_000_000_000) for name in files]
    for path in TINY.rglob("*.json"):
        copy = tmp_path / path.relative_to(TINY)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: SimpleNamespace(siblings=siblings))
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: tmp_path)
    assert not_here("someone/faces") == "someone/faces is yet to be fetched, 3.0 GB"  # unet, vae, text encoder
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: TINY)
    assert not_here("someone/faces") == ""


def test_tables_that_share_rows_pay_for_them_once(monkeypatch, tmp_path):
    calls = []

    def runner(call):
        calls.append(call)
        folder, methods = call[call.index("--output") + 1], call[call.index("--methods") + 1 :]
        rows = [Row(name, f"{folder} {name}", 1, 100.0, 1) for name in ("erm", *methods) if name in ("erm", "full")]
        add_rows(call[-1], rows)

    monkeypatch.setattr(run_table, "run", runner)
    done = run_here(run_table.main, "3", "7", "--dry-run")
    assert done.returncode == 0 and len(calls) == 2, done.stderr
    assert "200" not in done.stdout
    assert done.stdout.splitlines()[-1].split() == ["in", "all", *2 * ("3.3", "min")]
