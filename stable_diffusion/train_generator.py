"""Train a small Stable Diffusion from scratch on a folder of captioned images.

    python -m datasets.toy --output results/runs/captioned --train 40000 --val 0 --test 0 --seed 1000 --captions
    python -m stable_diffusion.train_generator --data results/runs/captioned --output results/runs/tiny

The folder holds `captions.csv` with the columns image (a path in the folder) and caption. The result is a folder in
diffusers' own format (CLIP-type text encoder and tokenizer, AutoencoderKL, UNet2DConditionModel, DDIM with Stable
Diffusion's betas) that `python -m stable_diffusion.generate --model` takes. `stable_diffusion/tiny/README.md` says how
the one of this repository was trained.

First the autoencoder learns to rebuild the images, then text encoder and UNet learn together to
denoise its latents. `--autoencoder` starts from one trained before; with `--autoencoder-steps 0` it stays as it is.
"""

import argparse
import contextlib
import copy
import math
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline
from PIL import Image
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import CLIPTokenizer

from datasets.custom import read_lines
from datasets.reading import read_image
from prompts import TOKENIZER
from stable_diffusion.loading.scheduler import BETAS, DDIM_ONLY, SPACING
from stable_diffusion.small import new_autoencoder, new_text_encoder, new_unet
from utils.device import choose_device
from utils.errors import UserError, command_line
from utils.progress import progress

# Stable Diffusion's noise schedule and DDIM; the velocity learns the layout of a face sooner than the noise
SCHEDULER = {**BETAS, **SPACING, **DDIM_ONLY, "prediction_type": "v_prediction"}


def read_captioned_folder(folder: Path, size: int) -> tuple[torch.Tensor, list[str]]:
    """Read the images, uint8 (n, 3, size, size), and their captions, in the order of captions.csv.

    Raises `UserError`, with the line, if the list, an image or a column is missing or cannot be read.
    """
    listing = folder / "captions.csv"
    rows = read_lines(listing, ("image", "caption"), "it needs the columns image and caption")
    pixels = np.empty((len(rows), size, size, 3), np.uint8)
    for index, (line, name) in enumerate(
        progress(rows["image"].items(), desc="reading", total=len(rows), unit="image")
    ):
        try:
            pixels[index] = read_image(folder / name).resize((size, size), Image.Resampling.LANCZOS)
        except UserError as error:
            raise UserError(f"{listing} line {line}: {error}") from error
    return torch.from_numpy(pixels).permute(0, 3, 1, 2), rows["caption"].tolist()


def train_autoencoder(vae, images, *, steps, batch_size, lr, device, amp, generator) -> None:
    """Train with an L1 loss at three resolutions, so that shapes count more than noise; pull latents slightly to normal."""

    def loss() -> torch.Tensor:
        pixels = _pixels(images[torch.randint(len(images), (batch_size,), generator=generator)], device)
        with torch.autocast(device.type, torch.bfloat16, enabled=amp):
            posterior = vae.encode(pixels).latent_dist
            rebuilt = vae.decode(posterior.sample()).sample
        gap = rebuilt.float() - pixels
        return sum(F.avg_pool2d(gap, k).abs().mean() for k in (1, 2, 4)) + 1e-6 * posterior.kl().mean()

    _fit(vae.to(device).train(), loss, steps, lr, "autoencoder")
    vae.eval()


@torch.no_grad()
def encode_all(vae, images, *, device, amp, batch_size=256) -> torch.Tensor:
    """Return the mean latents of all images, fp32, scaled to unit standard deviation; set `scaling_factor`."""
    parts = []
    for batch in progress(images.split(batch_size), desc="encoding", unit="batch"):
        with torch.autocast(device.type, torch.bfloat16, enabled=amp):
            parts.append(vae.encode(_pixels(batch, device)).latent_dist.mean.float().cpu())
    latents = torch.cat(parts)
    vae.register_to_config(scaling_factor=1 / latents.std().item())
    return latents * vae.config.scaling_factor


