"""How fast is this project beside the paper's procedure, and beside the bare network? Half an hour on two CPU cores.

Nothing else may run meanwhile. The paper's procedure is plain.py, ours is what train.py and generation call, the bare network runs
on one batch in memory (bare.py). With --small the arms run in miniature.
"""

from collections.abc import Iterator
from functools import partial
from importlib import import_module

from results.studies import Arm, Finding, Place, Study
from results.studies.speed.page import PARTS, devices

MEASURES = {
    **{part: ("measure", "compared", part) for part in ("training", "validation", "ranking", "seed")},
    **{part: ("measure", part) for part in ("growth", "profile", "switches")},
    **{part: (part, part) for part in ("generation", "threads")},
}


def measured(module: str, function: str, *given: str | Place) -> Iterator[Finding]:
    """Yield what a function of a module here finds."""
    yield from getattr(import_module(f"{__name__}.{module}"), function)(*given)


STUDY = Study(
    title="Speed, beside the paper's procedure and the bare network",
    body=(
        """
Each part is measured in one process, on the same images and network, by turns that alternate; the tables show medians of the turns. The paper's
procedure is written plainly in `results/studies/speed/plain.py` and computes in fp32. Ours is what `train.py` and generation do. The bare network is ours on
one batch that lies in memory, and nothing around it can be faster: *the most possible* is the bare network beside the paper's procedure.

The network is ResNet-18 from random weights, k is 55, the images are toy faces in JPEG files of CelebA's size. A seed is 3 epochs, ranking, 2 epochs and a test; ours includes the
decoding of all images. Generation is Stable Diffusion 2.1-base with random weights, fp16 on a GPU, fp32 on a CPU. A switch is measured beside
the same work without it. Threads: training of the toy run's network in fp32; the neighbour is another training with one thread.""",
        devices,
    ),
    arms=tuple(Arm(part, measure=partial(measured, *MEASURES[part]), after=PARTS[:i]) for i, part in enumerate(PARTS)),
    note="For another device: `run --output DIR`, then `pack --output DIR --records FOLDER`, with a new folder inside the records of this study. "
    "The page has a section for each such folder.",
)
