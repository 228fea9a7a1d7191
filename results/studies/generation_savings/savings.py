"""The rows of the table: how each draws the same images from the same noise."""

from dataclasses import dataclass, replace

from stable_diffusion.drawing.sampling import ALWAYS
from stable_diffusion.loading.family import FAST_SAMPLER, PAPER_SAMPLER

SEEDS = (100, 200, 300)
JUDGE_FACES = 5000
SIZES = {False: "tiny generator", True: "full size"}
PLAIN = "plain"
TIMED_ALONE = ("compiled", "blocks")  # they draw the plain images but for rounding: only their speed is in question


@dataclass(frozen=True)
class Saving:
    """A title for the table, and what is asked of stable_diffusion/generate.py.

    `steps` counts sampling steps; `guidance_until` is a fraction of them, above 0 and at most 1. With `blocks` the UNet's
    repeated blocks alone are compiled, which --compile does of transformers, and no flag does of a UNet.
    """

    title: str
    scheduler: str
    steps: int
    guidance_until: float = ALWAYS
    fused: bool = False
    compiled: bool = False
    blocks: bool = False

    def flags(self) -> list[str]:
        """Return the flags of runner.sh that draw so."""
        found = ["--scheduler", self.scheduler, "--steps", str(self.steps)]
        found += ["--guidance-until", f"{self.guidance_until:g}"] if self.guidance_until != ALWAYS else []
        return found + (["--fuse-projections"] if self.fused else []) + (["--compile"] if self.compiled else [])


def all_savings(steps: int = PAPER_SAMPLER[1], fraction: float = 0.5) -> dict[str, Saving]:
    """Return the rows by name, plain DDIM of so many steps first; if guidance ends early, `fraction` of the steps are guided."""
    plain = Saving(f"DDIM, {steps} steps", PAPER_SAMPLER[0], steps)
    solver, few = FAST_SAMPLER
    return {
        PLAIN: plain,
        "guidance": replace(
            plain, title=f"guidance in the first {100 * fraction:g} % of the steps", guidance_until=fraction
        ),
        "fused": replace(plain, title="fused projections", fused=True),
        "compiled": replace(plain, title="compiled", compiled=True),
        "blocks": replace(plain, title="its repeated blocks alone compiled", blocks=True),
        "fast": replace(plain, title=f"DPM-Solver++, {few} steps", scheduler=solver, steps=few),
        "all": Saving("these without compiling, together", solver, few, fraction, fused=True),
    }
