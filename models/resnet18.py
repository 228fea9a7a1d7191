"""ResNet-18, in full or with fewer channels: the paper's network."""

from torch import nn
from torchvision.models import ResNet18_Weights, resnet18
from torchvision.models.resnet import BasicBlock, ResNet

HEAD = "fc."  # prefix of the last layer's tensors
PUBLISHED = ResNet18_Weights.IMAGENET1K_V1


def build(width: float) -> nn.Module:
    """Return the network with one logit; `width` is the fraction of the channels in every layer."""
    return resnet18(num_classes=1) if width == 1 else NarrowResNet18(width)


class NarrowResNet18(ResNet):
    """ResNet-18 with a fraction of the channels in every layer: the same 62 tensors and blocks, but smaller."""

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
        # with some numbers that 8 doesn't divide, torch's channels-last convolutions on a CPU write past their memory
        return max(8, 8 * round(self.width * channels / 8))
