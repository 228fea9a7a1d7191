"""The measurement of how many batches the ranking needs: it sees what train.py does, and its committed pages are its own."""

import json

import pandas as pd
import pytest
from conftest import ROOT, assert_one_line_error, run_here
from test_chain import SMALL, synthetic, train  # noqa: F401

from results import ranking_stop
from results.ranking_stop import final_after, row_of, summary

FLAGS = ["--seeds", 100, "--batch-size", 4, "--width", 0.125]
COMMITTED = sorted((ROOT / "results" / "records" / "ranking_stop").glob("*/ranking_stop.json"))


def measure(toy, synthetic, record, output, *more):  # noqa: F811
    base = ["--record", record, "--real-data-path", toy, "--synthetic-data-root", synthetic, "--output", output]
    return run_here(ranking_stop.main, *base, *SMALL, *FLAGS, *more)


@pytest.fixture(scope="module")
def trained(toy, synthetic, tmp_path_factory):  # noqa: F811
    output = tmp_path_factory.mktemp("trained")
    done = train(toy, synthetic, output, *FLAGS, "--methods", "aim-fair", "--ranking-batches", "auto")
    assert done.returncode == 0, done.stderr
    return output


@pytest.mark.slow
def test_it_measures_what_train_does(trained, toy, synthetic, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(ranking_stop, "PATIENCES", (1, ranking_stop.PATIENCE))
    before = sorted(trained.rglob("*"))
    done = measure(toy, synthetic, tmp_path, trained, "--draws", 2, "--ranking-batches", 1)  # which plays no part
    assert done.returncode == 0, done.stderr
    assert sorted(trained.rglob("*")) == before
    record = json.loads((tmp_path / "ranking_stop.json").read_text())
    assert record["batches"] == {"real": 10, "biased": 4, "balanced": 4}
    assert record["images"] == {"real": 40, "biased": 16, "balanced": 16}
    used = record["images_used"]
    assert (used["1"], used["5"], used["10"]) == (12, 52, 72)
    rows = {row["k"]: row for row in record["rows"]}
    assert list(rows) == [40, 45, 50, 55, 60] and all(len(row["differ"]) == 10 for row in rows.values())
    chosen = pd.read_csv(trained / "aim-fair" / "seed_100" / "sensitivity.csv")["chosen"].sum()
    assert rows[55]["mask"] == chosen  # auto took all batches there: 20 without a change are more than there are
    assert all(row["stops"]["20"] == {"after": 10, "settled": False} for row in rows.values())
    assert any(row["stops"]["1"]["settled"] for row in rows.values())
    draws = [row["draws"] for row in rows.values()]
    assert all(len(found) == 2 for found in draws) and any(one != other for one, other in draws)
    made = (tmp_path / "ranking_stop.md").read_bytes()
    assert b"of 10 full rankings of the same images with other draws" in made
    (tmp_path / "ranking_stop.md").unlink()
    assert run_here(ranking_stop.main, "--record", tmp_path, "--again").returncode == 0
    assert (tmp_path / "ranking_stop.md").read_bytes() == made


def tables(*masks):
    """The tables of a ranking of four tensors, with these masks of one tensor for k 1."""
    counts = {f"{name}_batches": 0 for name in ("real", "biased", "balanced")}
    made = []
    for place, mask in enumerate(masks, start=1):
        domain, bias = zip(*(((0, 1) if name == mask else (1, 0)) for name in "abcd"))
        frame = pd.DataFrame({"name": list("abcd"), "domain_gap": domain, "bias_gap": bias})
        made.append(frame.assign(**counts | {"real_batches": place}))
    return made


def test_a_row_says_when_the_mask_is_final_and_how_far_off_a_stop_is():
    row = row_of(tables(*"abbbbacc"), 100, 1)
    assert row["differ"] == [2, 2, 2, 2, 2, 2, 0, 0] and row["mask"] == 1
    assert final_after(row["differ"]) == 7 and final_after([0, 0]) == 1 and final_after([0, 2, 0]) == 3
    assert row["stops"]["3"] == {"after": 5, "settled": True}
    assert row["stops"]["5"] == {"after": 8, "settled": False}
    record = {"rows": [row, row], "batches": {"real": 8}, "images_used": {"5": 50, "8": 80}}
    assert summary(record, [5, 8]) == [2, 1, 1, "1.0 (2)", "19 %"]


def test_what_is_missing_or_not_its_own_is_refused(trained, toy, synthetic, tmp_path):  # noqa: F811
    missing = measure(toy, synthetic, tmp_path, tmp_path / "none")
    assert_one_line_error(missing, "no biased model in", "correct --output")
    other = measure(toy, synthetic, tmp_path, trained, "--pre-train-lr", 0.5)
    assert_one_line_error(other, "was made with other settings", "lr: 0.01 there, 0.5 asked")
    again = ["--record", tmp_path, "--again"]
    assert_one_line_error(run_here(ranking_stop.main, *again), "no ranking_stop.json in")
    for flag in ("--seeds", "--draws"):
        assert_one_line_error(run_here(ranking_stop.main, *again, flag, 1), f"{flag} plays no part in --again")
    assert not (tmp_path / "ranking_stop.json").exists()


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.parent.name)
def test_committed_pages_are_made_from_their_records(path):
    assert ranking_stop.page(json.loads(path.read_text())) == path.with_suffix(".md").read_text()


def test_there_are_committed_pages():
    assert "toy" in [path.parent.name for path in COMMITTED]
