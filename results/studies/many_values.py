"""Five protected values, and three targets, on real faces: UTKFace at 64 pixels, photographs in place of generated faces."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from results.studies import Arm, Finding, Place, Study, words
from results.study_tables import NOTE, methods_table

METHODS = ("erm", "aim-fair", "full", "random-mask:share=0.7", "linear-probe")
MORE = {"Female_Race": ("auto",), "Age_Female": ("last-layer", "synthetic-only")}
SIZES = {"Female_Race": 700, "Age_Female": 2000}  # biased images
VALUES = {"Female_Race": (), "Age_Female": ("Age=0-17,18-39,40+",)}
FLAGS = {
    "Female_Race": "--precision bf16 --number-balanced-synthetic 80 --number-imbalanced-synthetic 200 --number-held-out-synthetic 30",
    "Age_Female": "--number-balanced-synthetic 130 --number-imbalanced-synthetic 450 --number-held-out-synthetic 50",
}


def rest(pair: str, place: Place) -> Iterator[Finding]:
    """Write the list of the images that the biased training leaves over."""
    from results.rest import write_rest

    path, faces = place.work / pair / "rest.csv", place.given("data", "it holds the faces") / "UTKFace"
    yield Finding("images of each group", write_rest("utkface", faces, pair, SIZES[pair], path, values=VALUES[pair]))


def arms() -> Iterator[Arm]:
    """Yield for each pair the list of what is left over, and the trainings."""
    for pair, more in MORE.items():
        yield Arm(f"{pair}/list", measure=partial(rest, pair))
        own = f"--target-sensitive {pair} --number-train-data-real {SIZES[pair]} --synthetic-data-root {{work}}/{pair}/rest.csv"
        flags = (*words(f"{own} {FLAGS[pair]}"), *(("--values", *VALUES[pair]) if VALUES[pair] else ()))
        yield Arm(f"{pair}/runs", flags, (*METHODS, *more), after=(f"{pair}/list",), together=True)


def table(records: Path) -> list[str]:
    """Return the methods of the pairs that have records."""
    there = [f"{pair}/runs" for pair in MORE if (records / pair / "runs").is_dir()]
    return methods_table(*there, only=(*METHODS, *sum(MORE.values(), ())))(records)


STUDY = Study(
    title="More than two values: five ethnic groups, and three ages",
    body=(
        """
UTKFace at 64 pixels, ResNet-18 from ImageNet weights, three seeds. `Female_Race` has a target of two values and a protected attribute of five; `Age_Female` has
three ages as its targets. The biased lists have 700 and 2,000 images; in them a target goes with some of the protected values, 9 to 1
([which](../../../docs/many_values.md#the-biased-list)). No generator made the unbiased images: they are photographs of UTKFace that the biased list leaves over, so nothing here
speaks of synthetic faces. Labels are the data set's own. `Age_Female` ran in fp32, all but its
random mask by `results/table.sh 3`; `auto` did not run there.""",
        table,
        NOTE,
    ),
    common=words(
        "--dataset utkface --real-data-path {data}/UTKFace --weights {weights} --image-size 64 --pre-train-lr 0.03"
    ),
    arms=tuple(arms()),
)
