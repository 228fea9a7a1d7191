"""Drawing of toy faces with Pillow."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from datasets.toy_faces import HAIR, Face

SKIN_LIGHT, SKIN_DARK = np.array([246, 212, 188]), np.array([104, 66, 46])
WHITE, LASHES, LIPSTICK = (244, 244, 240), (30, 22, 20), (172, 30, 52)
DRAWN_AT = 3  # drawn this many times larger, then reduced, because Pillow draws without anti-aliasing


def draw_face(face: Face, rng: np.random.Generator, size: int = 64) -> Image.Image:
    """Draw the portrait of a face, RGB, `size` pixels a side; `rng` draws what no field of the face decides."""
    side = size * DRAWN_AT
    canvas = _background(rng, size)
    draw = ImageDraw.Draw(canvas)
    pen = _Pen(draw, side, cx=0.5 + rng.normal(0, 0.02), cy=0.55 + rng.normal(0, 0.02), scale=rng.uniform(1.0, 1.2))
    skin = tuple(int(v) for v in SKIN_LIGHT + (SKIN_DARK - SKIN_LIGHT) * face.skin)
    hair = _shade(HAIR[face.hair][1], rng.uniform(0.85, 1.12))

    _hair_behind(pen, face, hair, rng)
    _shoulders(pen, face, skin, rng)
    _head(pen, face, skin)
    _hair_in_front(pen, face, hair, rng)
    _features(pen, face, skin, hair, rng)
    if face.hat:
        _hat(pen, rng)

    canvas = canvas.rotate(face.roll, resample=Image.Resampling.BILINEAR, fillcolor=canvas.getpixel((1, 1)))
    image = canvas.resize((size, size), Image.Resampling.BOX)
    return _photograph(image, rng)


class _Pen:
    """A pen in face coordinates: x and y from -1 to 1 across the head, y downwards."""

    def __init__(self, draw, side, *, cx, cy, scale):
        self.draw, self.side, self.cx, self.cy, self.scale = draw, side, cx, cy, scale
        self.half_width, self.half_height = 0.28 * scale, 0.36 * scale

    def at(self, x, y):
        return ((self.cx + x * self.half_width) * self.side, (self.cy + y * self.half_height) * self.side)

    def ellipse(self, x0, y0, x1, y1, fill):
        self.draw.ellipse([*self.at(x0, y0), *self.at(x1, y1)], fill=fill)

    def polygon(self, points, fill):
        self.draw.polygon([self.at(x, y) for x, y in points], fill=fill)

    def line(self, points, fill, width):
        """Draw a line; `width` in units of half the head's width."""
        pixels = max(1, round(width * self.half_width * self.side))
        self.draw.line([self.at(x, y) for x, y in points], fill=fill, width=pixels, joint="curve")


def _shade(colour, factor, tint=(1.0, 1.0, 1.0)):
    return tuple(int(min(255, v * factor * t)) for v, t in zip(colour, tint, strict=True))


def _background(rng, size):
    """Blend two muted colours in a random direction, and sometimes add a few soft shapes."""
    start, end = _muted(rng), _muted(rng)
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    blend = (np.cos(angle) * x + np.sin(angle) * y + 0.7)[..., None] / 1.4
    image = Image.fromarray((start + (end - start) * blend.clip(0, 1)).astype(np.uint8))
    if rng.random() < 0.5:
        draw = ImageDraw.Draw(image)
        for _ in range(rng.integers(2, 5)):
            x0, y0 = rng.uniform(-0.2, 0.9, 2) * size
            w, h = rng.uniform(0.1, 0.5, 2) * size
            draw.rectangle([x0, y0, x0 + w, y0 + h], fill=tuple(int(v) for v in _muted(rng)))
        image = image.filter(ImageFilter.BoxBlur(size / 24))
    return image.resize((size * DRAWN_AT, size * DRAWN_AT), Image.Resampling.BILINEAR)


def _muted(rng):
    colour = rng.uniform(20, 235, 3)
    return colour.mean() + 0.6 * (colour - colour.mean())


def _waves(points, amount, rng):
    """Make a closed outline wavy; with `amount` 0 leave it as it is."""
    points = np.asarray(points, dtype=float)
    if not amount:
        return [tuple(p) for p in points]
    dense = np.concatenate([np.linspace(a, b, 8, endpoint=False) for a, b in zip(points, np.roll(points, -1, 0))])
    phase = rng.uniform(0, 2 * np.pi)
    dense[:, 0] += amount * np.sin(np.arange(len(dense)) * 1.35 + phase)
    dense[:, 1] += amount * 0.5 * np.cos(np.arange(len(dense)) * 1.35 + phase)
    return [tuple(p) for p in dense]


def _hair_behind(pen, face, hair, rng):
    back = _shade(hair, 0.8)
    if not face.long_hair:
        pen.ellipse(-1.08, -1.2, 1.08, 0.35, back)
        return
    length = rng.uniform(0.75, 1.5)
    width = rng.uniform(1.15, 1.4)
    outline = [(-1.0, -0.7), (-width, 0.1), (-width, length), (width, length), (width, 0.1), (1.0, -0.7)]
    pen.ellipse(-1.15, -1.25, 1.15, 0.6, back)
    pen.polygon(_waves(outline, 0.16 if face.wavy else 0.0, rng), back)


