"""Five protected values, and three targets, on real faces: UTKFace at 64 pixels, photographs in place of generated faces."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from results.studies import Arm, Finding, Place, Study, words
from results.study_tables import NOTE, methods_table

AGES = ("Age=0-17,18-39,40+",)
PAIRS = {  # entries of --values, biased images, and what is taken of the images that they leave over
    "Female_Race": (
        (),
        700,
        "--number-balanced-synthetic 80 --number-imbalanced-synthetic 200 --number-held-out-synthetic 30",
    ),
    "Age_Female": (
        AGES,
        2000,
        "--number-balanced-synthetic 130 --number-imbalanced-synthetic 450 --number-held-out-synthetic 50",
    ),
}
METHODS = ("erm", "aim-fair", "full", "random-mask:share=0.7", "linear-probe", "auto")


def rest(pair: str, place: Place) -> Iterator[Finding]:
    """Write the list of the images that the biased training leaves over."""
    from results.rest import write_rest

    values, size, _ = PAIRS[pair]
    path = place.work / pair / "rest.csv"
    yield Finding(
        "images of each group", write_rest("utkface", place.data / "UTKFace", pair, size, path, values=values)
    )


def arms() -> Iterator[Arm]:
    """Yield for each pair the list of what is left over, and the trainings."""
    for pair, (values, size, own) in PAIRS.items():
        yield Arm(f"{pair}/list", measure=partial(rest, pair))
        flags = f"--target-sensitive {pair} --number-train-data-real {size} --synthetic-data-root {{work}}/{pair}/rest.csv {own}"
        chosen = ("--values", *values) if values else ()
        yield Arm(f"{pair}/runs", (*words(flags), *chosen), METHODS, after=(f"{pair}/list",), together=True)


def table(records: Path) -> list[str]:
    """Return the methods of the pairs that have records."""
    return methods_table(*(f"{pair}/runs" for pair in PAIRS if (records / pair / "runs").is_dir()), only=METHODS)(
        records
    )


STUDY = Study(
    title="More than two: five ethnic groups, and three ages",
    body=(
        """
UTKFace at 64 pixels, ResNet-18 from ImageNet weights, three seeds (of `Age_Female` one so far, and no `auto`). `Female_Race` has a target of two values and a protected attribute of five; `Age_Female` has
three ages as its targets. The biased lists have 700 and 2,000 images; in them a target goes with some of the protected values, 9 to 1
([which](../../../docs/many_values.md#the-biased-list)). No generator made the unbiased images: they are photographs of UTKFace that the biased list leaves over, so nothing here
speaks of synthetic faces. Labels are the data set's own.""",
        table,
        NOTE,
    ),
    common=words(
        "--dataset utkface --real-data-path {data}/UTKFace --weights {weights} --image-size 64 --pre-train-lr 0.03 --precision bf16"
    ),
    arms=tuple(arms()),
)
