"""What the evidence on real faces consists of: studies, sources of unbiased images, settings of fine-tuning, methods."""

from dataclasses import dataclass

PRE_TRAIN_LRS = (0.01, 0.03)  # the first is the paper's
IMAGE_SIZE = 112  # CelebA's files here have 89 x 109 pixels
# Rows of the paper's tables 3 and 4, and the nearest relative.
TUNED = ("full", "linear-probe", "random-mask:share=0.7", "surgical", "aim-fair")
# With the settings that aim-fair got: the sweep of k, and the cosine in place of the difference.
LIKE_AIM_FAIR = (*(f"aim-fair:top-k={k}" for k in (35, 40, 45, 50, 60)), "cosine")
UNTUNED = ("last-layer",)  # it has no learning rate
REAL_ALONE = ("group-dro", "jtt", "eiil", "lff", "cvar-dro")
FROM_START = ("synthetic-only", "supplement", "ffr")
PAPER = "paper"  # 10 epochs at 0.06 in batches of 128; the statistics of batch norm follow the synthetic images
GRID = {
    PAPER: (),
    "paper_hold": ("--batch-norm", "hold"),
    **{
        f"{norm}_{lr:g}": ("--batch-norm", norm, "--fine-tune-lr", f"{lr:g}")
        for norm in ("follow", "hold", "real")
        for lr in (0.01, 0.002)
    },
}
ERM = "erm.json"  # which learning rate of the biased models was chosen
DIVERGED, NOTES = "the loss is", "diverged.json"  # what train.py says of it, and where it is noted
REST = "rest"  # the source that has no path: real images of the same data


@dataclass(frozen=True)
class Source:
    """Where unbiased images come from, and how many of each cell, biased in all, and held out of each cell are used.

    `batch` is that of fine-tuning outside the paper's rows: an epoch of few images has few steps. Without a `path` it is
    the real images that are in none of the study's lists.
    """

    path: str | None
    balanced: int
    imbalanced: int
    held_out: int
    batch: int | None = None

    def counts(self) -> list[str]:
        """As train.py takes them."""
        numbers = {"balanced": self.balanced, "imbalanced": self.imbalanced, "held-out": self.held_out}
        return [text for name, number in numbers.items() for text in (f"--number-{name}-synthetic", str(number))]


@dataclass(frozen=True)
class Study:
    """A pair of a data set, `real` biased images of it, its sources of unbiased ones, and more flags of train.py."""

    pair: str
    dataset: str
    folder: str
    real: int
    sources: dict[str, Source]
    flags: tuple[str, ...] = ()


SMALL = ("--image-size", "64")  # on two CPU cores
T2I = Source("t2i_faces/faces.csv", balanced=100, imbalanced=240, held_out=29, batch=32)
GENERATED = Source("generated", balanced=1000, imbalanced=2000, held_out=200)
FEWER_GENERATED = Source("generated", balanced=500, imbalanced=1000, held_out=100)
UTKFACE = Source("utkface_smiles.csv", balanced=1300, imbalanced=2600, held_out=200)
STUDIES = {
    "Smiling_Male": Study(
        "Smiling_Male",
        "celeba",
        "celeba",
        20000,
        {
            "t2i": T2I,
            "generated": GENERATED,
            "utkface": UTKFACE,
            REST: Source(None, balanced=250, imbalanced=600, held_out=50, batch=32),
        },
    ),
    # What the larger one lacks: every baseline of table 1 on all seeds.
    "Smiling_Male_64": Study("Smiling_Male", "celeba", "celeba", 8000, {"t2i": T2I}, SMALL),
    # UTKFace's images end at forehead and chin; this box of CelebA's has eyes and mouth at the same places.
    "Smiling_Male_cropped": Study(
        "Smiling_Male",
        "celeba",
        "celeba",
        20000,
        {"utkface": UTKFACE},
        ("--real-crop", "0.24", "0.37", "0.76", "0.84"),
    ),
    "Smiling_Young": Study("Smiling_Young", "celeba", "celeba", 5600, {"generated": FEWER_GENERATED}, SMALL),
    "Female_White": Study(
        "Female_White",
        "utkface",
        "UTKFace",
        2400,
        {REST: Source(None, balanced=800, imbalanced=1600, held_out=100)},
        SMALL,
    ),
}
