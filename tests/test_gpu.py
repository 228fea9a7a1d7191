"""The steps that need a GPU: how they are run and recorded, and that their comparisons can fail. No GPU is needed."""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT, assert_one_line_error, run_here
from PIL import Image

from results.gpu import __main__ as gpu
from results.gpu import compare, drawing, steps, table, training, work
from utils.errors import UserError

ROW = '{"what": "seen", "value": 1.5, "holds": true}'


@pytest.fixture
def fake(monkeypatch):
    """Steps that are shell scripts, by name; a list of those that were started."""
    started, scripts = [], {}

    def start_step(name, args, folder):
        started.append(name)
        with open(folder / f"{name}.log", "w") as log:
            options = {"stdout": log, "stderr": log, "start_new_session": True}
            return subprocess.Popen(["bash", "-c", scripts[name]], cwd=folder, **options)

    monkeypatch.setattr(gpu, "start_step", start_step)
    monkeypatch.setattr(gpu, "POLL", 0.01)

    def make(**named):
        scripts.update({name: script for name, (script, _) in named.items()})
        monkeypatch.setattr(gpu, "STEPS", {name: step for name, (_, step) in named.items()})
        return started

    return make


def read(output, name):
    return json.loads((output / f"{name}.json").read_text())


def is_running(number):
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"  # killed, and not waited for by anybody


def main(output, *flags):
    return run_here(gpu.main, "--output", output, "--device", "cpu", *flags)


def test_a_failing_and_a_hanging_step_are_recorded_and_the_next_one_runs(fake, tmp_path):
    hang = f"echo '{ROW}' > slow.rows; printf '{{\"cut' >> slow.rows; mkdir slow; echo inner > slow/a.log; sleep 60 & echo $! > {tmp_path}/pid; sleep 60"
    fake(
        bad=(f"echo '{ROW}' > bad.rows; echo trying; echo 'steps.py: error: no memory'; exit 2", gpu.Step(30)),
        slow=(hang, gpu.Step(0.5)),
        good=(f"echo '{ROW}' > good.rows", gpu.Step(30, ("bad", "slow"))),
    )
    done = main(tmp_path)
    assert done.returncode == 0, done.stderr
    bad, slow, good = (read(tmp_path, name) for name in ("bad", "slow", "good"))
    assert (bad["status"], bad["rows"], bad["said"][-1]) == ("failed", [json.loads(ROW)], "steps.py: error: no memory")
    assert (slow["status"], slow["rows"], slow["said"]) == ("stopped", [json.loads(ROW)], ["a: inner"])
    assert good["status"] == "finished" and "said" not in good and good["commit"]
    assert not is_running(int((tmp_path / "pid").read_text()))  # what a step starts ends with it
    assert (
        "bad: failed after" in done.stdout and "1 of 1 claims hold; it said: steps.py: error: no memory" in done.stdout
    )
    page = (tmp_path / "table.md").read_text()
    assert (
        "## bad: failed" in page
        and "no memory" in page
        and page.index("## slow: stopped") < page.index("## good: finished")
    )
    assert page.count("| seen | 1.5 | yes |") == 3


def test_only_what_is_not_finished_is_run_again(fake, tmp_path):
    once = "echo '{}' > a.rows"
    started = fake(a=(once.format(ROW), gpu.Step(30)), b=("exit 1", gpu.Step(30)))
    main(tmp_path)
    before = (tmp_path / "a.json").read_bytes()
    started = fake(a=("exit 1", gpu.Step(30)), b=(once.format(ROW).replace("a.rows", "b.rows"), gpu.Step(30)))
    again = main(tmp_path)
    assert started == ["a", "b", "b"] and "a: recorded already" in again.stdout
    assert (tmp_path / "a.json").read_bytes() == before and read(tmp_path, "b")["status"] == "finished"
    assert_one_line_error(main(tmp_path, "--small"), "'small': True", "choose another --output")
    (tmp_path / "a.json").write_text("{cut")
    assert_one_line_error(main(tmp_path), "a.json is damaged", "remove it")


def test_a_step_waits_for_those_before_it_and_others_run_beside_it(fake, tmp_path):
    wait = "for i in $(seq 500); do [ -e other ] && exit 0; sleep 0.01; done; exit 1"
    fake(
        one=(wait.replace("other", "two.mark"), gpu.Step(30)),
        two=("touch two.mark", gpu.Step(30)),
        late=("[ -e two.mark ] && sleep 0.2 && [ ! -e last.mark ]", gpu.Step(30, ("one", "two"))),
        last=("touch last.mark", gpu.Step(30, ("late", "a step that is not run"))),
    )
    main(tmp_path)
    assert {name: read(tmp_path, name)["status"] for name in gpu.STEPS} == dict.fromkeys(gpu.STEPS, "finished")


def test_no_step_starts_without_time(fake, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "ENOUGH", 1)
    started = fake(a=("sleep 60", gpu.Step(60)), b=("true", gpu.Step(60, ("a",))))
    start = time.monotonic()
    done = main(tmp_path, "--limit", 1.5)
    assert "a: no time left" not in done.stdout and "b: no time left" in done.stdout and started == ["a"]
    assert read(tmp_path, "a")["status"] == "stopped" and not (tmp_path / "b.json").exists()
    assert time.monotonic() - start < 10


