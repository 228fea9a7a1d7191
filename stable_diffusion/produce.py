"""Render a set's missing images in the largest batches that fit; each is written to disk while the next is rendered."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from stable_diffusion.manifest import Job, Manifest
from stable_diffusion.pipeline import encode_prompts, reduce, render
from utils.errors import UserError
from utils.files import whole
from utils.progress import progress

WAITING = 2  # batches that wait for the disk at most, so that they never fill the memory
SHARE_OF_MEMORY = 0.8
LARGEST_BATCH = 64  # beyond it a GPU computes no faster


@dataclass(frozen=True)
class Sampling:
    """How an image is sampled, and the pixels a side at which it is drawn and saved."""

    steps: int
    guidance_scale: float
    size: int
    save_size: int


def produce(pipeline: StableDiffusionPipeline, jobs: list[Job], manifest: Manifest, sampling: Sampling) -> None:
    """Render every job of which the file is missing from the manifest's folder, and note it there.

    A batch always holds the same images, and is made again where one of them is missing. So a restart computes exactly
    what an unbroken run does; so do several processes, each of which takes every nth batch. Raises `UserError` where a
    single image needs more memory than there is.
    """
    folder, size, process = manifest.folder, manifest.batch_size, manifest.process
    done = {job.image for job in jobs if (folder / job.image).exists()}
    batches = [jobs[i : i + size] for i in range(0, len(jobs), size)][process.rank :: process.count]
    own = [job for batch in batches for job in batch]
    open_batches = [batch for batch in batches if any(job.image not in done for job in batch)]
    if not open_batches:
        return
    render_jobs = renderer(pipeline, [job.prompt for batch in open_batches for job in batch], sampling)

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


def renderer(pipeline: StableDiffusionPipeline, prompts: list[str], sampling: Sampling) -> Callable[[list], np.ndarray]:
    """What renders a batch of jobs: each prompt is encoded once, here."""
    distinct = list(dict.fromkeys(prompts))
    embeddings = dict(zip(distinct, encode_prompts(pipeline, distinct), strict=True))
    empty = encode_prompts(pipeline, [""])

    def render_jobs(batch: list[Job]) -> np.ndarray:
        rows = torch.stack([embeddings[job.prompt] for job in batch])
        return render_batch(pipeline, rows, empty, [job.seed for job in batch], sampling)

    return render_jobs


def render_batch(pipeline, embeddings, empty, seeds, sampling: Sampling) -> np.ndarray:
    """`stable_diffusion.pipeline.render` with a `Sampling`."""
    options = {"steps": sampling.steps, "guidance_scale": sampling.guidance_scale, "size": sampling.size}
    return render(pipeline, embeddings, empty, seeds, **options)


def halving(render_jobs: Callable[[list], np.ndarray], batch: list) -> np.ndarray:
    """The images of a batch, which is halved until it fits into memory.

    Raises `UserError` where one image alone does not fit.
    """
    try:
        return render_jobs(batch)
    except torch.OutOfMemoryError as error:
        if len(batch) == 1:
            raise UserError(
                "not enough memory for a single image: lower --size, or pass --precision fp16 (bf16 on a CPU)"
            ) from error
    torch.cuda.empty_cache()
    half = len(batch) // 2
    print(f"out of memory at {len(batch)} images at once; going on with {half}", flush=True)
    return np.concatenate([halving(render_jobs, batch[:half]), halving(render_jobs, batch[half:])])


def largest_batch(render_count: Callable[[int], object], device: torch.device) -> int:
    """How many images at once fill most of a GPU's free memory, estimated from the peaks of two small trials."""
    peaks = []
    for count in (2, 4):
        torch.cuda.reset_peak_memory_stats(device)
        render_count(count)
        peaks.append(torch.cuda.max_memory_allocated(device))
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # held by torch, and empty
    free = torch.cuda.mem_get_info(device)[0] + unused
    each = max(1, (peaks[1] - peaks[0]) // 2)
    return int(min(LARGEST_BATCH, max(1, SHARE_OF_MEMORY * free // each)))


def trial_batch(pipeline: StableDiffusionPipeline, sampling: Sampling, prompt: str) -> int:
    """`largest_batch` for a pipeline, tried with a prompt and two steps."""
    row, empty = encode_prompts(pipeline, [prompt]), encode_prompts(pipeline, [""])
    trial = Sampling(2, sampling.guidance_scale, sampling.size, sampling.save_size)

    def render_count(count: int) -> np.ndarray:
        return render_batch(pipeline, row.expand(count, -1, -1), empty, list(range(count)), trial)

    return largest_batch(render_count, pipeline.device)


def save_whole(image: Image.Image, path: Path) -> None:
    """Write a PNG under another name, then rename it, so that it exists whole or not at all."""
    with whole(path) as partial:
        image.save(partial, format="PNG")
