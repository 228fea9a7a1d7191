"""Does it matter which tensors are fine-tuned? Repeated fine-tunings of many biased models, and choices of blocks."""

from collections.abc import Callable
from pathlib import Path

from results.studies import T2I, Arm, Study, late, unbiased, words
from results.studies.selection import tables
from results.studies.selection.blocks import CHOICES, blocks_tables, ceiling, where
from results.studies.selection.methods import AGAIN, EVERY, EVERY_LATE, FEW_ROWS, RANDOM_SINGLE, SINGLE_ROWS, TWICE
from results.studies.selection.sentences import answers, few_weights, size
from results.study_tables import methods_table, missing

SEEDS = (100, 200, 300, 400, 500, 600, 700, 800)
COMMON = words(
    "--weights {weights} --image-size 64 --pre-train-lr 0.03 --dataset celeba --real-data-path {data}/celeba "
    "--target-sensitive Smiling_Male --number-train-data-real 8000 --precision bf16"
)
GENERATED = unbiased("generated", 250, 600, 100)
FEWER = words("--number-train-data-real 4000 --precision fp32")  # half the time, on any processor


def criteria(source: tuple[str, ...]) -> Callable:
    """Return what measures the criteria on one source."""
    return late("selection.reliability.halves", "erm", (*COMMON, *source, "--seeds", *map(str, SEEDS[:3])))


def pages(records: Path, output: Path) -> None:
    """Draw the figure; matplotlib is imported here, because it takes a second to load."""
    from results.studies.selection.figure import make_pages

    make_pages(records, output)


