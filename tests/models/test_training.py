from dataclasses import replace

import numpy as np
import pytest
import torch
from support.training import COMPUTE, bright_and_dark, generator, small_net
from torch import nn

import models.batches
from datasets.images import upload
from models import schedule as schedules
from models import training
from models.batches import evaluate, number_of_batches, predict, train_batches
from models.classifier import new_classifier
from models.schedule import Schedule
from models.training import fit
from utils.errors import UserError


def test_only_the_chosen_tensors_move_and_batch_norm_statistics_do_too():
    model, data = small_net(), bright_and_dark()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    schedule = Schedule(epochs=2, lr=0.1, weight_decay=0.1, milestones=(5,))
    options = {"trainable": ["5.weight", "1.bias"], "label": "test"}
    fit(model, data, data, schedule, COMPUTE, generator=generator(), **options)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"5.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked"}


@pytest.mark.parametrize("select_by", [schedules.ACCURACY, schedules.LATE_MEAN])
def test_only_the_chosen_weights_move(select_by):
    model, data = small_net(), bright_and_dark()
    before = {name: value.clone() for name, value in model.named_parameters()}
    masks = {"5.weight": torch.zeros_like(before["5.weight"], dtype=torch.bool), "1.bias": before["1.bias"] == 0}
    masks["5.weight"][0, 0] = True
    schedule = Schedule(epochs=3, lr=0.1, weight_decay=0.1, milestones=(2,), momentum=0.9, select_by=select_by)
    fit(model, data, data, schedule, COMPUTE, generator=generator(), label="test", trainable=masks)
    for name, value in model.named_parameters():
        assert torch.equal(value != before[name], masks.get(name, torch.zeros_like(value, dtype=torch.bool))), name


@pytest.mark.parametrize("mask", [torch.ones(1, dtype=torch.bool), torch.ones(1, 4)])
def test_a_mask_of_another_shape_or_type_is_refused(mask):
    """Torch would stretch the one over all weights, and take the other for numbers."""
    with pytest.raises(ValueError, match=r"the mask of 5.weight is not bool"):
        training.undo_outside({"5.weight": mask}, dict(small_net().named_parameters()))


def test_masks_are_alike_if_they_choose_the_same_weights():
    one, two = ({"a": torch.tensor([True, other])} for other in (False, True))
    assert training.alike(one, dict(one)) and not training.alike(one, two) and not training.alike(one, {})
    assert not training.alike({}, one) and not training.alike(one, {"b": one["a"]})


def test_masks_of_all_weights_give_the_training_of_the_tensors():
    data, schedule = bright_and_dark(), Schedule(epochs=2, lr=0.1, weight_decay=0.1, milestones=(5,))
    models = small_net(), small_net()
    names = ["5.weight", "1.bias"]
    masks = {name: torch.ones_like(dict(models[0].named_parameters())[name], dtype=torch.bool) for name in names}
    for model, chosen in zip(models, (names, masks), strict=True):
        fit(model, data, data, schedule, COMPUTE, generator=generator(), label="test", trainable=chosen)
    for name, value in models[0].state_dict().items():
        assert torch.equal(value, models[1].state_dict()[name]), name


def test_learns_and_puts_back_the_best_epoch():
    model, data = small_net(), bright_and_dark()
    schedule = Schedule(epochs=6, lr=0.1, weight_decay=1e-4, milestones=(4,))
    curve = fit(model, data, data, schedule, COMPUTE, generator=generator(), label="test")
    best = [row for row in curve if row["best"]]
    assert len(best) == 1
    assert best[0]["val_accuracy"] == max(row["val_accuracy"] for row in curve) > 0.9
    assert evaluate(model, data, COMPUTE)["accuracy"] == best[0]["val_accuracy"]
    assert [row["lr"] for row in curve] == pytest.approx([0.1] * 4 + [0.01] * 2)


@pytest.mark.parametrize(("later", "epoch"), [(True, 3), (False, 1)])
def test_ties(monkeypatch, later, epoch):
    constant = {"accuracy": 0.5, "worst_group_accuracy": 0.5, "equalized_odds": 0.0}
    monkeypatch.setattr(training, "fairness_metrics", lambda *_: constant)
    data = bright_and_dark()
    schedule = Schedule(epochs=3, lr=0.01, weight_decay=0, milestones=(9,), later_wins_ties=later)
    curve = fit(small_net(), data, data, schedule, COMPUTE, generator=generator(), label="test")
    assert [row["epoch"] for row in curve if row["best"]] == [epoch]


