"""Does it matter which tensors are fine-tuned? Repeated fine-tunings of many biased models, and every choice of blocks."""

from collections.abc import Callable
from pathlib import Path

from results.studies import Arm, Study, late, words
from results.studies.selection.blocks import CHOICES, blocks_told, ceiling, effects_table, single_table
from results.studies.selection.tables import ROWS, answers, compared, few, luck, power, reliability, size, spreads
from results.study_tables import missing

SEEDS = (100, 200, 300, 400, 500, 600, 700)
REPEATS = range(1, 6)
COMMON = words(
    "--weights {weights} --image-size 64 --pre-train-lr 0.03 --dataset celeba --real-data-path {data}/celeba "
    "--target-sensitive Smiling_Male --number-train-data-real 8000 --precision bf16"
)
T2I = words(
    "--synthetic-data-root {data}/t2i_faces/faces.csv --number-balanced-synthetic 100 "
    "--number-imbalanced-synthetic 240 --number-held-out-synthetic 29"
)
GENERATED = words(
    "--synthetic-data-root {data}/generated --number-balanced-synthetic 250 --number-imbalanced-synthetic 600 "
    "--number-held-out-synthetic 100"
)
FEW = (  # 12 of 62 tensors each
    "aim-fair:top-k=37",
    "criterion",
    "criterion:by=saliency",
    "criterion:by=fisher",
    "criterion:by=snr",
    "random-mask:share=0.2",
)


def with_option(method: str, option: str) -> str:
    """Return a method with one more option."""
    return f"{method}{',' if ':' in method else ':'}{option}"


def repeated(method: str) -> tuple[str, ...]:
    """Return a method and its repetitions; of a random mask each has another mask, too."""
    drawn = "draw={0}," if method.startswith("random-mask") else ""
    return (method, *(with_option(method, f"{drawn}repeat={{0}}".format(number)) for number in REPEATS[1:]))


def criteria(source: tuple[str, ...]) -> Callable:
    """Return what measures the criteria on one source."""
    return late("selection.reliability.halves", "erm", (*COMMON, *source, "--seeds", *map(str, SEEDS[:3])))


def pages(records: Path, output: Path) -> None:
    """Draw the figure; matplotlib is imported here, because it takes a second to load."""
    from results.studies.selection.figure import make_pages

    make_pages(records, output)


EVERY = tuple(each for row in ROWS for each in repeated(row))
SMALL = tuple(with_option(method, f"lr={lr}") for method in FEW for lr in (0.06, 0.2))
ARMS = (
    Arm("erm", (), ("erm",), SEEDS),
    Arm("t2i", T2I, EVERY, SEEDS, "erm"),
    Arm("generated", GENERATED, EVERY, SEEDS, "erm"),
    Arm("blocks", T2I, tuple(CHOICES), SEEDS[:3], "erm"),
    Arm("criteria_t2i", measure=criteria(T2I), after=("erm",)),
    Arm("criteria_generated", measure=criteria(GENERATED), after=("erm",)),
    Arm("small", T2I, SMALL, SEEDS[:3], "erm"),
)
STUDY = Study(
    title="Does it matter which tensors are fine-tuned?",
    body=(
        """
AIM-Fair fine-tunes the tensors that two rankings choose. On real faces, three fine-tunings a method could tell it neither from full fine-tuning nor from a random
mask of the same size. Here each biased model is fine-tuned five times by each method, with other orders and crops, and the random mask with another mask too. CelebA,
Smiling/Male, 8,000 biased faces at 64 pixels, a ResNet-18 from ImageNet weights, the paper's settings of fine-tuning. Unbiased faces: `t2i`, by SDXL, FLUX and Stable
Diffusion 3, 100 a group; `generated`, by a small Stable Diffusion that was trained on CelebA, 250 a group.""",
        "## Answers",
        lambda records: [line for part in (answers, luck, blocks_told, size) for line in part(records)],
        """
![Every fine-tuning as a point, by method and biased model](../../pages/selection/repetitions.svg)

*A point is a fine-tuning, a column of points a biased model with its mean. The dotted line is the biased models' own mean.*

## The methods""",
        compared,
        """
Means over biased models, whose repetitions are averaged first; percent on the test split. Differences have 95 % intervals for other biased models, other draws and
other test images ([how](../../../docs/intervals.md)); they correct for noise in EO, so they need not be centred. p is of one comparison; *told* after Holm's
correction over all comparisons of this table.

## How much is luck?

Standard deviation in points, between biased models and between repetitions from one model. Of a method, and of the difference between two methods with the same
order and crops:""",
        spreads,
        power,
        """
## Which blocks?

Each of the 63 choices of ResNet-18's six blocks was fine-tuned once on `t2i`. The effect of a block is the mean over all choices with it less the mean
over those without it, with 95 % intervals over biased models:""",
        effects_table,
        """
How good could a choice be? The best one is chosen by the other biased models on one half of the test images: the lowest odds among the choices that lose at most half
a point of accuracy to ERM. The left-out model scores it on the other half, so no luck of a fine-tuning or of the images helps it. Means over 100 random halves.""",
        ceiling,
        "The paper's Table 4 at this size, means over biased models of one fine-tuning each:",
        single_table,
        """
## Other criteria, and smaller masks

A criterion that orders the tensors otherwise on other images is noise. Spearman's correlations over the 62 tensors: of the scores on two halves of the images; of the
scores of different biased models, on half of the images; and of the scores with the mean size of the tensors' gradients. `aim-fair` is the
smallest k with which the two rankings choose a tensor; it is compared with the smallest k if both rankings were by that size. [The others](../../../models/criteria.py):""",
        reliability,
        """
A fifth of the tensors, 12, at two learning rates, on `t2i`. `ratio` is not trained, because it is noise, and `agreement`, because it is much like `snr`. AIM-Fair takes
12 with k = 37:""",
        few,
        missing(ARMS),
    ),
    common=COMMON,
    arms=ARMS,
    pages=pages,
)
