"""Estimate what generation will cost, from a few sampling steps of the real pipeline."""

import io
import time
from dataclasses import replace

import numpy as np
import torch
from diffusers import DiffusionPipeline

from stable_diffusion.drawing.produce import render_batch
from stable_diffusion.drawing.render import reduce
from stable_diffusion.drawing.sampling import Sampling
from stable_diffusion.plan import Job
from utils.cost import GENERATION, Row, peak_memory
from utils.errors import UserError

FEW, MORE = 2, 6  # steps of the two renderings, whose difference is the time of a step
LIMIT = 15.0  # seconds of timing; beyond it, fewer images at once are drawn, or one alone


def generation_row(
    pipeline: DiffusionPipeline,
    jobs: list[Job],
    batch_size: int,
    sampling: Sampling,
    *,
    device: torch.device,
    key: str,
) -> Row:
    """Estimate the cost of drawing the jobs; without a time, and with a note, if the pipeline draws nothing in so few steps."""
    start = time.process_time()  # since the process began: imports and loading
    row = Row(GENERATION, key, len(jobs), None)
    try:
        seconds, png, note = time_rendering(pipeline, jobs, batch_size, sampling)
    except (UserError, torch.OutOfMemoryError) as error:
        return replace(row, note=f"{GENERATION}: not measured: {error}")
    total, disk = start + len(jobs) * seconds, round(len(jobs) * png)
    return replace(row, seconds=total, disk=disk, memory=peak_memory(device), note=note)


def time_rendering(
    pipeline: DiffusionPipeline, jobs: list[Job], batch_size: int, sampling: Sampling
) -> tuple[float, float, str]:
    """Measure an image: its seconds, its bytes of PNG, and a note if the timing was cut short.

    Text encoder and decoder take the same time whatever the steps, so two numbers of steps tell both parts. Guidance
    that ends early does so in these few steps too, at the nearest whole one.
    """
    few, more = min(FEW, sampling.steps), min(MORE, sampling.steps)

    def render(count: int, steps: int) -> tuple[float, np.ndarray]:
        start = time.perf_counter()
        pixels = render_batch(pipeline, jobs[:count], replace(sampling, steps=steps))
        return time.perf_counter() - start, pixels

    warm, pixels = render(1, few)
    if warm > LIMIT:
        note = f"{GENERATION}: at most, from one image in {few} steps, the first, which takes longest"
        return warm * sampling.steps / few, png_bytes(pixels, sampling.save_size), note
    count = min(batch_size, len(jobs), max(1, int(LIMIT / warm / (1 + MORE / FEW))))
    first, _ = render(count, few)
    second, pixels = render(count, more)
    step = (second - first) / (more - few) if more > few else 0.0
    seconds = (second + (sampling.steps - more) * step) / count
    cut_short = count not in (batch_size, len(jobs))
    note = f"{GENERATION}: timed with {count} of {batch_size} images at once" if cut_short else ""
    return seconds, png_bytes(pixels, sampling.save_size), note


def png_bytes(pixels: np.ndarray, size: int) -> float:
    """Return the mean bytes of images, uint8 (n, side, side, 3), as they are saved: PNG of `size` pixels a side."""
    buffer = io.BytesIO()
    for image in pixels:
        reduce(image, size).save(buffer, format="PNG")
    return buffer.tell() / len(pixels)
