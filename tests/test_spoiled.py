"""A set that is spoiled on purpose: how it is drawn, what the filter's figures mean, and the whole at a tiny size."""

import importlib
import json
import shutil
from argparse import Namespace
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT, run_here
from test_chain import SMALL

import train
from datasets.celeba import cell_names, image_folder, split_attributes
from datasets.pairs import CELLS
from results import spoiled
from results.spoiled import METHODS, PAIR, WHERE, draw, draw_sets, left_out, parse_args
from utils.errors import UserError


def test_a_share_of_one_cell_is_another_cells_and_nothing_is_there_twice():
    files = {cell: [Path(cell, f"{i:03d}.png") for i in range(120)] for cell in CELLS}
    drawn = draw(files, "0_1", "1_1", 0.15)
    sizes = {name: {cell: len(found) for cell, found in cells.items()} for name, cells in drawn.items()}
    assert sizes == dict.fromkeys(("sound", "spoiled"), dict.fromkeys(CELLS, 104))
    wrong = {name: path for name, path in drawn["spoiled"]["0_1"].items() if path.parent.name != "0_1"}
    assert len(wrong) == 16 and {path.parent.name for path in wrong.values()} == {"1_1"}
    assert all(name.startswith("wrong_") for name in wrong)
    assert not set(wrong.values()) & set(drawn["spoiled"]["1_1"].values())
    assert all(drawn["spoiled"][cell] == drawn["sound"][cell] for cell in CELLS if cell != "0_1")
    assert drawn["sound"]["0_1"].items() - drawn["spoiled"]["0_1"].items() and drawn == draw(files, "0_1", "1_1", 0.15)
    assert all(path.parent.name == cell for cell, found in drawn["sound"].items() for path in found.values())


def test_sets_stay_and_other_settings_are_refused(tmp_path):
    for cell in CELLS:
        (tmp_path / "made" / cell).mkdir(parents=True)
        for i in range(10):
            (tmp_path / "made" / cell / f"{i}.png").write_text(f"{cell} {i}")
    args = Namespace(output=tmp_path / "out", cell="0_1", source="1_1", share=0.25, judge_faces=8)
    sets = draw_sets(args, tmp_path / "made")
    names = sorted(path.name for path in (sets["spoiled"] / "0_1").iterdir())
    assert len(names) == 8 and len([name for name in names if name.startswith("wrong_")]) == 2
    assert {p.read_text()[:3] for p in (sets["spoiled"] / "0_1").glob("wrong_*")} == {"1_1"}
    times = {path: path.stat().st_mtime_ns for folder in sets.values() for path in folder.rglob("*")}
    assert draw_sets(args, tmp_path / "made") == sets and all(p.stat().st_mtime_ns == t for p, t in times.items())
    args.share = 0.5
    with pytest.raises(UserError, match="share: 0.25 there, 0.5 asked"):
        draw_sets(args, tmp_path / "made")
    args.share = 0.25
    (tmp_path / "made" / "0_0" / "0.png").write_text("another")
    with pytest.raises(UserError, match="images: .* choose another --output"):
        draw_sets(args, tmp_path / "made")
    shutil.rmtree(tmp_path / "made" / "1_0")
    with pytest.raises(UserError, match="no image in 1_0; give --images"):
        draw_sets(args, tmp_path / "made")


def test_precision_and_recall_of_the_filter(tmp_path):
    scores = {"0_1/wrong_a.png": 0.1, "0_1/wrong_b.png": 0.7, "0_1/c.png": 0.2, "1_1/d.png": 0.3, "0_0/e.png": 0.5}
    pd.Series(scores, name="faithfulness").to_csv(tmp_path / "images.csv", index_label="image")
    assert left_out(tmp_path, None) == ["–", "2 in the set", "–", "–"]
    assert left_out(tmp_path, 0.5) == ["3 of 5", "1 of 2", "33.3", "50.0"]  # 0.5 itself stays
    assert left_out(tmp_path, 0) == ["0 of 5", "0 of 2", "–", "0.0"]
    assert left_out(tmp_path, 1) == ["5 of 5", "2 of 2", "40.0", "100.0"]


