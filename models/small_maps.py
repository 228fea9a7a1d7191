"""Convolutions of small maps as one product of matrices, on a CPU in bfloat16.

The last block of a ResNet-18 sees maps of 2 x 2 pixels if the image has 64, and of 4 x 4 if it has 112. oneDNN's convolution then
takes far longer than a matrix product of the same numbers: forward and backward of 128 images of 512 channels 229 ms against 25 ms at
2 x 2, and 253 ms against 149 ms at 4 x 4 (one core of a Xeon with AMX). Results differ by rounding alone. With stride 2 on maps of one
pixel, torch's convolution in bfloat16 gives kernels' gradients from memory that it has not written (1e36, NaN; torch 2.14).
"""

import copy

import torch
from torch import nn
from torch.nn import functional as F

LARGEST, CHANNELS = 4, 512  # pixels a side and output channels; with fewer channels the convolution is as fast


class SmallMapConv2d(nn.Conv2d):
    """A 3 x 3 convolution with padding 1 and stride 1 or 2, with the parameters of `nn.Conv2d`."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the convolution of `images`, (n, channels, height, width), in bfloat16 or as `nn.Conv2d` does."""
        stride, n = self.stride[0], images.shape[0]
        rows, columns = ((side - 1) // stride + 1 for side in images.shape[2:])
        in_bf16 = images.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        slow, wrong = (
            max(rows, columns) <= LARGEST and self.out_channels >= CHANNELS,
            stride == 2 and min(images.shape[2:]) == 1,
        )
        if not (slow or wrong) or not in_bf16 or torch.get_autocast_dtype("cpu") != torch.bfloat16:
            return super().forward(images)
        padded = F.pad(images.bfloat16(), (1, 1, 1, 1)).permute(0, 2, 3, 1)
        ends = stride * (rows - 1) + 1, stride * (columns - 1) + 1
        seen = [padded[:, y : y + ends[0] : stride, x : x + ends[1] : stride] for y in range(3) for x in range(3)]
        kernel = self.weight.bfloat16().permute(2, 3, 1, 0).reshape(-1, self.out_channels)
        found = torch.cat(seen, 3).reshape(-1, len(kernel)) @ kernel
        return found.view(n, rows, columns, -1).permute(0, 3, 1, 2)


def with_small_maps(network: nn.Module) -> nn.Module:
    """Let the convolutions of a network that may see small maps be `SmallMapConv2d`; its tensors stay as they are."""
    for module in network.modules():
        if type(module) is nn.Conv2d and _fits(module):
            module.__class__ = SmallMapConv2d
    return network


def with_plain_convolutions(network: nn.Module) -> nn.Module:
    """Return a copy of a network with torch's own convolutions, to compare with, or for what knows these alone."""
    copied = copy.deepcopy(network)
    for module in copied.modules():
        if type(module) is SmallMapConv2d:
            module.__class__ = nn.Conv2d
    return copied


def _fits(layer: nn.Conv2d) -> bool:
    form = layer.kernel_size, layer.padding, layer.dilation, layer.groups, layer.bias is None, layer.padding_mode
    plain = form == ((3, 3), (1, 1), (1, 1), 1, True, "zeros") and layer.stride in ((1, 1), (2, 2))
    return plain and (layer.out_channels >= CHANNELS or layer.stride == (2, 2))
