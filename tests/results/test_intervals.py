"""The 95 % intervals: their pieces against closed forms, and how often they cover what made-up runs are drawn from."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
from scipy.stats import norm, ttest_1samp

from results.group_accuracies import METRICS, group_accuracies, statistics
from results.intervals import difference, half_width, holm
from utils.metrics import fairness_metrics

GROUPS = ("0_0", "0_1", "1_0", "1_1")
SIGNS = np.array([-1, -1, 1, 1])
TOY, CELEBA = (390, 405, 401, 404), (500, 605, 694, 468)  # test images of the committed records


@dataclass(frozen=True)
class Method:
    """Runs whose accuracies are Phi(`groups` + `lean` * z * SIGNS + `own` * z of each group): a run leans to a target.

    `alike` is the correlation of what makes an image hard for two runs of the method.
    """

    groups: tuple[float, ...]
    lean: float
    own: float
    alike: float = 0.7

    def at(self, lean, own):
        """The probits of runs, (..., groups), from standard normal numbers (...) and (..., groups)."""
        return np.array(self.groups) + self.lean * lean[..., None] * SIGNS + self.own * own

    @property
    def means(self):
        """The group accuracies over all seeds and images."""
        return norm.cdf(np.array(self.groups) / np.sqrt(1 + self.lean**2 + self.own**2))


# fitted to the records of erm, aim-fair and full: toy faces, and a biased model of CelebA that had hardly learned its task
FAIR, WEAK_FAIR = (
    Method((0.875, 1.04, 0.815, 0.806), 0.154, 0.096),
    Method((0.628, 0.736, 0.252, -0.043), 0.137, 0.053),
)
ERM, WEAK_ERM = Method((-0.08, 1.5, 1.18, -0.03), 0.68, 0.37), Method((0.02, 1.32, 0.66, -0.81), 0.132, 0.06)
FULL, WEAK_FULL = Method((1.05, 0.93, 0.74, 1.05), 0.37, 0.21), Method((0.44, 0.73, 0.41, -0.12), 0.34, 0.18)
# one whose gaps are near zero, and one of 3.4 points, whose seeds decide nearly every image alike
NO_GAP, SMALL_GAP = (Method(tuple(norm.ppf((0.9, 0.9 + gap, 0.9, 0.9))), 0.0, 0.0, 0.97) for gap in (0.003, 0.034))
SCENARIOS = {
    "ERM, fair (toy)": (TOY, ERM, FAIR),
    "ERM, fair (weak model)": (CELEBA, WEAK_ERM, WEAK_FAIR),
    "two fair (toy)": (TOY, FULL, FAIR),
    "two fair (weak model)": (CELEBA, WEAK_FULL, WEAK_FAIR),
    "two lowest tie, all tie": (TOY, Method((0.3, 0.9, 0.9, 0.3), 0.2, 0.1), Method((0.85,) * 4, 0.15, 0.1)),
    "all tie, in both": (TOY, Method((0.84,) * 4, 0.15, 0.1), Method((0.84,) * 4, 0.15, 0.1)),
    "lowest of a target tie": (TOY, Method((0.4, 0.4, 0.9, 0.9), 0.15, 0.1), Method((0.4, 0.4, 1, 1), 0.15, 0.1)),
    "seeds alike, fair": (TOY, Method((0.84,) * 4, 0.02, 0.02), Method((0.9, 0.9, 0.8, 0.8), 0.02, 0.02)),
    "no gap, small gap, images alike": (CELEBA, NO_GAP, SMALL_GAP),
    "ERM, no gap, images alike": (CELEBA, replace(WEAK_ERM, alike=0.97), NO_GAP),
    "seeds alike, ERM": (TOY, Method((0, 1.4, 1.2, 0), 0.02, 0.02), Method((0.84,) * 4, 0.02, 0.02)),
}
# fitted to repeated fine-tunings of five biased models (results/records/selection, `t2i`): repetitions of one have KEPT of the
# variance in common, and the leans of two methods with the same order and crops correlate at PAIRED
KEPT, PAIRED = 0.45, 0.85
SELECTED = Method((0.854, 0.899, 1.283, 0.989), 0.287, 0.135, 0.75)
REPEATED = {
    "AIM-Fair, full": (CELEBA, SELECTED, Method((0.864, 0.968, 1.29, 0.933), 0.289, 0.136, 0.75)),
    "AIM-Fair, one ERM": (CELEBA, SELECTED, Method((0.746, 1.915, 1.526, 0.281), 0.129, 0.058, 0.85)),
    "AIM-Fair twice": (CELEBA, SELECTED, SELECTED),
}
# groups that are equal or differ by less than the runs: all but ACC are known to be wider, as docs/intervals.md says
WIDE = {"WST": 99.9, "EO": 99.9, "STD": 99.9}
EQUAL_GROUPS = tuple(name for name in SCENARIOS if "tie" in name or "alike" in name or "(toy)" in name)
EQUAL_GROUPS += ("AIM-Fair, full", "AIM-Fair twice")


def draw_leans(rng, *shape, shared=0.3):
    """Normal numbers for the runs of two methods, (2, ...): the same seed makes both lean a little alike."""
    return np.sqrt(shared) * rng.standard_normal(shape) + np.sqrt(1 - shared) * rng.standard_normal((2, *shape))


def draw_probits(rng, pair, n, times):
    """The probits of the runs of two methods, (2 * n * times, groups): `times` repetitions from each of `n` biased models."""
    if times == 1:
        found = [m.at(lean, rng.standard_normal((n, 4))) for m, lean in zip(pair, draw_leans(rng, n), strict=True)]
        return np.concatenate(found)
    leans, owns = (
        np.sqrt(KEPT) * np.repeat(draw(rng, n), times, axis=1) + np.sqrt(1 - KEPT) * draw(rng, n * times)
        for draw in (partial(draw_leans, shared=PAIRED), lambda rng, count: rng.standard_normal((2, count, 4)))
    )
    return np.concatenate([method.at(lean, own) for method, lean, own in zip(pair, leans, owns, strict=True)])


def truth(counts, pair):
    """The difference of each metric over all seeds and images; EO's mean over seeds from a million of them."""
    rng = np.random.default_rng(5)
    values = []
    for method, lean in zip(pair, draw_leans(rng, 1_000_000), strict=True):
        p = norm.cdf(method.at(lean, rng.standard_normal((1_000_000, 4))))
        odds = np.maximum(abs(p[:, 0] - p[:, 1]), abs(p[:, 2] - p[:, 3])).mean()
        means = method.means
        values.append((np.average(means, weights=counts), means.min(), odds, means.std()))
    return np.subtract(*values)


