"""Do UTKFace faces repair CelebA only if both are framed alike? 14 trainings, three hours on two CPU cores."""

from results.studies import Arm, Study, words
from results.study_tables import NOTE, methods_table

CROP = words("--real-crop 0.24 0.37 0.76 0.84")
SLOW = words("--fine-tune-lr 0.01")
PAPER = ("full", "aim-fair", "linear-probe")

STUDY = Study(
    title="Framing: the same unbiased faces, CelebA whole and cropped alike",
    body=(
        """
CelebA, Smiling/Male: 8,000 biased faces at 64 pixels, ResNet-18 from ImageNet weights. The unbiased images are UTKFace photographs, whose
smiles a machine labelled: 500 a group, 1,000 biased, 200 held out. UTKFace images end at forehead and chin. The arms `whole` use CelebA as it is.
The arms `cropped` use the part of each CelebA image in which eyes and mouth are where they are in UTKFace. `paper`: the paper's settings of
fine-tuning; `follow`: a learning rate of 0.01 instead of 0.06.""",
        methods_table("whole_paper", "cropped_paper", "whole_follow", "cropped_follow"),
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
    ),
)