def _shoulders(pen, face, skin, rng):
    neck, reach = (0.55, 1.75) if face.male else (0.4, 1.35)
    cloth = tuple(int(v) for v in rng.uniform(25, 225, 3))
    pen.polygon([(-reach, 2.2), (-reach * 0.8, 1.3), (0, 1.1), (reach * 0.8, 1.3), (reach, 2.2)], cloth)
    pen.polygon([(-neck, 0.6), (-neck, 1.25), (0, 1.5), (neck, 1.25), (neck, 0.6)], _shade(skin, 0.85))


def _head(pen, face, skin):
    for x in (-1, 1):
        pen.ellipse(x * 1.0 - 0.13, -0.18, x * 1.0 + 0.13, 0.22, _shade(skin, 0.9))
    pen.ellipse(-1, -1.05, 1, 0.95, skin)
    if face.male:  # a square jaw
        pen.polygon([(-0.97, -0.05), (-0.86, 0.62), (-0.42, 1.04), (0.42, 1.04), (0.86, 0.62), (0.97, -0.05)], skin)
    else:  # a narrow chin
        pen.polygon([(-0.9, 0.2), (-0.3, 0.98), (0, 1.04), (0.3, 0.98), (0.9, 0.2)], skin)


def _hair_in_front(pen, face, hair, rng):
    bump = 0.09 if face.wavy else 0.0
    top = -1.3 if face.wavy else -1.18
    line = -0.62 + rng.normal(0, 0.05) - (0.0 if face.young else 0.1)  # an older hairline is higher
    parting = rng.uniform(-0.5, 0.5)
    outline = [(-1.07, -0.1), (-1.1, -0.6), (-0.7, top + 0.12), (0, top), (0.7, top + 0.12), (1.1, -0.6), (1.07, -0.1)]
    outline += [(0.86, line + 0.12), (parting + 0.25, line - 0.06), (parting, line), (-0.86, line + 0.12)]
    pen.polygon(_waves(outline, bump, rng), hair)
    if face.long_hair:  # strands beside the cheeks
        for x in (-1, 1):
            strand = [(x * 0.86, -0.55), (x * 1.16, -0.5), (x * 1.2, 0.75), (x * 0.94, 0.75)]
            pen.polygon(_waves(strand, bump, rng), hair)
    if face.wavy:  # curls that catch the light
        for _ in range(7):
            x, y = rng.uniform(-0.85, 0.85), rng.uniform(top + 0.12, line - 0.12)
            pen.ellipse(x - 0.12, y - 0.07, x + 0.12, y + 0.07, _shade(hair, 1.35))
            pen.ellipse(x - 0.07, y - 0.01, x + 0.13, y + 0.08, _shade(hair, 0.85))


def _features(pen, face, skin, hair, rng):
    shadow = _shade(skin, 0.72)
    shift = 0.2 * face.yaw  # the features move across the head as it turns
    eye_y = -0.12 + rng.normal(0, 0.02)
    _eyes(pen, face, shift, eye_y, hair, shadow, rng)
    if not face.young:
        for y in (-0.5, -0.41):
            pen.line([(shift - 0.45, y + 0.02), (shift, y - 0.02), (shift + 0.45, y + 0.02)], shadow, 0.045)
    nose = shift * 1.35
    pen.line([(nose + 0.02, -0.02), (nose + 0.1, 0.26), (nose - 0.08, 0.29)], shadow, 0.06)
    if face.smile > 0.3:  # a smile lifts the cheeks
        for x in (-1, 1):
            cx = shift + x * 0.56
            pen.ellipse(cx - 0.16, 0.16, cx + 0.16, 0.4, _shade(skin, 1.0 + 0.12 * face.smile, (1.0, 0.86, 0.84)))
            pen.line([(cx - x * 0.2, 0.34), (cx - x * 0.02, 0.44), (cx + x * 0.06, 0.56)], shadow, 0.045)
    _mouth(pen, face, skin, nose * 0.9, rng)
    if face.mustache:
        outline = [(-0.4, 0.5), (-0.16, 0.33), (0, 0.37), (0.16, 0.33), (0.4, 0.5), (0, 0.46)]
        pen.polygon([(nose + x, y) for x, y in outline], _shade(hair, 0.75))
    if face.eyeglasses:
        _glasses(pen, shift, face.yaw, eye_y, rng)


