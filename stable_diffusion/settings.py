"""The flags of generate.py."""

from dataclasses import dataclass
from functools import partial
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
from utils.workers import submit_flag, workers_flag

PREDICTIONS = ("epsilon", "v_prediction")  # what a UNet can predict: the noise, or the velocity
OFFLOADS = ("none", "model", "sequential")  # what waits in main memory: nothing, idle parts, every idle layer
of_set, of_drawing, of_machine = (partial(flag, group=each) for each in ("images", "drawing", "machine and output"))
OWN = "; of a model that is not Stable Diffusion 1.x or 2.x its own"


@dataclass(frozen=True)
class GenerationSettings:
    """The flags of generate.py; the defaults are the paper's."""

    target_sensitive: str = of_set("Smiling_Male", "the pair", metavar="TARGET_PROTECTED")
    prompt_type: str = of_set(
        "contextual",
        "plain, contextual, contextual-without-pose, or a type of your file; contextual-25: its first 25 prompts",
    )
    prompts: Path | None = of_set(None, "prompt file (default: prompts/<pair>.json)", type=Path, metavar="FILE")
    images_per_cell: int = of_set(10500, "default: 10500", type=positive_int)
    seed: int = of_set(42, "default: 42", type=seed_number)
    model: str = of_drawing(DEFAULT_MODEL, "hub id, diffusers folder, .safetensors or .ckpt file")
    steps: int | None = of_drawing(None, f"default: {PAPER_SAMPLER[1]}{OWN}", type=positive_int)
    guidance_scale: float | None = of_drawing(None, f"default: {PAPER_GUIDANCE:g}{OWN}", type=non_negative_float)
    guidance_until: float = of_drawing(
        ALWAYS,
        "guide only the first FRACTION of the steps, then draw by the prompt alone, at half the work a step (1)",
        type=positive_fraction,
        metavar="FRACTION",
    )
    scheduler: str | None = of_drawing(None, f"default: {PAPER_SAMPLER[0]}{OWN}", choices=tuple(SCHEDULERS))
    fast: bool = of_drawing(
        False, f"a modern solver in fewer steps: {FAST_SAMPLER[0]}, {FAST_SAMPLER[1]}", action="store_true"
    )
    prediction: str | None = of_drawing(
        None,
        "what the model's UNet predicts (default: what its folder says; of a single file it is measured)",
        choices=PREDICTIONS,
    )
    size: int | None = of_drawing(
        None, f"pixels a side the model draws (default: {PAPER_SIZE}{OWN})", type=positive_int
    )
    save_size: int = of_drawing(224, "pixels a side of the saved images", type=positive_int)
    precision: str | None = of_drawing(None, "default: fp16, on a CPU fp32", choices=tuple(PRECISIONS))
    fuse_projections: bool = of_drawing(
        False,
        "query, key and value of the attention in one matrix product: images differ by rounding",
        action="store_true",
    )
    vae_slicing: bool = of_drawing(False, "decode one image at a time: less memory", action="store_true")
    vae_tiling: bool = of_drawing(False, "decode in tiles: less memory for large images", action="store_true")
    batch_size: int | None = of_machine(
        None, f"images at once (default: as many as the GPU holds; on a CPU {PAPER_BATCH})", type=positive_int
    )
    compile: bool = of_machine(
        False, "compile the UNet or transformer: minutes at the start, faster after", action="store_true"
    )
    offload: str = of_machine(
        "none",
        "keep in main memory what the GPU doesn't need just now: the model's parts, or each layer (slow)",
        choices=OFFLOADS,
    )
    device: str = of_machine("auto", "auto, cpu, cuda, cuda:1, ...")
    workers: int = workers_flag(of_machine)
    submit: tuple[str, ...] = submit_flag(of_machine)
    outdir: Path = of_machine(Path("results/runs/synthetic"), "folder for the images", type=Path)
    dry_run: bool = of_machine(False, "check all, estimate time, disk and memory, make no image", action="store_true")
    no_estimate: bool = of_machine(False, "with --dry-run: don't estimate the cost", action="store_true")
    cost_rows: Path | None = of_machine(
        None, "with --dry-run: append the estimate to this file in place of printing it", type=Path
    )

    @property
    def prompt_file(self) -> Path:
        """The prompt file asked for, else the shipped one of the pair. Raises `UserError` if there is none."""
        return self.prompts or find_prompt_file(self.target_sensitive)
