"""The paper's procedure, written plainly: what this project's speed is measured against.

Image files are decoded by Pillow in every epoch, in worker processes; the network computes in fp32; metrics are
counted in a Python loop over samples; each of the three gradients has a pass of its own and is copied to NumPy after
every batch. The arithmetic is that of the paper's method; nothing else of this project is used.
"""

import copy
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms


class Files(NamedTuple):
    """Image files with their targets and protected groups, int64 (n,)."""

    paths: list[Path]
    target: np.ndarray
    protected: np.ndarray


class Faces(Dataset):
    """Image files, decoded and transformed one at a time."""

    def __init__(self, files: Files, transform):
        self.files, self.transform = files, transform

    def __len__(self):
        return len(self.files.paths)

    def __getitem__(self, index):
        with Image.open(self.files.paths[index]) as image:
            pixels = self.transform(image.convert("RGB"))
        return pixels, int(self.files.target[index]), int(self.files.protected[index])


def loader(files: Files, image_size: int, batch_size: int, workers: int, *, train: bool) -> DataLoader:
    """Batches under the paper's training transform, shuffled, or under its test transform, in order."""
    end = [transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)]
    crop = [transforms.RandomResizedCrop(image_size), transforms.RandomHorizontalFlip()]
    whole = [transforms.Resize((image_size, image_size))]
    faces = Faces(files, transforms.Compose([*(crop if train else whole), *end]))
    drop_last = train and len(files.paths) >= batch_size
    options = {"num_workers": workers, "pin_memory": True, "shuffle": train, "drop_last": drop_last}
    return DataLoader(faces, batch_size=batch_size, **options)


def train_epoch(model: nn.Module, batches: DataLoader, optimizer: torch.optim.Optimizer, device: torch.device) -> float:
    """One epoch; returns the mean loss."""
    model.train()
    criterion, total = nn.BCEWithLogitsLoss(), 0.0
    for pixels, target, _ in batches:
        pixels, target = pixels.to(device), target.float().to(device)
        optimizer.zero_grad()
        loss = criterion(model(pixels)[:, 0], target)
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / len(batches)


@torch.no_grad()
def validate(model: nn.Module, batches: DataLoader, device: torch.device) -> dict[str, float]:
    """Accuracy and equalized odds, counted sample by sample."""
    model.eval()
    right, count = np.zeros((2, 2)), np.zeros((2, 2))
    for pixels, target, protected in batches:
        predicted = (torch.sigmoid(model(pixels.to(device))[:, 0]) >= 0.5).long()
        for i in range(len(target)):
            t, p = target[i].item(), protected[i].item()
            count[t][p] += 1
            if predicted[i].item() == t:
                right[t][p] += 1
    rates = right / count
    return {"accuracy": right.sum() / count.sum(), "equalized_odds": np.abs(rates[:, 0] - rates[:, 1]).max()}


def mean_gradients(model: nn.Module, batches: DataLoader, device: torch.device) -> dict[str, np.ndarray]:
    """The gradients averaged over batches, from a fresh copy of the model."""
    model = copy.deepcopy(model).train()
    criterion, sums, count = nn.BCEWithLogitsLoss(), {}, 0
    for pixels, target, _ in batches:
        model.zero_grad()
        criterion(model(pixels.to(device))[:, 0], target.float().to(device)).backward()
        for name, parameter in model.named_parameters():
            sums[name] = sums.get(name, 0) + parameter.grad.cpu().numpy()
        count += 1
    return {name: value / count for name, value in sums.items()}


def choose(real: dict, biased: dict, balanced: dict, top_k: int) -> list[str]:
    """The tensors in both rankings."""
    domain = sorted(real, key=lambda name: np.abs(real[name] - biased[name]).mean())
    bias = sorted(real, key=lambda name: -np.abs(biased[name] - balanced[name]).mean())
    return [name for name in real if name in domain[:top_k] and name in bias[:top_k]]


def train(model: nn.Module, data: DataLoader, val: DataLoader, device: torch.device, *, epochs: int, lr: float) -> None:
    """Train the parameters that require gradients, and put back the weights of the best epoch on val."""
    moving = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(moving, lr=lr, momentum=0.9, weight_decay=1e-4)
    best, best_state = -1.0, None
    for _ in range(epochs):
        train_epoch(model, data, optimizer, device)
        accuracy = validate(model, val, device)["accuracy"]
        if accuracy > best:
            best, best_state = accuracy, copy.deepcopy(model.state_dict())
    model.load_state_dict(best_state)
