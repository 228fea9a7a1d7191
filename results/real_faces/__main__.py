"""The evidence on real faces: a ResNet-18 from ImageNet weights, biased real faces, and unbiased faces of several origins.

    python -m results.real_faces --data data --weights resnet18.safetensors --precision bf16 --jobs 12

--data holds celeba/ (CelebA's own layout), UTKFace/, t2i_faces/, utkface_smiles.csv and generated/ (stable_diffusion/generation.sh
--outdir data/generated): what `STUDIES` names. The steps, each of which skips what is recorded, so that an interrupted run goes on:
    erm       the biased models with the learning rates of `PRE_TRAIN_LRS`; what does better on val is every method's
    choose    for each source, the settings of `GRID` on the first seed; `models.choice` takes one for each fine-tuned method:
              accuracy on real val, and of the best the lowest equalized odds on held-out images of the source
    runs      all methods with their settings, and with the paper's, on all seeds
    paper     the fine-tuned methods with the paper's settings on all seeds: a first look, and cheap
    settings  full fine-tuning and AIM-Fair in every setting on all seeds: what explains what
    start     what trains from the start with images of each source (table 3)
    alone     the baselines, which train on the biased images alone (table 1)

The test set plays no part before the tables are made (`python -m results.real_faces.page`). `--jobs N` keeps N processes at work:
a small network leaves a GPU idle, so let them share it. Other flags go to train.py. Smiling_Male: on one H200 with 14 processes
choose and runs took ten minutes, of what start and settings need about as much was left undone; on two cores many hours, also at
64 pixels (--image-size 64). Everything a call prints is in <output>/<study>/logs.
"""

import argparse
from pathlib import Path

from results.real_faces.evidence import Evidence
from results.real_faces.jobs import Jobs
from results.real_faces.studies import (
    FROM_START,
    GRID,
    PAPER,
    PRE_TRAIN_LRS,
    REAL_ALONE,
    STUDIES,
    TUNED,
)
from utils.arguments import positive_float, positive_int, seed_number
from utils.errors import UserError, command_line

FIRST = ("full", "aim-fair", "linear-probe")  # what one wants to see most, if time runs out


def work(evidence: Evidence, sources: list[str], steps: list[str], seeds: list[int], lrs: list[float]) -> None:
    """The steps that were asked for; the biased models of the seeds come first in any case."""
    lr = evidence.biased_models(seeds, lrs)

    def of_source(source: str) -> None:
        if {"choose", "runs"} & set(steps):
            chosen = evidence.chosen(source, seeds[0], lr)
        if "runs" in steps:
            evidence.runs(source, chosen, seeds, lr)
        if "paper" in steps:
            methods = tuple(dict.fromkeys((*FIRST, *TUNED)))
            evidence.jobs.at_once(
                [lambda seed=seed: evidence.tune(source, PAPER, methods, [seed], lr) for seed in seeds]
            )
        if "settings" in steps:
            evidence.jobs.at_once([lambda s=s: evidence.tune(source, s, ("full", "aim-fair"), seeds, lr) for s in GRID])
        if "start" in steps:
            evidence.jobs.at_once(
                [lambda seed=seed: evidence.tune(source, PAPER, FROM_START, [seed], lr) for seed in seeds]
            )

    def alone() -> None:
        if "alone" in steps:
            flags, folder = ["--pre-train-lr", str(lr)], f"erm_{lr:g}"
            evidence.jobs.at_once(
                [lambda seed=seed: evidence.train(folder, REAL_ALONE, [seed], flags) for seed in seeds]
            )

    evidence.jobs.at_once([*(lambda source=source: of_source(source) for source in sources), alone])


def main() -> None:
    """The command line; flags that aren't listed go to train.py."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True, help="ResNet-18 trained on ImageNet")
    parser.add_argument("--output", type=Path, default=Path("results/runs/real_faces"))
    parser.add_argument("--seeds", type=seed_number, nargs="+", default=[100, 200, 300])
    parser.add_argument("--study", choices=tuple(STUDIES), default="Smiling_Male")
    parser.add_argument("--sources", nargs="+", help="default: all of the study")
    steps = ("erm", "paper", "choose", "runs", "settings", "start", "alone")
    parser.add_argument("--steps", nargs="+", choices=steps, default=["choose", "runs"], help="default: choose runs")
    parser.add_argument(
        "--pre-train-lrs", type=positive_float, nargs="+", default=PRE_TRAIN_LRS, help="default: 0.01 0.03"
    )
    parser.add_argument("--jobs", type=positive_int, default=1, help="processes at once (default: 1)")
    args, flags = parser.parse_known_args()
    known = STUDIES[args.study].sources
    if wrong := set(args.sources or ()) - set(known):
        raise UserError(f"--sources {min(wrong)}: {args.study} has {', '.join(known)}")
    evidence = Evidence(args.study, args.data, args.weights, args.output, flags, Jobs(args.jobs))
    sources = [] if args.steps == ["erm"] else args.sources or list(known)
    work(evidence, sources, args.steps, args.seeds, args.pre_train_lrs)


if __name__ == "__main__":
    command_line(main)
