"""What do the savings of generation save, and what do they cost? Five runs of runner.sh on toy faces, then two timings.

The timings want a machine that does nothing else: run them last, without --jobs. The one at full size draws by Stable Diffusion
2.1-base with random weights, and stops after two hours.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from results.studies import Arm, Study, late, words
from results.study_tables import findings, mean_and_spread
from results.text import MISSING, as_table
from stable_diffusion.drawing.sampling import ALWAYS
from stable_diffusion.loading.family import FAST_SAMPLER, PAPER_SAMPLER

SEEDS = (100, 200, 300)
JUDGE_FACES = 5000
PLAIN = "plain"
TIMED_ALONE = ("compiled", "blocks")  # they draw the plain images but for rounding: only their speed is in question
FULL = "full size"
TIMINGS = {"tiny generator": "timing_tiny_generator", FULL: "timing_full_size"}


@dataclass(frozen=True)
class Saving:
    """A title for the table, and what is asked of stable_diffusion/generate.py.

    guidance_until : fraction of the sampling steps, above 0 and at most 1
    compiled : the whole UNet, as by --compile
    blocks : the UNet's repeated blocks alone are compiled, which no flag does
    """

    title: str
    scheduler: str
    steps: int
    guidance_until: float = ALWAYS
    fused: bool = False
    compiled: bool = False
    blocks: bool = False

    @property
    def flags(self) -> tuple[str, ...]:
        """Return the flags of runner.sh that draw so; what is timed alone is not drawn by it."""
        until = "" if self.guidance_until == ALWAYS else f"--guidance-until {self.guidance_until:g}"
        fused = "--fuse-projections" if self.fused else ""
        return words(f"--scheduler {self.scheduler} --steps {self.steps} {until} {fused}")


def all_savings(steps: int = PAPER_SAMPLER[1], fraction: float = 0.5) -> dict[str, Saving]:
    """Return the rows by name, plain DDIM of so many steps first; if guidance ends early, `fraction` of the steps are guided."""
    plain = Saving(f"DDIM, {steps} steps", PAPER_SAMPLER[0], steps)
    solver, few = FAST_SAMPLER
    guidance = f"guidance in the first {100 * fraction:g} % of the steps"
    return {
        PLAIN: plain,
        "guidance": replace(plain, title=guidance, guidance_until=fraction),
        "fused": replace(plain, title="fused projections", fused=True),
        "compiled": replace(plain, title="compiled", compiled=True),
        "blocks": replace(plain, title="its repeated blocks alone compiled", blocks=True),
        "fast": replace(plain, title=f"DPM-Solver++, {few} steps", scheduler=solver, steps=few),
        "all": Saving("these without compiling, together", solver, few, fraction, fused=True),
    }


def arms() -> Iterator[Arm]:
    """Yield the arms that draw a row's images and train on them, then what measures and times them."""
    rows = {name: saving for name, saving in all_savings().items() if name not in TIMED_ALONE}
    plain = f"trained/{PLAIN}"  # biased models are trained once
    for name, saving in rows.items():
        flags, erm = (*saving.flags, "--synthetic-data-root", f"{{work}}/{name}"), "" if name == PLAIN else plain
        yield Arm(f"trained/{name}", flags, ("aim-fair",), SEEDS, erm_of=erm, program="runner.sh")
    for name in rows:
        yield Arm(name, measure=late("generation_savings.measure.measure_row", name), after=(plain, f"trained/{name}"))
    for size, arm in TIMINGS.items():
        yield Arm(arm, measure=late("generation_savings.timing.time_rows", size), limit=7200, after=tuple(rows))


