"""Changes to a trained model after its training: the step from the biased model, and the threshold."""

import numpy as np
import pytest
import torch
from torch import nn

from models.after import between, move_threshold
from utils.errors import UserError
from utils.metrics import best_threshold, positive


def states():
    torch.manual_seed(0)
    return [nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)).state_dict() for _ in range(2)]


def test_the_ends_of_the_line_are_the_two_models_and_the_middle_is_their_mean():
    biased, tuned = states()
    tuned["1.running_var"], tuned["1.num_batches_tracked"] = torch.tensor([3.0, 5.0]), torch.tensor(9)
    assert between(biased, tuned, 1) is tuned
    assert all(
        torch.equal(value, biased[name]) for name, value in between(biased, tuned, 0).items() if "num" not in name
    )
    middle = between(biased, tuned, 0.5)
    assert middle["1.running_var"].tolist() == [2.0, 3.0] and middle["1.num_batches_tracked"] == 9
    torch.testing.assert_close(middle["0.weight"], (biased["0.weight"] + tuned["0.weight"]) / 2)


def right(logits, target, threshold):
    return int(np.sum((logits >= threshold) == target))


def test_the_threshold_is_as_good_as_the_best_of_all_and_zero_if_that_is_as_good():
    rng = np.random.default_rng(0)
    for n in (1, 2, 3, 10, 40):
        for _ in range(40):
            logits, target = rng.normal(1, 1, n).round(1), rng.integers(0, 2, n)
            found = best_threshold(logits, target)
            every = np.arange(-6, 8, 0.025)
            scores = np.array([right(logits, target, t) for t in every])
            assert right(logits, target, found) == scores.max()
            assert (found == 0) == (right(logits, target, 0) == scores.max())


@pytest.mark.parametrize(
    ("logits", "target", "threshold"),
    [([-1, 1], [0, 1], 0), ([0.5, 2], [0, 1], 1.25), ([2, 3], [0, 0], 4), ([-3, -2], [1, 1], -4), ([0, 1], [1, 1], 0)],
)
def test_thresholds_by_hand(logits, target, threshold):
    assert best_threshold(np.array(logits), np.array(target)) == threshold


def test_no_image_has_no_threshold():
    with pytest.raises(ValueError, match="no image"):
        best_threshold(np.array([]), np.array([]))


def test_a_moved_threshold_changes_the_answers_of_the_plain_network():
    head, inputs = nn.Linear(3, 1), torch.randn(50, 3)
    logits = head(inputs)[:, 0].detach().numpy()
    move_threshold(head, 0.3)
    assert np.array_equal(positive(head(inputs)[:, 0].detach().numpy()), logits >= 0.3)
    with pytest.raises(UserError, match="no bias"):
        move_threshold(nn.Linear(3, 1, bias=False), 0.3)