def test_every_step_has_its_work_and_waits_for_earlier_ones():
    assert steps.STEPS.keys() == gpu.STEPS.keys()
    names = list(gpu.STEPS)
    for place, name in enumerate(names):
        assert set(gpu.STEPS[name].after) <= set(names[:place]), name


def test_the_settings_are_those_of_runner_sh():
    said = " ".join((ROOT / "runner.sh").read_text().split())
    flags = " ".join(map(str, work.TRAINING))
    for flag in flags.split("--")[1:]:
        assert f"--{flag.strip()} " in said or flag.startswith(("weights", "width")), flag
    assert "start=(--weights toy --width 0.25)" in said
    assert " ".join(f"--{split} {count}" for split, count in work.FACES.items()) in said


# comparisons


def record(folder, logits, chosen, ranks, gaps=(1.0, 2.0, 3.0)):
    folder.mkdir(parents=True)
    names = [f"{i}.jpg" for i in range(len(logits))]
    pd.DataFrame({"name": names, "logit": logits}).to_csv(folder / "test_predictions.csv", index=False)
    rows = {"name": ["a", "b", "c"], "chosen": chosen}
    rows |= {f"{key}_rank": ranks for key in ("domain", "bias")} | {f"{key}_gap": gaps for key in ("domain", "bias")}
    pd.DataFrame(rows).to_csv(folder / "sensitivity.csv", index=False)
    return folder


def test_predictions_and_rankings_that_differ_are_found(tmp_path):
    a = record(tmp_path / "a", [-1.0, 2.0, 0.5, -0.1], [True, True, False], [1, 2, 3])
    b = record(tmp_path / "b", [-1.5, 2.0, -0.5, 0.1], [True, False, True], [1, 3, 2], (1.0, 2.0, 4.0))
    same, apart = compare.predictions(a, a), compare.predictions(a, b)
    assert (same["differ"], same["largest gap"]) == (0, 0)
    assert (apart["differ"], apart["of"], apart["largest gap"]) == (2, 4, 1.0) and apart["mean gap"] == pytest.approx(
        0.425
    )
    ranks = compare.sensitivity(a, b)
    assert ranks["chosen in one alone"] == ["b", "c"] and compare.sensitivity(a, a)["chosen in one alone"] == []
    assert ranks["domain, rank correlation"] == 0.5 and compare.sensitivity(a, a)["bias, rank correlation"] == 1
    assert ranks["bias gap, relative difference"] == {"largest": 0.25, "median": 0}
    rows = list(training.at_same_weights("same", a, a, b))
    assert [row[2] for row in rows if len(row) > 2] == [False, False]
    assert [row[2] for row in training.at_same_weights("same", a, a, a) if len(row) > 2] == [True, True]
    with pytest.raises(ValueError, match="different images"):
        compare.predictions(a, record(tmp_path / "c", [1.0], [True] * 3, [1, 2, 3]))


def test_bytes_that_differ_are_found_and_nothing_is_no_agreement(tmp_path):
    for name, content in (("a", "1"), ("b", "1"), ("c", "2")):
        (tmp_path / name / "erm").mkdir(parents=True)
        (tmp_path / name / "erm" / "x.csv").write_text(content)
    (tmp_path / "c" / "erm" / "y.csv").write_text("only here")
    assert compare.differing(tmp_path / "a", tmp_path / "b", ["*/*.csv"]) == []
    assert compare.differing(tmp_path / "a", tmp_path / "c", ["*/*.csv"]) == ["erm/x.csv", "erm/y.csv"]
    with pytest.raises(ValueError, match="no "):
        compare.differing(tmp_path / "a", tmp_path / "b", ["*/*.png"])


