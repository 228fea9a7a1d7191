"""Random pipelines of several families, small enough for a test, built as the published ones are."""

import string

import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderKLQwenImage,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from prompts import TOKENIZER
from stable_diffusion.loading.pipeline import PADDING
from stable_diffusion.loading.scheduler import BETAS

UNCHECKED = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
SPECIAL = ["<pad>", "</s>", "<unk>", "<bos>", "<eos>"]
LETTERS = ["▁", *string.ascii_letters, *string.digits, *",.-'"]


def clip(width=32, cls=CLIPTextModel, **more):
    config = CLIPTextConfig(
        hidden_size=width, intermediate_size=37, num_hidden_layers=2, num_attention_heads=4, vocab_size=49408,
        projection_dim=width, bos_token_id=49406, eos_token_id=49407, **more,
    )  # fmt: skip
    return cls(config)


def t5(width=32):
    return T5EncoderModel(T5Config(vocab_size=128, d_model=width, d_kv=8, d_ff=37, num_layers=2, num_heads=4))


def t5_tokenizer(limit=512):
    return T5Tokenizer(vocab=[(token, -1.0) for token in SPECIAL + LETTERS], extra_ids=0, model_max_length=limit)


def clip_tokenizer():
    return CLIPTokenizer.from_pretrained(TOKENIZER)


def kl(channels=4, **more):
    options = {"norm_num_groups": 4, "sample_size": 32, **more}
    return AutoencoderKL(
        block_out_channels=(8, 16), latent_channels=channels, down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, **options,
    )  # fmt: skip


def unet(**more):
    options = {"attention_head_dim": (2, 4), "use_linear_projection": True}
    options |= {"down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D")}
    options |= {"up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"), **more}
    return UNet2DConditionModel(
        sample_size=16, block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=8, **options
    )


def stable_diffusion(kind):
    """A pipeline built as Stable Diffusion 1.x ("sd1") or 2.x ("sd2") is, with four latent channels."""
    torch.manual_seed(0)
    second = kind == "sd2"
    return StableDiffusionPipeline(
        unet=unet(
            cross_attention_dim=32, attention_head_dim=[2, 4] if second else 4, use_linear_projection=second,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        ),
        vae=kl(), text_encoder=clip(hidden_act="gelu" if second else "quick_gelu"), scheduler=DDIMScheduler(**BETAS),
        tokenizer=CLIPTokenizer.from_pretrained(TOKENIZER, pad_token=PADDING[kind]), **UNCHECKED,
    )  # fmt: skip


def sdxl():
    conditions = {"addition_embed_type": "text_time", "addition_time_embed_dim": 8}
    return StableDiffusionXLPipeline(
        vae=kl(), text_encoder=clip(), text_encoder_2=clip(cls=CLIPTextModelWithProjection), tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(), unet=unet(cross_attention_dim=64, projection_class_embeddings_input_dim=80, **conditions),
        scheduler=EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1),
    )  # fmt: skip


def sd3():
    return StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=16, patch_size=1, in_channels=4, num_layers=1, attention_head_dim=8, num_attention_heads=4,
            joint_attention_dim=32, caption_projection_dim=32, pooled_projection_dim=64, out_channels=4,
        ),
        vae=kl(shift_factor=0.06, scaling_factor=1.5), scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        text_encoder=clip(16, CLIPTextModelWithProjection), text_encoder_2=clip(48, CLIPTextModelWithProjection),
        text_encoder_3=t5(), tokenizer=clip_tokenizer(), tokenizer_2=clip_tokenizer(), tokenizer_3=t5_tokenizer(),
    )  # fmt: skip


def flux(distilled=False):
    return FluxPipeline(
        transformer=FluxTransformer2DModel(
            patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=(4, 4, 8), guidance_embeds=not distilled,
        ),
        vae=kl(shift_factor=0.06, scaling_factor=1.5, use_quant_conv=False, use_post_quant_conv=False),
        scheduler=FlowMatchEulerDiscreteScheduler(), text_encoder=clip(), text_encoder_2=t5(),
        tokenizer=clip_tokenizer(), tokenizer_2=t5_tokenizer(),
    )  # fmt: skip


