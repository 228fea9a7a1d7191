"""ResNet-18 with fewer channels."""

from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet


class NarrowResNet18(ResNet):
    """ResNet-18 with a share of the channels in every layer: the same 62 tensors and blocks, each smaller."""

    def __init__(self, width: float):
        self.width = width
        super().__init__(BasicBlock, [2, 2, 2, 2])
        self.fc = nn.Linear(self._narrow(512), 1)

    def _make_layer(self, block, planes, blocks, **options) -> nn.Sequential:
        if planes == 64:  # the first stage: torchvision offers no argument for the width of the stem before it
            self.inplanes = self._narrow(planes)
            self.conv1 = nn.Conv2d(3, self.inplanes, kernel_size=7, stride=2, padding=3, bias=False)
            self.bn1 = nn.BatchNorm2d(self.inplanes)
        return super()._make_layer(block, self._narrow(planes), blocks, **options)

    def _narrow(self, channels: int) -> int:
        # torch's channels-last convolutions on a CPU write past their memory with some numbers that 8 doesn't divide
        return max(8, 8 * round(self.width * channels / 8))
