"""Captions of toy faces, in many wordings, for training a text-to-image model on them."""

SMILING = ("smiling", "smiling", "happily smiling", "cheerful smiling")
NOT_SMILING = ("serious", "serious", "not smiling", "unsmiling", "neutral")
SMILE_DETAIL = ("with a smile", "with a broad smile", "with a bright smile", "a happy expression", "smiling warmly")
NO_SMILE_DETAIL = ("with a neutral expression", "without a smile", "with closed serious lips", "a serious expression")
MALE, FEMALE = ("man", "man", "male"), ("woman", "woman", "female")
YOUNG = ("young", "young", "youthful")
OLD = ("old", "aged", "elderly", "older", "senior")
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
# Words for what the drawings do not show. Carrying them, the captions teach a model that they mean
# nothing here, so that prompts written for a real generator can be used with it as they are.
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


def describe(face, rng) -> str:
    """A caption of a `datasets.toy.Face`: who it shows, then some of its details in a random order.

    Smile and sex are always named, age in half of the captions, every other detail now and then.
    The wording and the choice come from `rng`.
    """

    def pick(words):
        return str(words[rng.integers(len(words))])

    mood = pick(SMILING if face.smiling else NOT_SMILING)
    person = pick(MALE if face.male else FEMALE)
    age = pick(YOUNG if face.young else OLD)
    details = []
    if rng.random() < 0.5:
        details.append(
            f"with {'no ' if not face.eyeglasses else ''}eyeglasses" if rng.random() < 0.3 else _glasses(face, pick)
        )
    if face.hat or rng.random() < 0.15:
        details.append(pick(("wearing a hat", "a hat")) if face.hat else pick(("without a hat", "bareheaded")))
    if face.mustache or rng.random() < 0.1:
        details.append(
            pick(("a mustache", "with a mustache")) if face.mustache else pick(("clean-shaven", "without a mustache"))
        )
    if rng.random() < 0.5:
        details.append(
            pick(("red lipstick", "wearing lipstick")) if face.lipstick else pick(("without lipstick", "natural lips"))
        )
    if rng.random() < 0.7:
        texture = pick(("wavy ", "curly ")) if face.wavy else pick(("straight ", "smooth "))
        details.append((texture if rng.random() < 0.7 else "") + pick(HAIR_WORDS[face.hair]))
    if rng.random() < 0.6:
        details.append(pick(POSES["left" if face.yaw < -0.35 else "right" if face.yaw > 0.35 else "front"]))
    if rng.random() < 0.3:
        details.append(pick(SMILE_DETAIL if face.smiling else NO_SMILE_DETAIL))
    details += [pick(UNSHOWN) for _ in range(rng.integers(0, 4))]
    rng.shuffle(details)

    start = pick(("portrait face photo of a", "portrait face photo of a", "Portrait face photo of a", "a photo of a"))
    form = rng.integers(6)
    if form == 0:  # the mood after the person
        ending = pick(SMILE_DETAIL if face.smiling else NO_SMILE_DETAIL)
        subject = f"{age + ' ' if rng.random() < 0.5 else ''}{person} {ending}"
    elif form < 4:
        subject = f"{mood} {age + ' ' if rng.random() < 0.5 else ''}{person}"
    else:
        subject = f"{age + ' ' if rng.random() < 0.5 else ''}{mood} {person}"
    article = "n" if subject[0] in "aeiou" else ""
    return ", ".join([f"{start}{article} {subject}", *details])


def _glasses(face, pick):
    return pick(("eyeglasses", "wearing eyeglasses", "wearing glasses")) if face.eyeglasses else "without eyeglasses"