def table(records: Path) -> list[str]:
    """Return a row for each saving, and how they were measured. A dash stands for what is not measured."""
    timings = {size: found for size, arm in TIMINGS.items() if (found := findings(records, arm))}
    names = ("", "UNet evaluations", "as asked, %", "worst group, %", "grey levels", "AIM-Fair, ACC", "AIM-Fair, EO")
    rows = [(*names, *(f"images/s, {size}" for size in timings))]
    for name, saving in all_savings().items():
        cells, found = [MISSING] * 6, findings(records, name)
        if "aim-fair" in found:
            asked = list(found["as asked, %"].values())
            cells = [f"{found['UNet evaluations']:g}", f"{sum(asked) / len(asked):.1f}", f"{min(asked):.1f}"]
            cells += [f"{found['grey levels']:.2f}", *metrics(found["aim-fair"])]
        rows.append((saving.title, *cells, *(shown_speed(name, timing) for timing in timings.values())))
    erm = findings(records, PLAIN).get("erm")
    note = NOTE.format(erm="ACC {}, EO {}".format(*metrics(erm)) if erm else MISSING)
    return [*as_table(rows), "", note, *(line for size, found in timings.items() for line in ("", how(size, found)))]


def metrics(found: dict[str, list[float]]) -> list[str]:
    """Return accuracy and equalized odds difference as text."""
    return [mean_and_spread(found[key]) for key in ("accuracy", "equalized_odds")]


def shown_speed(name: str, timing: dict[str, dict]) -> str:
    """Return a row's images/s, and how many times the plain row's that is."""
    if name not in timing:
        return MISSING
    own, usual = (timing.get(key, {}).get("images_per_second") for key in (name, PLAIN))
    return f"{own:.3g}" + (f" (× {own / usual:.2f})" if usual else "")


def how(size: str, timing: dict[str, dict]) -> str:
    """Return a sentence on how the speeds of a size were measured, with what the first batch cost if a row compiles."""
    text = "Images/s, {size_}: on {device}, {threads} threads, {images} images of {size} pixels at once, median of {turns} turns."
    extra = timing.get("compiled", {}).get("first_batch_extra_seconds")
    more = f" The first compiled batch took {extra:.0f} s more." if extra is not None else ""
    return text.format(size_=size, **timing["how"]) + more


NOTE = (
    "UNet evaluations: latents that the UNet evaluates for an image, counted while it draws. As asked: the fraction of a group's "
    "images that the judge finds to show what they should, in the mean and in the worst group. Grey levels: mean absolute "
    "difference from the plain images of the same noise. AIM-Fair: percent, test split, mean ± sample standard deviation over "
    "the seeds; EO is the larger gap. ERM sees no synthetic image and is trained once for all rows: {erm}. "
    "– : not measured, or nothing to measure."
)
STUDY = Study(
    title="What the savings of generation save, and what they cost",
    body=(
        """
Toy faces, the tiny generator, 800 images a row from the same noise, guidance 3. Data, training and generator are those of `bash runner.sh`,
with DDIM in 50 steps as the plain row; seeds 100, 200, 300. Images are in fp32, training in bf16, which runner.sh takes on this
processor. Some images and trainings of a row are of earlier commits, from 9720311 on; what draws the images did not change between.
The timing at full size was ended before it compiled.""",
        table,
        """
- **Fewer steps are the saving to take here.** With DPM-Solver++ in 20 steps 93.5 % and more of each group are as asked (plain: 95.0 %), and what is
  trained on the images differs by about as much as the seeds do.
- **Guidance in the first half alone saves a quarter, and costs faithfulness**, in every group, most in 1_0 (smiling, female). In these faces of
  64 pixels a smile is a few pixels, which late steps draw. AIM-Fair ends 0.7 points of accuracy lower, about as much as the seeds spread. Other
  fractions than a half were not tried.
- **Together they give the worst set**: the groups differ by 14.5 points in what they show, a bias of the data itself.
- **Fused projections change none of the 800 images here**, in fp32 on a CPU.
- `--compile` should change images by rounding alone, which was not measured. It is timed and not trained on.
- Images/s of the tiny generator are from one run on a machine that did nothing else. At Stable Diffusion's size the weights are random, in fp32. Compiling
  was not waited for there, and a GPU was not at hand.

Three seeds can't tell differences of a point. The fractions as asked are of 200 images a group. The judge, trained on 5,000 labelled toy
faces, is itself right on 95 to 97 % of other ones; it is the same for all rows, so they compare. Nothing here was tried with a generator of
photographs, where guidance is higher, and what a face shows may be settled earlier. **Toy faces demonstrate the software and prove nothing
about people.**""",
    ),
    arms=tuple(arms()),
)
