"""What is measured of generation: Stable Diffusion 2.1's size with random weights, fp16 on a GPU, fp32 on a CPU."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from PIL import Image

from results.random_pipeline import prompts, random_pipeline
from results.studies import Finding, Place
from results.studies.speed.bench import by_turns, setup
from stable_diffusion.drawing.produce import produce
from stable_diffusion.drawing.sampling import Sampling
from stable_diffusion.manifest import Manifest
from stable_diffusion.plan import Job
from utils.device import choose_device


def generation(place: Place) -> Iterator[Finding]:
    """Measure the plain loop, ours and the networks alone, with the same sampler, batch size and weights."""
    device = choose_device(place.device)
    gpu = device.type == "cuda"
    count, batch, side, steps = (60, 15, 512, 50) if gpu else (8, 4, 64, 4)
    count, batch, side, steps, turns = (1, 1, 32, 1, 1) if place.small else (count, batch, side, steps, 3)
    yield setup(device, {"turns": turns, "images": count, "pixels": side, "steps": steps, "batch": batch})
    plain = fast = random_pipeline(device, torch.float16 if gpu else torch.float32)
    if gpu:  # ours in the layout that load_pipeline gives it there
        fast = random_pipeline(device, torch.float16)
        fast.unet.to(memory_format=torch.channels_last)
        fast.vae.to(memory_format=torch.channels_last)
    sampling = Sampling(steps, 9.0, side, min(side, 224))
    works = {"plain": partial(draw_plainly, plain), "ours": partial(draw, fast), "bare": partial(run_networks, fast)}
    for work in works.values():
        work(batch, batch, replace(sampling, steps=1))  # to warm up
    works = {name: partial(work, count, batch, sampling) for name, work in works.items()}
    yield Finding("generation", by_turns(works, turns, device, count))


@torch.no_grad()
def draw_plainly(pipeline, count: int, batch_size: int, sampling: Sampling) -> None:
    """Encode, sample, decode, reduce and save, one after the other for each batch, as the paper's procedure does."""
    scheduler, device, dtype = pipeline.scheduler, pipeline.device, pipeline.unet.dtype
    side, texts = sampling.size // pipeline.vae_scale_factor, prompts(count)

    def encode(texts: list[str]) -> torch.Tensor:
        ids = pipeline.tokenizer(texts, padding="max_length", max_length=77, truncation=True, return_tensors="pt")
        return pipeline.text_encoder(ids.input_ids.to(device))[0]

    with TemporaryDirectory() as folder:
        for start in range(0, count, batch_size):
            batch = texts[start : start + batch_size]
            context = torch.cat([encode([""] * len(batch)), encode(batch)])
            shape = (1, pipeline.unet.config.in_channels, side, side)
            noise = [torch.randn(shape, generator=torch.Generator().manual_seed(start + i)) for i in range(len(batch))]
            latents = torch.cat(noise).to(device, dtype)
            scheduler.set_timesteps(sampling.steps)
            for moment in scheduler.timesteps:
                noise = pipeline.unet(torch.cat([latents] * 2), moment, encoder_hidden_states=context).sample
                empty, asked = noise.chunk(2)
                guided = empty + sampling.guidance_scale * (asked - empty)
                latents = scheduler.step(guided, moment, latents).prev_sample
            images = pipeline.vae.decode((latents / pipeline.vae.config.scaling_factor).to(dtype)).sample
            images = (images.float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy() * 255
            for i, image in enumerate(images.round().astype("uint8")):
                small = Image.fromarray(image).resize((sampling.save_size,) * 2, Image.Resampling.LANCZOS)
                small.save(Path(folder) / f"{start + i}.png")


def draw(pipeline, count: int, batch_size: int, sampling: Sampling) -> None:
    """Draw the same images as `stable_diffusion.generate` does."""
    jobs = [Job(f"0_0/{i:06d}.png", "0_0", text, i) for i, text in enumerate(prompts(count))]
    with TemporaryDirectory() as folder:
        produce(pipeline, jobs, Manifest(Path(folder), {"benchmark": True}, batch_size, []), sampling)


@torch.inference_mode()
def run_networks(pipeline, count: int, batch_size: int, sampling: Sampling) -> None:
    """Run the networks alone: for each batch its texts, a guided UNet in every step, and a decoding, of latents in memory."""
    unet, device, side = pipeline.unet, pipeline.device, sampling.size // pipeline.vae_scale_factor
    for start in range(0, count, batch_size):
        images = min(batch_size, count - start)
        latents = torch.randn(2 * images, unet.config.in_channels, side, side).to(device, unet.dtype)
        context = pipeline.text_encoder(torch.zeros(2 * images, 77, dtype=torch.long, device=device))[0]
        for moment in torch.arange(sampling.steps, device=device):
            unet(latents, moment, encoder_hidden_states=context)
        pipeline.vae.decode(latents[:images])
