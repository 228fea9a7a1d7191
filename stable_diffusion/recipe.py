"""Put together how images are drawn, from what the flags ask for and the defaults of the kind of model."""

import hashlib
import json
from dataclasses import dataclass, fields, replace

import torch

from stable_diffusion.drawing.sampling import ALWAYS, Sampling, check_guidance_until
from stable_diffusion.loading.family import FAST_SAMPLER, PAPER_PIPELINE, PAPER_SAMPLER, Defaults, defaults
from stable_diffusion.loading.kind import Kind
from stable_diffusion.loading.source import Noted, same_model
from stable_diffusion.settings import GenerationSettings
from utils.errors import UserError

OWN = "own"  # the scheduler that a model comes with
TRAINED_STEPS = 1000
LEARNED = ("size", "prediction", "schedule", "weights")  # known once a model is loaded, unless the flags say them
AS_ASKED = [
    "model",
    "save_size",
    "seed",
    "prediction",
    "vae_slicing",
    "vae_tiling",
    "guidance_until",
    "fuse_projections",
]


@dataclass(frozen=True)
class Recipe:
    """Settings with which the images of a set are drawn. The manifest keeps them; only the same recipe continues the set.

    `prompts` and `weights` are digests. `size` and `save_size` are pixels a side; `guidance_until` is a fraction of the
    steps. None in a field of `LEARNED`: only the loaded model knows it, or it is as usual.
    """

    model: str
    prompts: str
    scheduler: str
    steps: int
    guidance_scale: float | None
    size: int | None
    save_size: int
    seed: int
    precision: str
    # later ones are noted only if they are not the default, so that the manifests of older sets still match
    distilled: bool = False
    prediction: str | None = None
    vae_slicing: bool = False
    vae_tiling: bool = False
    guidance_until: float = ALWAYS
    fuse_projections: bool = False
    pipeline: str = PAPER_PIPELINE
    schedule: dict | None = None
    weights: str | None = None

    @property
    def sampling(self) -> Sampling:
        """The part of the recipe that each call of the pipeline takes."""
        return Sampling(self.steps, self.guidance_scale, self.size, self.save_size, self.guidance_until)

    def noted(self) -> Noted:
        """Return the settings as the manifest keeps them."""
        # a field without a default has MISSING there, which no value is
        return {entry.name: value for entry in fields(self) if (value := getattr(self, entry.name)) != entry.default}

    def continuing(self, noted: Noted) -> "Recipe":
        """Return this recipe with what the settings of a begun set know of its model, so that it need not be loaded.

        A model of another name is taken for the same one: only loading it tells its `weights`.
        """
        known = {key: noted[key] for key in LEARNED if key in noted and getattr(self, key) is None}
        return replace(self, **known).as_begun(noted)

    def as_begun(self, noted: Noted) -> "Recipe":
        """Return this recipe with a begun set's name of the same generator, and without `weights` if it noted none."""
        if not noted:
            return self
        weights = self.weights if "weights" in noted else None
        same = weights == noted["weights"] if weights else same_model(str(noted.get("model")), self.model)
        return replace(self, weights=weights, model=noted.get("model", self.model) if same else self.model)

    def describe(self) -> str:
        """Say in words what a model may bring itself."""
        scheduler = f"the scheduler of its {self.pipeline}" if self.scheduler == OWN else self.scheduler
        size = f"{self.size} pixels" if self.size else "its own size"
        guidance = f"guidance {self.guidance_scale}"
        if self.guidance_until != ALWAYS:
            guidance += f" in the first {100 * self.guidance_until:g} % of them"
        return f"{scheduler}, {self.steps} steps, {guidance}, {size}"


def recipe_of(settings: GenerationSettings, texts: dict[str, list[str]], kind: Kind, device: torch.device) -> Recipe:
    """Return the recipe that the flags ask for; its size is None if only the loaded model knows it.

    `texts` are the prompts of each group. Raises `UserError` for flags that this kind of model doesn't know.
    """
    own = defaults(kind.pipeline, distilled=kind.distilled)
    scheduler, steps = sampler(settings.scheduler, settings.steps, settings.fast, own)
    if kind.pipeline != PAPER_PIPELINE and settings.prediction:
        raise UserError(f"--prediction {settings.prediction}: only of Stable Diffusion 1.x and 2.x; leave it out")
    if settings.guidance_scale is not None and own.guidance_scale is None:
        raise UserError(f"--guidance-scale {settings.guidance_scale:g}: a {kind.pipeline} takes none; leave it out")
    guidance_scale = own.guidance_scale if settings.guidance_scale is None else settings.guidance_scale
    check_guidance_until(settings.guidance_until, kind.pipeline, guidance_scale)
    return Recipe(
        prompts=hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()[:12],
        scheduler=scheduler,
        steps=steps,
        guidance_scale=guidance_scale,
        size=settings.size or own.size,
        precision=settings.precision or ("fp32" if device.type == "cpu" else own.precision),
        **vars(kind),
        **{name: getattr(settings, name) for name in AS_ASKED},
    )


def sampler(scheduler: str | None, steps: int | None, fast: bool, own: Defaults) -> tuple[str, int]:
    """Return scheduler and steps: those given, else the model's own (the paper's) or, with `fast`, a modern solver's.

    Raises `UserError` for more steps than a model is trained with.
    """
    default_scheduler, default_steps = FAST_SAMPLER if fast else (own.scheduler or OWN, own.steps)
    if steps and steps > TRAINED_STEPS:
        raise UserError(f"--steps {steps}: the model knows {TRAINED_STEPS} steps; the paper takes {PAPER_SAMPLER[1]}")
    return scheduler or default_scheduler, steps or default_steps
