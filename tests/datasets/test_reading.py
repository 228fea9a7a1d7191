"""Image files as people have them: whatever holds the picture, the same picture comes out, or a line that says why not."""

import io
import shutil
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile, PngImagePlugin
from support import assert_one_line_error
from support.small import TINY, train, trained

from datasets import decoding
from datasets.decoding import check_some, decode_images, time_reading
from datasets.reading import read_image
from datasets.real import read_real
from stable_diffusion.drawing.contact_sheet import TITLE, contact_sheet
from stable_diffusion.train_generator import read_captioned_folder
from utils.errors import UserError

PICTURE = np.random.default_rng(0).integers(0, 256, (2, 3, 3), np.uint8)
UPRIGHT = {  # what a viewer does with each orientation of the EXIF standard
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a.swapaxes(0, 1), 2),
    8: np.rot90,
}


def orientation(number):
    exif = Image.Exif()
    exif[0x0112] = number
    return exif


def read(path):
    return np.asarray(read_image(path))


@pytest.mark.parametrize("number", [*UPRIGHT, 0, 9])
@pytest.mark.parametrize(("suffix", "options"), [("png", {}), ("webp", {"lossless": True}), ("tif", {})])
def test_an_image_is_upright(tmp_path, number, suffix, options):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(PICTURE).save(path, exif=orientation(number), **options)
    np.testing.assert_array_equal(read(path), UPRIGHT.get(number, UPRIGHT[1])(PICTURE))


def phone(path, size=(64, 32), **options):
    """A camera's file: red on the left as it lies in memory, red on top once it is turned as its EXIF says."""
    image = Image.new("RGB", size, "blue")
    image.paste("red", (0, 0, size[0] // 2, size[1]))
    image.save(path, exif=orientation(6), quality=95, **options)


def is_turned(pixels):
    height = pixels.shape[0]
    return pixels[: height // 3, ..., 0].min() > 200 and pixels[-height // 3 :, ..., 2].min() > 200


@pytest.mark.parametrize(
    "options", [{}, {"format": "MPO", "save_all": True, "append_images": [Image.new("RGB", (9, 9))]}]
)
def test_every_reader_turns_a_phones_jpeg(tmp_path, options):
    path = tmp_path / "a.jpg"
    phone(path, **options)
    (tmp_path / "captions.csv").write_text("image,caption\na.jpg,a face\n")
    assert is_turned(decode_images([path], tmp_path / "cache")[0])
    assert is_turned(decode_images([path], tmp_path / "cache", 16)[0])
    assert is_turned(read_captioned_folder(tmp_path, 16)[0][0].permute(1, 2, 0).numpy())
    assert is_turned(np.asarray(contact_sheet(tmp_path, "", 16))[TITLE : TITLE + 16, :16])


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_exif_that_cannot_be_parsed_notes_no_orientation(tmp_path):
    for content in (b"Exif\0\0rubbish", b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b""):
        Image.fromarray(PICTURE).save(tmp_path / "a.png", exif=content)
        np.testing.assert_array_equal(read(tmp_path / "a.png"), PICTURE)


RAMP = np.array([[0, 1, 127], [128, 254, 255]], np.uint8)
DEEP = RAMP.astype(np.uint16) * 257  # the same greys in 16 bits


def big_endian(path):
    Image.frombytes("I;16B", (3, 2), DEEP.astype(">u2").tobytes()).save(path)


def twelve_bits(path):
    """A TIFF of 12 bits a pixel, two pixels in three bytes, as scientific cameras write it; Pillow only reads it."""
    pairs = [(0, 4095), (2048, 4095)]
    data = b"".join(bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in pairs)
    tags = {256: 2, 257: 2, 258: 12, 259: 1, 262: 1, 273: 122, 277: 1, 278: 2, 279: len(data)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + data)


def test_grey_of_12_bits(tmp_path):
    twelve_bits(tmp_path / "a.tif")
    assert read(tmp_path / "a.tif")[..., 0].tolist() == [[0, 255], [128, 255]]


GREY = {
    "png": lambda p: Image.fromarray(DEEP).save(p),
    "tif": lambda p: Image.fromarray(DEEP).save(p),
    "big endian tif": big_endian,
    "white is 0 tif": lambda p: Image.fromarray(65535 - DEEP).save(p, tiffinfo={262: 0}),
    "pgm": lambda p: p.write_bytes(b"P5\n3 2\n65535\n" + DEEP.astype(">u2").tobytes()),
    "1000 greys pgm": lambda p: p.write_bytes(b"P5\n3 2\n1000\n" + np.round(RAMP / 255 * 1000).astype(">u2").tobytes()),
    "8 bits": lambda p: Image.fromarray(RAMP).save(p),
}


@pytest.mark.parametrize("kind", GREY)
def test_grey_keeps_its_range(tmp_path, kind):
    path = tmp_path / f"a.{kind.split()[-1].replace('bits', 'png')}"
    GREY[kind](path)
    np.testing.assert_array_equal(read(path), np.repeat(RAMP[..., None], 3, axis=2))


def test_numbers_without_black_and_white_are_refused(tmp_path):
    for values in (RAMP.astype(np.float32) / 255, RAMP.astype(np.int32)):
        Image.fromarray(values).save(tmp_path / "a.tif")
        with pytest.raises(UserError, match=r"a\.tif: its numbers don't say what is black"):
            read_image(tmp_path / "a.tif")


def test_colours_of_16_bits(tmp_path):
    """Pillow can't write them: a PNG by hand, each value the 16-bit form of an 8-bit one."""

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in PICTURE.astype(np.uint16) * 257)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 2, 16, 2, 0, 0, 0))
    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    np.testing.assert_array_equal(read(tmp_path / "a.png"), PICTURE)


