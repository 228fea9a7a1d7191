from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from datasets.images import FaceSet, upload
from models import training
from models.classifier import new_classifier
from models.training import Compute, Schedule, evaluate, fit, predict, train_batches
from utils.errors import UserError

COMPUTE = Compute(torch.device("cpu"), amp=False, image_size=16, batch_size=8)


def bright_and_dark(n=40, seed=0):
    """Images whose brightness is the target."""
    rng = np.random.default_rng(seed)
    target, protected = np.arange(n) % 2, np.arange(n) // 2 % 2
    pixels = rng.integers(0, 100, (n, 16, 16, 3)) + 120 * target[:, None, None, None]
    names = tuple(str(i) for i in range(n))
    return FaceSet(pixels.astype(np.uint8), np.arange(n), target, protected, names)


def small_net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1)
    )


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_only_the_chosen_tensors_move_and_batch_norm_statistics_do_too():
    model, data = small_net(), bright_and_dark()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    schedule = Schedule(epochs=2, lr=0.1, weight_decay=0.1, milestones=(5,))
    options = {"trainable": ["5.weight", "1.bias"], "later_wins_ties": True, "label": "test"}
    fit(model, data, data, schedule, COMPUTE, generator(), **options)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"5.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked"}


def test_learns_and_puts_back_the_best_epoch():
    model, data = small_net(), bright_and_dark()
    schedule = Schedule(epochs=6, lr=0.1, weight_decay=1e-4, milestones=(4,))
    curve = fit(model, data, data, schedule, COMPUTE, generator(), later_wins_ties=True, label="test")
    best = [row for row in curve if row["best"]]
    assert len(best) == 1
    assert best[0]["val_accuracy"] == max(row["val_accuracy"] for row in curve) > 0.9
    assert evaluate(model, data, COMPUTE)["accuracy"] == best[0]["val_accuracy"]
    assert [row["lr"] for row in curve] == pytest.approx([0.1] * 4 + [0.01] * 2)


@pytest.mark.parametrize(("later", "epoch"), [(True, 3), (False, 1)])
def test_ties(monkeypatch, later, epoch):
    constant = {"accuracy": 0.5, "equalized_odds": 0.0}
    monkeypatch.setattr(training, "evaluate", lambda *_: constant)
    data = bright_and_dark()
    schedule = Schedule(epochs=3, lr=0.01, weight_decay=0, milestones=(9,))
    curve = fit(small_net(), data, data, schedule, COMPUTE, generator(), later_wins_ties=later, label="test")
    assert [row["epoch"] for row in curve if row["best"]] == [epoch]


def test_same_seed_same_weights():
    data = bright_and_dark()
    schedule = Schedule(epochs=2, lr=0.1, weight_decay=1e-4, milestones=(9,))
    states = []
    for seed in (0, 0, 1):
        model = small_net()
        fit(model, data, data, schedule, COMPUTE, generator(seed), later_wins_ties=True, label="test")
        states.append(model.state_dict()["0.weight"])
    assert torch.equal(states[0], states[1]) and not torch.equal(states[0], states[2])


def test_diverging_loss_is_an_error():
    data = bright_and_dark()
    schedule = Schedule(epochs=3, lr=1e30, weight_decay=0, milestones=(9,))
    with pytest.raises(UserError, match="lower the learning rate"):
        fit(small_net(), data, data, schedule, COMPUTE, generator(), later_wins_ties=True, label="test")


def test_an_epoch_shows_every_image_once():
    data = bright_and_dark(n=21)
    batches = list(train_batches(data, COMPUTE, generator()))
    assert [len(batch.targets) for batch in batches] == [8, 8, 5]
    assert sorted(np.concatenate([batch.indices for batch in batches])) == list(range(21))
    assert sum(batch.targets.sum() for batch in batches) == data.target.sum()
    assert [len(b.targets) for b in train_batches(data, COMPUTE, generator(), drop_last=True)] == [8, 8]


def test_pixels_that_lie_on_the_device_give_the_same_batches():
    data = bright_and_dark(n=21)
    there = replace(data, pixels=upload(data.pixels, torch.device("cpu"), chunk=4))
    for one, other in zip(*(train_batches(d, COMPUTE, generator()) for d in (data, there)), strict=True):
        assert torch.equal(one.inputs, other.inputs) and torch.equal(one.targets, other.targets)
    np.testing.assert_array_equal(*(predict(small_net(), d, COMPUTE) for d in (data, there)))


def test_drop_last_keeps_the_only_batch():
    assert len(list(train_batches(bright_and_dark(n=5), COMPUTE, generator(), drop_last=True))) == 1


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


@pytest.mark.parametrize("outputs", [1, 1000])
def test_weights_file_gives_the_backbone_but_not_the_last_layer(tmp_path, outputs):
    state = {name: torch.full_like(value, 2) for name, value in new_classifier("none", 0).state_dict().items()}
    state["fc.weight"], state["fc.bias"] = torch.zeros(outputs, 512), torch.zeros(outputs)
    torch.save(state, tmp_path / "weights.pth")
    model = new_classifier(str(tmp_path / "weights.pth"), 0)
    assert (model.conv1.weight == 2).all()
    assert torch.equal(model.fc.weight, new_classifier("none", 0).fc.weight)


def test_weights_that_cannot_be_used_are_refused(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        new_classifier(str(tmp_path / "none.pth"), 0)
    (tmp_path / "bad.pth").write_bytes(b"junk")
    with pytest.raises(UserError, match="cannot be read"):
        new_classifier(str(tmp_path / "bad.pth"), 0)
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="not weights of this ResNet-18"):
        new_classifier(str(tmp_path / "other.pth"), 0)


def test_imagenet_weights_out_of_reach_say_what_to_do(monkeypatch):
    def unreachable(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.models.ResNet18_Weights.get_state_dict", unreachable)
    with pytest.raises(UserError, match="--weights none"):
        new_classifier("imagenet", 0)
