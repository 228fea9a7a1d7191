"""The study on when a ranking may stop: it measures what train.py does, and its page says what was measured."""

import json

import pandas as pd
import pytest
from support.small import SMALL, train

from results.studies import Place
from results.studies.ranking_stop import measure, rankings
from utils.errors import UserError

FLAGS = ["--seeds", 100, "--batch-size", 4, "--width", 0.125]


@pytest.fixture(scope="module")
def trained(toy, synthetic, tmp_path_factory):
    output = tmp_path_factory.mktemp("trained")
    done = train(toy, synthetic, output / "all", *FLAGS, "--methods", "aim-fair", "--ranking-batches", "auto")
    assert done.returncode == 0, done.stderr
    return output


def measured(trained, toy, synthetic, *more, models="all"):
    """What is found, by its name."""
    flags = ["--real-data-path", toy, "--synthetic-data-root", synthetic, *SMALL, *FLAGS, *more]
    place = Place(trained / "work", trained, device="cpu")
    found = measure.batches(models, tuple(map(str, flags)), 2, place)
    return {each.what: each.value for each in found}


@pytest.mark.slow
def test_it_measures_what_train_does(trained, toy, synthetic, monkeypatch):
    monkeypatch.setattr(measure, "PATIENCES", (1, 20))
    record = measured(trained, toy, synthetic, "--ranking-batches", 1)  # which plays no part
    assert record["batches"] == {"real": 10, "biased": 4, "balanced": 4}
    assert record["images"] == {"real": 40, "biased": 16, "balanced": 16}
    rows = {value["k"]: value for what, value in record.items() if what.startswith("seed 100, k ")}
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


def test_a_row_says_when_the_mask_is_final_and_how_far_off_a_stop_is(tmp_path):
    row = measure.row_of(tables(*"abbbbacc"), 100, 1)
    assert row["differ"] == [2, 2, 2, 2, 2, 2, 0, 0] and row["mask"] == 1
    assert row["stops"]["3"] == {"after": 5, "settled": True}
    assert row["stops"]["5"] == {"after": 8, "settled": False}
    found = {"batch_size": 10, "images": {"real": 80, "biased": 15}, "batches": {"real": 8, "biased": 2}}
    found |= {
        "seed 100, k 1": row,
        "seed 100, k 2": row | {"differ": [0] * 8},
        "seed 100, k 3": row | {"differ": [0, 2] + [0] * 6},
    }
    rows = [{"what": what, "value": value} for what, value in found.items()]
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy/ranking_stop.json").write_text(json.dumps({"status": "finished", "seconds": 1, "rows": rows}))
    made = rankings(tmp_path, "toy").set_index("patience")
    assert list(made["final"].loc[3]) == [7, 1, 3] and list(made["off"].loc[3]) == [2, 0, 0]
    assert list(made["early"].loc[5]) == [False] * 3 and made["saved"].loc[5].iloc[0] == 0
    assert made["saved"].loc[3].iloc[0] == pytest.approx(100 * 30 / 95)
