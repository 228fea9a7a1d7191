"""Say how images are sampled; end classifier-free guidance early, after which the denoiser sees the prompt and nothing else.

A guided step evaluates twice as many latents as there are images, with the prompt and without. Late steps draw detail that
guidance hardly changes (Castillo et al., 2023, https://arxiv.org/abs/2312.12487; Kynkäänniemi et al., 2024,
https://arxiv.org/abs/2404.07724).
"""

from collections.abc import Callable
from dataclasses import dataclass

from stable_diffusion.loading.family import PAPER_PIPELINE
from utils.errors import UserError

ALWAYS = 1.0  # guidance in every step, as in the paper
# What these pipelines double for guidance, all of which they hand to a callback and take back. Others double a mask
# too, which they keep to themselves (Sana), take no callback (PixArt), or guide without doubling (FLUX, Qwen-Image).
DOUBLED = {
    PAPER_PIPELINE: ("prompt_embeds",),
    "StableDiffusionXLPipeline": ("prompt_embeds", "add_text_embeds", "add_time_ids"),
    "StableDiffusion3Pipeline": ("prompt_embeds", "pooled_prompt_embeds"),
}


@dataclass(frozen=True)
class Sampling:
    """Steps and guidance of an image, the pixels a side at which it is drawn and saved, and the fraction of guided steps."""

    steps: int
    guidance_scale: float | None
    size: int
    save_size: int
    guidance_until: float = ALWAYS


def check_guidance_until(fraction: float, pipeline: str, guidance_scale: float | None) -> None:
    """Raise `UserError` if a pipeline, by the name of its class, can't stop guiding, or doesn't guide at that scale."""
    if fraction == ALWAYS:
        return
    if pipeline not in DOUBLED:
        raise UserError(
            f"--guidance-until {fraction:g}: a {pipeline} can't stop guiding before its last step, only a "
            f"{', '.join(DOUBLED)} can; leave it out"
        )
    if guidance_scale is None or guidance_scale <= 1:
        raise UserError(
            f"--guidance-until {fraction:g}: with --guidance-scale {guidance_scale} no step is guided; leave it out, or "
            "give a scale above 1"
        )


def guided_steps(fraction: float, steps: int) -> int:
    """Return how many of the steps are guided: a fraction of them, rounded with halves up, and at least one."""
    return max(1, int(fraction * steps + 0.5))


def guidance_options(pipeline, fraction: float) -> dict:
    """Return the arguments with which a pipeline of `DOUBLED` guides only the first `fraction`, a fraction, of its steps."""
    if fraction == ALWAYS:
        return {}
    names = DOUBLED[type(pipeline).__name__]
    return {"callback_on_step_end": _stop_after(fraction), "callback_on_step_end_tensor_inputs": list(names)}


def _stop_after(fraction: float) -> Callable[[object, int, object, dict], dict]:
    """Return a callback of diffusers that ends guidance, as `diffusers.callbacks.SDCFGCutoffCallback` does for one prompt.

    A pipeline takes its scale anew in each call, so nothing is left behind for the next batch.
    """

    def at_step_end(pipeline, step: int, timestep: object, tensors: dict) -> dict:
        if step + 1 != guided_steps(fraction, pipeline.num_timesteps):
            return tensors
        if not pipeline.do_classifier_free_guidance:  # a distilled UNet is told the scale instead
            raise UserError(f"--guidance-until {fraction:g}: the model doubles no batch for guidance; leave it out")
        pipeline._guidance_scale = 1.0  # where pipelines stop guiding, and drop the half without the prompt
        return {name: tensor.chunk(2)[1] for name, tensor in tensors.items()}

    return at_step_end