def _eyes(pen, face, shift, eye_y, hair, shadow, rng):
    brow, look = _shade(hair, 0.6), 0.05 * face.yaw
    iris = [(60, 40, 24), (70, 100, 140), (70, 110, 70)][rng.integers(3)]
    tall = (0.115 if face.male else 0.14) * (1.0 if face.young else 0.85) - 0.05 * max(face.smile, 0)
    for x in (-1, 1):
        cx = _eye_x(shift, face.yaw, x)
        pen.ellipse(cx - 0.19, eye_y - tall, cx + 0.19, eye_y + tall, WHITE)
        pen.ellipse(cx - 0.09 + look, eye_y - 0.1, cx + 0.09 + look, eye_y + 0.1, iris)
        lid = [
            (cx - 0.21, eye_y - 0.02),
            (cx - 0.08, eye_y - tall),
            (cx + 0.1, eye_y - tall),
            (cx + 0.21, eye_y - 0.02),
        ]
        pen.line(lid, LASHES, 0.05 if face.male else 0.11)
        if face.male:
            pen.line([(cx - 0.25, eye_y - 0.26), (cx + 0.25, eye_y - 0.26)], brow, 0.13)
        else:
            pen.line([(cx - 0.22, eye_y - 0.26), (cx, eye_y - 0.34), (cx + 0.22, eye_y - 0.26)], brow, 0.06)
        if not face.young:
            _wrinkles_by_eye(pen, cx, eye_y, x, shadow)


def _eye_x(shift, yaw, side):
    return shift + side * 0.42 * (1 - 0.12 * yaw * side)


def _wrinkles_by_eye(pen, cx, eye_y, x, shadow):
    pen.line([(cx - 0.18, eye_y + 0.2), (cx, eye_y + 0.25), (cx + 0.18, eye_y + 0.2)], shadow, 0.055)
    outer = cx + x * 0.28
    for dy in (-0.06, 0.07):
        pen.line([(outer, eye_y + dy * 0.5), (outer + x * 0.14, eye_y + dy * 1.7)], shadow, 0.045)
    pen.line([(cx * 0.6 + x * 0.12, 0.3), (cx * 0.8 + x * 0.16, 0.62)], shadow, 0.055)


def _mouth(pen, face, skin, mx, rng):
    """Draw the mouth as a parabola: `smile` lifts its corners, `mouth_open` parts the lips."""
    y0, half = 0.62 + rng.normal(0, 0.015), 0.4 + 0.14 * max(face.smile, 0) + rng.normal(0, 0.02)
    xs = np.linspace(-1, 1, 9)
    middle = y0 + 0.34 * face.smile * (0.5 - xs**2)  # the corners rise when smile is positive
    gap = 0.15 * face.mouth_open * (1 - xs**2)
    lip = LIPSTICK if face.lipstick else _shade(skin, 0.66)
    thick = (0.095 if face.lipstick else 0.06) * (1 - xs**2 * 0.6)
    upper = list(zip(mx + xs * half, middle - thick - gap * 0.2))
    lower = list(zip(mx + xs * half, middle + thick + gap))
    pen.polygon(upper + lower[::-1], lip)
    if face.mouth_open > 0.15:
        inside = (238, 232, 224) if rng.random() < 0.6 else (84, 24, 26)
        top = list(zip(mx + xs * half * 0.86, middle - gap * 0.15))
        bottom = list(zip(mx + xs * half * 0.86, middle + gap * 0.85))
        pen.polygon(top + bottom[::-1], inside)
    else:
        pen.line(list(zip(mx + xs * half, middle)), (70, 26, 26), 0.05)


def _glasses(pen, shift, yaw, eye_y, rng):
    frame = [(20, 20, 24), (70, 44, 24), (120, 24, 30)][rng.integers(3)]
    for x in (-1, 1):
        cx = _eye_x(shift, yaw, x)
        ring = [(cx + 0.31 * np.cos(t), eye_y + 0.02 + 0.23 * np.sin(t)) for t in np.linspace(0, 2 * np.pi, 20)]
        pen.line(ring, frame, 0.085)
        pen.line([(cx + x * 0.31, eye_y), (x * 1.0, eye_y - 0.04)], frame, 0.07)
    pen.line([(shift - 0.12, eye_y), (shift + 0.12, eye_y)], frame, 0.08)


def _hat(pen, rng):
    colour = tuple(int(v) for v in rng.uniform(30, 220, 3))
    pen.polygon([(-0.95, -0.62), (-0.85, -1.25), (-0.5, -1.5), (0.5, -1.5), (0.85, -1.25), (0.95, -0.62)], colour)
    pen.polygon([(-1.35, -0.62), (-1.25, -0.8), (1.25, -0.8), (1.35, -0.62)], _shade(colour, 0.7))


def _photograph(image, rng):
    """Add light from one side, blur and noise."""
    size = image.width
    pixels = np.asarray(image, dtype=np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size - 0.5
    light = rng.uniform(0.8, 1.12) * (1 + rng.uniform(0, 0.55) * (np.cos(angle) * x + np.sin(angle) * y))
    tint = rng.uniform(0.93, 1.07, 3).astype(np.float32)
    pixels = (pixels * light[..., None] * tint).clip(0, 255)
    blurred = Image.fromarray(pixels.astype(np.uint8)).filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.7) * size / 64))
    noise = rng.normal(0, rng.uniform(1, 6), pixels.shape)
    return Image.fromarray((np.asarray(blurred, dtype=np.float32) + noise).clip(0, 255).astype(np.uint8))
