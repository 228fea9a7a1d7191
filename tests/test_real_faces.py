"""The evidence on real faces, on toy ones: each step, what it skips, and its page."""

import json
import shutil
from types import SimpleNamespace

import pytest
from conftest import ROOT, run_here

import train
from datasets.celeba import image_folder, split_attributes
from results import real_faces, real_faces_page
from results.real_faces import Evidence, Source
from utils.errors import UserError

SMALL = [
    "--weights",
    "none",
    "--width",
    "0.125",
    "--image-size",
    "32",
    "--device",
    "cpu",
    "--number-train-data-real",
    "40",
    "--bias-degree",
    "1/3",
    "--number-balanced-synthetic",
    "4",
    "--number-imbalanced-synthetic",
    "8",
    "--number-held-out-synthetic",
    "2",
    "--pre-train-epochs",
    "1",
    "--fine-tune-epochs",
    "1",
    "--batch-size",
    "16",
    "--fine-tune-batch-size",
    "8",
]


@pytest.fixture
def data(toy, tmp_path, monkeypatch):
    """CelebA's place holds toy faces, and a table of others that of generated ones."""
    root = tmp_path / "data"
    shutil.copytree(toy, root / "celeba")
    labels = split_attributes(toy)["val"][["Smiling", "Male"]].gt(0).astype(int)
    labels.index = [(image_folder(root / "celeba") / name).relative_to(root) for name in labels.index]
    labels.to_csv(root / "faces.csv", index_label="image")
    less = {
        "SOURCES": {"t2i": Source("faces.csv", 4, 8, 2)},
        "TUNED": ("full", "aim-fair"),
        "SWEEP": ("aim-fair:top-k=50",),
    }
    less["GRID"] = {"paper": (), "hold_0.01": ("--batch-norm", "hold", "--fine-tune-lr", "0.01")}
    for module in (real_faces, real_faces_page):
        for name, value in less.items():
            monkeypatch.setattr(module, name, value)
    return root


@pytest.fixture
def evidence(data, tmp_path, monkeypatch):
    """Its calls run here, and are counted."""
    calls = []

    def run(command):
        calls.append(command)
        done = run_here(train.main, *command[2:])
        assert done.returncode == 0, done.stderr
        return done

    monkeypatch.setattr(real_faces, "subprocess", SimpleNamespace(run=run))
    made = Evidence(data, tmp_path / "none", tmp_path / "out", SMALL)
    made.calls = calls
    return made


@pytest.mark.slow
def test_steps_choose_without_the_test_set_and_are_not_run_again(evidence, tmp_path):
    lr = evidence.biased_models([1, 2])
    assert lr in real_faces.PRE_TRAIN_LRS
    chosen = evidence.chosen("t2i", 1, lr)
    table = json.loads((tmp_path / "out" / "t2i" / "chosen.json").read_text())
    assert {method: row["chosen"] for method, row in table.items()} == chosen
    evidence.runs("t2i", chosen, [1, 2], lr)
    records = sorted(
        str(path.parent.relative_to(tmp_path / "out")) for path in (tmp_path / "out/t2i").rglob("metrics.json")
    )
    assert f"t2i/{chosen['full']}/full/seed_2" in records and "t2i/paper/aim-fair_top-k=50/seed_2" in records
    erm = {
        path.read_text()
        for path in (tmp_path / "out").rglob("erm/seed_1/metrics.json")
        if f"erm_{lr:g}" not in str(path)
    }
    assert len(erm & {(tmp_path / f"out/erm_{lr:g}/erm/seed_1/metrics.json").read_text()}) == 1
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("metrics.json")}
    evidence.runs("t2i", evidence.chosen("t2i", 1, evidence.biased_models([1, 2])), [1, 2], lr)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("metrics.json")}

    made = ["--records", tmp_path / "records", "--output", tmp_path / "page.md"]
    for _ in range(2):
        done = run_here(real_faces_page.main, "--runs", tmp_path / "out", *made)
        assert done.returncode == 0, done.stderr
    text = (tmp_path / "page.md").read_text()
    assert "chosen" in text and "| erm | – | 2 |" in text and "## t2i" in text
    shutil.rmtree(tmp_path / "out")
    again = run_here(real_faces_page.main, "--records", tmp_path / "records", "--output", tmp_path / "again.md")
    assert again.returncode == 0 and (tmp_path / "again.md").read_text() == text


def test_without_records_the_page_says_what_to_run(tmp_path):
    with pytest.raises(UserError, match=r"results\.real_faces"):
        real_faces_page.page(tmp_path)


def test_the_committed_page_is_made_from_the_committed_records():
    made = real_faces_page.page(ROOT / real_faces_page.RECORDS)
    assert made == (ROOT / real_faces_page.PAGE).read_text(encoding="utf-8")
