"""Criteria for few tensors: moments against a plain loop, each score by hand, and what the method fine-tunes."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.training import COMPUTE, bright_and_dark, generator, small_net
from torch import nn

from models.batches import train_batches
from models.criteria import (
    CRITERIA,
    Moments,
    Parts,
    divided,
    highest,
    highest_of_neurons,
    highest_weights,
    moments,
    parts_by,
    tensor_scores,
)
from models.losses import cross_entropy
from models.methods.criterion import criterion, of_batches
from models.selection import mean_gradients
from models.training import alike
from utils.errors import UserError
from utils.seeds import torch_generator


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
        torch.testing.assert_close(found.variance[name], stacked.var(0, unbiased=False))
    assert found.count == len(each)
    assert all(parameter.grad is None for parameter in model.parameters())
    in_bf16 = moments(model, batches(), amp=True)
    assert any((in_bf16.mean[name] != found.mean[name]).any() for name in plain)
    with pytest.raises(ValueError, match="no batch"):
        moments(model, [])


def of(mean, square, sign=(0.0, 0.0), variance=(1.0, 1.0)):
    values = ({"a": torch.tensor(part), "b": torch.tensor([0.0])} for part in (mean, square, sign, variance))
    return Moments(*values, 2)


WEIGHTS = {"a": torch.tensor([3.0, -1.0]), "b": torch.tensor([5.0])}
REAL, BIASED = of([1.0, 0.0], [2.0, 2.0]), of([1.0, 4.0], [9.0, 9.0])
BALANCED = of([-3.0, 1.0], [10.0, 2.0], (-1.0, 0.5), (1.0, 4.0))
SCORES = {
    "gradient": (3 + 1) / 2,
    "saliency": 9 + 1,
    "ratio": ((4 + 3) / 2) / ((0 + 4) / 2),
    "fisher": ((10 + 2) / 2) / ((2 + 2) / 2),
    "snr": (9 / 1 + 1 / 4) / 2,
    "agreement": (1 + 0.5) / 2,
}
OF_WEIGHTS = {
    "gradient": [3, 1],
    "saliency": [9, 1],
    "ratio": [math.inf, 3 / 4],  # the first weight has no domain gap
    "fisher": [10 / 2, 2 / 2],
    "snr": [9 / 1, 1 / 4],
    "agreement": [1, 0.5],
}


@pytest.mark.parametrize("by", CRITERIA)
def test_scores_by_hand(by):
    parts = parts_by(by, WEIGHTS, REAL, BIASED, BALANCED)
    assert tensor_scores(by, parts) == {"a": pytest.approx(SCORES[by]), "b": 0}  # without a gradient: the lowest score
    assert parts["a"].of_weights().tolist() == pytest.approx(OF_WEIGHTS[by])
    assert parts["b"].of_weights().tolist() == [0]


def test_the_highest_are_chosen_in_the_networks_order():
    scores = {"a": 1.0, "b": 3.0, "c": 2.0, "d": 0.0}
    assert highest(scores, 0.5) == ["b", "c"] and highest(scores, 0.01) == ["b"] and highest(scores, 1) == list(scores)
    assert divided(1.0, 0.0) == 0


SCORED = {"a": torch.tensor([[5.0, 1.0, 4.0], [0.0, 3.0, 2.0]]), "b": torch.tensor([0.5, 6.0]), "c": torch.zeros(2)}


def test_the_highest_weights_of_all_are_chosen():
    masks = highest_weights(SCORED, 0.3)  # 3 of 10
    assert masks.keys() == {"a", "b"}  # a tensor without a chosen weight has no mask
    assert masks["a"].tolist() == [[True, False, True], [False] * 3] and masks["b"].tolist() == [False, True]
    equal = highest_weights({"a": torch.zeros(4)}, 0.5)
    assert equal["a"].tolist() == [True, True, False, False]
    assert sum(mask.sum() for mask in highest_weights(SCORED, 0.001).values()) == 1


def test_the_highest_weights_of_each_neuron_are_chosen():
    masks = highest_of_neurons(SCORED, 0.3)
    assert masks["a"].tolist() == [[True, False, False], [False, True, False]]
    assert masks["b"].tolist() == [False, True] and masks["c"].tolist() == [True, False]
    assert highest_of_neurons(SCORED, 0.05)["a"].sum(1).tolist() == [1, 1]  # at least one
    equal = highest_of_neurons({"a": torch.ones(2, 1000)}, 0.5)["a"]
    assert equal[:, :500].all() and not equal[:, 500:].any()
    scales = highest_of_neurons({"a": torch.arange(8.0).view(8, 1, 1), "b": torch.tensor(2.0)}, 0.25)
    assert scales["a"].flatten().tolist() == [False] * 6 + [True] * 2 and scales["b"]
    kernels = highest_of_neurons({"a": torch.arange(24.0).view(2, 3, 2, 2)}, 0.5)["a"]
    assert kernels.sum((1, 2, 3)).tolist() == [6, 6] and kernels[0].flatten()[6:].all()


class OneWeight(nn.Module):
    """One weight. A batch's gradient is proportional to its input, so a test can choose it."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, inputs):
        return inputs * self.weight


