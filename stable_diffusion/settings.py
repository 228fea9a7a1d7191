"""The flags of generate.py."""

from dataclasses import dataclass
from pathlib import Path

from prompts import find_prompt_file
from stable_diffusion.drawing.sampling import ALWAYS
from stable_diffusion.loading.family import (
    FAST_SAMPLER,
    PAPER_BATCH,
    PAPER_GUIDANCE,
    PAPER_SAMPLER,
    PAPER_SIZE,
    SCHEDULERS,
)
from stable_diffusion.loading.source import DEFAULT_MODEL
from utils.arguments import PRECISIONS, non_negative_float, positive_fraction, positive_int, seed_number
from utils.settings import flag

PREDICTIONS = ("epsilon", "v_prediction")  # what a UNet can predict: the noise, or the velocity
OFFLOADS = ("none", "model", "sequential")  # what waits in main memory: nothing, idle parts, every idle layer
SET, DRAWING, MACHINE = "images", "drawing", "machine and output"
OWN = "; of a model that is not Stable Diffusion 1.x or 2.x its own"


@dataclass(frozen=True)
class GenerationSettings:
    """The flags of generate.py; the defaults are the paper's."""

    target_sensitive: str = flag("Smiling_Male", "the pair", group=SET, metavar="TARGET_PROTECTED")
    prompt_type: str = flag(
        "contextual",
        "plain, contextual, contextual-without-pose, or a type of your file; contextual-25: its first 25 prompts",
        group=SET,
    )
    prompts: Path | None = flag(
        None, "prompt file (default: prompts/<pair>.json)", group=SET, type=Path, metavar="FILE"
    )
    images_per_cell: int = flag(10500, "default: 10500", group=SET, type=positive_int)
    seed: int = flag(42, "default: 42", group=SET, type=seed_number)
    model: str = flag(DEFAULT_MODEL, "hub id, diffusers folder, .safetensors or .ckpt file", group=DRAWING)
    steps: int | None = flag(None, f"default: {PAPER_SAMPLER[1]}{OWN}", group=DRAWING, type=positive_int)
    guidance_scale: float | None = flag(
        None, f"default: {PAPER_GUIDANCE:g}{OWN}", group=DRAWING, type=non_negative_float
    )
    guidance_until: float = flag(
        ALWAYS,
        "guide only the first FRACTION of the steps, then draw by the prompt alone, at half the work a step (1)",
        group=DRAWING,
        type=positive_fraction,
        metavar="FRACTION",
    )
    scheduler: str | None = flag(None, f"default: {PAPER_SAMPLER[0]}{OWN}", group=DRAWING, choices=tuple(SCHEDULERS))
    fast: bool = flag(
        False,
        f"a modern solver in fewer steps: {FAST_SAMPLER[0]}, {FAST_SAMPLER[1]}",
        group=DRAWING,
        action="store_true",
    )
    prediction: str | None = flag(
        None,
        "what the model's UNet predicts (default: what its folder says; of a single file it is measured)",
        group=DRAWING,
        choices=PREDICTIONS,
    )
    size: int | None = flag(
        None, f"pixels a side the model draws (default: {PAPER_SIZE}{OWN})", group=DRAWING, type=positive_int
    )
    save_size: int = flag(224, "pixels a side of the saved images", group=DRAWING, type=positive_int)
    precision: str | None = flag(None, "default: fp16, on a CPU fp32", group=DRAWING, choices=tuple(PRECISIONS))
    fuse_projections: bool = flag(
        False,
        "query, key and value of the attention in one matrix product: images differ by rounding",
        group=DRAWING,
        action="store_true",
    )
    vae_slicing: bool = flag(False, "decode one image at a time: less memory", group=DRAWING, action="store_true")
    vae_tiling: bool = flag(False, "decode in tiles: less memory for large images", group=DRAWING, action="store_true")
    batch_size: int | None = flag(
        None,
        f"images at once (default: as many as the GPU holds; on a CPU {PAPER_BATCH})",
        group=MACHINE,
        type=positive_int,
    )
    compile: bool = flag(
        False, "compile the UNet or transformer: minutes at the start, faster after", group=MACHINE, action="store_true"
    )
    offload: str = flag(
        "none",
        "keep in main memory what the GPU doesn't need just now: the model's parts, or each layer (slow)",
        group=MACHINE,
        choices=OFFLOADS,
    )
    device: str = flag("auto", "auto, cpu, cuda, cuda:1, ...", group=MACHINE)
    outdir: Path = flag(Path("results/runs/synthetic"), "folder for the images", group=MACHINE, type=Path)
    dry_run: bool = flag(
        False, "check all, estimate time, disk and memory, make no image", group=MACHINE, action="store_true"
    )
    no_estimate: bool = flag(False, "with --dry-run: don't estimate the cost", group=MACHINE, action="store_true")
    cost_rows: Path | None = flag(
        None, "with --dry-run: append the estimate to this file in place of printing it", group=MACHINE, type=Path
    )

    @property
    def prompt_file(self) -> Path:
        """The prompt file asked for, else the shipped one of the pair. Raises `UserError` if there is none."""
        return self.prompts or find_prompt_file(self.target_sensitive)
