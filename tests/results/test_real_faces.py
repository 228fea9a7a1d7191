"""The study on real faces: which arms follow from which records, what is chosen without the test set, and what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
import pytest
from support import ROOT

from datasets import pairs
from datasets.celeba import biased_subset, split_attributes
from results.records import read_run_set, run_set_folders
from results.studies import Place
from results.studies.real_faces import design, figures, page
from results.studies.real_faces.design import GRID, PAPER, REST, Pair, Source
from utils.errors import UserError
from utils.records import Record
from utils.same_settings import check_alike

RECORDS = ROOT / "results" / "records" / "real_faces"


def folders(arms):
    return {arm.name.partition("/")[2] for arm in arms}


def test_arms_follow_from_the_records(tmp_path):
    assert not design.then(tmp_path)
    for lr in ("0.01", "0.03"):
        shutil.copytree(RECORDS / "Female_White" / f"erm_{lr}", tmp_path / "Female_White" / f"erm_{lr}")
    first = design.then(tmp_path)
    assert folders(first) == {"erm_0.03", *(f"rest/{setting}" for setting in GRID)}
    assert all("--pre-train-lr 0.03" in " ".join(arm.flags) for arm in first)
    assert all(arm.erm_of == "Female_White/erm_0.03" and "Female_White/rest/list" in arm.after for arm in first[1:])
    assert {arm.seeds for arm in first if arm.name.endswith("hold_0.01")} == {(100,)}


def test_what_is_chosen_gets_all_seeds():
    """The page that is made again holds what `models.choice` takes: here only what follows from it."""
    place = RECORDS / "Smiling_Male" / "t2i"
    chosen = design.choices({path.name: read_run_set(path) for path in run_set_folders(place)})
    assert chosen.keys() == {*design.TUNED} and len({*chosen.values()}) > 1
    arms = [arm for arm in design.arms_of_source(RECORDS, "Smiling_Male", "t2i", 0.03) if arm.seeds == design.SEEDS]
    methods = {arm.name.rpartition("/")[2]: arm.methods for arm in arms}
    assert all(method in methods[setting] for method, setting in chosen.items())
    assert {*design.LIKE_AIM_FAIR} <= {*methods[chosen["aim-fair"]]} and "synthetic-only" in methods[PAPER]
    others = methods.keys() - {*chosen.values(), PAPER}
    assert others and all(methods[setting] == ("full", "aim-fair") for setting in others)
    batches = {arm.name.rpartition("/")[2]: "--fine-tune-batch-size" in arm.flags for arm in arms}
    assert batches["hold_0.01"] and not batches[PAPER]


def test_the_rest_is_what_no_list_holds(toy, tmp_path, monkeypatch):
    pair = Pair("Smiling_Male", "toy", toy.name, 40, {REST: Source("", 2, 8, 1)})
    monkeypatch.setitem(design.PAIRS, "toy", pair)
    place = Place(tmp_path, tmp_path, data=toy.parent)
    for _ in range(2):
        [found] = design.list_rest("toy", place)
    listed = pd.read_csv(tmp_path / "toy" / "rest.csv")
    tables = split_attributes(toy)
    biased = biased_subset(tables["train"], pairs.Pair("Smiling", ("Male",)), 40)
    assert {Path(name).name for name in listed["image"]} == set(tables["train"].index) - set(biased.index)
    assert all((tmp_path / "toy" / name).is_file() for name in listed["image"])
    assert sum(found.value.values()) == len(listed) and found.value.keys() == {"0_0", "0_1", "1_0", "1_1"}


def test_biased_models_that_differ_make_no_page():
    column = read_run_set(RECORDS / "Female_White" / "rest" / "paper")
    check_alike(page.biased_models([column]))
    other = [Record.of(json.loads(json.dumps(record.content))) for record in column.records]
    other[0].real_settings["image_size"] = 112
    with pytest.raises(UserError, match="different settings .*image_size"):
        check_alike(page.biased_models([column, replace(column, name="other", records=other)]))


def test_the_picture_of_the_readme_is_made_from_the_records(tmp_path):
    committed = (ROOT / "results/pages/real_faces" / figures.PICTURE).read_text(encoding="utf-8")
    values = {study: figures.entries(ROOT / RECORDS / study) for study in figures.PANELS}
    assert figures.described(values) in committed
    if f"Matplotlib v{matplotlib.__version__}" in committed:  # another version draws the same in other bytes
        figures.write_picture(values, tmp_path / "again.svg")
        assert (tmp_path / "again.svg").read_text(encoding="utf-8") == committed
    drawn = figures.draw(values)
    eo = {name: entry.ours["EO"] for name, entry in values["Smiling_Male"].items()}
    points = {each.get_label(): each.lines[0].get_xdata()[0] for each in drawn.axes[0].containers}
    assert points == {figures.MARKS[name][0]: mean for name, (mean, _) in eo.items()}
    plt.close(drawn)
