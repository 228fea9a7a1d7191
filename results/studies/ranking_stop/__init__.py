"""How many batches does the ranking need, and what does `--ranking-batches auto` lose? An hour on two CPU cores."""

from collections.abc import Iterator
from functools import partial

from results.studies import Arm, Finding, Place, Study
from results.studies.ranking_stop.page import answers, details, overview, trained

SEEDS = (100, 200, 300)
TOY = (
    *(
        "--dataset",
        "toy",
        "--real-data-path",
        "results/runs/toy/real",
        "--synthetic-data-root",
        "results/runs/toy/synthetic",
    ),
    *("--weights", "toy", "--width", "0.25", "--image-size", "48", "--crop-scale", "0.6", "1"),
    *("--number-balanced-synthetic", "200", "--number-imbalanced-synthetic", "400", "--batch-size", "64"),
    *("--pre-train-epochs", "7", "--pre-train-lr", "0.02", "--milestones", "6", "--fine-tune-epochs", "5"),
    *("--fine-tune-lr", "0.02", "--precision", "bf16"),
)
FACES = (
    *("--dataset", "celeba", "--real-data-path", "{data}/celeba", "--target-sensitive", "Smiling_Male"),
    *("--weights", "{weights}", "--precision", "bf16", "--pre-train-lr", "0.03"),
)
T2I = (
    *("--synthetic-data-root", "{data}/t2i_faces/faces.csv", "--number-balanced-synthetic", "100"),
    *("--number-imbalanced-synthetic", "240", "--number-held-out-synthetic", "29"),
)
GENERATED = (
    *("--synthetic-data-root", "{data}/generated", "--number-balanced-synthetic", "1000"),
    *("--number-imbalanced-synthetic", "2000", "--number-held-out-synthetic", "200"),
)
AUTO = {
    "auto_20": ("--ranking-batches", "auto"),
    "auto_3": ("--ranking-batches", "auto", "--ranking-patience", "3"),
    "first_5": ("--ranking-batches", "5"),
}


def by_batch(place: Place, **options) -> Iterator[Finding]:
    """Call `batches`, which loads torch."""
    from results.studies.ranking_stop.measure import batches

    yield from batches(place, **options)


def group(name: str, flags: tuple[str, ...], *more: str) -> list[Arm]:
    """Return AIM-Fair with the full ranking, and with fewer batches from the same biased models."""
    others = [Arm(f"{name}/{arm}", (*flags, *AUTO[arm]), ("aim-fair",), erm_of=f"{name}/all") for arm in more]
    return [Arm(f"{name}/all", flags, ("aim-fair",)), *others]


def measured(name: str, models: str, flags: tuple[str, ...], seeds: tuple[int, ...], draws: int = 0) -> Arm:
    """Return the arm that measures the ranking batch by batch, for the biased models of another arm."""
    own = partial(by_batch, models=models, flags=(*flags, "--seeds", *map(str, seeds)), draws=draws)
    return Arm(f"{name}/ranking_stop", measure=own, after=(models,))


TOYS = (*TOY, "--number-train-data-real", "1200")
MORE_TOYS = (*TOY, "--number-train-data-real", "4000")
LARGE = (*FACES, "--number-train-data-real", "20000", "--image-size", "112")
SMALL = (*FACES, "--number-train-data-real", "8000", "--image-size", "64", *T2I)

STUDY = Study(
    title="How many batches the ranking needs",
    body=(
        """
`--ranking-batches auto` ends the ranking when the tensors that it chooses have not changed for 20 batches. This study measures from which
batch on the mask is that of the full ranking, where auto stops, and by how many tensors its mask is then off, for k of 40, 45, 50, 55 and 60.
Images are those of all three sets. Nothing was timed, and the cost of comparing the masks after every batch is not counted.""",
        overview,
        answers,
        """
## AIM-Fair with it

The full ranking (`all`) beside fewer batches (`auto_20`: the default; `auto_3`: `--ranking-patience 3`; `first_5`: `--ranking-batches 5`), from the
same biased models, with k = 55; mean ± sample standard deviation, EO is the larger gap:""",
        trained,
        """
Auto ends within the spread over seeds of the full ranking. Five batches end lower in accuracy, which three seeds don't tell from 0. Toy faces show no more than that nothing breaks. On real faces (8,000 biased CelebA
faces, 400 faces of text-to-image models) auto finds the full mask in all three seeds, so AIM-Fair is the same model. With more synthetic
faces, where some masks were one swap off, AIM-Fair with auto was not trained.

## Every ranking

*Final after*: the batch from which on the mask is the full ranking's. *Differs by*: tensors that are in one of the two masks alone. *Saved*: of the
images of all three sets.""",
        details,
    ),
    arms=(
        *group("toy", TOYS, *AUTO),
        *group("toy_4000", MORE_TOYS, "auto_20"),
        *group("real_faces_64", SMALL, "auto_20"),
        Arm("real_faces_112/all", LARGE, ("erm",)),
        measured("toy", "toy/all", TOYS, SEEDS, draws=4),
        measured("toy_4000", "toy_4000/all", MORE_TOYS, SEEDS, draws=4),
        measured("real_faces_t2i", "real_faces_112/all", (*LARGE, *T2I), SEEDS[:1]),
        measured("real_faces_generated", "real_faces_112/all", (*LARGE, *GENERATED), SEEDS[:2]),
    ),
    note="`bash runner.sh` makes the toy faces. The biased models of `real_faces_112` were those of the study real_faces, whose settings are the same. The "
    'commit of `toy_4000` has a "+" because the record of `toy` had just been written beside it.',
)