ARMS = (
    Arm("erm", (), ("erm",), SEEDS),
    Arm("t2i", T2I, EVERY, SEEDS[:7], "erm"),
    Arm("generated", GENERATED, TWICE, SEEDS[1:], "erm"),
    Arm("erm_4000", FEWER, ("erm",), SEEDS[:3]),
    Arm("blocks", (*T2I, *FEWER), tuple(CHOICES), SEEDS[:3], "erm_4000"),
    Arm("late", (*T2I, *FEWER), EVERY_LATE, SEEDS[:3], "erm_4000"),
    Arm("criteria_t2i", measure=criteria(T2I), after=("erm",)),
    Arm("criteria_generated", measure=criteria(GENERATED), after=("erm",)),
    Arm("small", T2I, (*FEW_ROWS, *SINGLE_ROWS), SEEDS[:3], "erm"),
    Arm("singles", T2I, (*AGAIN, RANDOM_SINGLE), SEEDS[3:7], "erm"),
)
STUDY = Study(
    title="Does it matter which tensors are fine-tuned?",
    body=(
        """
AIM-Fair fine-tunes the tensors that two rankings choose. On real faces, three fine-tunings of each method did not show whether it differs from full fine-tuning
or from a random mask. Here biased models are fine-tuned several times by each method, with other orders and crops, and the random mask with another mask too. CelebA,
Smiling/Male, 64 pixels, a ResNet-18 from ImageNet weights, 8,000 biased faces if nothing else is said, the paper's learning rate, epochs and k of fine-tuning. Unbiased faces: `t2i`, by SDXL, FLUX and
Stable Diffusion 3, 100 a group; `generated`, by a small Stable Diffusion that was trained on CelebA, 250 a group. All biased models with as many faces have the same ones
and the same ImageNet weights. They differ in the last layer's start, in the order and crops, and in which synthetic faces are drawn. The last section says what was not run.

EO is the equalized odds difference, ACC the accuracy ([terms](../../../docs/glossary.md)). Lower EO is fairer, so a negative difference in EO is in AIM-Fair's favour. *Val's threshold* is the one with the
highest accuracy on val, chosen for each run; it needs no protected labels. Elsewhere the threshold is 0.5. The *late mean* is the mean of the weights of the second half of the epochs. The rows with val's threshold were added after the others had been seen.

## Answers
""",
        lambda records: [line for part in (answers, where, ceiling, few_weights, size) for line in part(records)],
        """
![Every fine-tuning as a point, by method and biased model](../../pages/selection/repetitions.svg)

*A point is a fine-tuning, a column of points a biased model with its mean. The dotted line is the biased models' own mean. All have val's threshold.*

## The methods""",
        tables.compared,
        """
Means over biased models, whose repetitions are averaged first; percent on the test split. ± is the standard deviation over all runs: of ERM one for each biased model, of the
others five on `t2i`, two on `generated`, three of the late means. Differences have 95 % intervals for other biased models, other draws and other test images ([how](../../../docs/intervals.md)). They are for other biased
models with the same training faces and ImageNet weights, and do not cover other faces, pairs or image sizes. They correct for noise in EO, so the difference need not be in the middle. p is of one comparison; *significant* after Holm's
correction over all comparisons of this table; the blocks below have a correction of their own. "Minus" in a row means the first method's value minus the second's. AIM-Fair's mask leaves out large tensors, so a random mask of as many tensors has more weights. With `of=weights` the random mask has up to 32 % of the weights, in more tensors; AIM-Fair's have 26 % on the same biased models.

At 0.5 the late means lose accuracy, because fine-tuning moved all logits. The sources are not independent: six of the seven biased models of `generated` are among the seven of `t2i`; the late means and the choices of blocks below have three other biased models in common; all have the same test images. `t2i` was looked at with three, five and seven
models, `generated` with three and seven, which the p-values do not allow for.
`t2i` and `generated` keep the epoch with the highest accuracy on val, as in the paper.""",
        """
## How much is luck?

Standard deviations in points. Between biased models, of what many repetitions would give; in brackets the upper end of its one-sided 95 % interval. Between repetitions
from one model; in brackets the smallest and the largest of one model. The first row of a source is of AIM-Fair, the others are of differences with the same order and crops. In the rows of
the random mask, the masks differ as well:""",
        tables.spreads,
        tables.power,
        """
## Which blocks?

A choice fine-tunes some of ResNet-18's six blocks: `stem` (the first convolution and its norm), the blocks 1 to 4, and `fc`, the last layer. We trained all 32 choices without `fc`, and 7
of the 32 with it. AIM-Fair's masks have no `fc.weight`. The biased models have 4,000 biased faces here and train in fp32. Each choice is fine-tuned once on `t2i`, all with the
same order of the images for each biased model, and keeps the mean of the late epochs. Batch norm's running statistics follow the synthetic images in every choice, so an effect is that
of a block's weights. At 0.5 accuracy tells above all how far a choice moved all logits, so the answers are at val's threshold.""",
        blocks_tables,
        """
## Other criteria, and smaller masks

Spearman's correlations over the 62 tensors, mean ± standard deviation over biased models: of a criterion's scores on two halves of the images (with all images it would be higher); of
the scores of two biased models, on one half; and of the scores with the mean absolute gradient of the tensors. For `aim-fair` the score of a tensor is the smallest k
that selects it, compared with the smallest k if both gaps were that gradient. *Shared*: of a twentieth of the weights, chosen one by one, the part that both halves choose; by chance it
is 5 %. [The criteria](../../../models/criteria.py):""",
        tables.reliability_table,
        """
A fifth of the tensors, 12, at two learning rates, on `t2i`. `ratio` was not trained, because on half of the images its order is unstable, and `agreement`, to save time. AIM-Fair takes
12 tensors with k = 37; `criterion` without `by` takes those with the largest gradient. n is the number of biased models, one fine-tuning of each:""",
        methods_table("small", only=FEW_ROWS),
        """
## Single weights

A twentieth of the weights, chosen one by one: of all weights, or of each neuron's, which is akin to GPS; one fine-tuning of each of three biased models. Random weights have smaller gradients than the chosen ones, so they move less at the same learning rate; they have
larger rates, too:""",
        methods_table("small", only=SINGLE_ROWS),
        tables.single_weights,
        """
After these were seen, two choices at the paper's learning rate were fine-tuned from four other biased models, twice each, and two random masks at ten times that rate. AIM-Fair and full fine-tuning have the five fine-tunings
from the same biased models that the first table has, and *significant* is after Holm's correction over this table:""",
        methods_table("singles"),
        lambda records: tables.differences_table(tables.confirmed(records)),
        missing(ARMS),
        """
## What was not run

A random mask with as many weights as AIM-Fair's and 8,000 biased faces, the 25 other choices of blocks with `fc` (two hours of one core), a second order of the images for the choices, and more
than two fine-tunings of each model on `generated`.""",
    ),
    common=COMMON,
    arms=ARMS,
    pages=pages,
    note="[The commands of the study of real faces](../real_faces/README.md#commands) make `generated/`.",
)
