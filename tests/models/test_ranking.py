"""The ranking batch by batch: where it stops, what it gives, and that taking every batch this way is the full ranking."""

import json
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from support import assert_one_line_error, run_here
from support.small import SMALL, train
from torch import nn

import train as train_script
from models.ranking import RunningRanking, mask_of, until_settled
from models.run import Run
from models.selection import GradientSum, choose_tensors, mean_gradients, sensitivity_table
from models.settings import Settings

CPU = torch.device("cpu")
BATCHES = {"real": 5, "biased": 2, "balanced": 3}


@pytest.fixture
def model():
    """A network with dropout, whose draws must be the full ranking's too."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
    return nn.Sequential(body, nn.Dropout(), nn.Linear(4 * 36, 1))


@pytest.fixture
def sets():
    generator = torch.Generator().manual_seed(1)
    return {
        name: [(torch.randn(6, 3, 8, 8, generator=generator), torch.arange(6) % 2) for _ in range(count)]
        for name, count in BATCHES.items()
    }


def running(model, sets):
    sums = {name: GradientSum(model, batches) for name, batches in sets.items()}
    torch.manual_seed(7)
    return RunningRanking(sums, CPU)


def test_a_single_device_has_one_random_state(model, sets, monkeypatch):
    """Apple's GPU, whose module takes no device."""
    expected, states = list(running(model, sets)), []
    one = SimpleNamespace(get_rng_state=lambda: torch.zeros(1), set_rng_state=states.append)
    monkeypatch.setattr(torch, "get_device_module", lambda device: one)
    sums = {name: GradientSum(model, batches) for name, batches in sets.items()}
    torch.manual_seed(7)
    for table, other in zip(RunningRanking(sums, torch.device("mps")), expected, strict=True):
        pd.testing.assert_frame_equal(table, other)
    assert len(states) == len(sets) * (1 + max(BATCHES.values()))


def ranked(model, sets, count):
    """The sensitivity table of whole passes over the first batches of each set."""
    means = []
    for batches in sets.values():
        torch.manual_seed(7)
        means.append(mean_gradients(model, islice(batches, count)))
    return sensitivity_table(*means)


def test_every_table_is_that_of_the_first_batches_and_the_last_one_the_full_rankings(model, sets):
    tables = list(running(model, sets))
    assert len(tables) == 5
    for count, table in enumerate(tables, start=1):
        used = {name: min(count, size) for name, size in BATCHES.items()}
        assert {name: set(table.pop(f"{name}_batches")) for name in BATCHES} == {n: {u} for n, u in used.items()}
        pd.testing.assert_frame_equal(table, ranked(model, sets, count), check_exact=True)
    assert not tables[-1].equals(tables[-2])  # the larger set went on alone


def test_tables_are_made_when_asked_for_and_once(model, sets):
    taken = []

    def watched(name, batches):
        for batch in batches:
            taken.append(name)
            yield batch

    ranking = running(model, {name: watched(name, batches) for name, batches in sets.items()})
    first = list(islice(ranking, 2))
    assert taken == ["real", "biased", "balanced"] * 2
    again = list(islice(ranking, 3))
    assert [one is other for one, other in zip(first, again)] == [True, True]
    assert taken[6:] == ["real", "balanced"]
    torch.rand(3)  # draws in between, such as a training's, change nothing
    pd.testing.assert_frame_equal(list(ranking)[-1], list(running(model, sets))[-1], check_exact=True)


def test_a_set_without_a_batch_is_an_error(model, sets):
    with pytest.raises(ValueError, match="no batch"):
        list(running(model, {**sets, "biased": []}))


def table_of(*names):
    """A table of four tensors in which k 1 chooses `names` (none, or one of them)."""
    gaps = {name: ((0, 1) if name in names else (1, 0)) for name in "abcd"}
    if not names:
        gaps["a"], gaps["b"] = (0, 0), (1, 1)
    domain, bias = zip(*gaps.values())
    values = {"domain_gap": domain, "bias_gap": bias, "domain_cosine_gap": bias, "bias_cosine_gap": domain}
    return pd.DataFrame({"name": list(gaps), **values})