def draw_right(rng, counts, pair, n, times=1):
    """Return which images the runs of both methods get right, 0/1 (images, runs): an image is hard for all, or for a method."""
    probits = np.repeat(draw_probits(rng, pair, n, times), counts, axis=1).T
    size, n = len(probits), n * times
    alike = np.repeat([method.alike for method in pair], n)
    hard = np.repeat(rng.standard_normal((size, 2), dtype=np.float32), n, axis=1) * np.sqrt(alike - 0.4)
    hard = hard + np.sqrt(0.4) * rng.standard_normal((size, 1), dtype=np.float32)
    return (probits + hard + np.sqrt(1 - alike) * rng.standard_normal((size, 2 * n), dtype=np.float32) > 0).astype(int)


def coverage(scenario, n, rounds, interval=difference, accuracies=group_accuracies, times=1):
    """The percentage of rounds in which the interval of each metric holds the true difference; `n` seeds have `times` runs each."""
    counts, *pair = (SCENARIOS | REPEATED)[scenario]
    rng, true = np.random.default_rng(n), truth(counts, pair)
    target, protected = np.repeat([0, 0, 1, 1], counts), np.repeat([0, 1, 0, 1], counts)
    places = np.arange(2 * n * times).reshape(2, n, times).tolist()
    first, second = (dict(enumerate(part)) for part in places)
    if scenario.endswith("one ERM"):  # it is the biased model itself
        second = {seed: runs[:1] for seed, runs in second.items()}
    held = np.zeros(4)
    for _ in range(rounds):
        right = draw_right(rng, counts, pair, n, times)
        found = interval(
            accuracies(target, protected, np.where(right, target[:, None], 1 - target[:, None]), GROUPS), first, second
        )
        held += [found[metric][1] <= value <= found[metric][2] for metric, value in zip(METRICS, true, strict=True)]
    return 100 * held / rounds


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["ERM, fair (weak model)", "two fair (toy)"])
def test_intervals_of_three_seeds_cover(scenario):
    """91 is two standard errors below 94; a percentile bootstrap gets 76 and 86 % for STD."""
    assert (coverage(scenario, 3, 250) >= 91).all()


@pytest.mark.slow
def test_intervals_of_seeds_that_agree_cover_small_gaps():
    """Without `odds_bias_left` they cover 88 to 90 % for EO; 92 is two standard errors below 95."""
    assert (coverage("no gap, small gap, images alike", 5, 250) >= 92).all()


@pytest.mark.slow
def test_intervals_of_repeated_runs_cover():
    assert (coverage("AIM-Fair, full", 5, 250, times=5) >= 91).all()


