"""The one way an image file is read, for training, synthetic sets, judge, contact sheets and generators alike."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from utils.errors import UserError

VERSION = 2  # of what comes out of a file; raise it with every change, so that no image decoded before is used again


def read_image(path: Path) -> Image.Image:
    """The picture in a file as a person sees it: upright and in 8-bit RGB; of several frames or pages the first.

    The orientation noted in EXIF is applied, colours with an ICC profile are converted to sRGB (a profile that can't
    be used is ignored), what is transparent shows white, and 16-bit grey is scaled to 8 bits. Raises `UserError` for a
    file that can't be read whole, has more pixels than Pillow takes for harmless (89 million), or whose numbers (32
    bits, fractions) don't say what is black and what is white.
    """
    try:
        with Image.open(path) as image:
            if image.width * image.height > (Image.MAX_IMAGE_PIXELS or float("inf")):
                raise _too_large(path, f"has {image.width}x{image.height} pixels")
            image.load()
            return _rgb(_upright(image))
    except UserError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(path, "is too large") from error
    except Exception as error:  # each format has its own set of exceptions for a broken file
        heic = "; Pillow doesn't read HEIC: convert it to JPEG" if path.suffix.lower() in (".heic", ".heif") else ""
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"cannot read the image {path}: {reason}{heic}; replace or remove it") from error


def _too_large(path: Path, what: str) -> UserError:
    return UserError(
        f"cannot read the image {path}: it {what}; at most {Image.MAX_IMAGE_PIXELS} are read: make it smaller"
    )


def _upright(image: Image.Image) -> Image.Image:
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception:  # EXIF that can't be parsed notes no orientation; viewers too show such an image as it is
        return image
    return image


def _rgb(image: Image.Image) -> Image.Image:
    profile, alpha = image.info.get("icc_profile"), None
    if image.mode.startswith("I;16") or (image.mode, image.format) == ("I", "PPM"):
        image = _grey_of_16_bits(image)
    elif image.mode in ("I", "F"):
        raise ValueError("its numbers don't say what is black and what is white; save it with 8 bits a channel")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
    if image.mode not in ("RGB", "L", "CMYK"):
        image = image.convert("RGB")
    image = _srgb(image, profile).convert("RGB")
    if alpha is None:
        return image
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=alpha)
    return white


def _grey_of_16_bits(image: Image.Image) -> Image.Image:
    """Pillow would cut off what is above 255."""
    tags = getattr(image, "tag_v2", {})  # of a TIFF, which may hold 12 bits, or white as 0
    white = 4095 if tags.get(258) == (12,) else 65535
    values = np.asarray(image).astype(np.uint32)
    grey = np.minimum((values * 255 + white // 2) // white, 255).astype(np.uint8)
    if tags.get(262) == 0:
        grey = 255 - grey
    if "transparency" in image.info:  # of a PNG: the one value that shows nothing
        grey[values == image.info["transparency"]] = 255
    return Image.fromarray(grey)


def _srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    if not profile:
        return image
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if ImageCms.getProfileDescription(source).startswith("sRGB IEC61966"):
            return image
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB") or image
    except (OSError, ValueError, ImageCms.PyCMSError):  # damaged, or of another colour space than the pixels
        return image
