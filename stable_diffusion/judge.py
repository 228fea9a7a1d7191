"""Train a judge of generated faces: a ResNet-18 with a logit for each attribute of a pair, on labelled faces.

It learns from the whole train split of labelled data (CelebA's layout; unbiased data judge best), and is tested on its
test split: trust it on generated images no further than there. The command that uses it is
`python -m stable_diffusion.faithfulness --data DIR`.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save, save_file
from torch import nn
from torch.nn import functional as F
from torchvision.models import resnet18

from datasets.augment import crop_and_resize, random_flips, whole_image_boxes
from datasets.celeba import check_images, image_folder, split_attributes
from datasets.decoding import decode_images
from datasets.pairs import parse_pair, plain_name
from models.weights import load_tensors
from utils.errors import UserError
from utils.files import whole
from utils.progress import progress
from utils.seeds import torch_generator

BATCH = 256  # images at once, to judge them


@dataclass(frozen=True)
class Judge:
    """A trained judge: its network, the attributes of its logits, and how images are brought to it."""

    model: nn.Module
    attributes: tuple[str, ...]
    size: int
    device: torch.device
    amp: bool

    @torch.inference_mode()
    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """Return how probable each attribute is in images, uint8 (n, height, width, 3): float64 (n, attributes)."""
        parts = []
        for rows in np.split(np.arange(len(pixels)), range(BATCH, len(pixels), BATCH)):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp):
                logits = self.model(_inputs(pixels, rows, None, self.size, self.device))
            parts.append(logits.cpu().double().sigmoid())  # on the CPU: MPS has no float64
        return torch.cat(parts).numpy()

    def of_values(self, pixels: np.ndarray) -> list[np.ndarray]:
        """Return for each attribute how probable its absence and its presence are: float64 (n, 2)."""
        return [np.stack([1 - present, present], axis=1) for present in self.probabilities(pixels).T]

    def scorer(self, cache: Path) -> tuple[Callable[[list[Path]], list[np.ndarray]], str]:
        """Return `of_values` as a function of image files, and a name that tells judges apart."""
        digest = hashlib.sha256(save(self._weights()) + f"{self.size} {self.amp}".encode()).hexdigest()[:12]
        return lambda paths: self.of_values(decode_images(paths, cache)), f"judge {digest}"

    def save(self, path: Path) -> None:
        """Write the judge to a .safetensors file, whole or not at all."""
        noted = {"attributes": ",".join(self.attributes), "image_size": str(self.size)}
        with whole(path) as partial:
            save_file(self._weights(), partial, noted)

    def _weights(self) -> dict[str, torch.Tensor]:
        return {name: tensor.cpu().contiguous() for name, tensor in self.model.state_dict().items()}


class Labelled:
    """Labelled faces in CelebA's layout, for the attributes of a pair."""

    def __init__(self, root: Path, pair: str, cache: Path):
        self.root, self.cache = root, cache
        self.splits, self.folder = split_attributes(root), image_folder(root)
        self.attributes = parse_pair(pair, self.splits["train"].columns).attributes

    def read(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the pixels, uint8 (n, height, width, 3), and labels, 0/1 int64 (n, attributes), of a split.

        Raises `UserError` if the split is empty or lacks an image.
        """
        table = self.splits[split]
        if table.empty:
            raise UserError(f"--data {self.root}: its {split} split is empty; the judge needs train and test")
        check_images(self.folder, table.index)
        pixels = decode_images([self.folder / name for name in table.index], self.cache)
        return pixels, table[list(self.attributes)].gt(0).to_numpy(np.int64)


def load_judge(path: Path, pair: str, device: torch.device, amp: bool) -> Judge:
    """Load the judge in the file of --judge. Raises `UserError` for a file that is missing, damaged or of another pair."""
    if not path.exists():
        raise UserError(f"--judge {path}: no such file; with --data DIR one is trained and saved there")
    remedy = "remove it to train a judge again, or give another --judge"
    try:
        with safe_open(path, framework="numpy") as file:
            noted = file.metadata() or {}
            count = file.get_slice("fc.bias").get_shape()[0]
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is damaged ({' '.join(str(error).split())[:200]}); {remedy}") from error
    if not {"attributes", "image_size"} <= noted.keys():
        raise UserError(f"--judge {path}: it doesn't note its attributes and its size of images; {remedy}")
    model = resnet18(num_classes=count)
    load_tensors(model, path, remedy)
    attributes = tuple(noted["attributes"].split(","))
    if plain_name("".join(attributes)) != plain_name(pair) or count != len(attributes):
        raise UserError(
            f"--judge {path}: it judges {', '.join(attributes)}, the images are of {pair}; give another file"
        )
    model = model.to(device, memory_format=torch.channels_last).eval()
    return Judge(model, attributes, int(noted["image_size"]), device, amp)


def train_judge(
    pixels: np.ndarray,
    labels: np.ndarray,
    *,
    size: int,
    epochs: int,
    lr: float,
    device: torch.device,
    amp: bool,
    seed: int,
) -> nn.Module:
    """Train a ResNet-18 from scratch with a logit for each column of `labels`, on whole images, mirrored at random.

    `pixels` is uint8 (n, height, width, 3), `labels` 0/1 of shape (n, attributes).
    """
    torch.manual_seed(seed)
    generator = torch_generator(seed, "judge")
    model = resnet18(num_classes=labels.shape[1]).to(device, memory_format=torch.channels_last).train()
    batch_size = 128
    steps = epochs * -(-len(pixels) // batch_size)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    targets = torch.from_numpy(labels).float()
    with progress(desc="judge", total=steps, unit="batch") as bar:
        for _ in range(epochs):
            for rows in torch.randperm(len(pixels), generator=generator).split(batch_size):
                inputs = _inputs(pixels, rows.numpy(), random_flips(len(rows), generator), size, device)
                with torch.autocast(device.type, torch.bfloat16, enabled=amp):
                    logits = model(inputs)
                loss = F.binary_cross_entropy_with_logits(logits.float(), targets[rows].to(device))
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.update()
    return model.eval()


def _inputs(pixels, rows, flips, size, device):
    images = torch.from_numpy(pixels[rows]).to(device)
    return crop_and_resize(images, whole_image_boxes(len(rows), *pixels.shape[1:3]), flips, size)