def test_a_signal_too_small_for_float32_has_no_ratio_to_noise():
    small = of([1e-24, 1.0], [0.0, 1.0], variance=(0.0, 4.0))
    assert parts_by("snr", WEIGHTS, small, small, small)["a"].of_weights().tolist() == [0, 0.25]


@pytest.mark.parametrize("apart", [0.1, 1e-4, 0.0])
def test_the_ratio_of_signal_to_noise_is_not_lost_in_rounding(apart):
    sizes = [1 + apart, 1 - apart] * 5
    found = moments(OneWeight(), [(torch.full((1, 1), size), torch.tensor([1.0])) for size in sizes])
    score = tensor_scores("snr", parts_by("snr", {"weight": torch.zeros(1)}, found, found, found))["weight"]
    assert score == pytest.approx(1 / apart**2 if apart else math.inf, rel=1e-2)


class RunOfThree(SimpleNamespace):
    """A run whose real images are others than its biased and balanced ones, and that returns what it is asked to fine-tune."""

    def __init__(self, batch_size=4):
        real, self.biased, self.balanced = (
            bright_and_dark().subset(np.arange(part, 8, 1 + part)) for part in (0, 1, 2)
        )
        super().__init__(
            seed=1, real={"train": real}, settings=SimpleNamespace(compute=replace(COMPUTE, batch_size=batch_size))
        )

    def fine_tune(self, model, synthetic, **options):
        return options


def test_the_method_fine_tunes_the_highest_by_the_moments_of_each_set(monkeypatch):
    run, net, given = RunOfThree(2), small_net(), []
    names = [name for name, _ in net.named_parameters()]

    def gradient(weights, real, biased, balanced):
        given.append((real, biased, balanced))
        return Parts(torch.full_like(weights, float(len(given) == 2)))

    monkeypatch.setitem(CRITERIA, "gradient", gradient)
    found = criterion(run, net, run, by="gradient", share=0.01, bias_degree="1/9")
    assert found["only"] == [names[1]] and found["tables"]["criterion"]["chosen"].sum() == 1
    for place, data in enumerate((run.real["train"], run.biased, run.balanced)):
        stream = f"criterion {('real', 'biased', 'balanced')[place]}"
        own = train_batches(data, of_batches(run.settings.compute), torch_generator(1, stream))
        torch.testing.assert_close(given[0][place].mean, moments(net, own).mean[names[0]])
    assert (given[0][0].mean != given[0][2].mean).any()


@pytest.mark.parametrize("unit", ["weight", "neuron"])
def test_the_method_fine_tunes_the_single_weights_with_the_highest_scores(unit):
    run, net = RunOfThree(2), small_net()
    found = criterion(run, net, run, by="saliency", share=0.25, unit=unit, bias_degree="1/9")
    own = train_batches(run.balanced, of_batches(run.settings.compute), torch_generator(1, "criterion balanced"))
    mean = moments(net, own).mean
    scores = {name: (weight * mean[name]).abs().detach() for name, weight in net.named_parameters()}
    wanted = {"weight": highest_weights, "neuron": highest_of_neurons}[unit](scores, 0.25)
    assert alike(found["only"], wanted)
    table = found["tables"]["criterion"]
    assert list(table["chosen"]) == [wanted[name].sum() if name in wanted else 0 for name in table["name"]]
    assert list(table["weights"]) == [parameter.numel() for parameter in net.parameters()]


def test_batches_that_are_too_few_to_compare_are_refused():
    run = RunOfThree(100)
    with pytest.raises(UserError, match="at least 4, and the balanced images make 1 of 32"):
        criterion(run, small_net(), run, by="snr", share=0.5, bias_degree="1/9")
