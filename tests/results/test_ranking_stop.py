"""The study on when a ranking may stop: it measures what train.py does, and tells what was measured."""

import json

import pandas as pd
import pytest
from support.small import SMALL, train

from results.studies import Place
from results.studies.ranking_stop import measure
from results.studies.ranking_stop.page import final_after, read, summary
from utils.errors import UserError

FLAGS = ["--seeds", 100, "--batch-size", 4, "--width", 0.125]


@pytest.fixture(scope="module")
def trained(toy, synthetic, tmp_path_factory):
    output = tmp_path_factory.mktemp("trained")
    done = train(toy, synthetic, output / "all", *FLAGS, "--methods", "aim-fair", "--ranking-batches", "auto")
    assert done.returncode == 0, done.stderr
    return output


def measured(trained, toy, synthetic, *more, models="all"):
    """What is found, by its name; the rows as a list."""
    flags = ["--real-data-path", toy, "--synthetic-data-root", synthetic, *SMALL, *FLAGS, *more]
    place = Place(trained / "work", trained, device="cpu")
    found = list(measure.batches(place, models=models, flags=tuple(map(str, flags)), draws=2))
    return {each.what: each.value for each in found} | {"rows": [each.value for each in found if each.what == "row"]}


@pytest.mark.slow
def test_it_measures_what_train_does(trained, toy, synthetic, tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "PATIENCES", (1, 20))
    record = measured(trained, toy, synthetic, "--ranking-batches", 1)  # which plays no part
    assert record["batches"] == {"real": 10, "biased": 4, "balanced": 4}
    assert record["images"] == {"real": 40, "biased": 16, "balanced": 16}
    used = record["images_used"]
    assert (used["1"], used["5"], used["10"]) == (12, 52, 72)
    rows = {row["k"]: row for row in record["rows"]}
    assert list(rows) == [40, 45, 50, 55, 60] and all(len(row["differ"]) == 10 for row in rows.values())
    chosen = pd.read_csv(trained / "all" / "aim-fair" / "seed_100" / "sensitivity.csv")["chosen"].sum()
    assert rows[55]["mask"] == chosen  # auto took all batches there: 20 without a change are more than there are
    assert all(row["stops"]["20"] == {"after": 10, "settled": False} for row in rows.values())
    assert any(row["stops"]["1"]["settled"] for row in rows.values())
    draws = [row["draws"] for row in rows.values()]
    assert all(len(found) == 2 for found in draws) and any(one != other for one, other in draws)


def test_biased_models_are_needed_and_of_the_same_settings(trained, toy, synthetic):
    with pytest.raises(UserError, match="no biased model in"):
        measured(trained, toy, synthetic, models="none")
    with pytest.raises(UserError, match="was made with other settings.*lr: 0.01 there, 0.5 asked"):
        measured(trained, toy, synthetic, "--pre-train-lr", 0.5)


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
    row = measure.row_of(tables(*"abbbbacc"), 100, 1)
    assert row["differ"] == [2, 2, 2, 2, 2, 2, 0, 0] and row["mask"] == 1
    assert final_after(row["differ"]) == 7 and final_after([0, 0]) == 1 and final_after([0, 2, 0]) == 3
    assert row["stops"]["3"] == {"after": 5, "settled": True}
    assert row["stops"]["5"] == {"after": 8, "settled": False}
    record = {"rows": [row, row], "batches": {"real": 8}, "images_used": {"5": 50, "8": 80}}
    assert summary(record, [5, 8]) == ["2", "1", "1", "1.0 (2)", "19 %"]


def test_findings_are_read_as_older_records_are(tmp_path):
    folder = tmp_path / "toy"
    folder.mkdir()
    rows = [("images", {"real": 8}), ("row", {"k": 1}), ("row", {"k": 2})]
    found = {"status": "finished", "rows": [{"what": what, "value": value} for what, value in rows]}
    (folder / "ranking_stop.json").write_text(json.dumps(found))
    assert read(tmp_path, "toy")["rows"] == [{"k": 1}, {"k": 2}] and read(tmp_path, "toy")["images"] == {"real": 8}
