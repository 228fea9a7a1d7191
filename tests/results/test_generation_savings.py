"""The study of what generation's savings save: what is counted and compared, and its arms."""

from argparse import Namespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from support.generation import TINY

from datasets.pairs import GROUPS
from results.drawn import as_asked, grey_levels
from results.studies import Place
from results.studies.generation_savings import FULL, STUDY, TIMED_ALONE, all_savings, measure, table, timing
from results.studies.generation_savings.measure import evaluations, metrics_of
from utils.errors import UserError
from utils.records import Metrics

SETTINGS = {"model": str(TINY), "scheduler": "ddim", "steps": 4, "guidance_scale": 3.0, "size": 32}


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
    for group in GROUPS:
        (folder / group).mkdir(parents=True, exist_ok=True)
        pixels = np.zeros((4, 4, 3), np.uint8)
        pixels[:2] = value
        Image.fromarray(pixels).save(folder / group / name)
    return folder


def test_grey_levels_between_sets(tmp_path):
    sets = [painted(tmp_path / str(value), value) for value in (0, 200)]
    painted(sets[0], 7, "000001.png"), painted(sets[1], 5, "000001.png")
    assert grey_levels(sets[1], sets[0]) == {"mean": 50.5, "largest": 200, "worst image": 100}
    assert grey_levels(sets[0], sets[0])["largest"] == 0
    painted(sets[1], 5, "000002.png")
    with pytest.raises(UserError, match="hold images of different names"):
        grey_levels(*sets)


def test_the_fraction_of_a_group_that_shows_all_it_should(tmp_path):
    images = ["0_0/a.png", "0_0/b.png", "1_1/a.png"]
    scores = pd.DataFrame({"image": images, "Smiling": [0.9, 0.9, 0.5], "Male": [0.6, 0.4, 0.9]})
    scores.assign(faithfulness=0.4, scorer="x", content="y").to_csv(tmp_path / "faithfulness.csv", index=False)
    assert as_asked(tmp_path) == {"0_0": 50.0, "1_1": 100.0}


def test_metrics_are_those_of_all_seeds(tmp_path, monkeypatch):
    runs = {
        seed: Namespace(metrics=Metrics(a, 0.125, group_accuracy={"0_0": a, "0_1": a - 0.25}))
        for seed, a in ((300, 0.8), (100, 0.6), (200, 0.7))
    }
    monkeypatch.setattr(measure, "read_run_set", lambda folder: Namespace(runs=lambda method: runs))
    found = metrics_of(tmp_path, "erm")
    assert found["accuracy"] == pytest.approx([60, 70, 80]) and found["worst_group"] == pytest.approx([35, 45, 55])
    del runs[300]
    with pytest.raises(UserError, match="no record of erm for seed 300"):
        metrics_of(tmp_path, "erm")


def test_a_row_is_measured_beside_the_plain_one(tmp_path, monkeypatch):
    for name, value in (("plain", 0), ("fast", 20)):
        painted(tmp_path / name / measure.WHERE, value)
    monkeypatch.setattr(measure, "noted_settings", lambda folder: SETTINGS)
    monkeypatch.setattr(measure, "score", lambda *_: None)
    monkeypatch.setattr(measure, "as_asked", lambda folder: {"0_0": 90.0})
    monkeypatch.setattr(measure, "metrics_of", lambda runs, method: {"accuracy": [str(runs), method]})
    found = {each.what: each.value for each in measure.measure_row("fast", Place(tmp_path, tmp_path))}
    assert (found["UNet evaluations"], found["grey levels"]) == (8, 10)
    assert found["aim-fair"]["accuracy"] == [str(tmp_path / "trained" / "fast"), "aim-fair"]


def test_every_row_is_drawn_before_it_is_measured_and_timed_after_that():
    arms = {arm.name: arm for arm in STUDY.arms}
    assert arms["fast"].after == ("trained/plain", "trained/fast") and arms["trained/fast"].erm_of == "trained/plain"
    assert arms["trained/fast"].flags[-2:] == ("--synthetic-data-root", "{work}/fast") and "compiled" not in arms
    assert set(arms["timing_full_size"].after) == {"plain", "guidance", "fused", "fast", "all"}


def test_the_page_of_no_records_is_all_dashes(tmp_path):
    lines = table(tmp_path)
    assert "| fused projections | – | – | – | – | – | – |" in lines and "once for all rows: –" in lines[-1]


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


def test_what_compiles_is_timed_last(monkeypatch, tmp_path):
    monkeypatch.setattr(timing, "rate", lambda saving, device, **options: options)
    found = list(timing.time_rows(FULL, Place(tmp_path, tmp_path, device="cpu")))
    assert [each.what for each in found] == ["how", "plain", "guidance", "fused", "fast", "all", "compiled", "blocks"]
    assert found[1].value == {"full_size": True, "images": 1, "size": 64, "turns": 1}
