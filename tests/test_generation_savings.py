"""The table of what generation's savings save: what is counted and compared, and how it goes on where it stopped."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import assert_one_line_error, run_here
from PIL import Image
from test_generate import TINY

from datasets.pairs import CELLS
from results.generation_savings import __main__ as command
from results.generation_savings import timing
from results.generation_savings.measure import evaluations, grey_levels, metrics_of, shown_as_asked
from results.generation_savings.page import page
from results.generation_savings.savings import TIMED_ALONE, all_savings
from results.spoiled import WHERE
from utils.errors import UserError

SETTINGS = {"model": str(TINY), "scheduler": "ddim", "steps": 4, "guidance_scale": 3.0, "size": 32}


def test_each_row_is_one_change_of_the_plain_one():
    flags = {name: " ".join(saving.flags()) for name, saving in all_savings(10, 0.25).items()}
    assert flags.pop("blocks") == flags["plain"]  # timed alone, by no flag
    assert flags == {
        "plain": "--scheduler ddim --steps 10",
        "guidance": "--scheduler ddim --steps 10 --guidance-until 0.25",
        "fused": "--scheduler ddim --steps 10 --fuse-projections",
        "compiled": "--scheduler ddim --steps 10 --compile",
        "fast": "--scheduler dpmpp --steps 20",
        "all": "--scheduler dpmpp --steps 20 --guidance-until 0.25 --fuse-projections",
    }


@pytest.mark.parametrize(
    ("more", "count"),
    [
        ({}, 8),
        ({"guidance_scale": 1.0}, 4),
        ({"guidance_until": 0.5}, 6),
        ({"guidance_until": 0.25, "fuse_projections": True, "scheduler": "dpmpp"}, 5),
    ],
)
def test_evaluations_are_counted_where_they_happen(more, count):
    assert evaluations({**SETTINGS, **more}) == count


def painted(folder, value, name="000000.png"):
    for cell in CELLS:
        (folder / cell).mkdir(parents=True, exist_ok=True)
        pixels = np.zeros((4, 4, 3), np.uint8)
        pixels[:2] = value
        Image.fromarray(pixels).save(folder / cell / name)
    return folder


def test_grey_levels_between_sets(tmp_path):
    sets = [painted(tmp_path / str(value), value) for value in (0, 200)]
    assert grey_levels(sets[1], sets[0]) == grey_levels(*sets) == 100 and grey_levels(sets[0], sets[0]) == 0
    painted(sets[1], 5, "000001.png")
    with pytest.raises(UserError, match="hold images of different names"):
        grey_levels(*sets)


def test_the_share_of_a_cell_that_shows_all_it_should(tmp_path):
    images = ["0_0/a.png", "0_0/b.png", "1_1/a.png"]
    table = pd.DataFrame({"image": images, "Smiling": [0.9, 0.9, 0.5], "Male": [0.6, 0.4, 0.9]})
    table.assign(faithfulness=0.4, scorer="x", content="y").to_csv(tmp_path / "faithfulness.csv", index=False)
    assert shown_as_asked(tmp_path, ("Smiling", "Male")) == {"0_0": 50.0, "1_1": 100.0}


def write_metrics(folder, method, seed, accuracy):
    place = folder / method / f"seed_{seed}"
    place.mkdir(parents=True, exist_ok=True)
    groups = dict(zip(CELLS, (accuracy, accuracy - 0.25, 0.9, 0.9)))
    metrics = {"accuracy": accuracy, "group_accuracy": groups, "equalized_odds": 0.125, "equalized_odds_mean": 0.1}
    (place / "metrics.json").write_text(json.dumps({"method": method, "seed": seed, "metrics": metrics}))


def test_metrics_are_those_of_the_seeds_asked_for(tmp_path):
    for seed in (1, 2, 3):
        write_metrics(tmp_path, "erm", seed, 0.5 + seed / 10)
    found = metrics_of(tmp_path, "erm", [1, 3])
    assert found["accuracy"] == [0.6, 0.8] and found["worst_group"] == pytest.approx([0.35, 0.55])
    with pytest.raises(UserError, match="seed_4: no record"):
        metrics_of(tmp_path, "erm", [1, 4])


def test_the_page_tells_what_is_measured_and_what_is_not():
    both = {"accuracy": [0.9, 0.94], "equalized_odds": [0.0625, 0.0625]}
    row = {
        "evaluations": 8.0,
        "as_asked": {"0_0": 100.0, "1_1": 90.0},
        "grey_levels": 0.0,
        "erm": both,
        "aim-fair": both,
    }
    how = {"device": "a chip", "threads": 1, "images": 2, "size": 32, "turns": 3}
    speeds = {
        "plain": {"images_per_second": 2.0},
        "compiled": {"images_per_second": 3.0, "first_batch_extra_seconds": 61},
    }
    text = page(all_savings(4, 0.5), {"plain": row}, {"tiny generator": {"settings": how, "rows": speeds}})
    assert "| DDIM, 4 steps | 8 | 95.0 | 90.0 | 0.00 | 92.00 ± 2.83 | 6.25 ± 0.00 | 2 (× 1.00) |" in text
    assert "| compiled | – | – | – | – | – | – | 3 (× 1.50) |" in text and "took 61 s more" in text
    assert "| fused projections | – | – | – | – | – | – | – |" in text
    assert "once for all rows: ACC 92.00 ± 2.83, EO 6.25 ± 0.00" in text
    assert "once for all rows: –" in page(all_savings(4, 0.5), {}, {})


@pytest.fixture
def stages(monkeypatch):
    """runner.sh and the judge replaced by ones that leave small files; returns the calls of runner.sh."""
    calls = []

    def ran(call):
        calls.append(call)
        places = {flag: value for flag, value in zip(call, call[1:]) if flag.startswith("--")}
        root, runs = command.Path(places["--synthetic-data-root"]), command.Path(places["--output"])
        folder = painted(root / WHERE, 20 * len(calls))
        steps = {"scheduler": places["--scheduler"], "steps": int(places["--steps"])}
        (folder / "manifest.jsonl").write_text(json.dumps({"settings": {**SETTINGS, **steps}}) + "\n")
        for method in ("erm", "aim-fair"):
            if not (runs / method).exists():
                write_metrics(runs, method, 1, 0.5 + len(calls) / 100)

    def scored(name, *arguments):
        if name == "stable_diffusion.faithfulness":
            table = pd.DataFrame({"image": [f"{cell}/000000.png" for cell in CELLS], "Smiling": 0.9, "Male": 0.9})
            table.assign(faithfulness=0.9, scorer="x", content="y").to_csv(
                arguments[1] / "faithfulness.csv", index=False
            )

    monkeypatch.setattr(command, "run", ran)
    monkeypatch.setattr(command, "module", scored)
    return calls


def test_rows_share_erm_and_are_not_made_again(stages, tmp_path):
    arguments = ["--output", tmp_path / "out", "--work", tmp_path / "work", "--steps", 2, "--seeds", 1, "--width", 0.5]
    done = run_here(command.main, *arguments)
    assert done.returncode == 0, done.stderr
    assert len(stages) == 5 and all(call[:4] == ["--seeds", "1", "--width", "0.5"] for call in stages)
    rows = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "out" / "rows").glob("*.json")}
    assert sorted(rows) == ["all", "fast", "fused", "guidance", "plain"]
    assert {row["erm"]["accuracy"][0] for row in rows.values()} == {0.51}  # the first run's
    assert len({row["aim-fair"]["accuracy"][0] for row in rows.values()}) == 5
    assert (
        rows["plain"]["grey_levels"] == 0
        and rows["guidance"]["grey_levels"] == 10
        and rows["plain"]["evaluations"] == 4
    )
    assert rows["plain"]["manifest"]["model"] == "tiny" and rows["plain"]["threads"] >= 1
    table = (tmp_path / "out" / "table.md").read_text()

    (tmp_path / "out" / "rows" / "fast.json").unlink()
    assert run_here(command.main, *arguments).returncode == 0
    assert len(stages) == 6 and "dpmpp" in stages[-1] and "--guidance-until" not in stages[-1]
    assert (tmp_path / "out" / "table.md").read_text().count("\n") == table.count("\n")
    assert run_here(command.main, *arguments, "--rows", "all", "fused").returncode == 0 and len(stages) == 6
    other = run_here(command.main, *arguments, "--judge-faces", 5)
    assert_one_line_error(other, "judge_faces: 20000 there, 5 asked", "another --output")
    (tmp_path / "out" / "rows" / "plain.json").write_text("{")
    assert_one_line_error(run_here(command.main, *arguments), "plain.json is damaged", "remove it")


def test_a_row_that_compiles_compiles_what_it_says(monkeypatch):
    whole, blocks = [], []
    monkeypatch.setattr(torch, "compile", lambda model: whole.append(type(model).__name__) or model)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: blocks.append(type(module).__name__))
    pipelines = {name: saving for name, saving in all_savings(2, 0.5).items() if name in TIMED_ALONE}
    for saving in pipelines.values():
        timing.pipeline_of(saving, torch.device("cpu"), full_size=False)
    assert whole == ["UNet2DConditionModel"] and set(blocks) == {"BasicTransformerBlock"}


@pytest.mark.parametrize("name", ["plain", "all"])
def test_a_rate_is_images_over_seconds(name):
    saving = all_savings(2, 0.5)[name]
    found = timing.rate(saving, torch.device("cpu"), full_size=False, images=2, size=32, turns=1)
    assert found["images_per_second"] == pytest.approx(2 / found["seconds"][0])


def test_timings_go_on_where_they_stopped(monkeypatch, tmp_path):
    asked = []

    def rate(saving, device, **options):
        asked.append((saving.title, options))
        if len(asked) == 3:
            raise UserError("the power went")
        return {"images_per_second": 2.0 * len(asked), "first_batch_extra_seconds": 1.0, "seconds": [1.0]}

    monkeypatch.setattr(timing, "rate", rate)
    arguments = ["--output", tmp_path, "--timing", "--full-size", "--device", "cpu"]
    assert_one_line_error(run_here(command.main, *arguments), "the power went")
    done = run_here(command.main, *arguments)
    assert done.returncode == 0 and len(asked) == 8, done.stderr
    assert asked[0][1] == {"full_size": True, "images": 1, "size": 64, "turns": 3}
    rows = json.loads((tmp_path / "timing_full_size.json").read_text())["rows"]
    assert rows["plain"]["images_per_second"] == 2 and rows["all"]["images_per_second"] == 12
    assert rows["blocks"]["images_per_second"] == 16  # what compiles comes last
    assert "16 (× 8.00)" in (tmp_path / "table.md").read_text()
    assert_one_line_error(run_here(command.main, *arguments, "--size", 32), "size: 64 there, 32 asked")


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (["--full-size"], "--full-size only times"),
        (["--timing", "--width", 1], "leave out --width 1"),
        (["--timing", "--rows", "fast"], "leave out --rows"),
        (["--rows", "fast", "plain"], "plain must come first"),
        (["--rows", "compiled"], "invalid choice: 'compiled'"),
    ],
)
def test_flags_that_do_not_go_together_are_one_line(flags, part, tmp_path):
    assert_one_line_error(run_here(command.main, "--output", tmp_path, *flags), part)
