"""What a UNet predicts, the noise or something else, measured: a single file doesn't say, and a folder can be wrong."""

import torch
from torch.nn.functional import cosine_similarity

from utils.errors import UserError

NOISE, OTHER = 0.9, 0.5  # similarity above which it is the noise, and below which it is not


def similarity_to_noise(pipeline, device: torch.device) -> float:
    """The cosine between pure noise and what the UNet predicts for it at the last training step.

    A UNet that predicts noise (epsilon) returns it, since there is nothing else in its input: near 1. The velocity is
    alpha * noise - sigma * image (Salimans and Ho, 2022, https://arxiv.org/abs/2202.00512) with alpha below 0.1, hence
    mostly the guessed image: near 0. NaN where the UNet overflows.
    """
    unet = pipeline.unet
    side = unet.config.sample_size if isinstance(unet.config.sample_size, int) else 64
    noise = torch.randn((1, unet.config.in_channels, side, side), generator=torch.Generator().manual_seed(0))
    last = pipeline.scheduler.config.num_train_timesteps - 1
    with torch.inference_mode():
        text = pipeline.encode_prompt("", device, 1, do_classifier_free_guidance=False)[0]
        said = unet(noise.to(device, unet.dtype), last, encoder_hidden_states=text).sample
    return cosine_similarity(said.float().cpu().flatten(), noise.flatten(), dim=0).item()


def decide_prediction(name: str, said: str | None, similarity: float) -> str:
    """What the model predicts, from what its folder says (None for a single file) and `similarity_to_noise`.

    Raises `UserError` where the two contradict each other, or a file's can't be told: with the wrong one every image
    is noise.
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
