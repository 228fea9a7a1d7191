"""A training that takes seconds."""

import train as train_script
from support import run_here

SMALL = [
    "--weights", "none", "--image-size", 32, "--number-train-data-real", 40, "--number-balanced-synthetic", 4,
    "--number-imbalanced-synthetic", 16, "--pre-train-epochs", 1, "--fine-tune-epochs", 1, "--batch-size", 16,
    "--bias-degree", "1/3", "--device", "cpu",
]  # fmt: skip


def train(toy, synthetic, output, *more):
    base = ["--real-data-path", toy, "--synthetic-data-root", synthetic, "--output", output]
    return run_here(train_script.main, *base, *SMALL, *more)
