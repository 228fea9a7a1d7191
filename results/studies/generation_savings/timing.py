"""Images a second of each row, alone on a machine: the tiny generator, or Stable Diffusion 2.1's size with random weights."""

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from diffusers import DiffusionPipeline

from results.random_pipeline import prompts, random_pipeline
from results.studies import Finding, Place
from results.studies.generation_savings import FULL, TIMED_ALONE, Saving, all_savings
from stable_diffusion.drawing.denoiser import compile_denoiser, fuse_projections
from stable_diffusion.drawing.produce import produce
from stable_diffusion.drawing.sampling import Sampling
from stable_diffusion.loading.pipeline import load_pipeline
from stable_diffusion.loading.scheduler import other_scheduler
from stable_diffusion.manifest import Manifest
from stable_diffusion.plan import Job
from utils.device import choose_device
from utils.environment import environment
from utils.records import ROOT

TINY, TINY_GUIDANCE, FULL_GUIDANCE = ROOT / "stable_diffusion" / "tiny", 3.0, 9.0


def time_rows(size: str, place: Place) -> Iterator[Finding]:
    """Yield how the rows are timed, and the speed of each; those that compile come last, because that takes minutes."""
    device, full_size = choose_device(place.device), size == FULL
    gpu = device.type == "cuda"
    how = {"images": (16 if gpu else 1) if full_size else 50, "size": 512 if full_size and gpu else 64}
    how |= {"turns": 1 if full_size and not gpu else 3} | ({"images": 2, "size": 32, "turns": 1} if place.small else {})
    about = environment(device)
    yield Finding("how", {key: about[key] for key in ("device", "threads")} | how)
    for name, saving in sorted(all_savings().items(), key=lambda row: row[0] in TIMED_ALONE):
        yield Finding(name, rate(saving, device, full_size=full_size, **how))


def pipeline_of(saving: Saving, device: torch.device, *, full_size: bool) -> DiffusionPipeline:
    """Return a pipeline that draws by a row, on a device: in fp32 on a CPU, at full size on a GPU in fp16."""
    gpu = device.type == "cuda"
    if full_size:  # random weights, with what `load_pipeline` does
        pipeline = random_pipeline(device, torch.float16 if gpu else torch.float32)
        if saving.scheduler != "ddim":
            pipeline.scheduler = other_scheduler("random weights", saving.scheduler, pipeline.scheduler)
        if saving.fused:
            fuse_projections(pipeline)
        for model in (pipeline.unet, pipeline.vae) if gpu else ():
            model.to(memory_format=torch.channels_last)
    else:
        pipeline = load_pipeline(str(TINY), saving.scheduler, device, "fp32", fused=saving.fused)
    if saving.compiled:
        compile_denoiser(pipeline)
    if saving.blocks:
        pipeline.unet.compile_repeated_blocks()
    return pipeline


def rate(
    saving: Saving, device: torch.device, *, full_size: bool, images: int, size: int, turns: int
) -> dict[str, float | list[float]]:
    """Return images/s of a row, the median of turns of one batch, and the seconds that the first batch took beyond that.

    The first batch warms up, and is where compiling takes place. Files are written, as generation does. The weights at
    full size are random, which changes no speed.
    """
    pipeline = pipeline_of(saving, device, full_size=full_size)
    guidance = FULL_GUIDANCE if full_size else TINY_GUIDANCE
    sampling = Sampling(saving.steps, guidance, size, min(size, 224), saving.guidance_until)
    jobs = [Job(f"0_0/{i:06d}.png", "0_0", text, i) for i, text in enumerate(prompts(images))]
    seconds = []
    for _ in range(1 + turns):
        with tempfile.TemporaryDirectory() as folder:
            manifest = Manifest(Path(folder), {"timing": True}, images, [])
            start = time.perf_counter()
            produce(pipeline, jobs, manifest, sampling)
            seconds.append(time.perf_counter() - start)
    first, *others = seconds
    usual = statistics.median(others)
    return {"images_per_second": images / usual, "first_batch_extra_seconds": first - usual, "seconds": others}
