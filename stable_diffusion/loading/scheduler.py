"""Choose a pipeline's scheduler, and find out what a UNet predicts, which a single file doesn't say and a folder can get wrong."""

import json

import diffusers
import torch
from diffusers import DDIMScheduler
from torch.nn.functional import cosine_similarity

from stable_diffusion.loading.family import SCHEDULERS
from utils.errors import UserError

# DDIM as in latent diffusion, on which the paper's images were made (timesteps 981 ... 1 in 50 steps)
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
SPACING = {"timestep_spacing": "leading", "steps_offset": 1}
DDIM_ONLY = {"set_alpha_to_one": False, "clip_sample": False}
Config = dict[str, object]  # settings of a scheduler of diffusers
NOISE, OTHER = 0.9, 0.5  # similarity above which a UNet predicts the noise, and below which it doesn't


def paper_scheduler(scheduler: str, config: Config, prediction: str):
    """Make a scheduler of diffusers with Stable Diffusion's betas and spacing, except for what `own_schedule` finds in `config`."""
    cls = getattr(diffusers, SCHEDULERS[scheduler])
    specific = DDIM_ONLY if cls is DDIMScheduler else {}
    return cls(**{**BETAS, **SPACING, **specific, **own_schedule(config)}, prediction_type=prediction)


def other_scheduler(model: str, scheduler: str, own):
    """Make the scheduler of that name with the settings of a pipeline's own. Raises `UserError` if it can't replace it."""
    cls, was = getattr(diffusers, SCHEDULERS[scheduler]), type(own).__name__
    flows = own.config.get("use_flow_sigmas") or own.config.get("prediction_type") == "flow_prediction"
    if cls not in own.compatibles or (flows and "use_flow_sigmas" not in cls().config):
        raise UserError(
            f"--scheduler {scheduler}: can't replace the {was} that {model} was made for; leave the flag out"
        )
    # what a model's own scheduler doesn't know it doesn't do; DDIM would clip what it expects of the image to -1 ... 1
    unclipped = {"clip_sample": False} if cls is DDIMScheduler and "clip_sample" not in own.config else {}
    return cls.from_config(own.config, **unclipped)


def own_schedule(config: Config) -> Config:
    """Return what differs between a scheduler's configuration and Stable Diffusion's, as options of diffusers' schedulers.

    A schedule that ends in pure noise must begin there, hence trailing (Lin et al., 2023,
    https://arxiv.org/abs/2305.08891). Any other schedule gets the paper's spacing.
    """
    own = {key: config[key] for key, usual in BETAS.items() if config.get(key, usual) != usual}
    if config.get("trained_betas") is not None:
        own["trained_betas"] = [float(beta) for beta in config["trained_betas"]]
    if config.get("rescale_betas_zero_snr"):
        own["rescale_betas_zero_snr"] = True
    if config.get("timestep_spacing") == "trailing" or config.get("rescale_betas_zero_snr"):
        own["timestep_spacing"] = "trailing"
    return own


def whole_schedule(scheduler) -> Config:
    """Return all settings of a scheduler as JSON has them."""
    return {key: value for key, value in json.loads(scheduler.to_json_string()).items() if not key.startswith("_")}


def similarity_to_noise(pipeline, device: torch.device) -> float:
    """Measure the cosine between pure noise and what the UNet predicts for it at the last training step.

    A UNet that predicts noise (epsilon) returns it, since there is nothing else in its input: near 1. The velocity is
    alpha * noise - sigma * image (Salimans and Ho, 2022, https://arxiv.org/abs/2202.00512) with alpha below 0.1, hence
    mostly the guessed image: near 0. NaN if the UNet overflows.
    """
    unet = pipeline.unet
    side = unet.config.sample_size if isinstance(unet.config.sample_size, int) else 64
    noise = torch.randn((1, unet.config.in_channels, side, side), generator=torch.Generator().manual_seed(0))
    last = pipeline.scheduler.config.num_train_timesteps - 1
    with torch.inference_mode():
        text = pipeline.encode_prompt("", device, 1, do_classifier_free_guidance=False)[0]
        predicted = unet(noise.to(device, unet.dtype), last, encoder_hidden_states=text).sample
    return cosine_similarity(predicted.float().cpu().flatten(), noise.flatten(), dim=0).item()


def decide_prediction(name: str, said: str | None, similarity: float) -> str:
    """Decide what a model predicts, from what its folder says (None for a single file) and `similarity_to_noise`.

    Raises `UserError` if the two contradict each other, or if a single file's can't be told: with the wrong prediction
    every image is noise.
    """
    measured = "epsilon" if similarity > NOISE else "v_prediction" if similarity < OTHER else None
    if said is None:
        if measured is None:
            raise UserError(
                f"--model {name}: what its UNet predicts can't be told (similarity to the noise {similarity:.2f}); pass "
                "--prediction epsilon or v_prediction, or --precision fp32 if it is nan"
            )
        print(f"{name} predicts {measured}: measured, similarity to the noise {similarity:.2f}", flush=True)
        return measured
    if measured is None:
        print(
            f"note: {name} is taken to predict {said}, as its folder says; the test was inconclusive ({similarity:.2f})"
        )
    if measured and (said == "epsilon") != (measured == "epsilon"):
        raise UserError(
            f"--model {name}: its scheduler_config.json says that it predicts {said}, but its UNet behaves as {measured} "
            f"(similarity to the noise {similarity:.2f}); pass --prediction {measured}, or {said} if you know better"
        )
    return said
