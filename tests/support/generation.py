"""Generation that takes seconds, with the small generator of the repository or a random pipeline."""

import json

import torch

from stable_diffusion import generate
from support import ROOT, assert_one_line_error, run_here

TINY = ROOT / "stable_diffusion" / "tiny"
GROUPS = ("0_0", "0_1", "1_0", "1_1")
CPU = torch.device("cpu")


def command(outdir, *more, per_group=3, batch=5):
    return [
        "--model", TINY, "--outdir", outdir, "--images-per-cell", per_group, "--batch-size", batch, "--steps", 2,
        "--guidance-scale", 3, "--size", 64, "--save-size", 32, "--device", "cpu", *more,
    ]  # fmt: skip


def images(outdir):
    return {str(path.relative_to(outdir)): path.read_bytes() for path in sorted(outdir.rglob("[01]_[01]/*"))}


def flags(outdir, folder, *more, per_group=2):
    """As little as a user says."""
    return [
        "--model", folder, "--outdir", outdir, "--images-per-cell", per_group, "--batch-size", 3, "--steps", 2, "--size", 32,
        "--save-size", 16, "--device", "cpu", *more,
    ]  # fmt: skip


def generated(arguments):
    """Run the script, which must succeed."""
    done = run_here(generate.main, *arguments)
    assert done.returncode == 0, done.stderr
    return done


def refused(arguments, *parts):
    """Run the script, which must fail with one line that holds the parts."""
    assert_one_line_error(run_here(generate.main, *arguments), *parts)


def drawn(outdir, *arguments, **options):
    return generated(flags(outdir, *arguments, **options))


def settings(outdir):
    manifest = next(outdir.rglob("manifest.jsonl"))
    return json.loads(manifest.read_text().splitlines()[0])["settings"]
