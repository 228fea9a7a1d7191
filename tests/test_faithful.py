"""The authors' procedure on a tiny set, written here as a plain loop, against train.py: the same weights, bit for bit.

The loop follows the paper and what its public code is known to do, with torch and torchvision alone; only the random
streams and the crops (which `test_augment.py` holds against torchvision) are the project's, so that both see the same
batches.
"""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from support import run_here
from torch import nn
from torchvision.models import resnet18

import train
from datasets.augment import crop_and_resize, random_boxes, random_flips
from utils.seeds import derived_seed, torch_generator

SIZE, BATCH, EPOCHS, SEED, TOP_K = 32, 128, 3, 100, 55
GROUPS = ("0_0", "0_1", "1_0", "1_1")
BALANCED, BIASED = 80, {"0_0": 15, "0_1": 135, "1_0": 135, "1_1": 15}  # 320 and 300 images: two batches and some


def face(rng, target):
    return (rng.integers(0, 160, (SIZE, SIZE, 3)) + 90 * target * rng.random()).astype(np.uint8)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """300 training, 40 val and 40 test images in a CSV file, and 140 synthetic ones a group: noise, brighter where 1."""
    root, rng = tmp_path_factory.mktemp("faithful"), np.random.default_rng(0)
    lines, sets = [], {}
    for split, count in (("train", 300), ("val", 40), ("test", 40)):
        target = rng.permutation(np.arange(count) % 2)
        pixels = np.stack([face(rng, t) for t in target])
        sets[split] = pixels, target
        for i, (t, image) in enumerate(zip(target, pixels, strict=True)):
            Image.fromarray(image).save(root / f"{split}_{i}.png")
            lines.append({"image": f"{split}_{i}.png", "split": split, "Smiling": t, "Male": i // 2 % 2})
    pd.DataFrame(lines).to_csv(root / "faces.csv", index=False)
    for group in GROUPS:
        folder = root / "synthetic" / "Smiling_Male" / "contextual" / group
        folder.mkdir(parents=True)
        sets[group] = np.stack([face(rng, int(group[0])) for _ in range(140)])
        for i, image in enumerate(sets[group]):
            Image.fromarray(image).save(folder / f"{i:03d}.png")
    return root, sets


def batches(pixels, target, generator):
    """An epoch in shuffled batches of 128, each image cropped and mirrored; the last short batch is dropped."""
    order = torch.randperm(len(pixels), generator=generator).numpy()
    for start in range(0, len(order) - BATCH + 1, BATCH):
        rows = order[start : start + BATCH]
        boxes, flips = random_boxes(BATCH, SIZE, SIZE, generator), random_flips(BATCH, generator)
        inputs = crop_and_resize(torch.from_numpy(pixels[rows]), boxes, flips, SIZE)
        yield inputs, torch.from_numpy(target[rows]).float()


def accuracy(model, pixels, target):
    model.eval()
    inputs = ((torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5).contiguous(
        memory_format=torch.channels_last
    )
    with torch.inference_mode():
        predicted = (torch.sigmoid(model(inputs)[:, 0]) >= 0.5).numpy()
    return np.mean(predicted == target)


def train_plainly(model, pixels, target, val, lr, generator, *, later_wins):
    """SGD, momentum 0.9, weight decay 1e-4, learning rate x0.1 at epoch 10; keeps the epoch with the best val accuracy."""
    moving = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(moving, lr=lr, momentum=0.9, weight_decay=1e-4)
    decay = torch.optim.lr_scheduler.MultiStepLR(optimizer, [10], gamma=0.1)
    criterion, best, best_state, steps = nn.BCEWithLogitsLoss(), -1.0, None, 0
    for _ in range(EPOCHS):
        model.train()
        for inputs, targets in batches(pixels, target, generator):
            optimizer.zero_grad()
            criterion(model(inputs)[:, 0], targets).backward()
            optimizer.step()
            steps += 1
        decay.step()
        found = accuracy(model, *val)
        if found > best or (later_wins and found == best):
            best, best_state = found, copy.deepcopy(model.state_dict())
    assert steps == EPOCHS * (len(pixels) // BATCH)
    model.load_state_dict(best_state)


def mean_gradient(model, pixels, target, generator):
    """The signed gradients of the mean loss, in train mode, averaged over an epoch's batches, from a fresh copy."""
    model, criterion, count = copy.deepcopy(model).train(), nn.BCEWithLogitsLoss(), 0
    model.zero_grad()
    for inputs, targets in batches(pixels, target, generator):
        criterion(model(inputs)[:, 0], targets).backward()
        count += 1
    return {name: parameter.grad / count for name, parameter in model.named_parameters()}


def draw(sets, sizes, purpose):
    """So many synthetic images of each group, without replacement."""
    rng = np.random.default_rng(derived_seed(SEED, f"draw {purpose}"))
    chosen = {
        group: np.sort(np.arange(140))[rng.choice(140, size=size, replace=False)] for group, size in sizes.items()
    }
    pixels = np.concatenate([sets[group][rows] for group, rows in chosen.items()])
    return pixels, np.concatenate([np.full(len(rows), int(group[0])) for group, rows in chosen.items()])


def gap(a, b):
    return {name: (a[name] - b[name]).abs().mean().item() for name in a}


def aim_fair_plainly(sets):
    """The four steps; returns the biased model, the fair one, and the names of the tensors that were fine-tuned."""
    torch.manual_seed(SEED)
    biased = resnet18(num_classes=1).to(memory_format=torch.channels_last)
    train_plainly(biased, *sets["train"], sets["val"], 0.01, torch_generator(SEED, "pre-train"), later_wins=True)
    balanced = draw(sets, dict.fromkeys(GROUPS, BALANCED), "balanced")
    real = mean_gradient(biased, *sets["train"], torch_generator(SEED, "gradient real"))
    s1 = mean_gradient(biased, *draw(sets, BIASED, "biased"), torch_generator(SEED, "gradient biased"))
    s2 = mean_gradient(biased, *balanced, torch_generator(SEED, "gradient balanced"))
    domain, bias = gap(real, s1), gap(s1, s2)
    chosen = set(sorted(domain, key=domain.get)[:TOP_K]) & set(sorted(bias, key=bias.get, reverse=True)[:TOP_K])
    fair = copy.deepcopy(biased)
    for name, parameter in fair.named_parameters():
        parameter.requires_grad_(name in chosen)
    train_plainly(fair, *balanced, sets["val"], 0.06, torch_generator(SEED, "fine-tune"), later_wins=False)
    return biased, fair, chosen


@pytest.mark.slow
def test_the_authors_settings_give_the_weights_of_a_plain_loop(files, tmp_path):
    root, sets = files
    done = run_here(
        train.main, "--dataset", "csv", "--real-data-path", root / "faces.csv", "--synthetic-data-root", root / "synthetic",
        "--output", tmp_path, "--weights", "none", "--image-size", SIZE, "--pre-train-epochs", EPOCHS, "--fine-tune-epochs",
        EPOCHS, "--number-balanced-synthetic", BALANCED, "--number-imbalanced-synthetic", 300, "--seeds", SEED,
        "--device", "cpu",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    biased, fair, chosen = aim_fair_plainly(sets)
    table = pd.read_csv(tmp_path / "aim-fair" / f"seed_{SEED}" / "sensitivity.csv")
    assert set(table["name"][table["chosen"]]) == chosen and 48 <= len(chosen) <= TOP_K
    for method, model in (("erm", biased), ("aim-fair", fair)):
        recorded = load_file(tmp_path / method / f"seed_{SEED}" / "model.safetensors")
        for name, tensor in model.state_dict().items():
            assert torch.equal(recorded[name], tensor), (method, name)
    moved = {name for name, tensor in fair.named_parameters() if not torch.equal(tensor, biased.get_parameter(name))}
    assert moved == chosen
