"""Tests that need a GPU: does it agree with a CPU, and with itself? Five minutes with --jobs 8 on one GPU.

What is compared runs beside other work, so no time here says how fast anything is: that is the study `speed`.
With --device cpu --small the arms run in miniature, without a GPU.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from importlib import import_module

from results.studies import Arm, Finding, Place, Study
from results.study_tables import findings_tables

MEASURES = {
    "machine": ("training", "machine"),
    **{name: ("training", name) for name in ("agree", "deterministic", "resume", "precision")},
    "generation": ("drawing", "generation"),
    "compile": ("training", "compiled"),
    "compile_drawing": ("drawing", "compiled"),
}


def measured(module: str, function: str, place: Place) -> Iterator[Finding]:
    """Yield what a function of a module here finds, with "cuda" or "cpu" in place of "auto"."""
    from utils.device import choose_device

    device = str(choose_device(place.device))
    yield from getattr(import_module(f"{__name__}.{module}"), function)(replace(place, device=device))


STUDY = Study(
    title="On a GPU: what was tried",
    body=(
        """
A GPU beside the CPU and beside itself, on toy faces. The tables hold what one NVIDIA H200 found in 75 seconds **beside other work that filled
the GPU**, so its seconds say nothing, and a path was shortened.

- **`--deterministic`** gave the same bytes in two runs, and after two kills the same as unbroken; without it weights differed.
- **bf16** and fp32 end within three points of each other's accuracy, and within 7.2 of each other's equalized odds (one seed, three methods).
- **Without TF32 the GPU differed from the CPU in no more test decisions than another number of threads did**, in this one seed. We compared
  three trainings with one on the CPU with four threads: CPU with two threads, GPU without TF32, GPU with TF32 (torch's default). Of ERM's 1,600 test decisions 56, 54 and 87 differ, of
  full fine-tuning's 113, 71 and 117, of AIM-Fair's 64, 64 and 72. Each chose two other tensors. This does not show whether TF32 matters. The comparison at the same weights, which is sharper, was cut off.
- **Generation**: in fp32 the GPU's images are the CPU's to one grey level of 255; a kill and a restart changed no byte; the batch changed them by one level at
  most; `--offload model` changed nothing. fp16 and bf16 draw **other noise** from the same seed, since torch draws it in that precision: those are other
  faces (by 38 and 39 grey levels in the mean); whether they are worse was not measured. The forced out-of-memory, `--compile` and the runner's whole default were cut off.

The [evidence on real faces](../real_faces/README.md) ran on the same GPU: some 350 trainings in bf16, images on the GPU, started again after kills.

## What was found

A mark stands beside a claim: yes if it holds. The other rows are numbers without a claim.""",
        findings_tables(*MEASURES),
    ),
    arms=tuple(Arm(name, measure=partial(measured, *MEASURES[name]), limit=600) for name in MEASURES),
)
