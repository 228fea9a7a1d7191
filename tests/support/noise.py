"""Images of noise."""

import numpy as np
from PIL import Image


def save(path, seed, size=(6, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path)
