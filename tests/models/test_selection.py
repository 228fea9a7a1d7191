import copy

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock

from models.selection import mean_absolute_gap, mean_gradients, select_parameters, sensitivity_table, tied_at
from utils.errors import UserError


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 1))


@pytest.fixture
def batches():
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(6, 3, 8, 8, generator=generator), torch.arange(6) % 2) for _ in range(3)]


def test_mean_gradients_are_the_mean_over_batches(model, batches):
    before = copy.deepcopy(model.state_dict())
    ours = mean_gradients(model.eval(), batches)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model.training and all(parameter.grad is None for parameter in model.parameters())

    model.train()
    single = []
    for inputs, targets in batches:
        loss = F.binary_cross_entropy_with_logits(model(inputs)[:, 0], targets.float())
        single.append(torch.autograd.grad(loss, list(model.parameters())))
    for (name, _), *gradients in zip(model.named_parameters(), *single):
        torch.testing.assert_close(ours[name], torch.stack(gradients).mean(0))


def test_frozen_parameters_have_gradients_too(model, batches):
    expected = mean_gradients(model, batches)
    model.requires_grad_(False)
    found = mean_gradients(model, batches)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_gap_is_the_mean_absolute_difference(model, batches):
    a, b = mean_gradients(model, batches[:1]), mean_gradients(model, batches[1:])
    gap = mean_absolute_gap(a, b)
    assert gap == pytest.approx({name: np.abs(a[name].numpy() - b[name].numpy()).mean() for name in a})
    with pytest.raises(ValueError, match="names or shapes"):
        mean_absolute_gap(a, {"0.weight": a["0.weight"]})


@pytest.mark.parametrize("top_k", [10, 31, 55, 62])
def test_selection_against_plain_numpy(top_k):
    rng = np.random.default_rng(top_k)
    names = [f"p{i}" for i in range(62)]
    domain, bias = rng.random((2, 62))
    least_domain, most_bias = set(np.argsort(domain)[:top_k]), set(np.argsort(-bias)[:top_k])
    expected = [names[i] for i in sorted(least_domain & most_bias)]
    assert select_parameters(dict(zip(names, domain)), dict(zip(names, bias)), top_k) == expected


def test_paper_k_keeps_48_to_55_tensors():
    rng = np.random.default_rng(0)
    for _ in range(50):
        gaps = [dict(zip(range(62), rng.random(62))) for _ in range(2)]
        assert 48 <= len(select_parameters(*gaps, 55)) <= 55


def test_empty_mask_says_which_k_would_do():
    domain, bias = dict(zip("abcd", [1, 2, 3, 4])), dict(zip("abcd", [1, 2, 3, 4]))
    with pytest.raises(UserError, match=r"smallest value that does is (\d)") as caught:
        select_parameters(domain, bias, 2)
    enough = int(str(caught.value).rsplit(" ", 1)[1])
    assert enough == 3
    assert select_parameters(domain, bias, enough) == ["b", "c"]


@pytest.mark.parametrize("top_k", [0, -1, 5])
def test_k_out_of_range(top_k):
    gap = dict(zip("abcd", [1, 2, 3, 4]))
    with pytest.raises(UserError, match="1 to 4"):
        select_parameters(gap, gap, top_k)


def test_the_gaps_and_ranks_of_a_table_by_hand():
    real, biased, balanced = (
        {"a": torch.tensor([[3.0, 4.0]]), "b": torch.tensor(values)} for values in ([1.0, 0.0], [0.0, 1.0], [0.0, -2.0])
    )
    biased["a"] = torch.tensor([[4.0, 3.0]])
    table = sensitivity_table(real, biased, balanced).set_index("name")
    assert table["size"].to_dict() == {"a": 2, "b": 2}
    assert table["domain_gap"].to_dict() == {"a": 1.0, "b": 1.0} and table["bias_gap"].to_dict() == {"a": 1.0, "b": 1.5}
    assert table["domain_cosine_gap"].tolist() == pytest.approx([1 - 24 / 25, 1.0])
    assert table["bias_cosine_gap"].tolist() == pytest.approx([1 - 24 / 25, 2.0])
    assert table["domain_rank"].tolist() == [1, 2] and table["bias_rank"].tolist() == [2, 1]


def test_ties_are_those_of_the_measure_and_of_both_rankings():
    gaps = {"domain_gap": [1, 1, 2, 3], "bias_gap": [1, 2, 2, 3], "domain_cosine_gap": [1, 2, 3, 4]}
    table = pd.DataFrame({"name": list("abcd"), **gaps, "bias_cosine_gap": [4, 3, 2, 2]})
    assert tied_at(table, 1) == [True, True, False, False]  # domain's a and b
    assert tied_at(table, 2) == [False, True, True, False]  # bias's b and c
    assert tied_at(table, 1, "cosine") == [False] * 4 and tied_at(table, 3, "cosine") == [False, False, True, True]
    both = pd.DataFrame({"name": list("abcd"), "domain_gap": [1, 1, 2, 3], "bias_gap": [1, 2, 3, 3]})
    assert tied_at(both, 1) == [True] * 4


def test_tensors_that_the_order_alone_puts_on_two_sides_of_k_are_named():
    """The last norm's bias of a residual block and its shortcut's get the same gradient."""
    torch.manual_seed(0)
    block, head = BasicBlock(4, 4, downsample=nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))), nn.Linear(4, 1)
    model = nn.Sequential(block, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    means = [mean_gradients(model, [(torch.randn(6, 4, 5, 5), torch.arange(6) % 2)]) for _ in range(3)]
    table = sensitivity_table(*means)
    twins = table["name"].isin(["0.bn2.bias", "0.downsample.1.bias"])
    assert table[twins]["domain_gap"].nunique() == table[twins]["bias_gap"].nunique() == 1
    for measure, ranks in (("absolute", ("domain_rank", "bias_rank")), ("cosine", None)):
        found = [tied_at(table, k, measure) for k in range(1, len(table) + 1)]
        assert all(marks in ([False] * len(table), list(twins)) for marks in found) and any(map(any, found))
        if ranks:
            between = {table[twins][rank].min() for rank in ranks}
            assert {k for k, marks in enumerate(found, start=1) if any(marks)} == between