def train_denoiser(models, latents, token_ids, empty_ids, *, steps, batch_size, lr, device, amp, generator, save):
    """Predict the velocity of noised latents from the caption, which one time in ten is left empty.

    `models` is a ModuleDict of text encoder and UNet. Returns their exponential moving average; `save(average)` is
    called ten times during training.
    """
    scheduler = DDIMScheduler(**SCHEDULER)
    average = AveragedModel(models.to(device).train(), multi_avg_fn=get_ema_multi_avg_fn(0.999))

    def loss() -> torch.Tensor:
        rows = torch.randint(len(latents), (batch_size,), generator=generator)
        ids = torch.where(torch.rand(batch_size, 1, generator=generator) < 0.1, empty_ids, token_ids[rows]).to(device)
        clean = latents[rows].to(device)
        noise = torch.randn(clean.shape, generator=generator).to(device)
        times = torch.randint(1000, (batch_size,), generator=generator).to(device)
        noisy = scheduler.add_noise(clean, noise, times)
        with torch.autocast(device.type, torch.bfloat16, enabled=amp):
            text = models["text_encoder"](ids)[0]
            predicted = models["unet"](noisy, times, encoder_hidden_states=text).sample
        return F.mse_loss(predicted.float(), scheduler.get_velocity(clean, noise, times))

    def after(step: int) -> None:
        average.update_parameters(models)
        if step % max(1, steps // 10) == 0:
            save(average.module)

    _fit(models, loss, steps, lr, "denoiser", after)
    return average.module.eval()


def _pixels(images, device) -> torch.Tensor:
    return images.to(device).float() / 127.5 - 1


def _fit(model, loss_of_batch, steps, lr, name, after=lambda step: None) -> None:
    """Minimise a loss by AdamW, whose learning rate warms up over 200 steps and then falls along a cosine."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.99), weight_decay=1e-3)
    warm_up = min(200, steps // 10 + 1)

    def factor(step: int) -> float:
        return min((step + 1) / warm_up, 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / max(1, steps))))

    schedule, smoothed = torch.optim.lr_scheduler.LambdaLR(optimizer, factor), None
    bar = progress(range(1, steps + 1), desc=name, unit="step")
    for step in bar:
        loss = loss_of_batch()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        smoothed = loss.item() if smoothed is None else 0.99 * smoothed + 0.01 * loss.item()
        bar.set_postfix(loss=f"{smoothed:.4f}", refresh=False)
        after(step)


def save_pipeline(folder: Path, vae, tokenizer, models) -> None:
    """Write the pipeline in half precision; the models in memory stay as they are."""
    pipeline = StableDiffusionPipeline(
        vae=copy.deepcopy(vae).half(),
        text_encoder=copy.deepcopy(models["text_encoder"]).half(),
        tokenizer=tokenizer,
        unet=copy.deepcopy(models["unet"]).half(),
        scheduler=DDIMScheduler(**SCHEDULER),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)


def main() -> None:
    """Train the autoencoder, then text encoder and UNet."""
    args = parse_args()
    device = choose_device(args.device)
    amp = args.precision == "bf16"
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)

    images, captions = read_captioned_folder(args.data, args.size)
    tokenizer = CLIPTokenizer.from_pretrained(args.tokenizer)
    encode = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
    token_ids = tokenizer(captions, **encode).input_ids
    empty_ids = tokenizer([""], **encode).input_ids

    vae = AutoencoderKL.from_pretrained(args.autoencoder) if args.autoencoder else new_autoencoder(args.size)
    how = {"lr": args.lr, "device": device, "amp": amp, "generator": generator}
    train_autoencoder(vae, images, steps=args.autoencoder_steps, batch_size=args.autoencoder_batch_size, **how)
    vae.save_pretrained(args.output / "autoencoder_fp32")
    latents = encode_all(vae, images, device=device, amp=amp)

    models = torch.nn.ModuleDict({"text_encoder": new_text_encoder(tokenizer, token_ids), "unet": new_unet(args.size)})
    how |= {"steps": args.steps, "batch_size": args.batch_size}
    save = partial(save_pipeline, args.output, vae, tokenizer)
    # On a CPU the fused attention's backward pass is slow in bf16: with plain products a step takes half the time.
    with sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else contextlib.nullcontext():
        save(train_denoiser(models, latents, token_ids, empty_ids, save=save, **how))
    print(f"wrote {args.output}")


def parse_args() -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with captions.csv")
    parser.add_argument("--output", type=Path, required=True, help="folder to write the pipeline to")
    parser.add_argument("--tokenizer", default=str(TOKENIZER), help="folder or hub id of a CLIP tokenizer")
    parser.add_argument("--size", type=int, default=64, help="pixels a side, a multiple of 16")
    parser.add_argument("--autoencoder", type=Path, help="folder of an autoencoder to start from")
    parser.add_argument("--autoencoder-steps", type=int, default=5000)
    parser.add_argument("--steps", type=int, default=6000, help="steps of text encoder and UNet")
    parser.add_argument("--autoencoder-batch-size", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    return parser.parse_args()


if __name__ == "__main__":
    command_line(main)
