"""Stable Diffusion 2.1-base with random weights, to time generation: speed does not depend on the weights."""

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from stable_diffusion.loading.scheduler import BETAS, DDIM_ONLY, SPACING
from utils.records import ROOT


def random_pipeline(device: torch.device, dtype: torch.dtype) -> StableDiffusionPipeline:
    """Return a pipeline in the published configuration (5 GB in fp32)."""
    torch.manual_seed(0)
    heads = {"attention_head_dim": [5, 10, 20, 20], "use_linear_projection": True}
    unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=1024, **heads)
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        sample_size=512,
    )
    text = CLIPTextConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=23,
        num_attention_heads=16,
        hidden_act="gelu",
        vocab_size=49408,
    )
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(text),
        tokenizer=CLIPTokenizer.from_pretrained(ROOT / "stable_diffusion" / "tiny" / "tokenizer"),
        unet=unet,
        scheduler=DDIMScheduler(**BETAS, **SPACING, **DDIM_ONLY),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device, dtype)


def prompts(count: int) -> list[str]:
    """Return prompts of the usual length."""
    return [f"Portrait face photo of a smiling woman, oval face, long hair, number {i}" for i in range(count)]