def test_grey_levels_are_those_of_the_pixels(tmp_path):
    for name, level in (("a", 10), ("b", 13)):
        (tmp_path / name / "0_0").mkdir(parents=True)
        pixels = np.full((4, 4, 3), 10, np.uint8)
        pixels[:2] = level
        Image.fromarray(pixels).save(tmp_path / name / "0_0" / "0.png")
        Image.new("RGB", (4, 4)).save(tmp_path / name / "0_0" / "1.png")
    assert compare.grey_levels(tmp_path / "a", tmp_path / "b") == {"mean": 0.75, "largest": 3, "worst image": 1.5}
    (tmp_path / "b" / "0_0" / "1.png").unlink()
    with pytest.raises(ValueError, match="lacks 1 of the 2"):
        compare.grey_levels(tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize(("accuracy", "holds"), [(0.82, True), (0.76, False)])
def test_bf16_is_near_or_it_is_not(tmp_path, accuracy, holds):
    for run, value in (("fp32", 0.8), ("bf16", accuracy)):
        (tmp_path / run / "erm" / "seed_1").mkdir(parents=True)
        content = {"metrics": {"accuracy": value, "equalized_odds": 0.1}}
        (tmp_path / run / "erm" / "seed_1" / "metrics.json").write_text(json.dumps(content))
    rows = list(training.near("erm", tmp_path / "fp32", tmp_path / "bf16", "bf16"))
    assert rows[0][2] is holds and rows[0][1]["bf16"] == pytest.approx(100 * accuracy)


def test_the_estimate_is_its_formula():
    rates = {"training": 1000.0, "validation": 4000.0, "ranking": 500.0, "decoding": 200.0}
    hand = 10 * (25 * 19968 / 1000 + 25 * 19867 / 4000 + 3 * 19968 / 500 + (2 * (19962 + 19867) + 2000) / 4000)
    hand += (20000 + 19867 + 19962 + 42000) / 200
    assert compare.ten_seeds(**rates)["in all"] == pytest.approx(hand / 60)
    assert compare.ten_seeds(**{**rates, "ranking": 250.0})["ranking"] == pytest.approx(2 * 10 * 3 * 19968 / 500 / 60)


def test_the_benchmark_ranks_as_many_images_as_are_counted():
    from results.speed.ours import seed_run

    sets = {"synthetic": argparse.Namespace(cells=("0_0", "0_1", "1_0", "1_1"))}
    sets["synthetic"] = type("Pool", (), {"cells": sets["synthetic"].cells, "__len__": lambda _: 2048})()
    compute = argparse.Namespace(batch_size=128, image_size=8, device="cpu", amp=False, compile=False)
    _, synthetic = seed_run(sets, 1, 1, compute, ROOT)
    counts = 2048, sum(synthetic.biased_sizes.values()), sum(synthetic.balanced_sizes.values())
    assert compare.ranked_images(2048, 128) == sum(count // 128 * 128 for count in counts)


# processes


def test_jobs_run_side_by_side_and_one_that_fails_is_named(tmp_path):
    meet = "import sys, time; open(sys.argv[1], 'w'); \nwhile not __import__('os').path.exists(sys.argv[2]): time.sleep(0.01)"
    a, b = tmp_path / "a.mark", tmp_path / "b.mark"
    jobs = {"a": work.Job([sys.executable, "-c", meet, a, b]), "b": work.Job([sys.executable, "-c", meet, b, a])}
    assert work.together(tmp_path, jobs).keys() == {"a", "b"}
    jobs = {"fine": work.Job(["true"]), "bad": work.Job(["bash", "-c", "echo 'x.py: error: no $GREETING'; exit 2"])}
    with pytest.raises(UserError, match=r"^bad: no \$GREETING$"):
        work.together(tmp_path, jobs)
    work.together(tmp_path, {"said": work.Job(["bash", "-c", "echo $GREETING"], {"GREETING": "hello"})})
    assert (tmp_path / "said.log").read_text() == "hello\n"


def test_drawing_is_killed_at_its_first_image_or_that_is_said(tmp_path):
    script = f"mkdir -p {tmp_path}/set/0_0; touch {tmp_path}/set/0_0/0.png; sleep 60"
    assert drawing.kill_drawing(work.Job(["bash", "-c", script]), tmp_path / "set", tmp_path / "log") == 1
    with pytest.raises(UserError, match="ended before: oh"):
        drawing.kill_drawing(work.Job(["bash", "-c", "echo oh"]), tmp_path / "none", tmp_path / "log")


def test_a_batch_that_the_limit_forbids_is_halved_and_the_set_is_drawn(tmp_path, monkeypatch):
    """What a GPU's memory does is played: rendering needs as much as there are images."""
    from stable_diffusion.drawing import produce
    from stable_diffusion.loading import pipeline

    limit = []

    def render_batch(_, batch, sampling):
        if limit and len(batch) > limit[0]:
            raise torch.OutOfMemoryError
        return np.stack([np.full((64, 64, 3), i, np.uint8) for i in range(len(batch))])

    peaks = iter([{"allocated": 16, "reserved": 20}, {"allocated": 256, "reserved": 300}])
    monkeypatch.setattr(drawing, "peak", lambda work, device: (work(), next(peaks))[1])
    for module in (produce, pipeline):
        for name, stub in (
            ("render_batch", render_batch),
            ("load_pipeline", lambda *_: None),
            ("check_lengths", lambda *_: 0),
        ):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, stub)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: argparse.Namespace(total_memory=1000))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda share, _: limit.append(1000 * share))
    usual = tmp_path / "generation" / "short"  # compared with itself here
    rows = list(drawing.short_of_memory(work.Place(tmp_path, tmp_path, "cpu", False), usual))
    assert limit == [138] and rows[1][1:] == (["256"], True) and rows[2][1:] == ("256 of 256", True)
    assert rows[3][1]["largest"] == 0


def test_a_page_of_rows():
    rows = [{"what": "a|b", "value": {"CPU": 1.23456, "GPU": []}}, {"what": "c", "value": True, "holds": False}]
    found = {"status": "finished", "seconds": 1.0, "rows": rows}
    page = table.markdown({"agree": found})
    assert "| a\\|b | CPU 1.235; GPU none |  |" in page and "| c | True | **no** |" in page
    assert table.verdict(found) == "2 rows, 0 of 1 claims hold"
