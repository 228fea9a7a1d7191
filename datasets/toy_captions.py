"""Captions of toy faces in many wordings, to train a text-to-image model on them."""

import numpy as np

from datasets.toy_faces import Face

WORDS = {  # field of a face: wordings if it is False, and if it is True
    "smiling": (
        ("serious", "serious", "not smiling", "unsmiling", "neutral"),
        ("smiling", "smiling", "happily smiling", "cheerful smiling"),
    ),
    "male": (("woman", "woman", "female"), ("man", "man", "male")),
    "young": (("old", "aged", "elderly", "older", "senior"), ("young", "young", "youthful")),
    "hat": (("without a hat", "bareheaded"), ("wearing a hat", "a hat")),
    "mustache": (("clean-shaven", "without a mustache"), ("a mustache", "with a mustache")),
    "lipstick": (("without lipstick", "natural lips"), ("red lipstick", "wearing lipstick")),
    "wavy": (("straight ", "smooth "), ("wavy ", "curly ")),
}
SMILE_DETAIL = (  # the same for a smile beside the word for it
    ("with a neutral expression", "without a smile", "with closed serious lips", "a serious expression"),
    ("with a smile", "with a broad smile", "with a bright smile", "a happy expression", "smiling warmly"),
)
GLASSES = ("eyeglasses", "wearing eyeglasses", "wearing glasses")
HAIR_WORDS = {
    "black": ("black hair", "dark black hair", "jet-black hair"),
    "blond": ("blond hair", "blonde hair", "golden blond hair"),
    "brown": ("brown hair", "chestnut brown hair", "dark brown hair"),
    "gray": ("gray hair", "silver gray hair", "grey hair"),
    "red": ("red hair", "auburn red hair", "ginger red hair"),
}
POSES = {
    "left": ("head turned slightly to the left", "looking to the left", "face turned left"),
    "right": ("head turned slightly to the right", "looking to the right", "face turned right"),
    "front": ("facing the camera", "looking straight ahead", "head facing forward"),
}
# Words for what the drawings do not show. The captions have them so that a model learns to ignore them, and prompts for
# a real generator work with it unchanged.
UNSHOWN = (
    "oval face", "round face", "heart-shaped face", "square face", "long face", "high cheekbones", "full cheeks",
    "freckles", "dimples", "rosy cheeks", "clear skin", "sun-tanned skin", "pale skin", "a small scar", "a mole on the cheek",
    "full lips", "thin lips", "narrow eyes", "big round eyes", "almond-shaped eyes", "bright blue eyes", "hazel eyes",
    "thick eyebrows", "arched eyebrows", "straight eyebrows", "a pointed nose", "a broad nose", "a straight nose",
    "a strong chin", "a cleft chin", "a soft jawline", "bags under the eyes", "short hair", "long hair", "shoulder-length hair",
    "bangs", "a side parting", "a center parting", "hair tied back", "hair behind the ears", "tousled hair", "neat hair", "thick hair",
    "small earrings", "a necklace", "a scarf", "a plain T-shirt", "a white shirt", "a denim jacket", "a knitted sweater",
    "a dark coat", "a collared shirt", "a backpack strap", "a wristwatch", "a hooded top", "headphones around the neck",
    "chin slightly raised", "chin slightly lowered", "soft light", "outdoors", "in a studio", "blurred background",
)  # fmt: skip


def describe(face: Face, rng: np.random.Generator) -> str:
    """Return a caption of a face: who it shows, then some details in a random order.

    Every caption names smile and sex, half of them age, and other details now and then. `rng` draws details and
    wording.
    """

    def pick(words):
        return str(words[rng.integers(len(words))])

    def word(field):
        return pick(WORDS[field][getattr(face, field)])

    mood, person, age = word("smiling"), word("male"), word("young")
    details = _details(face, pick, word, rng)
    rng.shuffle(details)
    start = pick(("portrait face photo of a", "portrait face photo of a", "Portrait face photo of a", "a photo of a"))
    form = rng.integers(6)
    ending = f" {pick(SMILE_DETAIL[face.smiling])}" if form == 0 else ""
    age = f"{age} " if rng.random() < 0.5 else ""
    if form == 0:
        subject = f"{age}{person}{ending}"
    else:
        subject = f"{mood} {age}{person}" if form < 4 else f"{age}{mood} {person}"
    article = "n" if subject[0] in "aeiou" else ""
    return ", ".join([f"{start}{article} {subject}", *details])


def _details(face: Face, pick, word, rng: np.random.Generator) -> list[str]:
    details = []
    if rng.random() < 0.5:
        if rng.random() < 0.3:
            details.append("with eyeglasses" if face.eyeglasses else "with no eyeglasses")
        else:
            details.append(pick(GLASSES) if face.eyeglasses else "without eyeglasses")
    for field, chance in (("hat", 0.15), ("mustache", 0.1)):
        if getattr(face, field) or rng.random() < chance:
            details.append(word(field))
    if rng.random() < 0.5:
        details.append(word("lipstick"))
    if rng.random() < 0.7:
        texture = word("wavy")
        details.append((texture if rng.random() < 0.7 else "") + pick(HAIR_WORDS[face.hair]))
    if rng.random() < 0.6:
        details.append(pick(POSES["left" if face.yaw < -0.35 else "right" if face.yaw > 0.35 else "front"]))
    if rng.random() < 0.3:
        details.append(pick(SMILE_DETAIL[face.smiling]))
    return details + [pick(UNSHOWN) for _ in range(rng.integers(0, 4))]
