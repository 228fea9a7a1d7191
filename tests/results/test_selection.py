"""The study of the selection: spreads and effects by hand, the power by simulation, and a choice that luck can't help."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from results.records import run_name
from results.studies.selection import EVERY, REPEATS
from results.studies.selection.blocks import BLOCKS, CHOICES, best_of_others, effects
from results.studies.selection.spread import POWER, Spread, differences, least_told, spread, t_interval
from results.studies.selection.tables import ROWS
from utils.records import Label


def runs_of(values):
    """Runs whose accuracy and odds are `values`, by method and seed."""

    def record(method, seed, value):
        metrics = SimpleNamespace(accuracy=value / 100, equalized_odds=value / 100)
        return SimpleNamespace(method=method, seed=seed, label=Label.of(method), metrics=metrics)

    records = [record(*place, value) for place, value in values.items()]
    by_method = {}
    for each in records:
        by_method.setdefault(each.method, {})[each.seed] = each
    seeds = sorted({each.seed for each in records})
    return SimpleNamespace(records=records, seeds=seeds, runs=lambda method: by_method.get(method, {}))


def test_every_method_has_its_repetitions():
    assert len(EVERY) == len(set(EVERY)) == len(ROWS) * len(REPEATS)
    assert "random-mask:share=0.775,draw=2,repeat=2" in EVERY and "full:repeat=5" in EVERY


def test_spread_by_hand():
    assert spread(np.array([[1.0, 1, 1], [4, 4, 4]])) == Spread(pytest.approx(np.sqrt(4.5)), 0)
    found = spread(np.array([[0.0, 2], [0, 2]]))  # the models' means are equal, so all is luck
    assert found == Spread(0, pytest.approx(np.sqrt(2)))
    assert spread(np.array([[0.0, 1]])) is None and spread(np.array([[0.0], [1]])) is None


def test_differences_take_the_seeds_that_have_every_repetition():
    values = {
        ("full", 1): 5,
        ("full:repeat=2", 1): 7,
        ("erm", 1): 1,
        ("erm:repeat=2", 1): 2,
        ("full", 2): 9,
        ("erm", 2): 0,
    }
    np.testing.assert_allclose(differences(runs_of(values), "full", "erm", "EO"), [[4, 5]])


def test_what_is_told_is_told_as_often_as_is_said():
    own, models, repetitions = Spread(1.5, 3.0), 7, 5
    true, draws = least_told(own, models, repetitions), np.random.default_rng(0)
    size = (4000, models)
    means = (
        true + own.models * draws.normal(size=size) + own.repetitions * draws.normal(size=(*size, repetitions)).mean(-1)
    )
    told = [t_interval(each)[1] > 0 for each in means]
    assert np.mean(told) == pytest.approx(POWER, abs=0.04)


def test_the_effect_of_a_block_is_the_mean_with_it_less_that_without():
    def value(chosen):
        return 10 + 4 * ("4" in chosen)

    runs = runs_of({(method, seed): value(chosen) + seed for method, chosen in CHOICES.items() for seed in (1, 2)})
    np.testing.assert_allclose(effects(runs, "4", "ACC"), [4, 4])
    assert abs(effects(runs, "stem", "ACC")).max() < 0.2  # of 31 choices without it, 16 have block 4
    assert len(CHOICES) == 2 ** len(BLOCKS) - 1 and CHOICES["full"] == BLOCKS


def answered(best):
    """Three seeds whose choices err in one group of four; that of `best`, by seed, never errs."""
    target, protected = (np.repeat(each, 50) for each in ((0, 0, 1, 1), (0, 1, 0, 1)))
    columns = {"name": map(str, range(200)), "target": target, "protected": protected}
    lost = np.arange(200) % 50 < 10
    for seed in (1, 2, 3):
        for method in ("erm", *CHOICES):
            wrong = lost & (target == 1) & (protected == 1) & (method != best[seed])
            columns[run_name(method, seed)] = np.where(wrong, 1 - target, target)
    runs = runs_of({(method, seed): 0 for method in ("erm", *CHOICES) for seed in (1, 2, 3)})
    return SimpleNamespace(**vars(runs), predictions=pd.DataFrame(columns), groups=["0_0", "0_1", "1_0", "1_1"])


def test_a_choice_is_made_by_other_models():
    always = best_of_others(answered(dict.fromkeys((1, 2, 3), "blocks:update=3+fc")))
    assert all(accuracy > 4 and odds < -15 for accuracy, odds in always)
    names = list(CHOICES)
    lucky = best_of_others(answered({1: names[3], 2: names[4], 3: names[5]}))  # each seed another one
    np.testing.assert_allclose(lucky, 0, atol=1e-9)
