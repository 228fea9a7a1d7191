"""A set that is spoiled on purpose: how it is drawn, and what the filter's figures mean."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from datasets.pairs import GROUPS
from results.studies import Place, spoiled
from results.studies.spoiled import WHERE, draw, left_out, sets
from utils.errors import UserError


def test_a_fraction_of_one_group_is_another_groups_and_nothing_is_there_twice():
    files = {group: [Path(group, f"{i:03d}.png") for i in range(120)] for group in GROUPS}
    drawn = draw(files)
    sizes = {name: {group: len(found) for group, found in groups.items()} for name, groups in drawn.items()}
    assert sizes == dict.fromkeys(("sound", "spoiled"), dict.fromkeys(GROUPS, 104))
    wrong = {name: path for name, path in drawn["spoiled"]["0_1"].items() if path.parent.name != "0_1"}
    assert len(wrong) == 16 and {path.parent.name for path in wrong.values()} == {"1_1"}
    assert all(name.startswith("wrong_") for name in wrong)
    assert not set(wrong.values()) & set(drawn["spoiled"]["1_1"].values())
    assert all(drawn["spoiled"][group] == drawn["sound"][group] for group in GROUPS if group != "0_1")
    assert drawn["sound"]["0_1"].items() - drawn["spoiled"]["0_1"].items() and drawn == draw(files)
    assert all(path.parent.name == group for group, found in drawn["sound"].items() for path in found.values())


def test_both_sets_are_copied_and_scored(tmp_path, monkeypatch):
    def score(folder, work, judge_faces):
        names = [path.relative_to(folder).as_posix() for path in sorted(folder.glob("*/*.png"))]
        low = [0.2 if "wrong_" in name or name.startswith("1_0") else 0.95 for name in names]
        pd.DataFrame({"image": names, "faithfulness": low}).to_csv(folder / "images.csv", index=False)

    monkeypatch.setattr(spoiled, "score", score)
    monkeypatch.setattr(spoiled, "as_asked", lambda folder: len(list((folder / "0_1").glob("wrong_*"))))
    for group in GROUPS:
        (tmp_path / "made" / WHERE / group).mkdir(parents=True)
        for i in range(23):
            (tmp_path / "made" / WHERE / group / f"{i}.png").write_text(f"{group} {i}")
    found = {each.what: each.value for each in sets(Place(tmp_path, tmp_path))}
    assert (found["sound: as asked, %"], found["spoiled: as asked, %"]) == (0, 3)
    assert found["spoiled: below 0.5"] == {"went": 23, "of": 80, "wrong": 3, "of wrong": 3}
    copied = tmp_path / "sets" / "spoiled" / WHERE / "0_1"
    assert {path.read_text()[:3] for path in copied.glob("wrong_*")} == {"1_1"}
    assert found == {each.what: each.value for each in sets(Place(tmp_path, tmp_path))}  # as often as it is asked
    shutil.rmtree(tmp_path / "made" / WHERE / "1_0")
    with pytest.raises(UserError, match="no generated image of 1_0"):
        list(sets(Place(tmp_path, tmp_path)))


def test_what_the_filter_leaves_out_is_below_its_limit(tmp_path):
    scores = {"0_1/wrong_a.png": 0.1, "0_1/wrong_b.png": 0.7, "0_1/c.png": 0.2, "1_1/d.png": 0.3, "0_0/e.png": 0.5}
    pd.Series(scores, name="faithfulness").to_csv(tmp_path / "images.csv", index_label="image")
    found = [left_out(tmp_path / "images.csv", minimum) for minimum in (0, 0.5, 1)]  # 0.5 itself stays
    assert [(each["went"], each["wrong"]) for each in found] == [(0, 0), (3, 1), (5, 2)]
    assert all((each["of"], each["of wrong"]) == (5, 2) for each in found)
