"""Scores of generated images."""

from stable_diffusion import faithfulness
from support import run_here


def score(folder, *flags):
    return run_here(faithfulness.main, "--images", folder, "--device", "cpu", *flags)