def test_it_stops_when_the_mask_has_not_changed_for_so_many_batches():
    tables = [table_of(*names) for names in ("a", "b", "b", "a", "a", "a", "b")]
    for patience, place in ((1, 2), (2, 5), (3, 6)):
        table, settled = until_settled(tables, 1, "absolute", patience)
        assert table is tables[place] and settled == (patience < 3)
    made = iter(tables)
    until_settled(made, 1, "absolute", 1)
    assert len(list(made)) == 4  # and takes no batch more
    with pytest.raises(ValueError, match="no table"):
        until_settled([], 1, "absolute", 1)


def test_a_mask_that_is_empty_is_none_that_could_settle():
    tables = [table_of(), table_of(), table_of(), table_of("c"), table_of("c")]
    assert [mask_of(table, 1) for table in tables] == [set(), set(), set(), {"c"}, {"c"}]
    assert until_settled(tables, 1, "absolute", 1)[0] is tables[4]


def test_the_mask_is_what_is_chosen_by_either_measure(model, sets):
    table = ranked(model, sets, 2)
    for measure in ("absolute", "cosine"):
        for k in (4, 5):
            assert mask_of(table, k, measure) == set(choose_tensors(table, k, measure))


FLAGS = ["--seeds", 100, "--batch-size", 4, "--width", 0.125]
RANKED = ("aim-fair", "aim-fair:top-k=40", "cosine")


@pytest.fixture(scope="module")
def full(toy, synthetic, tmp_path_factory):
    output = tmp_path_factory.mktemp("full")
    done = train(toy, synthetic, output, *FLAGS, "--methods", *RANKED)
    assert done.returncode == 0, done.stderr
    return output


def read(output, method):
    folder = output / method.replace(":", "_") / "seed_100"
    return json.loads((folder / "metrics.json").read_text()), pd.read_csv(folder / "sensitivity.csv"), folder


def same_weights(one, other):
    a, b = (load_file(folder / "model.safetensors") for folder in (one, other))
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
@pytest.mark.parametrize("flags", [["99"], ["auto", "--ranking-patience", 99]])
def test_with_enough_batches_the_result_is_the_full_rankings(full, toy, synthetic, tmp_path, flags):
    done = train(toy, synthetic, tmp_path, *FLAGS, "--methods", *RANKED, "--ranking-batches", *flags)
    assert done.returncode == 0, done.stderr
    for method in RANKED:
        (record, table, folder), (before, full_table, full_folder) = read(tmp_path, method), read(full, method)
        assert record["ranking_batches"] == {"real": 10, "biased": 4, "balanced": 4}
        pd.testing.assert_frame_equal(table[list(full_table)], full_table, check_exact=True)
        assert set(table) - set(full_table) == {"real_batches", "biased_batches", "balanced_batches"}
        assert same_weights(folder, full_folder)
        assert "ranking_batches" not in before and not any(key.startswith("ranking") for key in before["settings"])
    assert record["settings"]["ranking_batches"] == (99 if flags == ["99"] else "auto")
    assert record["settings"].get("ranking_patience") == (None if flags == ["99"] else 99)
    assert not any(key.startswith("ranking") for key in record["settings"]["biased_model"])


