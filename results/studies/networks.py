"""Does each network run from one end to the other, and resume to the same bytes? Seven networks, ten minutes on two CPU cores.

Add a name of train.py's --network to `NETWORKS` to try another one.
"""

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd

from results.processes import together
from results.studies import Arm, Finding, Place, Study, words
from results.study_tables import findings
from results.text import MISSING, as_table
from results.toy_runs import BYTES, SEED, differing, draw_faces, kill_and_resume, train
from utils.records import read_record, record_folder

NETWORKS = ("resnet18", "resnet50", "mobilenet_v3_small", "convnext_tiny", "vit_b_16", "swin_t", "timm:resnet10t")
FLAGS = words(
    "--weights none --device cpu --methods aim-fair --number-train-data-real 40 --bias-degree 1/3 "
    "--number-balanced-synthetic 8 --number-imbalanced-synthetic 32 --batch-size 8 --pre-train-epochs 2 "
    "--fine-tune-epochs 2"
)
FACES = {"train": 200, "val": 40, "test": 40, "size": 64, "seed": 3}
NUMBERS = ("pixels", "tensors", "k", "chosen by both rankings", "seconds")
DIFFER = "files that differ from those of an unbroken run"


def arm_name(network: str) -> str:
    """Return the network's name, as a file may be called."""
    return network.replace(":", "_").replace("/", "_")


def measure(network: str, place: Place) -> Iterator[Finding]:
    """Yield what a network's table row shows: a run's tensors, and whether a run that was killed twice gives the same bytes."""
    work, pixels = place.work / arm_name(network), 32 if place.small else 64
    shutil.rmtree(work, ignore_errors=True)
    real, synthetic = draw_faces(place.work / "faces", FACES, 120)
    command = train("--network", network, "--image-size", pixels, *FLAGS)
    command += ["--real-data-path", real, "--synthetic-data-root", synthetic]
    unbroken, broken = work / "unbroken", work / "broken"
    seconds = together({"unbroken": [*command, "--output", unbroken, "--checkpoint-seconds", 0]}, work)["unbroken"]
    record = record_folder(unbroken, "aim-fair", SEED)
    chosen = pd.read_csv(record / "sensitivity.csv")["chosen"]
    k = read_record(record).settings["top_k"]
    for what, value in zip(NUMBERS, (pixels, len(chosen), k, int(chosen.sum()), seconds), strict=True):
        yield Finding(what, value)
    kill_and_resume(command, broken)
    differ = differing(unbroken, broken, BYTES)
    yield Finding(DIFFER, differ, not differ)
    shutil.rmtree(work)


def table(records: Path) -> list[str]:
    """Return a row for each network that is recorded."""
    rows = [("network", *NUMBERS, "resumed run is the same")]
    for network in NETWORKS:
        if found := findings(records, arm_name(network)):
            same = f"no: {', '.join(found[DIFFER])}" if found.get(DIFFER) else "yes" if DIFFER in found else "not known"
            rows.append((network, *(str(found.get(what, MISSING)) for what in NUMBERS), same))
    return as_table(rows)


STUDY = Study(
    title="Networks from one end to the other",
    body=(
        """
Each network was trained, ranked, fine-tuned, killed and resumed from random weights, on a few toy faces: `erm` and `aim-fair`, two epochs each.""",
        table,
        """
k: the tensors that each of the two rankings keeps, the paper's fraction (55 of 62). Seconds: the whole command of the unbroken run, loading
included. The other run was killed (SIGKILL) at the first checkpoint of each of its two trainings and started again. It is the same if
weights and test predictions of both methods are, byte for byte.

Two cores of an AMD EPYC, fp32, one thread (`OMP_NUM_THREADS=1`). Other programs ran on the same cores, so don't compare networks by the
seconds. The commit was rebased afterwards: it is d01517967e plus this study.

This says nothing about accuracy, ImageNet weights, or whether the paper's fraction of tensors suits a network.""",
    ),
    arms=tuple(Arm(arm_name(network), measure=partial(measure, network)) for network in NETWORKS),
)
