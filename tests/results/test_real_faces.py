"""The study on real faces: which arms follow from which records, what is chosen without the test set, and what is refused."""

import copy
import shutil
from dataclasses import replace
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
import pytest
from support import ROOT

from datasets.celeba import biased_subset, split_attributes
from results.records import read_run_set
from results.studies import Place
from results.studies.real_faces import design, page, picture
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


def test_what_is_chosen_gets_all_seeds(tmp_path, monkeypatch):
    """`models.choice` on the first seed: val accuracy, then held-out odds; the rest of the column plays no part."""

    class Runs:
        def __init__(self, odds):
            metrics = {"val_metrics": {"accuracy": 0.9}, "metrics": {}}
            self.records = [
                Record.of(
                    {"method": m, "seed": 100, "held_out_metrics": {"equalized_odds": odds.get(m, 0.3)}, **metrics}
                )
                for m in design.TUNED
            ]

        def runs(self, method):
            return {100: next(record for record in self.records if record.method == method)}

    columns = {setting: Runs({}) for setting in GRID}
    columns["hold_0.01"] = Runs({"aim-fair": 0.1, "surgical": 0.1})
    monkeypatch.setattr(design, "run_set_folders", lambda folder: [folder / setting for setting in GRID])
    monkeypatch.setattr(design, "read_run_set", lambda folder: columns[folder.name])
    assert design.choices(columns) == {
        **dict.fromkeys(design.TUNED, PAPER),
        "aim-fair": "hold_0.01",
        "surgical": "hold_0.01",
    }
    arms = [arm for arm in design.arms_of_source(tmp_path, "Smiling_Male", "t2i", 0.03) if arm.seeds == design.SEEDS]
    methods = {arm.name.rpartition("/")[2]: arm.methods for arm in arms}
    assert {"full", "surgical", "aim-fair", *design.LIKE_AIM_FAIR} == {*methods["hold_0.01"]}
    assert methods["real_0.01"] == ("full", "aim-fair") and "synthetic-only" in methods[PAPER]
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
    biased = biased_subset(tables["train"], "Smiling", "Male", 40)
    assert {Path(name).name for name in listed["image"]} == set(tables["train"].index) - set(biased.index)
    assert all((tmp_path / "toy" / name).is_file() for name in listed["image"])
    assert sum(found.value.values()) == len(listed) and found.value.keys() == {"0_0", "0_1", "1_0", "1_1"}


def test_biased_models_that_differ_make_no_page():
    column = read_run_set(RECORDS / "Female_White" / "rest" / "paper")
    check_alike(page.biased_models([column]))
    other = [Record.of(copy.deepcopy(record.content)) for record in column.records]
    other[0].real_settings["image_size"] = 112
    with pytest.raises(UserError, match="different settings .*image_size"):
        check_alike(page.biased_models([column, replace(column, name="other", records=other)]))


def test_what_was_tried_alone_is_not_called_chosen():
    path = ROOT / "results" / "pages" / "real_faces" / "Smiling_Young" / "README.md"
    text = path.read_text(encoding="utf-8").split("## generated")[1]
    rows = {tuple(line.strip("| ").split(" | ")[:2]) for line in text.splitlines() if line.startswith("| ")}
    assert {("full", "hold 0.01, chosen"), ("full", "paper"), ("linear-probe", "paper")} <= rows


def test_the_picture_of_the_readme_is_made_from_the_records(tmp_path):
    committed = (ROOT / "results/pages/real_faces" / picture.PICTURE).read_text(encoding="utf-8")
    values = {study: picture.entries(ROOT / RECORDS / study) for study in picture.PANELS}
    assert picture.described(values) in committed
    if f"Matplotlib v{matplotlib.__version__}" in committed:  # another version draws the same in other bytes
        picture.write_picture(values, tmp_path / "again.svg")
        assert (tmp_path / "again.svg").read_text(encoding="utf-8") == committed
    drawn = picture.draw(values)
    eo = {name: entry.ours["EO"] for name, entry in values["Smiling_Male"].items()}
    points = {each.get_label(): each.lines[0].get_xdata()[0] for each in drawn.axes[0].containers}
    assert points == {picture.MARKS[name][0]: mean for name, (mean, _) in eo.items()}
    plt.close(drawn)