def test_same_seed_same_weights():
    data = bright_and_dark()
    schedule = Schedule(epochs=2, lr=0.1, weight_decay=1e-4, milestones=(9,))
    states = []
    for seed in (0, 0, 1):
        model = small_net()
        fit(model, data, data, schedule, COMPUTE, generator=generator(seed), label="test")
        states.append(model.state_dict()["0.weight"])
    assert torch.equal(states[0], states[1]) and not torch.equal(states[0], states[2])


def test_diverging_loss_is_an_error():
    data = bright_and_dark()
    schedule = Schedule(epochs=3, lr=1e30, weight_decay=0, milestones=(9,))
    with pytest.raises(UserError, match="lower the learning rate"):
        fit(small_net(), data, data, schedule, COMPUTE, generator=generator(), label="test")


def test_a_last_step_that_goes_too_far_is_an_error():
    """Its loss is of the weights before it; what isn't a number would count as a negative answer."""
    data = bright_and_dark()
    schedule = Schedule(epochs=1, lr=1e30, weight_decay=0, milestones=(9,))
    one_step = replace(COMPUTE, batch_size=40)
    with pytest.raises(UserError, match="test: in epoch 1 .* 40 of 40 images .* lower the learning rate"):
        fit(small_net(), data, data, schedule, one_step, generator=generator(), label="test")


def test_an_epoch_shows_every_image_once_but_for_the_last_short_batch():
    data = bright_and_dark(n=21)
    batches = list(train_batches(data, COMPUTE, generator()))
    assert [len(batch.targets) for batch in batches] == [8, 8] and number_of_batches(21, COMPUTE) == 2
    assert len(set(np.concatenate([batch.indices for batch in batches]))) == 16
    keeping = replace(COMPUTE, keep_last_batch=True)
    kept = list(train_batches(data, keeping, generator()))
    assert [len(batch.targets) for batch in kept] == [8, 8, 5] and number_of_batches(21, keeping) == 3
    assert sorted(np.concatenate([batch.indices for batch in kept])) == list(range(21))
    assert sum(batch.targets.sum() for batch in kept) == data.target.sum()
    assert torch.equal(kept[1].inputs, batches[1].inputs)
    assert number_of_batches(20000, replace(COMPUTE, batch_size=128)) == 156  # the paper's


def test_the_only_batch_is_kept_though_it_is_short():
    assert [len(batch.targets) for batch in train_batches(bright_and_dark(n=5), COMPUTE, generator())] == [5]


def test_a_single_image_is_too_little_for_batch_norm_and_said():
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, 1))
    schedule, keeping = Schedule(1, 0.1, 0, (9,)), replace(COMPUTE, keep_last_batch=True)
    options = {"label": "test"}
    data = bright_and_dark(n=9)
    assert fit(model, data, data, schedule, COMPUTE, generator=generator(), **options)  # the ninth is left out
    for compute, images in ((keeping, data), (COMPUTE, data.subset(np.array([0])))):
        with pytest.raises(UserError, match="--batch-size"):
            fit(model, images, data, schedule, compute, generator=generator(), **options)


def test_crop_scale_bounds_the_fraction_of_an_image_that_is_seen(monkeypatch):
    seen = []
    monkeypatch.setattr(
        models.batches, "crop_and_resize", lambda pixels, boxes, *_: seen.append(boxes) or torch.zeros(len(boxes))
    )
    for scale in ((0.08, 1.0), (0.9, 1.0)):
        list(train_batches(bright_and_dark(n=400), replace(COMPUTE, batch_size=400, crop_scale=scale), generator()))
    areas = [(boxes[:, 2] * boxes[:, 3] / 256).numpy() for boxes in seen]
    assert areas[0].min() < 0.2 and areas[1].min() > 0.8


def test_the_epoch_can_be_chosen_by_the_worst_group(monkeypatch):
    rows = [(0.9, 0.1), (0.7, 0.6), (0.8, 0.3)]
    scores = iter([dict(zip(("accuracy", "worst_group_accuracy"), row), equalized_odds=0.0) for row in 3 * rows])
    monkeypatch.setattr(training, "fairness_metrics", lambda *_: next(scores))
    data, schedule = bright_and_dark(), Schedule(epochs=3, lr=0.01, weight_decay=0, milestones=(9,))
    for select_by, epoch in ((schedules.ACCURACY, 1), (schedules.WORST_GROUP, 2), (schedules.LAST_EPOCH, 3)):
        chosen = replace(schedule, select_by=select_by)
        curve = fit(small_net(), data, data, chosen, COMPUTE, generator=generator(), label="test")
        assert [row["epoch"] for row in curve if row["best"]] == [epoch]


