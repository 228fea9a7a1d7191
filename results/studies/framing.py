"""Do UTKFace faces repair CelebA only if both are framed alike? 17 trainings, three hours on two CPU cores."""

import csv
from collections.abc import Iterator

from PIL import Image

from results.studies import Arm, Finding, Place, Study, words
from results.study_tables import NOTE, methods_table

CROP = words("--real-crop 0.24 0.37 0.76 0.84")
SLOW = words("--fine-tune-lr 0.01")
PAPER = ("full", "aim-fair", "linear-probe")
T2I = words(
    "--synthetic-data-root {data}/t2i_faces/faces.csv --number-balanced-synthetic 100 "
    "--number-imbalanced-synthetic 240 --number-held-out-synthetic 29"
)
CUT = (
    0.24,
    0.23,
    0.75,
    0.83,
)  # left, top, right, bottom: the mean t2i face has eyes and mouth there where UTKFace's has them
CUT_T2I = words("--synthetic-data-root {work}/t2i_cut/faces.csv")
LATER = (600, 700, 800)


def cut(place: Place) -> Iterator[Finding]:
    """Cut the t2i faces as UTKFace's are, into a folder with the same list."""
    source, target = place.data / "t2i_faces", place.work / "t2i_cut"
    with open(source / "faces.csv", encoding="utf-8") as file:
        names = [row["image"] for row in csv.DictReader(file)]
    for name in names:
        with Image.open(source / name) as image:
            part = image.crop([round(edge * image.size[side % 2]) for side, edge in enumerate(CUT)])
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        part.save(target / name, quality=95)
    (target / "faces.csv").write_bytes((source / "faces.csv").read_bytes())
    yield Finding("faces", len(names))


STUDY = Study(
    title="Framing: the same unbiased faces, CelebA whole and cropped alike",
    body=(
        """
CelebA, Smiling/Male: 8,000 biased faces at 64 pixels, ResNet-18 from ImageNet weights. The unbiased images are UTKFace photographs, whose
smiles a machine labelled: 500 a group, 1,000 biased, 200 held out. UTKFace images end at forehead and chin. The arms `whole` use CelebA as it is.
The arms `cropped` use the part of each CelebA image in which eyes and mouth are where they are in UTKFace. `paper`: the paper's settings of
fine-tuning; `follow`: a learning rate of 0.01 instead of 0.06.""",
        methods_table("whole_paper", "cropped_paper", "whole_follow", "cropped_follow"),
        """
## The control: faces that repair, cut like UTKFace's

Does the framing alone prevent the repair, or is it something else about UTKFace? The arms `t2i` have faces by SDXL, FLUX and Stable Diffusion 3, 100 a group, 240 biased,
29 held out, and three other biased models. In `t2i_cut` the same faces are cut at forehead and chin, so that eyes and mouth are where they are in UTKFace: the mean faces of
both sets were compared. CelebA is whole, and fine-tuning has the paper's settings:""",
        methods_table("t2i", "t2i_cut"),
        NOTE,
    ),
    common=words(
        "--dataset celeba --real-data-path {data}/celeba --weights {weights} --number-train-data-real 8000 "
        "--image-size 64 --pre-train-lr 0.03 --precision bf16 --synthetic-data-root {data}/utkface_smiles.csv "
        "--number-balanced-synthetic 500 --number-imbalanced-synthetic 1000 --number-held-out-synthetic 200"
    ),
    arms=(
        Arm("whole_paper", methods=PAPER),
        Arm("cropped_paper", CROP, PAPER),
        Arm("whole_follow", SLOW, ("full",), (100,), erm_of="whole_paper"),
        Arm("cropped_follow", (*CROP, *SLOW), ("full",), (100,), erm_of="cropped_paper"),
        Arm("t2i", T2I, PAPER, LATER),
        Arm("t2i_cut_list", measure=cut),
        Arm("t2i_cut", (*T2I, *CUT_T2I), PAPER, LATER, erm_of="t2i", after=("t2i_cut_list",)),
    ),
)
