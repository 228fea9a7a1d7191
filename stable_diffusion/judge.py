"""Train a judge of generated faces: a ResNet-18 with logits for every attribute of a pair, on labelled faces.

An attribute of two values has one logit, another has one for each value. The judge learns from the whole train split of
labelled data (unbiased data judge best), and is tested on its test split: trust it on generated images no further than
there. The command that uses it is `python -m stable_diffusion.faithfulness --data DIR`.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save, save_file
from torch import nn
from torchvision.models import resnet18

from datasets.augment import crop_and_resize, random_flips, whole_image_boxes
from datasets.celeba import check_images, numbers
from datasets.decoding import decode_images
from datasets.pairs import Pair, plain_name
from datasets.real import read_real
from models.losses import cross_entropy
from models.weights import load_tensors
from utils.errors import UserError
from utils.files import whole
from utils.metrics import outputs_of
from utils.progress import progress
from utils.seeds import torch_generator

BATCH = 256  # images at once, to judge them


@dataclass(frozen=True)
class Judge:
    """A trained judge: its network, the attributes of its logits and their values, and how images are brought to it."""

    model: nn.Module
    pair: Pair
    size: int
    device: torch.device
    amp: bool

    @torch.inference_mode()
    def of_values(self, pixels: np.ndarray) -> list[np.ndarray]:
        """Return how probable each value of each attribute is in images, uint8 (n, height, width, 3): float64 (n, values)."""
        parts = []
        for rows in np.split(np.arange(len(pixels)), range(BATCH, len(pixels), BATCH)):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp):
                logits = self.model(_inputs(pixels, rows, None, self.size, self.device))
            parts.append(logits.cpu().double())  # on the CPU: MPS has no float64
        return [_probabilities(logits).numpy() for logits in torch.cat(parts).split(outputs(self.pair), dim=1)]

    def scorer(self, cache: Path) -> tuple[Callable[[list[Path]], list[np.ndarray]], str]:
        """Return `of_values` as a function of image files, and a name that tells judges apart."""
        about = f"{self.size} {self.amp}{_values_text(self.pair)}"
        digest = hashlib.sha256(save(self._weights()) + about.encode()).hexdigest()[:12]
        return lambda paths: self.of_values(decode_images(paths, cache)), f"judge {digest}"

    def save(self, path: Path) -> None:
        """Write the judge to a .safetensors file, whole or not at all."""
        noted = {"attributes": ",".join(self.pair.attributes), "image_size": str(self.size)}
        if self.pair.values:
            noted["values"] = _values_text(self.pair)
        with whole(path) as partial:
            save_file(self._weights(), partial, noted)

    def _weights(self) -> dict[str, torch.Tensor]:
        return {name: tensor.cpu().contiguous() for name, tensor in self.model.state_dict().items()}


class Labelled:
    """Labelled faces of any data set that train.py reads, for the attributes of a pair.

    Raises `UserError` as the data set's reader does.
    """

    def __init__(self, dataset: str, path: Path, pair: str, cache: Path, values: tuple[str, ...] = ()):
        found = read_real(dataset, path, pair, values=values)
        self.path, self.cache = path, cache
        self.pair, self.folder, self.tables = found.pair, found.folder, found.tables

    def read(self, split: str) -> tuple[np.ndarray, pd.DataFrame]:
        """Return the pixels, uint8 (n, height, width, 3), and labels of a split's images whose labels are all there.

        Raises `UserError` if there are none, or if an image is missing.
        """
        table = self.tables[split][list(self.pair.attributes)].dropna()
        if table.empty:
            raise UserError(
                f"--data {self.path}: its {split} split has no image with all labels; the judge needs train and test"
            )
        check_images(self.folder, table.index)
        return decode_images([self.folder / name for name in table.index], self.cache), table


def outputs(pair: Pair) -> list[int]:
    """Return the number of a judge's logits for each attribute."""
    return [outputs_of(len(values)) for values in pair.values_of.values()]


def value_numbers(table: pd.DataFrame, pair: Pair) -> np.ndarray:
    """Return the number of every image's value of each attribute, from 0, int64 (n, attributes)."""
    return np.stack([numbers(table[name], values) for name, values in pair.values_of.items()], axis=1)


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
    target, *protected = noted["attributes"].split(",")
    values = tuple(tuple(names.split(",")) for names in noted["values"].split(";")) if "values" in noted else ()
    known = Pair(target, tuple(protected), values)
    if plain_name("".join(known.attributes)) != plain_name(pair) or count != sum(outputs(known)):
        raise UserError(
            f"--judge {path}: it judges {', '.join(known.attributes)}, the images are of {pair}; give another file"
        )
    model = model.to(device, memory_format=torch.channels_last).eval()
    return Judge(model, known, int(noted["image_size"]), device, amp)


def train_judge(
    pixels: np.ndarray,
    labels: np.ndarray,
    pair: Pair,
    *,
    size: int,
    epochs: int,
    lr: float,
    device: torch.device,
    amp: bool,
    seed: int,
) -> nn.Module:
    """Train a ResNet-18 from scratch on whole images, mirrored at random; its loss is the mean of the attributes' cross-entropies.

    pixels : uint8 (n, height, width, 3)
    labels : numbers of the values, from 0, int64 (n, attributes)
    """
    torch.manual_seed(seed)
    generator = torch_generator(seed, "judge")
    model = resnet18(num_classes=sum(outputs(pair))).to(device, memory_format=torch.channels_last).train()
    batch_size = 128
    steps = epochs * -(-len(pixels) // batch_size)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    targets = torch.from_numpy(labels)
    with progress(desc="judge", total=steps, unit="batch") as bar:
        for _ in range(epochs):
            for rows in torch.randperm(len(pixels), generator=generator).split(batch_size):
                inputs = _inputs(pixels, rows.numpy(), random_flips(len(rows), generator), size, device)
                with torch.autocast(device.type, torch.bfloat16, enabled=amp):
                    logits = model(inputs)
                loss = _loss(logits.float(), targets[rows].to(device), pair)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.update()
    return model.eval()


def _loss(logits: torch.Tensor, labels: torch.Tensor, pair: Pair) -> torch.Tensor:
    parts = zip(logits.split(outputs(pair), dim=1), labels.T, strict=True)
    return torch.stack([cross_entropy(part, own) for part, own in parts]).mean()


def _probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Return the probability of each value of an attribute, (n, values), of its one logit or of as many as it has values."""
    if logits.shape[1] > 1:
        return logits.softmax(1)
    present = logits.sigmoid()
    return torch.cat([1 - present, present], dim=1)


def _values_text(pair: Pair) -> str:
    """Return the values of a pair's attributes as a file of a judge notes them; "" if all are 0 and 1."""
    return ";".join(",".join(names) for names in pair.values)


def _inputs(pixels, rows, flips, size, device):
    images = torch.from_numpy(pixels[rows]).to(device)
    return crop_and_resize(images, whole_image_boxes(len(rows), *pixels.shape[1:3]), flips, size)