def test_coverage_in_full(request):
    """`--long -s` prints the table; 1,000 rounds, so a standard error of 0.7 points."""
    if not request.config.getoption("--long"):
        pytest.skip("minutes: run with --long")
    failed = []
    print("\n| scenario | n |", " | ".join(METRICS), "|")
    cases = [(scenario, n, 1) for scenario in SCENARIOS for n in (3, 5, 10)]
    designs = ((3, 2), (3, 3), (5, 5), (7, 2), (7, 5))
    for scenario, n, times in cases + [(scenario, *design) for scenario in REPEATED for design in designs]:
        found = coverage(scenario, n, 1000, times=times)
        print(f"| {scenario} | {n} x {times} |", " | ".join(f"{value:.1f}" for value in found), "|", flush=True)
        for metric, value in zip(METRICS, found, strict=True):
            most = 98 if scenario in REPEATED else 97  # repetitions make the intervals a little wide
            if not 92 <= value <= (WIDE.get(metric, most) if scenario in EQUAL_GROUPS else most):
                failed.append((scenario, n, metric, value))
    assert not failed


def runs_of(right_counts):
    """Accuracies of runs that get the first `right_counts[run][group]` of 100 images of each group right."""
    target, protected = np.repeat([0, 0, 1, 1], 100), np.tile(np.repeat([0, 1], 100), 2)
    right = np.stack([np.concatenate([np.arange(100) < c for c in counts]) for counts in right_counts], axis=1)
    return group_accuracies(target, protected, np.where(right, target[:, None], 1 - target[:, None]), GROUPS)


def test_statistics_agree_with_the_metrics_of_a_run():
    rng = np.random.default_rng(0)
    target, protected = np.repeat([0, 0, 1, 1], 25), np.tile(np.repeat([0, 1], 25), 2)
    predictions = rng.integers(0, 2, (100, 3))
    found = group_accuracies(target, protected, predictions, GROUPS)
    for run in range(3):
        plain = fairness_metrics(target, protected, predictions[:, run])
        ours = statistics(found.observed[[run]], found.fractions)
        keys = {"ACC": "accuracy", "WST": "worst_group_accuracy", "EO": "equalized_odds", "STD": "group_accuracy_std"}
        assert {key: pytest.approx(plain[name]) for key, name in keys.items()} == ours
    right = (predictions == target[:, None])[25:50]  # the group 0_1
    np.testing.assert_allclose(found.covariance[1], np.cov(right.T) / 25)


def test_without_image_noise_the_interval_is_the_paired_t_interval():
    values = np.array([0.1, 0.25, 0.15, 0.4])
    low, high = ttest_1samp(values, 0).confidence_interval(0.95)
    assert half_width(values, np.zeros((4, 4))) == pytest.approx((high - low) / 2)


def test_the_noise_that_two_methods_share_is_no_difference():
    """On the same images, an image that one gets right the other does, too."""
    found = difference(runs_of([[80, 90, 60, 95], [80, 90, 60, 95]]), {1: [0]}, {1: [1]})
    assert all(value == pytest.approx((0, 0, 0, 1), abs=1e-4) for value in found.values())


def test_without_differences_between_seeds_the_interval_is_the_normal_one_of_the_images():
    assert half_width(np.full(5, 0.3), np.full((5, 5), 0.02**2)) == pytest.approx(1.96 * 0.02, rel=1e-4)
    # noise of each seed's own (the diagonal) is in the seeds' values already
    assert half_width(np.full(5, 0.3), np.full((5, 5), 0.02**2) + np.eye(5)) == pytest.approx(1.96 * 0.02, rel=1e-4)


def test_with_one_seed_the_interval_is_the_binomial_one():
    perfect = [100] * 4
    found = difference(runs_of([[80, 90, 60, 95], perfect]), {1: [0]}, {1: [1]})
    p = np.array([0.8, 0.9, 0.6, 0.95])
    half = 1.959964 * np.sqrt((p * (1 - p) / 99).sum()) / 4
    assert found["ACC"][:3] == pytest.approx((p.mean() - 1, p.mean() - 1 - half, p.mean() - 1 + half), rel=1e-5)
    half = 1.959964 * np.sqrt(0.6 * 0.4 / 99)
    assert found["WST"][:3] == pytest.approx((-0.4, -0.4 - half, -0.4 + half), abs=1e-3)