def test_a_page_does_not_depend_on_what_was_there_already():
    first = (
        f"decoding 8 images once into {ROOT}/a\n0 of 8 images are scored by x\n 0_0 50.0\nthe clearest: {ROOT}/b.png\n"
    )
    assert spoiled.for_page(first) == "0_0 50.0\nthe clearest: b.png"
    assert spoiled.for_page(first.replace("0 of 8", "8 of 8").partition("\n")[2]) == spoiled.for_page(first)


def test_flags_of_others_go_to_the_runner(capsys):
    args, flags = parse_args(["--output", "out", "--minimum", "0.5", "--seeds", "1", "2", "--width", "0.125"])
    assert args.minimum == [0.5] and flags == ["--seeds", "1", "2", "--width", "0.125"]
    with pytest.raises(SystemExit):
        parse_args(["--output", "out", "--cell", "1_1"])
    assert "both 1_1" in capsys.readouterr().err


def run_here_in_place_of(monkeypatch):
    """Have the script start train.py and modules in this process: each other one takes seconds to load torch."""

    def trained(call):
        flags = list(call)
        for generation in ("--images-per-cell", "--scheduler", "--steps"):
            place = flags.index(generation)
            del flags[place : place + 2]
        done = run_here(train.main, *flags, "--weights", "none")
        assert done.returncode == 0, done.stderr

    def ran(name, *arguments):
        done = run_here(importlib.import_module(name).main, *arguments)
        assert done.returncode == 0, done.stderr
        if name == "stable_diffusion.faithfulness":  # a judge of 200 faces is sure of nothing: put in one that is
            path = arguments[1] / "faithfulness.csv"
            table = pd.read_csv(path, index_col="image")
            first = table.index[table.index.str.startswith("1_0")][0]
            low = table.index.str.contains("wrong_") | (table.index == first)
            table.assign(faithfulness=0.9 - 0.7 * low).to_csv(path)
        return done.stdout

    monkeypatch.setattr(spoiled, "run", trained)
    monkeypatch.setattr(spoiled, "module", ran)


@pytest.mark.slow
def test_the_whole_at_a_tiny_size(toy, tmp_path, monkeypatch):
    run_here_in_place_of(monkeypatch)
    cells = cell_names(split_attributes(toy)["train"], "Smiling", "Male")
    for cell in CELLS:
        (tmp_path / "made" / WHERE / cell).mkdir(parents=True)
        for name in cells.index[cells == cell][:24]:
            shutil.copy(image_folder(toy) / name, tmp_path / "made" / WHERE / cell)
    out, flags = tmp_path / "out", [*SMALL, "--width", 0.125, "--number-held-out-synthetic", 2, "--seeds", 1]
    flags += ["--images", tmp_path / "made" / WHERE, "--minimum", 0.5, "--judge-faces", 200, "--real-data-path", toy]
    done = run_here(spoiled.main, "--output", out, *flags)
    assert done.returncode == 0, done.stderr
    text = (out / "table.md").read_text()
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ") and "---" not in line][1:]
    assert [row[1] for row in rows] == ["erm", *4 * METHODS] and "3 in the set" in text and "not measured" in text
    records = list(out.glob("runs/*/*/*/*/metrics.json"))
    erm = [path.read_bytes() for path in records if path.parts[-3] == "erm"]
    assert len(records) == 12 and len(erm) == 4 and len(set(erm)) == 1  # trained once
    assert "| spoiled, P = 0.5 | full | 1 | 4 of 80 | 3 of 3 | 75.0 | 100.0 |" in text
    last = json.loads((out / f"runs/spoiled_0.5/{PAIR}/full/seed_1/metrics.json").read_text())["settings"]
    assert last["unfaithful_left_out"] == {"0_0": 0, "0_1": 3, "1_0": 1, "1_1": 0}
    times = {path: path.stat().st_mtime_ns for path in records}
    assert run_here(spoiled.main, "--output", out, *flags).returncode == 0
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    assert (out / "table.md").read_text().partition("##")[0] == text.partition("##")[0]
