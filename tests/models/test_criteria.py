"""Criteria for few tensors: moments against a plain loop, each score by hand, and what the method fine-tunes."""

from types import SimpleNamespace

import pytest
import torch
from support.training import COMPUTE, bright_and_dark, generator, small_net

from models.batches import train_batches
from models.criteria import CRITERIA, Moments, divided, highest, moments
from models.losses import cross_entropy
from models.methods.criterion import criterion, of_batches
from models.selection import mean_gradients


def batches():
    return list(train_batches(bright_and_dark(), of_batches(COMPUTE), generator()))


def test_moments_are_those_of_the_batches_gradients():
    model, each = small_net(), []
    for batch in batches():
        network = small_net().train()
        cross_entropy(network(batch.inputs), batch.targets).backward()
        each.append({name: parameter.grad for name, parameter in network.named_parameters()})
    assert len(each) > 1
    found = moments(model, batches())
    plain = mean_gradients(model, batches())
    for name in plain:
        stacked = torch.stack([gradients[name] for gradients in each])
        torch.testing.assert_close(found.mean[name], plain[name])
        torch.testing.assert_close(found.square[name], (stacked**2).mean(0))
        torch.testing.assert_close(found.sign[name], stacked.sign().mean(0))
    assert found.count == len(each)
    assert all(parameter.grad is None for parameter in model.parameters())
    with pytest.raises(ValueError, match="no batch"):
        moments(model, [])


def of(mean, square, sign=(0.0, 0.0)):
    values = ({"a": torch.tensor(part), "b": torch.tensor([0.0])} for part in (mean, square, sign))
    return Moments(*values, 2)


WEIGHTS = {"a": torch.tensor([3.0, -1.0]), "b": torch.tensor([5.0])}
REAL, BIASED = of([1.0, 0.0], [2.0, 2.0]), of([1.0, 4.0], [9.0, 9.0])
BALANCED = of([-3.0, 1.0], [10.0, 2.0], (-1.0, 0.5))
SCORES = {
    "gradient": (3 + 1) / 2,
    "saliency": 9 + 1,
    "ratio": ((4 + 3) / 2) / ((0 + 4) / 2),
    "fisher": ((10 + 2) / 2) / ((2 + 2) / 2),
    "snr": (9 / (10 - 9) + 1 / (2 - 1)) / 2,
    "agreement": (1 + 0.5) / 2,
}


@pytest.mark.parametrize("by", CRITERIA)
def test_scores_by_hand(by):
    found = CRITERIA[by](WEIGHTS, REAL, BIASED, BALANCED)
    assert found == {"a": pytest.approx(SCORES[by]), "b": 0}  # a tensor without a gradient has the lowest score


def test_the_highest_are_chosen_in_the_networks_order():
    scores = {"a": 1.0, "b": 3.0, "c": 2.0, "d": 0.0}
    assert highest(scores, 0.5) == ["b", "c"] and highest(scores, 0.01) == ["b"] and highest(scores, 1) == list(scores)
    assert divided(1.0, 0.0) == 0


def test_the_method_fine_tunes_the_highest(monkeypatch):
    data, net = bright_and_dark(), small_net()
    run = SimpleNamespace(
        seed=1, real={"train": data}, settings=SimpleNamespace(compute=COMPUTE), fine_tune=lambda *_, **options: options
    )
    names = [name for name, _ in net.named_parameters()]
    monkeypatch.setitem(CRITERIA, "gradient", lambda *_: {name: float(name == names[1]) for name in names})
    sets = SimpleNamespace(biased=data, balanced=data)
    assert criterion(run, net, sets, by="gradient", share=0.01, bias_degree="1/9")["only"] == [names[1]]
