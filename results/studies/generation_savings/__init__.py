"""What do the savings of generation save, and what do they cost? Five runs of runner.sh on toy faces, then two timings.

The timings want a machine that does nothing else: run them last, without --jobs. The one at full size draws by Stable Diffusion
2.1-base with random weights, and stops after two hours.
"""

from collections.abc import Iterator
from functools import partial

from results.studies import Arm, Finding, Place, Study
from results.studies.generation_savings.page import table
from results.studies.generation_savings.savings import PLAIN, SEEDS, SIZES, TIMED_ALONE, all_savings

ROWS = {name: saving for name, saving in all_savings().items() if name not in TIMED_ALONE}


def row(name: str, place: Place) -> Iterator[Finding]:
    """Yield what is measured of a row's images and training."""
    from results.studies.generation_savings.measure import measure_row

    yield from measure_row(name, place)


def speed(full_size: bool, place: Place) -> Iterator[Finding]:
    """Yield the images a second of every row."""
    from results.studies.generation_savings.timing import time_rows

    yield from time_rows(full_size, place)


def trained(name: str) -> Arm:
    """Return the arm that draws a row's images and trains on them; biased models are trained once."""
    flags, erm = (*ROWS[name].flags(), "--synthetic-data-root", f"{{work}}/{name}"), f"trained/{PLAIN}"
    return Arm(f"trained/{name}", flags, ("aim-fair",), SEEDS, erm_of="" if name == PLAIN else erm, program="runner.sh")


TRAINED = tuple(map(trained, ROWS))
MEASURED = tuple(Arm(name, measure=partial(row, name), after=(f"trained/{PLAIN}", f"trained/{name}")) for name in ROWS)
TIMED = tuple(
    Arm(f"timing_{size.replace(' ', '_')}", measure=partial(speed, full_size), limit=7200, after=tuple(ROWS))
    for full_size, size in SIZES.items()
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
- **Fewer steps are the saving to take here.** DPM-Solver++ in 20 steps evaluates the UNet 40 times an image in place of 100. Its images
  differ from the plain ones by 2.5 grey levels in the mean, 93.5 % and more of each group are as asked (plain: 95.0 %), and what is trained on
  them differs by about as much as the seeds do.
- **Guidance in the first half alone saves a quarter, and costs faithfulness.** 75 evaluations in place of 100, but in the group 1_0 (smiling,
  female) 86.0 % are as asked in place of 95.0 %, and in every group fewer. In these faces of 64 pixels a smile is a few pixels, which late
  steps draw. AIM-Fair ends 0.7 points of accuracy lower, about as much as the seeds spread. Other fractions than a half were not tried.
- **Together, 30 evaluations, and the worst set**: the groups differ by 14.5 points in what they show, a bias of the data itself, and AIM-Fair
  is lowest in accuracy and highest in equalized odds (90.8 and 7.1; plain 92.3 and 5.1). Its images are 4.7 grey levels from the plain ones.
- **Fused projections change none of the 800 images here**, in fp32 on a CPU, and so nothing that is trained on them. They save no evaluation
  and 7 % of the time.
- `--compile` should change images by rounding alone, which was not measured. It is timed and not trained on: 15 % for the whole UNet, 4 % for its repeated blocks alone.
- **Images/s** are the tiny generator's in fp32, four turns taken by rows in one run (the arm `timing_tiny_generator`), one thread on a machine that did nothing else. At
  Stable Diffusion's size, with random weights in fp32 on two cores, one image of 64 pixels a batch and one turn (after a first batch): 20 steps gain 2.67, guidance until half 1.31,
  both with fused projections 3.86, fused projections alone nothing (1.01). Compiling was not waited for there, and a GPU not lent.

Three seeds can't tell differences of a point; the fractions as asked are of 200 images a group, and the judge, trained on 5,000 labelled toy
faces, is itself right on 95 to 97 % of other ones. It is the same for all rows, so they compare. Nothing here was tried with a generator of
photographs, where guidance is higher, and what a face shows may be settled earlier. **Toy faces demonstrate the software and prove nothing
about people.**""",
    ),
    arms=(*TRAINED, *MEASURED, *TIMED),
)