@pytest.mark.slow
def test_auto_stops_where_a_fixed_number_gives_the_same_whatever_ran_before(toy, synthetic, tmp_path):
    auto, whole = ["--ranking-batches", "auto", "--ranking-patience", 1], "aim-fair:top-k=62"
    ranked = (*RANKED, whole)  # the mask of all tensors has settled at once, and where others do rests on rounding
    for name, methods in (("forth", ranked), ("back", ranked[::-1])):
        done = train(toy, synthetic, tmp_path / name, *FLAGS, "--methods", *methods, *auto)
        assert done.returncode == 0, done.stderr
        settled, ended = (done.stdout.count(said) for said in ("(unchanged for 1)", "never stayed unchanged for 1"))
        assert settled >= 1 and settled + ended == len(ranked), done.stdout
    stops = []
    for method in ranked:
        (record, table, folder), other = read(tmp_path / "forth", method), read(tmp_path / "back", method)
        pd.testing.assert_frame_equal(table, other[1], check_exact=True)
        assert same_weights(folder, other[2]) and record["ranking_batches"] == other[0]["ranking_batches"]
        stops.append(record["ranking_batches"]["real"])
        output = tmp_path / f"first {stops[-1]}"
        done = train(toy, synthetic, output, *FLAGS, "--methods", method, "--ranking-batches", stops[-1])
        assert done.returncode == 0, done.stderr
        fixed = read(output, method)
        assert fixed[0]["ranking_batches"] == record["ranking_batches"]
        pd.testing.assert_frame_equal(fixed[1], table, check_exact=True)
        assert same_weights(fixed[2], folder)
    assert stops[-1] == 2 < max(stops), stops


def test_a_record_made_with_every_batch_is_not_taken_for_another(full, toy, synthetic):
    again = train(toy, synthetic, full, *FLAGS, "--methods", "aim-fair")
    assert again.returncode == 0 and again.stdout.count("recorded already") == 2
    other = train(toy, synthetic, full, *FLAGS, "--methods", "aim-fair", "--ranking-batches", 2)
    assert_one_line_error(other, "ranking_batches: None there, 2 asked")


def test_only_a_method_that_ranks_records_it():
    def settings(**given):
        return Settings(real_data_path=None, **given)

    assert settings().of_ranking() == {}
    assert settings(ranking_batches=3).of_ranking() == {"ranking_batches": 3}
    assert settings(ranking_batches="auto").of_ranking() == {"ranking_batches": "auto", "ranking_patience": 20}
    given = settings(ranking_batches="auto", ranking_patience=3)
    assert given.of_ranking()["ranking_patience"] == 3
    assert given.of_fine_tuning() == settings().of_fine_tuning()  # which full fine-tuning records too
    assert given.of_pre_training() == settings().of_pre_training()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["0"], "--ranking-batches: 0 is not between 1 and"),
        (["-3"], "--ranking-batches: -3 is not between 1 and"),
        (["all of them"], "--ranking-batches: 'all of them' is neither auto nor a number"),
        (["2.5"], "--ranking-batches: '2.5' is neither auto nor a number"),
        (["auto", "--ranking-patience", "0"], "--ranking-patience: 0 is not between 1 and"),
        (["5", "--ranking-patience", "9"], "--ranking-patience 9 needs --ranking-batches auto"),
    ],
)
def test_what_is_no_number_of_batches_is_refused(toy, tmp_path, flags, said):
    base = ["--real-data-path", toy, "--output", tmp_path / "out", *SMALL, "--ranking-batches"]
    assert_one_line_error(run_here(train_script.main, *base, *flags), said)
    assert not (tmp_path / "out").exists()


def test_three_gradients_are_whole_for_whoever_asks_for_them(monkeypatch):
    """A method of one's own that ranks in its own way: "auto" can't know when it has settled."""
    taken = {}

    def counting(model, batches, **_):
        taken[len(taken)] = len(list(batches))
        return {}

    monkeypatch.setattr("models.run.mean_gradients", counting)
    monkeypatch.setattr(Run, "biased_model", lambda self: None)
    monkeypatch.setattr("models.run.train_batches", lambda data, *_: iter(range(len(data.rows))))

    made = {name: SimpleNamespace(pixels=None, rows=np.arange(size)) for name, size in BATCHES.items()}
    for asked, expected in ((None, [5, 2, 3]), ("auto", [5, 2, 3]), (2, [2, 2, 2])):
        taken.clear()
        run = Run(Settings(real_data_path=None, device="cpu", ranking_batches=asked), {"train": made["real"]}, 1, None)
        run.three_gradients(SimpleNamespace(biased=made["biased"], balanced=made["balanced"]))
        assert list(taken.values()) == expected
