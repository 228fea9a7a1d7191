"""The paper's nearest relatives: each one's essential step against a plain computation, and all three end to end."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from support import assert_one_line_error, small
from support.small import TINY
from support.training import COMPUTE, bright_and_dark, generator, small_net
from torch import nn
from torch.nn import functional as F

from models.batches import predict, train_batches
from models.classifier import linear_head, new_classifier
from models.methods.ffr import ffr
from models.methods.last_layer import STRENGTHS, fit, halves, head_inputs, last_layer
from models.methods.lff import losses_of_both
from models.methods.surgical import relative_norms, surgical
from models.run import TrainedModel
from models.schedule import Schedule
from models.training import fit as train_network
from models.training import mean_loss
from results.rows import RELATIVES, TABLES, row_label
from utils.checkpoint import Checkpoint
from utils.errors import UserError
from utils.seeds import derived_seed, torch_generator

SCHEDULE = Schedule(epochs=4, lr=0.1, weight_decay=1e-3, milestones=(2,))


def fractions_of(data):
    """What `surgical` asks its training to do before each epoch."""
    run = SimpleNamespace(seed=1, settings=SimpleNamespace(compute=COMPUTE), fine_tune=lambda *_, **options: options)
    return surgical(run, small_net(), SimpleNamespace(balanced=data))["rate_fractions"]


def trained(fractions, *, schedule=SCHEDULE, checkpoint=None, objective=mean_loss):
    model, data = small_net(), bright_and_dark()
    options = {"objective": objective, "rate_fractions": fractions, "label": "test", "checkpoint": checkpoint}
    curve = train_network(model, data, data, schedule, COMPUTE, generator=generator(), **options)
    return model.state_dict(), curve


def test_relative_norms_by_hand():
    parameters = {"a": torch.tensor([3.0, 4.0]), "b": torch.tensor([2.0]), "zero": torch.zeros(2)}
    gradients = {"a": torch.tensor([0.0, 1.0]), "b": torch.tensor([-1.0]), "zero": torch.ones(2)}
    assert relative_norms(gradients, parameters) == pytest.approx({"a": (1 / 5) / (1 / 2), "b": 1, "zero": 1})
    still = {name: torch.zeros_like(value) for name, value in parameters.items()}
    assert relative_norms(still, parameters) == {"a": 0, "b": 0, "zero": 1}


def test_surgical_takes_the_mean_gradient_at_the_weights_of_the_epoch():
    data, model = bright_and_dark(), small_net().train()
    nn.init.normal_(model[0].weight)  # not where the training started
    found = fractions_of(data)(model, 3)
    losses = [
        F.binary_cross_entropy_with_logits(model(batch.inputs)[:, 0], batch.targets)
        for batch in train_batches(data, COMPUTE, torch_generator(1, "surgical", 3))
    ]
    gradients = torch.autograd.grad(sum(losses) / len(losses), list(model.parameters()))
    ratios = [g.norm() / p.norm() if p.any() else None for g, p in zip(gradients, model.parameters())]
    largest = max(ratio for ratio in ratios if ratio is not None)
    plain = [1.0 if ratio is None else (ratio / largest).item() for ratio in ratios]
    assert list(found.values()) == pytest.approx(plain, rel=1e-4, abs=1e-5) and min(plain) < 0.5


def test_each_tensor_moves_at_its_fraction_of_the_learning_rate():
    names = [name for name, _ in small_net().named_parameters()]
    calls, fractions = [], {name: i / (len(names) - 1) for i, name in enumerate(names)}

    def at(factor):
        return trained(lambda model, epoch: calls.append(epoch) or {name: factor * fractions[name] for name in names})

    data, start = bright_and_dark(), small_net().state_dict()
    step = {"schedule": Schedule(1, 0.1, 1e-3, (9,)), "compute": replace(COMPUTE, batch_size=40), "label": "one step"}
    moved = []
    for hook in (None, lambda *_: fractions):
        model = small_net()
        train_network(model, data, data, generator=generator(), rate_fractions=hook, **step)
        moved.append({name: model.state_dict()[name] - start[name] for name in names})
    for name in names:
        torch.testing.assert_close(moved[1][name], fractions[name] * moved[0][name], atol=1e-7, rtol=1e-4)
    _, curve = at(0.5)
    assert calls == [1, 2, 3, 4] and [row["lr"] for row in curve] == pytest.approx([0.1, 0.1, 0.01, 0.01])


def test_fractions_of_one_change_nothing_and_without_them_the_checkpoint_is_as_it_was(tmp_path):
    plain, curve = trained(None, checkpoint=Checkpoint(tmp_path / "plain.pt", seconds=0))
    state, same = trained(lambda model, _: dict.fromkeys(dict(model.named_parameters()), 1.0))
    assert same == curve and all(torch.equal(plain[name], state[name]) for name in plain)
    [group] = Checkpoint(tmp_path / "plain.pt").load()["optimizer"]["param_groups"]
    assert group["params"] == list(range(6))


def test_ffr_trains_on_synthetic_images_and_from_there_on_real_ones():
    calls = []

    def pre_train(data, *, label, network=None):
        calls.append((data, label, network))
        return TrainedModel(f"trained on {data}", [])

    outcome = ffr(SimpleNamespace(pre_train=pre_train, real={"train": "real"}), SimpleNamespace(balanced="fake"))
    assert [(data, network) for data, _, network in calls] == [("fake", None), ("real", "trained on fake")]
    assert calls[0][1] != calls[1][1] and outcome.model == "trained on real"


def test_a_fit_holds_for_the_inputs_as_they_are():
    rng = np.random.default_rng(0)
    inputs = (rng.normal(size=(200, 6)) * [1, 10, 0.1, 5, 1, 0] + [0, 3, 1, -20, 0, 7]).astype(np.float32)
    target = (inputs[:, 1] > 3).astype(int)
    weight, bias = fit(inputs, target, 0.03)
    scaler = StandardScaler().fit(inputs.astype(np.float64))
    plain = LogisticRegression(C=0.03, l1_ratio=1, solver="liblinear", max_iter=1000, random_state=0)
    expected = plain.fit(scaler.transform(inputs), target).decision_function(scaler.transform(inputs))
    np.testing.assert_allclose(inputs @ weight[0] + bias, expected, rtol=1e-4, atol=1e-5)
    assert weight[0, 1] > 0 and (weight[0, [0, 2, 3, 4, 5]] == 0).all()  # l1 leaves what tells nothing at zero


def test_halves_are_balanced_apart_and_drawn_anew():
    faces = bright_and_dark(n=44).subset(np.arange(42))  # groups of 11, 11, 10 and 10
    draws = np.random.default_rng(0)
    first, second = halves(faces, draws)
    assert set(faces.subset(first).group_counts().values()) == set(faces.subset(second).group_counts().values()) == {5}
    assert not set(first) & set(second) and set(halves(faces, draws)[0]) != set(first)
    with pytest.raises(UserError, match="single synthetic image"):
        halves(faces.subset(np.arange(4)), draws)


def retrained(val, fits=3):
    run = SimpleNamespace(seed=1, settings=SimpleNamespace(network="resnet18", compute=COMPUTE), real={"val": val})
    model = new_classifier("none", 0, 0.125)
    return last_layer(run, model, SimpleNamespace(balanced=bright_and_dark(n=80), held_out=None), fits=fits)


def test_last_layer_puts_the_mean_fit_of_the_best_strength_into_the_network():
    data, before = bright_and_dark(n=80), new_classifier("none", 0, 0.125)
    outcome = retrained(data)
    state, old = outcome.model.state_dict(), before.state_dict()
    assert {name for name in old if not torch.equal(old[name], state[name])} == {"fc.weight", "fc.bias"}
    inputs = head_inputs(before, linear_head(before, "resnet18"), data, COMPUTE)
    table = outcome.tables["last_layer"]
    best = table["strength"][table["worst_group_accuracy"].idxmax()]
    assert list(table["strength"]) == list(STRENGTHS) and list(table["strength"][table["chosen"]]) == [best]
    draws = np.random.default_rng(derived_seed(1, "last layer"))
    _, *places = [halves(data, draws)[0] for _ in range(4)]
    fits = [fit(inputs[place], data.target[place], best) for place in places]
    logits = np.mean([inputs @ weight[0] + bias for weight, bias in fits], axis=0)
    np.testing.assert_allclose(predict(outcome.model, data, COMPUTE), logits, rtol=1e-3, atol=1e-4)
    assert [(row["epoch"], row["best"]) for row in outcome.curve] == [(1, True)]
    assert outcome.curve[0]["val_accuracy"] > 0.9


def test_last_layer_uses_no_real_label():
    data = bright_and_dark(n=80)
    wrong = replace(data, target=1 - data.target)
    one, other = retrained(data), retrained(wrong)
    assert torch.equal(one.model.fc.weight, other.model.fc.weight)
    assert one.curve[0]["val_accuracy"] == pytest.approx(1 - other.curve[0]["val_accuracy"])


def test_a_last_layer_that_is_not_linear_is_said():
    model = new_classifier("none", 0, 0.125)
    model.fc = nn.Sequential(nn.Linear(64, 1))
    with pytest.raises(UserError, match="its last layer, fc, is no nn.Linear"):
        linear_head(model, "resnet18")


def test_their_rows_are_trained_and_marked():
    assert set(RELATIVES) <= set(TABLES["table_3"].methods) and "surgical" in TABLES["table_4"].methods
    assert {row_label(name) for name in RELATIVES} == {f"{name} (not the paper's)" for name in RELATIVES}
    assert row_label("last-layer:fits=3") == "last-layer:fits=3 (not the paper's)" and row_label("full") == "full"


def test_the_three_end_to_end(toy, synthetic, tmp_path):
    small.trained(toy, synthetic, tmp_path, *TINY, "--methods", *RELATIVES)
    for method in RELATIVES:
        changed = small.moved(small.weights(tmp_path, "erm"), small.weights(tmp_path, method))
        assert changed == {"fc.weight", "fc.bias"} if method == "last-layer" else len(changed) > 50
        assert len(pd.read_csv(tmp_path / method / "seed_1" / "curve.csv")) == 1
        assert ("biased_model" in small.record(tmp_path, method)["settings"]) == (method != "ffr")
    assert (tmp_path / "last-layer" / "seed_1" / "last_layer.csv").exists()
    few = ["--number-balanced-synthetic", 1, "--methods", "last-layer"]
    assert_one_line_error(small.train(toy, synthetic, tmp_path / "few", *TINY, *few), "single synthetic image")


@pytest.mark.parametrize("outputs", [1, 3])
def test_lff_takes_the_losses_of_both_networks(outputs):
    """With one logit each, the losses equal those of the call that made the records, to the bit."""
    torch.manual_seed(0)
    logits, targets = torch.randn(13, 2 * outputs), torch.randint(0, max(outputs, 2), (13,)).float()
    found = losses_of_both(logits, targets)
    if outputs == 1:
        wanted = F.binary_cross_entropy_with_logits(logits, targets[:, None].expand_as(logits), reduction="none")
        assert found.equal(wanted)
    else:
        halves = [F.cross_entropy(part, targets.long(), reduction="none") for part in (logits[:, :3], logits[:, 3:])]
        assert found.equal(torch.stack(halves, dim=1))
