"""The networks of a small Stable Diffusion, untrained: autoencoder, UNet and text encoder, for images of `size` pixels a side."""

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

LATENT_CHANNELS = 8


def new_autoencoder(size: int) -> AutoencoderKL:
    """Return an autoencoder that reduces each side by 8, as Stable Diffusion's does."""
    return AutoencoderKL(
        block_out_channels=(16, 24, 48, 96),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        mid_block_add_attention=False,
        sample_size=size,
    )


def new_unet(size: int) -> UNet2DConditionModel:
    """Return a denoiser of two resolutions that reads the text at both."""
    return UNet2DConditionModel(
        sample_size=size // 8,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(64, 128),
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        layers_per_block=1,
        attention_head_dim=4,  # for this class: the number of heads
        cross_attention_dim=64,
        norm_num_groups=16,
    )


def new_text_encoder(tokenizer: CLIPTokenizer, token_ids: torch.Tensor) -> CLIPTextModel:
    """Return a text encoder in which words that no caption uses start, and so stay, at zero: they say nothing.

    `token_ids` is int64 (captions, tokens).
    """
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length,
        projection_dim=64,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    encoder = CLIPTextModel(config)
    unused = torch.ones(len(tokenizer), dtype=torch.bool)
    unused[token_ids.unique()] = False
    with torch.no_grad():
        encoder.get_input_embeddings().weight[unused] = 0
    return encoder