def test_the_epoch_can_be_chosen_by_what_a_moved_threshold_can_not_fake(monkeypatch):
    """The second epoch tells the classes apart, but its logits are all positive."""
    data = bright_and_dark()
    right = np.where(data.target == 1, 1.0, -1.0)
    few_wrong = np.where(np.arange(len(data)) < 4, -right, right)
    logits = iter(2 * [few_wrong, right + 5, -right])
    monkeypatch.setattr(training, "predict", lambda *_: next(logits))
    schedule = Schedule(epochs=3, lr=0.01, weight_decay=0, milestones=(9,))
    for select_by, epoch in ((schedules.ACCURACY, 1), (schedules.BEST_THRESHOLD, 2)):
        chosen = replace(schedule, select_by=select_by)
        curve = fit(small_net(), data, data, chosen, COMPUTE, generator=generator(), label="test")
        assert [row["epoch"] for row in curve if row["best"]] == [epoch]
    assert curve[1][schedules.BEST_THRESHOLD] == 1.0 and curve[1]["val_accuracy"] == 0.5


@pytest.mark.parametrize("hold_statistics", [True, False])
def test_the_mean_of_the_late_epochs_is_kept_with_statistics_of_its_own(hold_statistics):
    data, model, seen = bright_and_dark(), small_net(), []
    schedule = Schedule(epochs=5, lr=0.1, weight_decay=0, milestones=(9,), select_by=schedules.LATE_MEAN)

    def log(row):
        seen.append({name: value.clone() for name, value in model.state_dict().items()})

    options = {"generator": generator(), "label": "test", "hold_statistics": hold_statistics}
    curve = fit(model, data, data, schedule, COMPUTE, log=log, **options)
    assert [row["best"] for row in curve] == [False] * 4 + [True]
    assert ["val_accuracy" in row for row in curve] == [False] * 4 + [
        True
    ]  # epochs are not compared, so val is not read for it
    for name, value in model.named_parameters():
        torch.testing.assert_close(value, sum(state[name] for state in seen[2:]) / 3)
    late = [state["1.running_mean"] for state in seen[2:]]
    assert torch.allclose(model.state_dict()["1.running_mean"], sum(late) / 3) == hold_statistics


def test_pixels_that_lie_on_the_device_give_the_same_batches():
    data = bright_and_dark(n=21)
    there = replace(data, pixels=upload(data.pixels, torch.device("cpu"), chunk=4))
    for one, other in zip(*(train_batches(d, COMPUTE, generator()) for d in (data, there)), strict=True):
        assert torch.equal(one.inputs, other.inputs) and torch.equal(one.targets, other.targets)
    np.testing.assert_array_equal(*(predict(small_net(), d, COMPUTE) for d in (data, there)))


def test_prediction_does_not_depend_on_the_batch():
    model, data = small_net(), bright_and_dark()
    np.testing.assert_allclose(predict(model, data, COMPUTE), predict(model, data, COMPUTE, batch_size=7), atol=1e-6)


def test_classifier_has_one_logit_and_62_tensors_and_follows_its_seed(tmp_path):
    first, again, other = (new_classifier("none", seed) for seed in (0, 0, 1))
    assert len(list(first.parameters())) == 62
    assert first.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 1)
    assert torch.equal(first.fc.weight, again.fc.weight) and not torch.equal(first.fc.weight, other.fc.weight)


@pytest.mark.parametrize("width", [0.25, 0.5])
def test_a_narrow_classifier_has_the_same_tensors_with_fewer_channels(width):
    full, narrow = new_classifier("none", 0).eval(), new_classifier("none", 0, width).eval()
    shapes = {name: tensor.shape for name, tensor in full.named_parameters()}
    for name, tensor in narrow.named_parameters():
        assert tensor.shape[0] == (1 if name.startswith("fc") else width * shapes[name][0]), name
    assert [name for name, _ in narrow.named_parameters()] == list(shapes)
    assert narrow(torch.zeros(2, 3, 32, 32)).shape == (2, 1)


def test_a_narrow_classifier_cannot_have_imagenet_weights():
    with pytest.raises(UserError, match="--weights none"):
        new_classifier("imagenet", 0, 0.5)


def test_a_training_that_goes_on_keeps_its_number_of_threads(capsys):
    def parts():
        schedule = Schedule(2, 0.1, 1e-4, (9,))
        return training._Training(small_net(), schedule, training.Variant(), COMPUTE, generator(), "test")

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        one = parts()
        one.best_state = one.model.state_dict()
        torch.set_num_threads(1)
        parts().restore(one.state())
        assert torch.get_num_threads() == 1 and not capsys.readouterr().out  # the state was taken with one
        torch.set_num_threads(2)
        state = one.state()
        torch.set_num_threads(1)
        parts().restore(state)
        assert torch.get_num_threads() == 2 and "goes on with 2 threads" in capsys.readouterr().out
    finally:
        torch.set_num_threads(before)
