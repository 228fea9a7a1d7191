import numpy as np
import pytest
import torch
from fairlearn.metrics import MetricFrame, equalized_odds_difference
from sklearn.metrics import accuracy_score

from datasets.pairs import groups_of
from utils.metrics import (
    GROUPS,
    answers,
    answers_alike,
    blind_accuracy,
    fairness_metrics,
    hardly_biased,
    hardly_learned,
    positive,
    widest_gap,
)


@pytest.mark.parametrize("attributes", [1, 2])
def test_agrees_with_fairlearn(attributes):
    rng, names = np.random.default_rng(attributes), groups_of(attributes)
    target, protected, prediction = (
        rng.integers(0, 2, 900),
        rng.integers(0, 2**attributes, 900),
        rng.integers(0, 2, 900),
    )
    ours = fairness_metrics(target, protected, prediction, names)
    odds = {"sensitive_features": protected}
    assert ours["equalized_odds"] == pytest.approx(equalized_odds_difference(target, prediction, **odds))
    mean = equalized_odds_difference(target, prediction, agg="mean", **odds)
    assert ours["equalized_odds_mean"] == pytest.approx(mean)
    groups = [names[len(names) // 2 * t + p] for t, p in zip(target, protected)]
    frame = MetricFrame(metrics=accuracy_score, y_true=target, y_pred=prediction, sensitive_features=groups)
    assert ours["group_accuracy"] == pytest.approx(frame.by_group.to_dict())
    assert ours["worst_group_accuracy"] == pytest.approx(frame.group_min())
    assert ours["accuracy"] == pytest.approx(frame.overall)
    with pytest.raises(ValueError, match=names[-2]):
        keep = (target == 0) | (protected != len(names) // 2 - 2)
        fairness_metrics(target[keep], protected[keep], prediction[keep], names)


def drawn(rng, classes, protected):
    """Labels and predictions with at least one image in every group, and the names of the groups."""
    cells = np.indices((classes, protected)).reshape(2, -1)
    more = rng.integers(0, [[classes], [protected]], (2, 80))
    target, group = np.concatenate([cells, more], axis=1)
    names = tuple(f"t{t}_p{p}" for t in range(classes) for p in range(protected))
    return target, group, rng.integers(0, classes, len(target)), names


@pytest.mark.parametrize("seed", range(200))
def test_any_number_of_targets_and_groups_by_counting_images(seed):
    rng = np.random.default_rng(seed)
    classes, protected = rng.integers(2, 7, 2)
    target, group, prediction, names = drawn(rng, classes, protected)
    found = fairness_metrics(target, group, prediction, names)
    recall = {}
    for t in range(classes):
        for p in range(protected):
            inside = [pred == t for pred, a, b in zip(prediction, target, group) if (a, b) == (t, p)]
            recall[f"t{t}_p{p}"] = sum(inside) / len(inside)
    assert found["group_accuracy"] == pytest.approx(recall)
    gaps = [
        max(abs(recall[f"t{t}_p{a}"] - recall[f"t{t}_p{b}"]) for a in range(protected) for b in range(protected))
        for t in range(classes)
    ]
    assert found["equalized_odds"] == pytest.approx(max(gaps))
    assert found["equalized_odds_mean"] == pytest.approx(sum(gaps) / classes)
    assert found["accuracy"] == pytest.approx(accuracy_score(target, prediction))
    low, high = widest_gap(found["group_accuracy"])
    assert low.split("_")[0] == high.split("_")[0] and recall[high] - recall[low] == pytest.approx(max(gaps))
    # one number for each target of any number
    logits = np.eye(classes)[prediction] + rng.uniform(0, 0.9, (len(target), classes))
    assert answers(logits).tolist() == prediction.tolist()


@pytest.mark.parametrize("seed", range(20))
def test_two_and_two_are_to_the_bit_what_records_hold(seed):
    """The numbers of all two-valued records were made by these lines."""
    rng = np.random.default_rng(seed)
    target, group, prediction, _ = drawn(rng, 2, 2)
    found = fairness_metrics(target, group, prediction)
    count = np.zeros((2, 2, 2), np.int64)
    np.add.at(count, (target, group, prediction), 1)
    rate = count[:, :, 1] / count.sum(axis=2)
    accuracy, gaps = np.stack([1 - rate[0], rate[1]]), rate.max(axis=1) - rate.min(axis=1)
    assert list(found["group_accuracy"].values()) == accuracy.ravel().tolist()
    assert (found["equalized_odds"], found["equalized_odds_mean"]) == (gaps.max(), gaps.mean())
    assert found["group_accuracy_std"] == accuracy.std() and found["worst_group_accuracy"] == accuracy.min()


def test_a_case_counted_by_hand():
    #         groups  0_0   0_1   1_0         1_1
    target = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
    protected = np.array([0, 0, 1, 1, 0, 0, 0, 0, 1, 1])
    prediction = np.array([0, 1, 0, 0, 1, 1, 1, 0, 0, 1])
    metrics = fairness_metrics(target, protected, prediction)
    assert metrics["group_accuracy"] == {"0_0": 0.5, "0_1": 1.0, "1_0": 0.75, "1_1": 0.5}
    assert metrics["group_count"] == {"0_0": 2, "0_1": 2, "1_0": 4, "1_1": 2}
    assert metrics["accuracy"] == 0.7
    assert metrics["worst_group_accuracy"] == 0.5
    assert metrics["group_accuracy_std"] == pytest.approx(np.std([0.5, 1.0, 0.75, 0.5]))
    assert metrics["equalized_odds"] == 0.5  # FPR 0.5 against 0
    assert metrics["equalized_odds_mean"] == 0.375  # and TPR 0.75 against 0.5


@pytest.mark.parametrize(
    ("target", "protected", "said"),
    [
        ([0, 1, 2], [0, 1, 0], "target"),
        ([0.5, 1, 0], [0, 1, 0], "target"),
        ([[0], [1], [0]], [0, 1, 0], "target"),
        ([0, 1, 0], [0, 1, 2], "protected"),
        ([0, 1], [0, 1, 0], "lengths differ: target 2, protected 3, prediction 3"),
    ],
)
def test_other_values_and_lengths_are_refused(target, protected, said):
    with pytest.raises(ValueError, match=said):
        fairness_metrics(target, protected, [0, 1, 0])


def test_what_an_answer_without_looking_gives():
    assert blind_accuracy(dict(zip(groups_of(1), (1, 4, 3, 2)))) == pytest.approx(0.7)  # the protected attribute alone
    assert blind_accuracy(dict(zip(groups_of(1), (6, 2, 1, 1)))) == pytest.approx(0.8)  # "no" whoever it is
    assert blind_accuracy(dict(zip(groups_of(2), (1, 0, 2, 2, 0, 1, 1, 3)))) == pytest.approx(0.7)


def test_positive_is_half_or_more_of_the_sigmoid_in_single_precision():
    logits = [-100, -1, -1e-6, -1e-9, 0.0, 1e-9, 1, 100]
    assert positive(logits).tolist() == [False] * 3 + [True] * 5
    drawn = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    assert (positive(drawn) == (torch.from_numpy(drawn).sigmoid() >= 0.5).numpy()).all()


@pytest.mark.parametrize(
    ("accuracies", "alike"),
    [
        ([1, 1, 0, 0], True),  # no for every image
        ([0, 0, 1, 1], True),
        ([0.98, 0.96, 0.07, 0.05], True),
        ([0.5, 0.52, 0.5, 0.47], True),  # a coin
        ([1, 0, 0, 1], True),  # it tells the protected attribute alone
        ([0.9, 0.95, 0.25, 0.02], False),  # it sees the target in one group
        ([0.8, 0.9, 0.9, 0.7], False),
        ([1, 1, 1, 1, 0, 0, 0, 0], True),
        ([1, 1, 1, 0.9, 0, 0, 0, 0.5], False),
    ],
)
def test_a_classifier_that_answers_alike_is_told(accuracies, alike):
    assert answers_alike(dict(zip(groups_of(len(accuracies) // 4), accuracies, strict=True))) == alike


@pytest.mark.parametrize(
    ("odds", "count", "biased"),
    [(0.04, 10_000, False), (0.06, 10_000, True), (0.123, 500, True), (0.2, 10, False), (0.9, 10, True)],
)
def test_erm_counts_as_biased_from_five_points_and_from_what_so_many_images_can_tell(odds, count, biased):
    accuracies = dict(zip(GROUPS, (0.9 - odds / 2, 0.9 + odds / 2, 0.85, 0.85)))
    said = hardly_biased(odds, accuracies, dict.fromkeys(GROUPS, count))
    assert (said == "") == biased
    assert biased or f"difference is {100 * odds:.1f} points" in said


def test_chance_alone_rarely_makes_an_unbiased_erm_count_as_biased():
    rng, found = np.random.default_rng(0), 0
    counts = dict.fromkeys(GROUPS, 100)
    for _ in range(500):
        accuracies = rng.binomial(100, 0.8, 4) / 100
        odds = max(abs(accuracies[0] - accuracies[1]), abs(accuracies[2] - accuracies[3]))
        found += not hardly_biased(odds, dict(zip(GROUPS, accuracies)), counts)
    assert found < 60  # of two gaps one is beyond two standard errors in 9 %


@pytest.mark.parametrize(
    ("accuracy", "counts", "learned"),
    [
        (0.59, (100, 100, 100, 100), False),
        (0.61, (100, 100, 100, 100), True),
        (0.94, (920, 920, 80, 80), True),
        (0.92, (920, 920, 80, 80), False),
    ],
)
def test_a_rare_target_can_be_learned_too(accuracy, counts, learned):
    """Where "no" alone is right in 92 %, no classifier can be right ten points more often."""
    assert (hardly_learned(accuracy, dict(zip(GROUPS, counts))) == "") == learned


def test_the_standard_error_is_of_the_groups_of_the_larger_gap():
    """Six groups of unequal size: the gap of target 0 is the larger one, between its second and third group."""
    names = ("0_0", "0_1", "0_2", "1_0", "1_1", "1_2")
    accuracies = dict(zip(names, (0.8, 0.9, 0.7, 0.5, 0.45, 0.55)))
    counts = dict(zip(names, (5, 60, 30, 7, 8, 9)))
    rate = (60 * 0.9 + 30 * 0.7) / 90
    least = 2 * np.sqrt(rate * (1 - rate) * (1 / 60 + 1 / 30))
    assert f"below {100 * least:.1f} (5 points" in hardly_biased(least - 1e-6, accuracies, counts)
    assert hardly_biased(least + 1e-6, accuracies, counts) == ""


def test_a_model_that_hardly_learned_is_told_with_both_numbers():
    said = hardly_learned(0.59, dict(zip(GROUPS, (6, 5, 4, 5))))
    assert "is right in 59.0 % of" in said and "is right in 55.0 %:" in said
