"""Random toy faces: their attributes and the factors that no attribute decides, before they are drawn."""

from dataclasses import dataclass

import numpy as np

ATTRIBUTES = {  # CelebA's name: field of `Face`, or hair colour
    "Black_Hair": "black",
    "Blond_Hair": "blond",
    "Eyeglasses": "eyeglasses",
    "Male": "male",
    "Mustache": "mustache",
    "Smiling": "smiling",
    "Wavy_Hair": "wavy",
    "Wearing_Hat": "hat",
    "Wearing_Lipstick": "lipstick",
    "Young": "young",
}
HAIR = {  # colour: probability and RGB
    "black": (0.28, (28, 24, 26)),
    "blond": (0.28, (216, 178, 96)),
    "brown": (0.2, (104, 66, 38)),
    "gray": (0.12, (158, 158, 160)),
    "red": (0.12, (160, 72, 34)),
}


@dataclass(frozen=True)
class Face:
    """Everything that decides how one face looks; lengths in units of the image side."""

    smiling: bool
    male: bool
    young: bool
    eyeglasses: bool
    hat: bool
    mustache: bool
    lipstick: bool
    wavy: bool
    hair: str
    long_hair: bool  # more often with women: a cue to sex that is sometimes wrong
    smile: float  # curve of the mouth, -0.5 (drooping) to 1 (laughing)
    mouth_open: float
    yaw: float  # -1 looks to the left of the image, 1 to the right
    roll: float  # degrees
    skin: float  # 0 light, 1 dark

    def attributes(self) -> dict[str, int]:
        """Return CelebA's attributes with values -1 and 1, in the order of `ATTRIBUTES`."""
        there = {name: self.hair == key if key in HAIR else getattr(self, key) for name, key in ATTRIBUTES.items()}
        return {name: 1 if value else -1 for name, value in there.items()}


def sample_face(rng: np.random.Generator) -> Face:
    """Draw a face with independent attributes, except that hair colours exclude each other."""
    smiling = rng.random() < 0.5
    # The two ranges almost touch, so some faces are hard to call, as in photographs.
    smile = rng.uniform(0.35, 1.0) if smiling else rng.uniform(-0.5, 0.05)
    male = rng.random() < 0.5
    return Face(
        smiling=smiling,
        male=male,
        young=rng.random() < 0.5,
        eyeglasses=rng.random() < 0.35,
        hat=rng.random() < 0.2,
        mustache=rng.random() < 0.2,
        lipstick=rng.random() < 0.35,
        wavy=rng.random() < 0.5,
        hair=str(rng.choice(list(HAIR), p=[chance for chance, _ in HAIR.values()])),
        long_hair=rng.random() < (0.15 if male else 0.82),
        smile=smile,
        mouth_open=rng.uniform(0, 1) if rng.random() < 0.45 else 0.0,
        yaw=rng.uniform(-1, 1),
        roll=rng.normal(0, 6),
        skin=rng.beta(1.1, 1.6),
    )