def transparent(kind):
    """One pixel of (200, 0, 0) that is seen, one of (0, 0, 200) that is not."""
    image = Image.new("RGBA", (2, 1), (200, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 200, 0))
    if kind == "RGB":
        return image.convert("RGB"), {"transparency": (0, 0, 200)}
    if kind == "P":
        palette = Image.new("P", (2, 1))
        palette.putpalette([200, 0, 0, 0, 0, 200])
        palette.putpixel((1, 0), 1)
        return palette, {"transparency": 1}
    if kind == "P of bytes":
        return transparent("P")[0], {"transparency": bytes([255, 0])}
    return image.convert(kind), {}


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        *(("png", kind) for kind in ("RGBA", "LA", "RGB", "P", "P of bytes")),
        ("webp", "RGBA"),
        ("tif", "RGBA"),
        ("tif", "LA"),
        ("gif", "P"),
    ],
)
def test_what_is_transparent_shows_white(tmp_path, kind, suffix):
    image, options = transparent(kind)
    image.save(tmp_path / f"a.{suffix}", **options, **({"lossless": True} if suffix == "webp" else {}))
    seen = [60, 60, 60] if kind == "LA" else [200, 0, 0]
    assert read(tmp_path / f"a.{suffix}").tolist() == [[seen, [255, 255, 255]]]


def test_transparent_grey_of_16_bits_and_half_transparent_colour(tmp_path):
    Image.fromarray(DEEP).save(tmp_path / "a.png", transparency=257)
    assert read(tmp_path / "a.png")[..., 0].tolist() == [[0, 255, 127], [128, 254, 255]]
    Image.new("RGBA", (1, 1), (200, 0, 100, 51)).save(tmp_path / "b.png")  # a fifth of it, on white
    assert read(tmp_path / "b.png").tolist() == [[[244, 204, 224]]]


def test_print_colours(tmp_path):
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    for name in ("a.tif", "a.jpg"):
        cmyk.save(tmp_path / name)
        assert np.abs(read(tmp_path / name).astype(int) - [255, 0, 0]).max() < 3


