"""Metrics from recorded logits: against scikit-learn, fairlearn and cases done by hand, and through the command."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import MetricFrame, selection_rate, true_positive_rate
from scipy.special import logit, softmax
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from support import assert_one_line_error, run_here

from datasets.pairs import groups_of
from results import summary
from results.more_metrics import calibration_error, choose_threshold, scores
from utils.metrics import GROUPS, fairness_metrics, positive


def draw(n=900, protected=2, shift=0.0, seed=0):
    """Targets, protected values and logits that know something of both; `shift` moves all logits."""
    rng = np.random.default_rng(seed)
    target, protected = rng.integers(0, 2, n), rng.integers(0, protected, n)
    return target, protected, rng.normal(1.5 * target + 0.5 * protected - 1 + shift, 1)


@pytest.mark.parametrize("attributes, threshold", [(1, 0.0), (2, 0.4)])
def test_scores_agree_with_the_libraries(attributes, threshold):
    groups = groups_of(attributes)
    target, protected, logits = draw(protected=len(groups) // 2)
    found = scores(target, protected, logits, groups, threshold)
    prediction = (logits >= threshold).astype(int)
    ours = fairness_metrics(target, protected, prediction, groups)
    assert (found["ACC"], found["WST"]) == (ours["accuracy"], ours["worst_group_accuracy"])
    assert (found["EO max"], found["EO mean"]) == (ours["equalized_odds"], ours["equalized_odds_mean"])
    assert found["STD"] == ours["group_accuracy_std"]
    assert found["BA"] == pytest.approx(balanced_accuracy_score(target, prediction))
    rates = {"selection": selection_rate, "tpr": true_positive_rate}
    frame = MetricFrame(metrics=rates, y_true=target, y_pred=prediction, sensitive_features=protected)
    gap = frame.by_group.max() - frame.by_group.min()  # between any two groups, however many
    assert (found["DP"], found["EOpp"]) == pytest.approx((gap["selection"], gap["tpr"]))
    assert found["AUROC"] == pytest.approx(roc_auc_score(target, logits))
    for i, name in enumerate(group.partition("_")[2] for group in groups[: len(groups) // 2]):
        of_group = protected == i
        assert found[f"AUROC {name}"] == pytest.approx(roc_auc_score(target[of_group], logits[of_group]))
    assert found["threshold"] == pytest.approx(1 / (1 + np.exp(-threshold)))
    assert sum(key.startswith("AUROC ") for key in found) == 2**attributes


def test_scores_of_three_targets_agree_with_the_libraries():
    rng = np.random.default_rng(5)
    groups = tuple(f"{t}_{p}" for t in "abc" for p in "wxyz")
    target, protected, logits = rng.integers(0, 3, 900), rng.integers(0, 4, 900), rng.normal(0, 1, (900, 3))
    logits[np.arange(900), target] += 1
    found, shares = scores(target, protected, logits, groups), softmax(logits, axis=1)
    prediction = logits.argmax(axis=1)
    ours = fairness_metrics(target, protected, prediction, groups)
    assert (found["ACC"], found["EO max"]) == (ours["accuracy"], ours["equalized_odds"])
    assert found["BA"] == pytest.approx(balanced_accuracy_score(target, prediction))
    one_against_rest = [roc_auc_score(target == t, shares[:, t]) for t in range(3)]
    assert found["AUROC"] == pytest.approx(np.mean(one_against_rest))
    of_group = protected == 2
    ones = [roc_auc_score(target[of_group] == t, shares[of_group, t]) for t in range(3)]
    assert found["AUROC y"] == pytest.approx(np.mean(ones))
    places = np.ceil(15 * shares.max(axis=1)).astype(int)
    gaps = [
        abs(np.sum((prediction == target)[places == b] - shares.max(axis=1)[places == b])) for b in np.unique(places)
    ]
    assert found["ECE"] == pytest.approx(sum(gaps) / 900)
    assert np.isnan([found[name] for name in ("DP", "EOpp", "threshold")]).all()


def test_calibration_error_has_the_value_of_its_formula():
    # two bins: 4 images at 0.8, 3 of them right; 6 at 0.9 for "no", 3 right
    logits = np.concatenate([np.full(4, logit(0.8)), np.full(6, logit(0.1))])
    target = np.array([1, 1, 1, 0, 0, 0, 0, 1, 1, 1])
    assert calibration_error(target, logits) == pytest.approx(0.4 * 0.05 + 0.6 * 0.4)
    assert calibration_error([1, 0], [1000.0, -1000.0]) == 0  # certain and right
    assert calibration_error([0, 1], [1000.0, -1000.0]) == 1
    # within a bin errors in both directions cancel: with one bin it is |accuracy - mean confidence|
    assert calibration_error(target, logits, bins=1) == pytest.approx(abs(0.6 - (0.4 * 0.8 + 0.6 * 0.9)))


def test_the_threshold_is_the_best_on_its_images():
    target, _, logits = draw(n=200, shift=2)
    threshold = choose_threshold(target, logits)
    found = balanced_accuracy_score(target, logits >= threshold)
    assert found == pytest.approx(max(balanced_accuracy_score(target, logits >= one) for one in logits))
    assert found > balanced_accuracy_score(target, logits >= 0) + 0.1
    rare = choose_threshold([0] * 8 + [1] * 2, [1, 2, 3, 4, 5, 6, 8, 9, 7, 10])  # accuracy would choose 9.5
    assert rare == 6.5


@pytest.mark.parametrize(
    "target, logits, expected",
    [
        ([0, 0, 1, 1], [-3, -2, 5, 6], 0),  # as good as any: the usual one stays
        ([0, 0, 1, 1], [1, 2, 6, 7], 4),  # in the middle, not at an image
        ([0, 1, 0, 1], [1, 2, 3, 6], 1.5),  # 1.5 and 4.5 are as good: the nearer to the usual one
        ([0, 1], [3, 3], 0),
        ([1, 1], [3, 4], np.nan),
        ([], [], np.nan),
    ],
)
def test_the_threshold_where_several_are_best_or_none(target, logits, expected):
    assert choose_threshold(target, logits) == pytest.approx(expected, nan_ok=True)


def test_what_is_undefined_is_nan_and_the_rest_is_there():
    target, protected, logits = draw()
    target[protected == 1] = 0
    found = scores(target, protected, logits, GROUPS)
    undefined = {key for key, value in found.items() if np.isnan(value)}
    assert undefined == {"AUROC 1", "EOpp", "WST", "STD", "EO max", "EO mean"}
    found = scores(target * 0, protected, logits, GROUPS)
    assert {key for key, value in found.items() if not np.isnan(value)} == {"threshold", "ACC", "DP", "ECE"}
    found = scores(target, protected * 0, logits, GROUPS)  # no image of a protected group: no gap
    assert np.isnan([found["DP"], found["EOpp"]]).all() and found["AUROC"] == found["AUROC 0"]
    assert np.isnan(list(scores(target, protected, logits, GROUPS, np.nan).values())).all()


def put(runs, method, seed, val=True, groups=GROUPS, shift=1.0):
    """A record of an imitated run; without val logits as an older one."""
    folder = runs / method / f"seed_{seed}"
    folder.mkdir(parents=True)
    record = {"method": method, "seed": seed}
    for i, (split, key) in enumerate({"test": "metrics", "val": "val_metrics"}.items()):
        target, protected, logits = draw(300, len(groups) // 2, shift, seed=seed + i)
        record[key] = fairness_metrics(target, protected, positive(logits), groups)
        table = {"name": [f"{n}.jpg" for n in range(300)], "target": target, "protected": protected, "logit": logits}
        if split == "test" or val:
            pd.DataFrame(table).to_csv(folder / f"{split}_predictions.csv", index=False)
    (folder / "metrics.json").write_text(json.dumps(record))
    return folder


def second_table(runs):
    lines = [line.strip("| ").split(" | ") for line in (runs / "summary.md").read_text().splitlines() if "|" in line]
    start = next(i for i, line in enumerate(lines) if "threshold" in line)
    return {line[0]: dict(zip(lines[start], line)) for line in lines[start + 2 :] if len(line) == len(lines[start])}


def as_numbers(text):
    return [float(part) for part in text.split(" ± ")]


@pytest.mark.parametrize("attributes", [1, 2])
def test_the_command_on_old_and_new_records(tmp_path, attributes):
    groups = groups_of(attributes)
    for seed in (1, 3):
        put(tmp_path, "erm", seed, groups=groups)
    put(tmp_path, "aim-fair", 1, val=False, groups=groups)
    put(tmp_path, "aim-fair", 3, groups=groups)
    put(tmp_path, "full", 1, val=False, groups=groups)
    assert run_here(summary.main, "--runs", tmp_path).returncode == 0
    usual = (tmp_path / "summary.md").read_text()
    assert not (tmp_path / "metrics.csv").exists()
    done = run_here(summary.main, "--runs", tmp_path, "--metrics", "all")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "summary.md").read_text()
    assert text.startswith(usual) and "val for aim-fair seed 1; full seed 1: older records lack" in text

    with (tmp_path / "metrics.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == ["method", "seed", "metric", "value", "at_chosen_threshold"]
    rows = {(line["method"], line["seed"], line["metric"]): line for line in lines}
    assert len(rows) == len(lines) == 5 * (11 + 2**attributes)
    test = pd.read_csv(tmp_path / "erm" / "seed_1" / "test_predictions.csv")
    val = pd.read_csv(tmp_path / "erm" / "seed_1" / "val_predictions.csv")
    threshold = choose_threshold(val["target"], val["logit"])
    for column, at in (("value", 0.0), ("at_chosen_threshold", threshold)):
        expected = scores(test["target"], test["protected"], test["logit"], groups, at)
        found = {metric: float(rows["erm", "1", metric][column]) / 100 for metric in expected}
        assert found == pytest.approx(expected, abs=1e-6)
    assert threshold > 0.3  # logits are too high: see `draw`
    assert all(line["at_chosen_threshold"] == "" for line in lines if (line["method"], line["seed"]) == ("full", "1"))

    table = second_table(tmp_path)
    assert [(name, row["n"]) for name, row in table.items()] == [
        *(("erm", "2"), ("erm, threshold from val", "2")),
        *(("aim-fair", "2"), ("aim-fair, threshold from val", "1")),
        *(("full", "1"), ("full, threshold from val", "0")),
    ]
    for name, column in (("erm", "value"), ("erm, threshold from val", "at_chosen_threshold")):
        for metric in ("DP", "BA", "AUROC 0" if attributes == 1 else "AUROC 01"):
            values = [float(rows["erm", seed, metric][column]) for seed in "13"]
            expected = [np.mean(values), np.std(values, ddof=1)]
            assert as_numbers(table[name][metric]) == pytest.approx(expected, abs=0.006)
    assert set(list(table["full, threshold from val"].values())[2:]) == {"–"} and "nan" not in text


def test_a_group_of_one_class_is_a_dash(tmp_path):
    folder = put(tmp_path, "erm", 1)
    for split in ("test", "val"):
        path = folder / f"{split}_predictions.csv"
        table = pd.read_csv(path)
        table.loc[table["protected"] == 1, "target"] = 0
        table.to_csv(path, index=False)
    assert run_here(summary.main, "--runs", tmp_path, "--metrics", "all").returncode == 0
    row = second_table(tmp_path)["erm, threshold from val"]
    assert row["AUROC 1"] == row["EOpp"] == row["WST"] == "–" and float(row["AUROC 0"]) > 60


def cut(path):
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def change(column, value):
    def damage(path):
        table = pd.read_csv(path)
        table[column] = table[column].astype(object)
        table.loc[4, column] = value
        table.to_csv(path, index=False)

    return damage


@pytest.mark.parametrize("split", ["test", "val"])
@pytest.mark.parametrize(
    "damage, said",
    [
        (cut, "299 rows in place of 300"),
        (change("logit", "inf"), "not all logits are finite"),
        (change("target", 2), "not all of target are from 0 to 1"),
        (change("protected", -1), "not all of protected are from 0 to 1"),
    ],
)
def test_damaged_logits_are_one_line_and_nothing_is_written(tmp_path, split, damage, said):
    folder = put(tmp_path, "erm", 1)
    damage(folder / f"{split}_predictions.csv")
    done = run_here(summary.main, "--runs", tmp_path, "--metrics", "all")
    assert_one_line_error(done, f"{split}_predictions.csv", said, f"remove {folder} and run it again")
    assert not list(tmp_path.glob("*.*"))