def pixart():
    return PixArtSigmaPipeline(
        transformer=PixArtTransformer2DModel(
            sample_size=16, patch_size=2, in_channels=4, out_channels=8, num_layers=1, attention_head_dim=8,
            num_attention_heads=4, cross_attention_dim=32, caption_channels=32,
        ),
        vae=kl(), scheduler=DPMSolverMultistepScheduler(), text_encoder=t5(), tokenizer=t5_tokenizer(),
    )  # fmt: skip


def sana():
    vae = AutoencoderDC(
        in_channels=3, latent_channels=4, attention_head_dim=2, encoder_block_types=("ResBlock", "EfficientViTBlock"),
        decoder_block_types=("ResBlock", "EfficientViTBlock"), encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8), encoder_qkv_multiscales=((), (5,)), decoder_qkv_multiscales=((), (5,)),
        encoder_layers_per_block=(1, 1), decoder_layers_per_block=(1, 1), downsample_block_type="conv",
        upsample_block_type="interpolate", decoder_norm_types="rms_norm", decoder_act_fns="silu", scaling_factor=0.41407,
    )  # fmt: skip
    gemma = Gemma2Config(
        vocab_size=128, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, max_position_embeddings=512,
    )  # fmt: skip
    vocab = {token: number for number, token in enumerate(SPECIAL + LETTERS)}
    return SanaPipeline(
        transformer=SanaTransformer2DModel(
            sample_size=32, patch_size=1, in_channels=4, out_channels=4, num_layers=1, num_attention_heads=2,
            attention_head_dim=4, num_cross_attention_heads=2, cross_attention_head_dim=4, cross_attention_dim=8,
            caption_channels=8,
        ),
        vae=vae, scheduler=DPMSolverMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0),
        text_encoder=Gemma2Model(gemma), tokenizer=GemmaTokenizer(vocab=vocab, merges=[]),
    )  # fmt: skip


def lcm():
    return LatentConsistencyModelPipeline(
        vae=kl(), text_encoder=clip(), tokenizer=clip_tokenizer(), unet=unet(cross_attention_dim=32, time_cond_proj_dim=32),
        scheduler=LCMScheduler(), **UNCHECKED,
    )  # fmt: skip


def qwen_image():
    text = Qwen2_5_VLConfig(
        text_config={
            "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "num_key_value_heads": 2, "vocab_size": 256, "max_position_embeddings": 512,
            "rope_scaling": {"type": "default", "mrope_section": [1, 1, 2], "rope_type": "default"},
        },
        vision_config={
            "depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16,
        },
    )  # fmt: skip
    vocab = {token: number for number, token in enumerate([*string.printable, "Ġ", "Ċ", "<|im_start|>", "<|im_end|>"])}
    return QwenImagePipeline(
        transformer=QwenImageTransformer2DModel(
            patch_size=2, in_channels=16, out_channels=4, num_layers=1, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=16, axes_dims_rope=(8, 4, 4),
        ),
        vae=AutoencoderKLQwenImage(
            base_dim=8, z_dim=4, dim_mult=[1, 2, 2, 2], num_res_blocks=1, temperal_downsample=[False, True, True],
            latents_mean=[0.0] * 4, latents_std=[1.0] * 4,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(), text_encoder=Qwen2_5_VLForConditionalGeneration(text),
        tokenizer=Qwen2Tokenizer(vocab=vocab, merges=[]),
    )  # fmt: skip


FAMILIES = {
    "SDXL": sdxl,
    "SD 3": sd3,
    "FLUX": flux,
    "PixArt": pixart,
    "Sana": sana,
    "LCM": lcm,
    "Qwen-Image": qwen_image,
}


def save(family, folder, **options):
    """A random pipeline of a family, the same each time, in a folder in diffusers' format."""
    torch.manual_seed(0)
    FAMILIES[family](**options).save_pretrained(folder)
    return folder
