"""Render a set's missing images in the largest batches that fit; each is written to disk while the next is rendered."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline
from PIL import Image

from stable_diffusion.drawing.render import DecoderOutOfMemory, check_lengths, reduce, render
from stable_diffusion.drawing.sampling import Sampling
from stable_diffusion.loading.family import PAPER_BATCH
from stable_diffusion.manifest import Manifest, existing
from stable_diffusion.plan import Job
from utils.errors import UserError
from utils.files import whole
from utils.progress import progress

WAITING = 2  # batches that wait for the disk at most, so that they never fill the memory
FRACTION_OF_MEMORY = 0.8
LARGEST_BATCH = 64  # beyond it a GPU computes no faster


def produce(pipeline: DiffusionPipeline, jobs: list[Job], manifest: Manifest, sampling: Sampling) -> None:
    """Render every job of which the file is missing from the manifest's folder, and note it there.

    A batch always holds the same images, and is made again if one of them is missing. So a restart computes exactly what
    an unbroken run does; so do several processes, each of which takes every nth batch. Raises `UserError` if a single
    image needs more memory than there is, and for a prompt that is too long.
    """
    folder, size, process = manifest.folder, manifest.batch_size, manifest.process
    done = existing(folder, (job.image for job in jobs))
    batches = [jobs[i : i + size] for i in range(0, len(jobs), size)][process.rank :: process.count]
    own = [job for batch in batches for job in batch]
    open_batches = [batch for batch in batches if any(job.image not in done for job in batch)]
    if not open_batches:
        return
    check_lengths(pipeline, list(dict.fromkeys(job.prompt for batch in open_batches for job in batch)))

    render_jobs = partial(render_batch, pipeline, sampling=sampling)

    def save(batch: list[Job], pixels: np.ndarray) -> None:
        new = [(job, image) for job, image in zip(batch, pixels, strict=True) if job.image not in done]
        for job, image in new:
            save_whole(reduce(image, sampling.save_size), folder / job.image)
        manifest.add([job for job, _ in new])
        bar.update(len(new))

    with (
        progress(desc="generating", total=len(own), initial=sum(job.image in done for job in own), unit="image") as bar,
        ThreadPoolExecutor(1) as writer,
    ):
        waiting = deque()
        for batch in open_batches:
            waiting.append(writer.submit(save, batch, halving(render_jobs, batch)))
            if len(waiting) > WAITING:
                waiting.popleft().result()  # waits, and raises what went wrong in writing
        for written in waiting:
            written.result()


def render_batch(pipeline: DiffusionPipeline, batch: list[Job], sampling: Sampling) -> np.ndarray:
    """Render jobs as `Sampling` says: uint8 RGB (n, size, size, 3)."""
    options = {name: value for name, value in vars(sampling).items() if name != "save_size"}
    return render(pipeline, [job.prompt for job in batch], [job.seed for job in batch], **options)


def halving(render_jobs: Callable[[list], np.ndarray], batch: list) -> np.ndarray:
    """Render a batch, which is halved until it fits into memory: uint8 RGB (n, size, size, 3).

    Raises `UserError` if one image alone does not fit.
    """
    try:
        return render_jobs(batch)
    except (torch.OutOfMemoryError, DecoderOutOfMemory) as error:
        if len(batch) == 1:
            raise UserError(
                "not enough memory for a single image: pass --offload model (or sequential, slower) and --vae-tiling, "
                "--precision fp16 (bf16 on a CPU), or a lower --size"
            ) from error
    torch.cuda.empty_cache()
    half = len(batch) // 2
    print(f"out of memory at {len(batch)} images at once; going on with {half}", flush=True)
    return np.concatenate([halving(render_jobs, batch[:half]), halving(render_jobs, batch[half:])])


def largest_batch(render_count: Callable[[int], object], device: torch.device) -> int:
    """Estimate from the peaks of two small trials how many images at once fill most of a GPU's free memory."""
    peaks = []
    for count in (2, 4):
        torch.cuda.reset_peak_memory_stats(device)
        render_count(count)
        peaks.append(torch.cuda.max_memory_allocated(device))
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # held by torch, and empty
    free = torch.cuda.mem_get_info(device)[0] + unused
    each = max(1, (peaks[1] - peaks[0]) // 2)
    return int(min(LARGEST_BATCH, max(1, FRACTION_OF_MEMORY * free // each)))


def free_batch_size(pipeline: DiffusionPipeline, sampling: Sampling, job: Job, device: torch.device) -> int:
    """Return the batch size if none is asked for: `largest_batch` of a GPU, tried with a job in two steps; the paper's on a CPU."""
    if device.type != "cuda":
        return PAPER_BATCH
    trial = replace(sampling, steps=min(2, sampling.steps))
    return largest_batch(lambda count: render_batch(pipeline, [job] * count, trial), device)


def save_whole(image: Image.Image, path: Path) -> None:
    """Write a PNG under another name, then rename it, so that it exists whole or not at all."""
    with whole(path) as unfinished:
        image.save(unfinished, format="PNG")
