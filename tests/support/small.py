"""A training that takes seconds, and what it leaves."""

import json

from safetensors.torch import load_file

import train as train_script
from support import run_here

SMALL = [
    "--weights", "none", "--image-size", 32, "--number-train-data-real", 40, "--number-balanced-synthetic", 4,
    "--number-imbalanced-synthetic", 16, "--pre-train-epochs", 1, "--fine-tune-epochs", 1, "--batch-size", 16,
    "--bias-degree", "1/3", "--device", "cpu",
]  # fmt: skip
TINY = ["--width", 0.125, "--seeds", 1]


def train(toy, synthetic, output, *more):
    """Run train.py with the flags `SMALL` and `more`; return the finished process."""
    base = ["--real-data-path", toy, "--synthetic-data-root", synthetic, "--output", output]
    return run_here(train_script.main, *base, *SMALL, *more)


def trained(toy, synthetic, output, *more):
    """Run train.py as `train` does, and fail unless it succeeds."""
    done = train(toy, synthetic, output, *more)
    assert done.returncode == 0, done.stderr
    return done


def record(output, method, seed=1):
    return json.loads((output / method / f"seed_{seed}" / "metrics.json").read_text())


def weights(output, method, seed=1):
    return load_file(output / method / f"seed_{seed}" / "model.safetensors")


def moved(before, after):
    """Return the names of the parameter tensors that differ."""
    named = [name for name in before if "running" not in name and "num_batches" not in name]
    return {name for name in named if not before[name].equal(after[name])}