def test_part_of_the_noise_of_equal_groups_is_taken_off():
    """Two fair methods, one noisier: plainly its EO and STD are larger and its WST lower, by noise alone."""
    rng, shown, centre = np.random.default_rng(3), [], []
    target, protected = np.repeat([0, 0, 1, 1], 100), np.tile(np.repeat([0, 1], 100), 2)
    for _ in range(200):
        right = rng.random((400, 2)) < [0.5, 0.99]
        found = group_accuracies(target, protected, np.where(right, target[:, None], 1 - target[:, None]), GROUPS)
        triples = [difference(found, {1: [0]}, {1: [1]})[metric] for metric in METRICS]
        shown.append([t[0] for t in triples])
        centre.append([(t[1] + t[2]) / 2 for t in triples])
    truth = np.array([-0.49, -0.49, 0, 0])
    bias, left = np.mean(shown, axis=0) - truth, np.mean(centre, axis=0) - truth
    assert bias[1] < -0.03 and bias[2] > 0.03 and bias[3] > 0.02
    assert (abs(left[1:]) < [0.7, 0.55, 0.8] * abs(bias[1:])).all()


def test_runs_of_a_seed_are_averaged_first():
    runs = runs_of([[80, 90, 60, 95], [70, 90, 60, 85], [50, 50, 50, 50], [60, 50, 50, 50]])
    found = difference(runs, {1: [0, 1]}, {1: [2, 3]})
    assert found["ACC"][0] == pytest.approx(0.7875 - 0.5125)
    assert found["EO"][0] == pytest.approx((0.35 + 0.25) / 2 - (0 + 0.1) / 2)
    assert difference(runs, {1: [0]}, {1: [0]})["WST"] == (0, 0, 0, 1)


def test_two_groups_that_may_both_be_the_lowest_widen_the_interval_of_the_worst_group():
    """In one method seeds lean to either target, and two groups are as low: without one seed the sign may change."""
    runs = runs_of(
        [[92, 94, 89, 84], [81, 85, 95, 91], [88, 92, 93, 85], [92, 93, 89, 83], [84, 88, 94, 88], [91, 94, 92, 84]]
    )
    all_but = [[s for s in range(3) if s != left] for left in (None, 0, 1, 2)]
    values = [difference(runs, {s: [s] for s in kept}, {s: [s + 3] for s in kept})["WST"] for kept in all_but]
    assert min(v.value for v in values) < 0 < max(v.value for v in values)
    assert all(values[0].low < v.value < values[0].high for v in values)


def test_image_noise_makes_the_p_value_larger_than_that_of_the_paired_t_test():
    """The runs of the second method are alike."""
    runs = runs_of([[100 - 2 * s] * 4 for s in range(4)] + [[90] * 4] * 4)
    found = difference(runs, {s: [s] for s in range(4)}, {s: [s + 4] for s in range(4)})["ACC"]
    noisy = ttest_1samp(np.array([0.1, 0.08, 0.06, 0.04]), 0).pvalue
    assert found.p >= noisy and (found.low > 0) == (found.p < 0.05)


@pytest.mark.parametrize("scale", [0.2, 0.5, 1.0, 2.0])
def test_the_p_value_is_below_5_percent_where_the_interval_excludes_zero(scale):
    rng = np.random.default_rng(int(10 * scale))
    for _ in range(10):
        counts = np.clip(85 + np.round(5 * scale * rng.standard_normal((6, 4))), 0, 99).astype(int)
        found = difference(runs_of(counts), {s: [s] for s in range(3)}, {s: [s + 3] for s in range(3)})
        for one in found.values():
            assert (one.low > 0 or one.high < 0) == (one.p < 0.05)


def test_holm_holds_each_p_value_against_those_left():
    assert holm([0.04, 0.001, 0.02, 0.9]) == [False, True, False, False]
    assert holm([0.01, 0.012, 0.03]) == [True, True, True]
    assert holm([]) == []


def test_what_cannot_be_told_has_no_interval():
    runs = runs_of([[80] * 4, [70] * 4])
    assert difference(runs, {1: [0]}, {2: [1]}) == {}  # no seed in common
    one_image = group_accuracies([0, 0, 0, 1, 1], [0, 0, 1, 0, 1], np.ones((5, 2), int), GROUPS)
    assert difference(one_image, {1: [0]}, {1: [1]}) == {}


def test_eight_groups():
    rng = np.random.default_rng(0)
    target, protected = np.repeat([0, 1], 400), np.tile(np.repeat(np.arange(4), 100), 2)
    right = rng.random((800, 6)) < np.array([0.9, 0.9, 0.9, 0.6, 0.6, 0.6])
    names = tuple(f"{t}_{p}" for t in (0, 1) for p in range(4))
    found = group_accuracies(target, protected, np.where(right, target[:, None], 1 - target[:, None]), names)
    result = difference(found, {s: [s] for s in range(3)}, {s: [s + 3] for s in range(3)})
    assert result["ACC"][1] > 0.2 and result["WST"][1] > 0.1 and result["EO"][1] < 0 < result["EO"][2]