def gamma_profile(exponent):
    """An RGB profile with sRGB's colours under another curve of brightness: sRGB's own with its curves exchanged."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(exponent * 256)) + bytes(2)
    count = struct.unpack(">I", profile[128:132])[0]
    for entry in range(132, 132 + 12 * count, 12):
        if profile[entry : entry + 4] in (b"rTRC", b"gTRC", b"bTRC"):
            profile[entry + 4 : entry + 12] = struct.pack(">II", len(profile), len(curve))
    profile += curve
    profile[:4] = struct.pack(">I", len(profile))
    return bytes(profile)


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_a_colour_profile_is_followed(tmp_path, suffix):
    """Half of linear light is 188 of 255 in sRGB (IEC 61966-2-1)."""
    options = {"lossless": True} if suffix == "webp" else {}
    for mode, colour in (("RGB", (128, 128, 128)), ("RGBA", (128, 128, 128, 255))):
        path = tmp_path / f"a.{suffix}"
        Image.new(mode, (4, 4), colour).save(path, icc_profile=gamma_profile(1.0), **options)
        assert np.abs(read(path).astype(int) - 188).max() <= 1


def test_a_profile_that_cannot_be_used_or_says_nothing_new_changes_nothing(tmp_path):
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile, most in ((b"rubbish", 0), (own[:300], 0), (own, 1)):
        Image.fromarray(PICTURE).save(tmp_path / "a.png", icc_profile=profile)
        assert np.abs(read(tmp_path / "a.png").astype(int) - PICTURE).max() <= most
    Image.fromarray(RAMP).save(tmp_path / "a.png", icc_profile=own)  # of colours, on grey
    np.testing.assert_array_equal(read(tmp_path / "a.png")[..., 0], RAMP)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tif"])
def test_of_several_frames_the_first_is_read(tmp_path, suffix):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "lime")]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
    assert np.abs(read(tmp_path / f"a.{suffix}").astype(int) - [255, 0, 0]).max() <= 4


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "tif", "bmp"])
@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_a_file_that_is_cut_off_is_named(tmp_path, suffix, fraction):
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 60).convert("RGB").save(buffer, {"jpg": "jpeg", "tif": "tiff"}.get(suffix, suffix))
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(buffer.getvalue()[: int(fraction * len(buffer.getvalue()))])
    with pytest.raises(UserError, match=rf"cannot read the image .*a\.{suffix}: .+; replace or remove it"):
        read_image(path)


@pytest.mark.parametrize("width", [6000, 9000, 13000])  # under the limit, above it, above twice the limit
def test_a_decompression_bomb_is_refused_and_nothing_is_warned(tmp_path, monkeypatch, recwarn, width):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 6000)
    Image.new("1", (width // 10, 10)).save(tmp_path / "a.png")
    if width == 6000:
        assert decode_images([tmp_path / "a.png"], tmp_path / "cache").shape == (1, 10, 600, 3)
    else:
        with pytest.raises(UserError, match=r"a\.png: it .*; at most 6000 are read; make it smaller"):
            decode_images([tmp_path / "a.png"], tmp_path / "cache")
    assert not recwarn.list


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.HEIC", b"\0\0\0\x18ftypheic", "HEIC, which Pillow doesn't read; convert it to JPEG"),
        ("a.jpg", b"\0\0\0\x18ftypmif1", "HEIF, which Pillow doesn't read; convert it to JPEG"),
        (
            "a.png",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "pointer of git-lfs; .*`git lfs pull`",
        ),
        ("._a.jpg", b"\0\5\x16\7\0\2\0\0Mac OS X        ", "what macOS notes beside a file, .*; name the file without"),
        ("a.jpg", b"\n<!DOCTYPE html><html>404", "a web page .*; download the image again"),
        ("a.jpg", b"", "the file is empty; replace or remove it"),
    ],
)
def test_what_is_often_taken_for_an_image_is_told_what_to_do(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"cannot read the image .*{name}: .*{said}"):
        read_image(tmp_path / name)


def chunk(kind, data, checksum=None):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum or zlib.crc32(kind + data))


MEGABYTES = 400_000 * b"node "
ODD_CHUNKS = {
    "zTXt of megabytes": chunk(b"zTXt", b"workflow\0\0" + zlib.compress(MEGABYTES)),
    "iTXt of megabytes": chunk(b"iTXt", b"prompt\0\1\0\0\0" + zlib.compress(MEGABYTES)),
    "tEXt of megabytes": chunk(b"tEXt", b"prompt\0" + MEGABYTES),
    "a method that isn't known": chunk(b"zTXt", b"a\0\7b"),
    "a wrong checksum": chunk(b"tEXt", b"a\0b", 1),
    "a short pHYs": chunk(b"pHYs", b"\0"),
    "a text called bbox": chunk(b"tEXt", b"bbox\0here"),
    "a profile that can't be unpacked": chunk(b"iCCP", b"a\0\1b"),
}


def with_chunks(path, chunks, image=None, place=33, **options):
    """A PNG with more chunks after its header, or `place` bytes from the end if that is negative."""
    buffer = io.BytesIO()
    (image or Image.fromarray(PICTURE)).save(buffer, "PNG", **options)
    path.write_bytes(buffer.getvalue()[:place] + chunks + buffer.getvalue()[place:])


@pytest.mark.parametrize("place", [33, -12])
@pytest.mark.parametrize("kind", ODD_CHUNKS)
def test_what_stands_beside_the_picture_of_a_png_does_not_matter(tmp_path, monkeypatch, kind, place):
    monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_MEMORY", 2**20)  # in place of 2**26: a small file reaches it
    path = tmp_path / "a.png"
    with_chunks(path, ODD_CHUNKS[kind], exif=orientation(6), place=place)
    np.testing.assert_array_equal(read(path), UPRIGHT[6](PICTURE))


@pytest.mark.parametrize("kind", ODD_CHUNKS)
def test_a_png_that_is_cut_off_is_refused_whatever_stands_beside_the_picture(tmp_path, kind):
    path = tmp_path / "a.png"
    with_chunks(path, ODD_CHUNKS[kind])
    for end in (40, -26):  # in the chunk beside, and in the pixels
        path.write_bytes(path.read_bytes()[:end])
        with pytest.raises(UserError, match=r"cannot read the image .*a\.png"):
            read_image(path)
        with_chunks(path, ODD_CHUNKS[kind])


def test_beside_megabytes_of_text_all_else_of_a_png_is_followed(tmp_path):
    text, path = ODD_CHUNKS["zTXt of megabytes"], tmp_path / "a.png"
    image, options = transparent("P of bytes")
    with_chunks(path, text, image, place=-12, **options)
    assert read(path).tolist() == [[[200, 0, 0], [255, 255, 255]]]
    with_chunks(path, text, Image.new("RGB", (4, 4), (128, 128, 128)), icc_profile=gamma_profile(1.0))
    assert np.abs(read(path).astype(int) - 188).max() <= 1
    xmp = chunk(b"iTXt", b'XML:com.adobe.xmp\0\0\0\0\0<a tiff:Orientation="6"/>')
    with_chunks(path, text + xmp)
    np.testing.assert_array_equal(read(path), UPRIGHT[6](PICTURE))
    with_chunks(path, text, Image.fromarray(DEEP))
    np.testing.assert_array_equal(read(path), np.repeat(RAMP[..., None], 3, axis=2))
    with_chunks(path, text, Image.new("RGB", (8, 8), "red"), save_all=True, append_images=[Image.new("RGB", (8, 8))])
    assert (read(path) == [255, 0, 0]).all()


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
def test_a_profile_of_megabytes_is_followed(tmp_path, suffix):
    """As screens and scanners have them; Pillow refuses a PNG with one."""
    profile = gamma_profile(1.0)
    profile = struct.pack(">I", len(profile) + 3_000_000) + profile[4:] + bytes(3_000_000)
    options = {"webp": {"lossless": True}, "jpg": {"quality": 95}}.get(suffix, {})
    Image.new("RGB", (16, 16), (128, 128, 128)).save(tmp_path / f"a.{suffix}", icc_profile=profile, **options)
    assert np.abs(read(tmp_path / f"a.{suffix}").astype(int) - 188).max() <= 1


def test_reading_changes_nothing_of_pillow(tmp_path):
    """Its limits are global, and images are read on several threads."""
    limits = PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY, ImageFile.LOAD_TRUNCATED_IMAGES
    paths = [tmp_path / f"{i}.png" for i in range(24)]
    for i, path in enumerate(paths):
        text = ODD_CHUNKS["zTXt of megabytes"] if i % 2 else b""
        with_chunks(path, text, Image.new("RGB", (8, 8), (i, 0, 0)))
    assert decode_images(paths, tmp_path / "cache")[:, 0, 0, 0].tolist() == list(range(24))
    assert limits == (PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY, ImageFile.LOAD_TRUNCATED_IMAGES)


@pytest.mark.parametrize(
    "read_them", [lambda p, c: decode_images(p, c), lambda p, c: check_some(p), lambda p, c: time_reading(p)]
)
def test_damaged_notes_beside_a_picture_warn_nobody(tmp_path, recwarn, read_them):
    paths = [tmp_path / f"{i}.jpg" for i in range(3)]
    for path in paths:
        Image.new("RGB", (8, 8)).save(path, exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff")
    read_them(paths, tmp_path / "cache")
    assert not recwarn.list


def spoil(paths):
    for path in paths:
        path.write_bytes(path.read_bytes()[:40])


@pytest.mark.parametrize("bad", [[0, 5], range(14), range(20)])
def test_all_images_that_cannot_be_read_are_named_at_once(tmp_path, bad):
    paths = [tmp_path / f"{i:02}.png" for i in range(20)]
    for i, path in enumerate(paths):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(path)
    spoil(paths[i] for i in bad)
    for read_them in (lambda: decode_images(paths, tmp_path / "cache"), lambda: check_some(paths)):
        with pytest.raises(UserError, match=f"^cannot read {len(bad)} images: ") as caught:
            read_them()
        assert [f"{i:02}.png" in str(caught.value) for i in range(20)] == [i in list(bad)[:12] for i in range(20)]
        assert (f"; and {len(bad) - 12} more; replace" in str(caught.value)) == (len(bad) > 12)
    assert not list((tmp_path / "cache").glob("*.npy"))


def test_those_of_all_splits_are_named_at_once(toy, synthetic, tmp_path):
    shutil.copytree(toy, tmp_path / "toy")
    lists = read_real("celeba", tmp_path / "toy", "Smiling_Male")
    names = {split: table.index[-1] for split, table in lists.tables.items()}
    spoil(lists.folder / name for name in (names["val"], names["test"]))
    done = train(tmp_path / "toy", synthetic, tmp_path / "out", *TINY)
    assert_one_line_error(done, "cannot read 2 images", names["val"], names["test"])


def test_images_decoded_by_another_reading_are_not_used(tmp_path, monkeypatch):
    phone(tmp_path / "a.jpg")
    with monkeypatch.context() as patch:
        patch.setattr(decoding, "VERSION", 1)
        patch.setattr(decoding, "read_image", lambda path: Image.open(path).convert("RGB"))
        assert not is_turned(decode_images([tmp_path / "a.jpg"], tmp_path / "cache")[0])
    assert is_turned(decode_images([tmp_path / "a.jpg"], tmp_path / "cache")[0])


def test_a_folder_of_phones_images_trains_like_upright_ones(toy, synthetic, tmp_path):
    """Turned in the file and noted in EXIF, the same images make the same record."""
    shutil.copytree(synthetic, tmp_path / "turned")
    for path in (tmp_path / "turned").rglob("*.png"):
        with Image.open(path) as image:
            turned = image.transpose(Image.Transpose.ROTATE_90)
        turned.save(path, exif=orientation(6))
    records = []
    for root in (synthetic, tmp_path / "turned"):
        output = tmp_path / f"out {root.name}"
        trained(toy, root, output, *TINY)
        records.append((output / "aim-fair" / "seed_1" / "test_predictions.csv").read_bytes())
    assert records[0] == records[1]
    [broken, *_] = (tmp_path / "turned").rglob("*.png")
    Image.fromarray(np.zeros((32, 32), np.float32)).save(broken, "TIFF")
    assert_one_line_error(train(toy, root, output, *TINY, "--seeds", 2), broken, "save it with 8 bits")
