"""A training of milliseconds: a net of two layers and images whose brightness is the target."""

import json

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from datasets.images import LabelledImages
from models.batches import Compute

COMPUTE = Compute(torch.device("cpu"), amp=False, image_size=16, batch_size=8)


def bright_and_dark(n=40, seed=0):
    """Images whose brightness is the target."""
    rng = np.random.default_rng(seed)
    target, protected = np.arange(n) % 2, np.arange(n) // 2 % 2
    pixels = rng.integers(0, 100, (n, 16, 16, 3)) + 120 * target[:, None, None, None]
    names = tuple(str(i) for i in range(n))
    return LabelledImages(pixels.astype(np.uint8), np.arange(n), target, protected, names)


def small_net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1)
    )


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Pulled(nn.Module):
    """An objective that stops the training at its nth batch, as Ctrl-C does."""

    def __init__(self, objective, at):
        super().__init__()
        self.left = at
        self.forwarded = [objective]  # in a list, so that it is no submodule

    def __call__(self, logits, batch):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt
        return self.forwarded[0](logits, batch)

    def state_dict(self):
        [objective] = self.forwarded
        return objective.state_dict() if isinstance(objective, nn.Module) else {}


def assert_same_results(output, expected):
    for folder in expected.glob("*/seed_100"):
        other = output / folder.relative_to(expected)
        metrics = [json.loads((path / "metrics.json").read_text())["metrics"] for path in (folder, other)]
        assert metrics[0] == metrics[1]
        weights = [load_file(path / "model.safetensors") for path in (folder, other)]
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not list(output.glob("*/.seed_*"))  # nothing half done is left
