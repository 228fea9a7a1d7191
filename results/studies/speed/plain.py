"""The paper's procedure, written plainly, to measure this project's speed against it.

Pillow decodes the image files in every epoch, in worker processes. The network computes in fp32. A Python loop over samples
counts the metrics. Each of the three gradients has a pass of its own and is copied to NumPy after every batch. The arithmetic is
that of the paper's method; nothing else of this project is used.
"""

import copy

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from results.studies.speed.bench import TOP_K, Bench, Files


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


class Plain:
    """The procedure on the image files of a bench."""

    def __init__(self, bench: Bench):
        self.bench, self.device, self.model = bench, bench.compute.device, bench.new_model(torch.contiguous_format)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)

    def training(self) -> None:
        """Train for one epoch."""
        train_epoch(self.model, self._batches("train"), self.optimizer, self.device)

    def validation(self) -> None:
        """Validate."""
        validate(self.model, self._batches("val", train=False), self.device)

    def ranking(self, model: nn.Module | None = None) -> list[str]:
        """Return the tensors that both rankings of a model keep."""
        names = ("train", "biased", "synthetic")
        return choose(*(mean_gradients(model or self.model, self._batches(n), self.device) for n in names), TOP_K)

    def seed(self) -> None:
        """Pre-train for three epochs, rank, fine-tune for two, and test."""
        model, val = self.bench.new_model(torch.contiguous_format), self._batches("val", train=False)
        train(model, self._batches("train"), val, self.device, epochs=3, lr=0.01)
        chosen = self.ranking(model)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in chosen)
        train(model, self._batches("synthetic"), val, self.device, epochs=2, lr=0.06)
        validate(model, self._batches("test", train=False), self.device)

    def _batches(self, name: str, *, train: bool = True) -> DataLoader:
        """Return batches under the paper's training transform, shuffled, or under its test transform, in order."""
        side, batch_size = self.bench.compute.image_size, self.bench.compute.batch_size
        end = [transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)]
        crop = [transforms.RandomResizedCrop(side), transforms.RandomHorizontalFlip()]
        whole = [transforms.Resize((side, side))]
        faces = Faces(self.bench.files[name], transforms.Compose([*(crop if train else whole), *end]))
        options = {"shuffle": train, "drop_last": train and len(faces) >= batch_size}
        return DataLoader(faces, batch_size, num_workers=self.bench.workers, pin_memory=True, **options)


def train_epoch(model: nn.Module, batches: DataLoader, optimizer: torch.optim.Optimizer, device: torch.device) -> float:
    """Train for one epoch and return the mean loss."""
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
    """Return accuracy and equalized odds difference, counted sample by sample."""
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
    """Return the gradients averaged over batches, from a fresh copy of the model."""
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
    """Return the tensors that both rankings keep."""
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
