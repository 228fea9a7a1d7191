"""Generation at the size of Stable Diffusion 2.1, with random weights: speed does not depend on them."""

import shutil
from functools import partial
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from results.speed.turns import Row, by_turns
from stable_diffusion.drawing.produce import produce
from stable_diffusion.drawing.sampling import Sampling
from stable_diffusion.loading.scheduler import BETAS, DDIM_ONLY, SPACING
from stable_diffusion.manifest import Manifest
from stable_diffusion.plan import Job

TOKENIZER = Path(__file__).resolve().parents[2] / "stable_diffusion" / "tiny" / "tokenizer"
GUIDANCE = 9.0


def random_pipeline(device: torch.device, dtype: torch.dtype) -> StableDiffusionPipeline:
    """Stable Diffusion 2.1-base in its published configuration, weights drawn at random (5 GB in fp32)."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=64,
        cross_attention_dim=1024,
        attention_head_dim=[5, 10, 20, 20],
        use_linear_projection=True,
    )
    blocks = 4
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        layers_per_block=2,
        latent_channels=4,
        sample_size=512,
    )
    text = CLIPTextModel(
        CLIPTextConfig(
            hidden_size=1024,
            intermediate_size=4096,
            num_hidden_layers=23,
            num_attention_heads=16,
            hidden_act="gelu",
            vocab_size=49408,
        )
    )
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=CLIPTokenizer.from_pretrained(TOKENIZER),
        unet=unet,
        scheduler=DDIMScheduler(**BETAS, **SPACING, **DDIM_ONLY),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device, dtype)


def prompts(count: int) -> list[str]:
    """Prompts of the usual length."""
    return [f"Portrait face photo of a smiling woman, oval face, long hair, number {i}" for i in range(count)]


@torch.no_grad()
def plain_loop(pipeline, count: int, folder: Path, *, batch_size: int, steps: int, size: int, save_size: int) -> None:
    """Batch by batch: encode, sample, decode, reduce and save, one after the other, as the paper's procedure does."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    scheduler, device, dtype = pipeline.scheduler, pipeline.device, pipeline.unet.dtype

    def encode(texts):
        ids = pipeline.tokenizer(texts, padding="max_length", max_length=77, truncation=True, return_tensors="pt")
        return pipeline.text_encoder(ids.input_ids.to(device))[0]

    texts = prompts(count)
    for start in range(0, count, batch_size):
        batch = texts[start : start + batch_size]
        context = torch.cat([encode([""] * len(batch)), encode(batch)])
        side = size // pipeline.vae_scale_factor
        shape = (1, pipeline.unet.config.in_channels, side, side)
        noise = [torch.randn(shape, generator=torch.Generator().manual_seed(start + i)) for i in range(len(batch))]
        latents = torch.cat(noise).to(device, dtype)
        scheduler.set_timesteps(steps)
        for moment in scheduler.timesteps:
            noise = pipeline.unet(torch.cat([latents] * 2), moment, encoder_hidden_states=context).sample
            empty, asked = noise.chunk(2)
            latents = scheduler.step(empty + GUIDANCE * (asked - empty), moment, latents).prev_sample
        images = pipeline.vae.decode((latents / pipeline.vae.config.scaling_factor).to(dtype)).sample
        images = (
            ((images.float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy() * 255).round().astype("uint8")
        )
        for i, image in enumerate(images):
            Image.fromarray(image).resize((save_size, save_size), Image.Resampling.LANCZOS).save(
                folder / f"{start + i}.png"
            )


def ours(pipeline, count: int, folder: Path, *, batch_size: int, steps: int, size: int, save_size: int) -> None:
    """The same images by `stable_diffusion.drawing.produce`."""
    shutil.rmtree(folder, ignore_errors=True)
    jobs = [Job(f"0_0/{i:06d}.png", "0_0", text, i) for i, text in enumerate(prompts(count))]
    manifest = Manifest(folder, {"benchmark": True}, batch_size, [])
    produce(pipeline, jobs, manifest, Sampling(steps, GUIDANCE, size, save_size))


@torch.inference_mode()
def bare(pipeline, count: int, *, batch_size: int, steps: int, size: int) -> None:
    """The networks alone: for every batch its texts, a guided UNet in every step, and a decoding, of latents in memory."""
    unet, device = pipeline.unet, pipeline.device
    side, moments = size // pipeline.vae_scale_factor, torch.arange(steps, device=device)
    for start in range(0, count, batch_size):
        images = min(batch_size, count - start)
        latents = torch.randn(2 * images, unet.config.in_channels, side, side).to(device, unet.dtype)
        context = pipeline.text_encoder(torch.zeros(2 * images, 77, dtype=torch.long, device=device))[0]
        for moment in moments:
            unet(latents, moment, encoder_hidden_states=context)
        pipeline.vae.decode(latents[:images])


def generation(
    device: torch.device, count: int, folder: Path, *, batch_size: int, steps: int, size: int, turns: int
) -> Row:
    """The plain loop, ours and the networks alone by turns, with the same sampler, batch size and weights."""
    gpu = device.type == "cuda"
    mine = random_pipeline(device, torch.float16 if gpu else torch.float32)
    theirs = mine
    if gpu:  # ours in the layout that load_pipeline gives it there
        theirs = random_pipeline(device, torch.float16)
        mine.unet.to(memory_format=torch.channels_last)
        mine.vae.to(memory_format=torch.channels_last)
    images = {"batch_size": batch_size, "size": size}
    files = {**images, "save_size": min(size, 224)}
    works = {
        "plain": partial(plain_loop, theirs, folder=folder, **files),
        "ours": partial(ours, mine, folder=folder, **files),
        "bare": partial(bare, mine, **images),
    }
    for work in works.values():
        work(count=batch_size, steps=1)  # to warm up
    row = by_turns(
        {name: partial(work, count=count, steps=steps) for name, work in works.items()}, turns, device, count
    )
    shutil.rmtree(folder)
    return row
