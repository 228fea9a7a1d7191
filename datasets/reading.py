"""Reading of image files, the same for training, synthetic sets, judge, contact sheets and generators."""

import contextlib
import io
import struct
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps

from utils.errors import UserError

VERSION = 2  # of the reading; raise it with every change of results, so that older decoded images are not used
ORIENTED = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")  # texts in a PNG that may give its orientation
MAX_PROFILE = 2**26  # bytes of a colour profile
NAMED = 12  # images named in a message
NOT_IMAGES = (  # files that are often taken for images: position, bytes there, description, remedy
    (0, b"version https://git-lfs", "it is a pointer of git-lfs", "get the files with `git lfs pull`"),
    (4, b"ftyphe", "it is HEIC, which Pillow doesn't read", "convert it to JPEG"),
    (4, b"ftypmif", "it is HEIF, which Pillow doesn't read", "convert it to JPEG"),
    (0, b"\0\5\x16\7", "it holds what macOS notes beside a file, no picture", "name the file without ._"),
    (0, b"<", "it is a web page or a drawing in XML", "download the image again"),
)
T = TypeVar("T")


class ImageError(UserError):
    """Unreadable images, each with path, reason and remedy. The message names up to a dozen."""

    def __init__(self, *faults: tuple[Path, str, str]):
        self.faults = faults
        shown = "; ".join(f"{path}: {reason}" for path, reason, _ in faults[:NAMED])
        more = f"; and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
        remedies = ", or ".join(dict.fromkeys(remedy for _, _, remedy in faults))
        what = "the image" if len(faults) == 1 else f"{len(faults)} images:"
        super().__init__(f"cannot read {what} {shown}{more}; {remedies}")


def caught(read: Callable[..., T]) -> Callable[..., T | ImageError]:
    """Return a function that calls `read` and returns an `ImageError` instead of raising it, for `together`."""

    def attempt(*arguments) -> T | ImageError:
        try:
            return read(*arguments)
        except ImageError as error:
            return error

    return attempt


def together(results: Iterable[T | ImageError]) -> list[T]:
    """Return the results of many readings. Raises one `ImageError` for all failures, after the last reading."""
    results = list(results)
    faults = [fault for error in results if isinstance(error, ImageError) for fault in error.faults]
    if faults:
        raise ImageError(*faults)
    return results


def read_image(path: Path) -> Image.Image:
    """Read an image as a viewer shows it, upright and in 8-bit RGB; of several frames or pages the first.

    The EXIF orientation is applied, colours with an ICC profile are converted to sRGB (an unusable profile is ignored),
    transparent pixels become white, and 16-bit grey is scaled to 8 bits. Raises `ImageError` if a file can't be read
    whole, has more pixels than Pillow allows (89 million), or has numbers (32 bits, fractions) without a defined black
    and white.
    """
    try:
        return _picture(path, path)
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(path, "is too large") from error
    except Exception as error:  # each format raises its own exceptions for a broken file
        with contextlib.suppress(Exception):
            source, profile = _essential_png(path)
            return _picture(path, source, **profile)
        raise ImageError((path, *_fault(path, error))) from error


def _picture(path: Path, source: Path | io.BytesIO, **info: bytes) -> Image.Image:
    with Image.open(source) as image:
        image.info |= info
        if image.width * image.height > (Image.MAX_IMAGE_PIXELS or float("inf")):
            raise _too_large(path, f"has {image.width}x{image.height} pixels")
        image.load()
        return _rgb(_upright(image))


def _essential_png(path: Path) -> tuple[io.BytesIO, dict[str, bytes]]:
    """Return a PNG file with only the chunks of its picture, and its colour profile as Pillow's info.

    Pillow refuses files for other chunks: megabytes of text (the workflow of an image generator), a colour profile
    above a megabyte, a wrong checksum. Viewers show them. Raises an exception if the file is cut off or no PNG.
    """
    content, place, kind = path.read_bytes(), 8, b""
    kept, profile = [content[:8]], {}
    if kept != [b"\x89PNG\r\n\x1a\n"]:
        raise ValueError("not a PNG file")
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", content, place)
        chunk, place = content[place : place + 12 + length], place + 12 + length
        if len(chunk) < 12 + length:
            raise ValueError("the file is cut off")
        if kind[:1].isupper() or kind in (b"tRNS", b"eXIf") or chunk[8:].startswith(ORIENTED):
            kept.append(chunk)  # a capital marks a chunk that readers must not skip
        if kind == b"iCCP":
            with contextlib.suppress(zlib.error):
                packed = chunk[8:-4].partition(b"\0")[2][1:]
                profile = {"icc_profile": zlib.decompressobj().decompress(packed, MAX_PROFILE)}
    return io.BytesIO(b"".join(kept)), profile


def _too_large(path: Path, what: str) -> ImageError:
    return ImageError((path, f"it {what}; at most {Image.MAX_IMAGE_PIXELS} are read", "make it smaller"))


def _fault(path: Path, error: Exception) -> tuple[str, str]:
    """Return the reason why a file can't be read as an image, and the remedy."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        start = file.read(32).lstrip()
        if not start:
            return "the file is empty", "replace or remove it"
        for place, mark, reason, remedy in NOT_IMAGES:
            if start.startswith(mark, place):
                return reason, remedy
    return " ".join(str(error).split()) or type(error).__name__, "replace or remove it"


def _upright(image: Image.Image) -> Image.Image:
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception:  # with EXIF that can't be parsed, viewers too show the image as it is
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
    """Scale 16-bit grey to 8 bits, where Pillow would cut off values above 255."""
    tags = getattr(image, "tag_v2", {})  # of a TIFF, which may have 12 bits, or white as 0
    white = 4095 if tags.get(258) == (12,) else 65535
    values = np.asarray(image).astype(np.uint32)
    grey = np.minimum((values * 255 + white // 2) // white, 255).astype(np.uint8)
    if tags.get(262) == 0:
        grey = 255 - grey
    if "transparency" in image.info:  # of a PNG: the one transparent value
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
    except (OSError, ValueError, ImageCms.PyCMSError):  # a damaged profile, or one of another colour space
        return image
