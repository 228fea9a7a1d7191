"""The kinds of generator: diffusers' text-to-image pipelines, and what each draws with by default. Loads diffusers late."""

import difflib
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stable_diffusion.loading.source import Source, read_json
from utils.errors import UserError

PAPER_PIPELINE = "StableDiffusionPipeline"  # of Stable Diffusion 1.x and 2.x; others keep their own settings
SCHEDULERS = {  # our names for classes of diffusers
    "ddim": "DDIMScheduler",
    "dpmpp": "DPMSolverMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
    "unipc": "UniPCMultistepScheduler",
}
PAPER_SAMPLER = ("ddim", 50)  # --scheduler, --steps
FAST_SAMPLER = ("dpmpp", 20)  # those of --fast
PAPER_GUIDANCE, PAPER_SIZE, PAPER_BATCH = 9.0, 512, 15  # images at once: without a GPU
GUIDANCE = ("guidance_scale", "true_cfg_scale", "prior_guidance_scale")  # how pipelines call it
NOT_ALONE = ("Control", "Combined")  # wants an image; is never what a model_index.json names
OF_ITS_IMAGES = ("safety_checker", "feature_extractor", "watermarker")  # parts that check or mark them
SCHNELL_STEPS, SCHNELL_TOKENS = 4, 256  # FLUX.1-schnell is distilled, which only its transformer's configuration says
OF_SEVERAL_SIZES = ("SanaPipeline", "SanaPAGPipeline")  # 512 to 4096 pixels, which the class, with 1024, doesn't say
DISTILLED = re.compile(r"turbo|lightning|hyper-?sd|sprint|distill|dmd|klein", re.IGNORECASE)  # in a model's name


@dataclass(frozen=True)
class Defaults:
    """Sampler, guidance, size and precision of a pipeline if no flag gives them. None: the loaded model decides.

    `precision` is the one for a GPU: models trained in bf16 overflow in fp16.
    """

    scheduler: str | None
    steps: int | None
    guidance_scale: float | None
    size: int | None
    precision: str


PAPER = Defaults(*PAPER_SAMPLER, PAPER_GUIDANCE, PAPER_SIZE, "fp16")


def text_to_image_classes() -> dict[str, type]:
    """Return diffusers' pipelines that need nothing but a text to draw an image, by the name of their class."""
    from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING as known

    def needs_text_alone(cls: type) -> bool:
        names = inspect.signature(cls.__call__).parameters
        return "prompt" in names and "num_frames" not in names and not any(word in cls.__name__ for word in NOT_ALONE)

    return {cls.__name__: cls for cls in known.values() if needs_text_alone(cls)}


def check_class(model: str, name: object) -> str:
    """Return the name of a supported pipeline, as `model_index.json` has it. Raises `UserError` for any other."""
    if name == PAPER_PIPELINE:
        return name
    if not isinstance(name, str):
        raise UserError(f"--model {model}: its pipeline is code of its own ({name}), which is not run")
    import diffusers

    known = text_to_image_classes()
    if name in known:
        return name
    others = f"models that do are of the class {', '.join(difflib.get_close_matches(name, known, 3, 0.3))}"
    if hasattr(diffusers, name):
        raise UserError(
            f"--model {model}: a {name} does not draw an image from a text alone, or is none of diffusers' automatic "
            f"pipelines; {others}"
        )
    raise UserError(
        f"--model {model}: diffusers {diffusers.__version__} knows no {name}; {others}; a newer diffusers may know it"
    )


def needed_parts(name: str) -> list[str]:
    """Return the parts that a pipeline's class can't be made without, except those that check or mark its images."""
    if name == PAPER_PIPELINE:
        return ["vae", "text_encoder", "tokenizer", "unet", "scheduler"]
    asked = inspect.signature(text_to_image_classes()[name].__init__).parameters.values()
    named = [each.name for each in asked if each.default is each.empty and each.kind is each.POSITIONAL_OR_KEYWORD]
    return [part for part in named if part not in ("self", *OF_ITS_IMAGES)]


def defaults(name: str, *, distilled: bool = False) -> Defaults:
    """Return the defaults of a pipeline's class: the paper's for Stable Diffusion 1.x and 2.x, else diffusers'."""
    if name == PAPER_PIPELINE:
        return PAPER
    asked, key = _arguments(name), guidance_key(name)
    side = asked["height"].default if "height" in asked and name not in OF_SEVERAL_SIZES else None
    steps = SCHNELL_STEPS if distilled else asked["num_inference_steps"].default
    return Defaults(None, steps, asked[key].default if key else None, side, "bf16")


def looks_distilled(model: str) -> bool:
    """Return whether a model's name has a word of those that draw in few steps."""
    return DISTILLED.search(Path(model).name) is not None


def is_distilled(name: str, source: Source) -> bool:
    """Return whether a model draws in few steps. Only FLUX's configuration says so; of others their page does."""
    path = "transformer/config.json"
    is_flux = name == "FluxPipeline" and path in source.files
    return is_flux and not read_json(source, path).get("guidance_embeds", True)


def _arguments(name: str) -> Mapping[str, inspect.Parameter]:
    """Return the arguments of a pipeline's call. Raises `UserError` if the installed diffusers lacks the class."""
    import diffusers

    known = text_to_image_classes()
    if name not in known:
        raise UserError(
            f"the set was made with a {name}, which diffusers {diffusers.__version__} does not draw with: install the "
            "diffusers that it was made with, or choose another --outdir"
        )
    return inspect.signature(known[name].__call__).parameters


def guidance_key(name: str) -> str | None:
    """Return the argument that guides a pipeline by its prompt; None if it has none that is one number."""
    if name == PAPER_PIPELINE:
        return GUIDANCE[0]
    asked = _arguments(name)
    return next((key for key in GUIDANCE if key in asked and isinstance(asked[key].default, (int, float))), None)


def call_options(pipeline, guidance_scale: float | None) -> dict:
    """Return a pipeline's arguments beside prompts, seeds, steps and size, so that nothing depends on what is installed.

    Captions stay as written, and an image has the size that is asked for, not the nearest in a table.
    """
    asked, key = inspect.signature(pipeline.__call__).parameters, guidance_key(type(pipeline).__name__)
    fixed = {"clean_caption": False, "use_resolution_binning": False, "eta": 0.0}
    options = {name: value for name, value in fixed.items() if name in asked}
    transformer = getattr(pipeline, "transformer", None)
    if type(pipeline).__name__ == "FluxPipeline" and transformer is not None and not transformer.config.guidance_embeds:
        options["max_sequence_length"] = SCHNELL_TOKENS  # padding beyond it is what a schnell never saw
    if key and guidance_scale is not None:
        options[key] = guidance_scale
        if key == "true_cfg_scale" and guidance_scale > 1:
            options["negative_prompt"] = " "  # without one these pipelines draw unguided
    return options
