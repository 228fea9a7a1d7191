"""Convolutions of small maps: the same numbers as torch's convolution."""

import copy

import pytest
import torch
from torch import nn

from models.small_maps import SmallMapConv2d, with_plain_convolutions, with_small_maps


def grown(layer, images, *, bf16):
    """Return output and gradients of a layer for some images."""
    images = images.clone().requires_grad_()
    layer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        output = layer(images)
    (output.float() ** 2).sum().backward()
    return output, images.grad, layer.weight.grad


@pytest.mark.parametrize("stride, height, width", [(1, 2, 2), (2, 4, 3), (1, 1, 1), (2, 8, 7), (1, 4, 2)])
def test_results_and_gradients_are_those_of_the_convolution(stride, height, width):
    torch.manual_seed(0)
    plain = nn.Conv2d(16, 512, 3, stride, 1, bias=False)
    ours = with_small_maps(nn.Sequential(copy.deepcopy(plain)))[0]
    assert type(ours) is SmallMapConv2d
    images = torch.randn(5, 16, height, width).contiguous(memory_format=torch.channels_last)
    for got, exact in zip(grown(ours, images, bf16=True), grown(plain, images, bf16=False), strict=True):
        assert got.shape == exact.shape
        assert (got.float() - exact).abs().max() <= 0.02 * exact.abs().max()
    assert ours(images).equal(plain(images))  # in fp32 it is the convolution itself, to the bit


def test_a_copy_has_torch_s_own_convolutions_and_the_same_tensors():
    network = with_small_maps(nn.Sequential(nn.Conv2d(4, 512, 3, padding=1, bias=False)))
    plain = with_plain_convolutions(network)
    assert (type(network[0]), type(plain[0])) == (SmallMapConv2d, nn.Conv2d)
    assert plain[0].weight.equal(network[0].weight)


def test_only_wide_plain_convolutions_change():
    narrow, biased = nn.Conv2d(8, 64, 3, padding=1, bias=False), nn.Conv2d(8, 512, 3, padding=1)
    one, groups = nn.Conv2d(8, 512, 1, bias=False), nn.Conv2d(8, 512, 3, padding=1, groups=2, bias=False)
    network = with_small_maps(nn.Sequential(narrow, biased, one, groups))
    assert all(type(layer) is nn.Conv2d for layer in network)


def test_gradients_of_a_stride_on_one_pixel_are_not_of_unwritten_memory():
    torch.manual_seed(0)
    plain = nn.Conv2d(16, 32, 3, 2, 1, bias=False)
    ours = with_small_maps(nn.Sequential(copy.deepcopy(plain)))[0]
    images = torch.randn(5, 16, 1, 1)
    for got, exact in zip(grown(ours, images, bf16=True), grown(plain, images, bf16=False), strict=True):
        assert (got.float() - exact).abs().max() <= 0.02 * exact.abs().max()


def test_large_maps_go_to_torch():
    layer = with_small_maps(nn.Sequential(nn.Conv2d(4, 512, 3, padding=1, bias=False)))[0]
    images = torch.randn(2, 4, 5, 5)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(images).equal(nn.Conv2d.forward(layer, images))
