"""The hub's parquet files and the images in them.

A data set is a folder of files train-00000-of-00019.parquet or, if the hub has converted it, of folders train with
files 0000.parquet. The images are unpacked once, with unchanged bytes, into a folder `images` beside them.
"""

import hashlib
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from utils.errors import NO_SPACE, UserError
from utils.files import locked, whole
from utils.progress import progress

FILE = re.compile(r"(?P<split>[a-z]+)-(?P<number>\d{5})-of-(?P<count>\d{5})(-[0-9a-f]+)?\.parquet")
CONVERTED = re.compile(r"(?P<partial>partial-)?(?P<split>train|val|valid|validation|test)/(?P<number>\d+)\.parquet")
BYTES = "image.bytes"
SIGNATURES = {b"\xff\xd8\xff": "jpg", b"\x89PNG": "png", b"RIFF": "webp"}


class Shard(NamedTuple):
    """A parquet file.

    columns : a column within another is written `image.bytes`
    folder : where its images are unpacked
    number, count : its number within its split, and the number of files in it (0: not in the name)
    partial : the hub converted only the first gigabytes of the data set
    """

    path: Path
    columns: tuple[str, ...]
    rows: int
    folder: Path
    split: str
    number: int
    count: int
    partial: bool


def find_shards(root: Path, remedy: str) -> list[Shard]:
    """Return the parquet files of a folder, or of the one data set below it.

    Raises `UserError`, with `remedy`, if there is none, more than one data set, or a file with an unknown name.
    """
    if any(CONVERTED.fullmatch(_place(file)) for file in root.glob("*.parquet")):
        root = root.parent  # one split's folder
    found = [file for pattern in ("", "*/", "*/*/") for file in root.glob(f"{pattern}*.parquet")]
    files = sorted(file for file in found if not any(part.startswith(".") for part in file.relative_to(root).parts))
    if not files:
        raise UserError(f"no parquet file in {root}; --real-data-path must name the DIR of: {remedy}")
    folders = sorted({str(_folder(file)) for file in files})
    if len(folders) > 1:
        raise UserError(
            f"{root}: there are parquet files in {', '.join(folders)}; --real-data-path must name one of these"
        )
    odd = [file for file in files if not _named(file)]
    if odd:
        what = "not named as train-00000-of-00019.parquet or train/0000.parquet"
        raise UserError(f"{odd[0]}: {what}; take it away, or get: {remedy}")
    return [_shard(file, remedy) for file in files]


def sort_shards(shards: list[Shard], splits: tuple[str, ...], remedy: str) -> dict[str, list[Shard]]:
    """Return the files of each of the `splits`, in order; print what the hub's conversion may lack.

    Raises `UserError` unless each file is there once.
    """
    parts: dict[str, list[Shard]] = {}
    for shard in sorted(shards, key=lambda shard: (shard.split, shard.number)):
        split = next((name for name in splits if name[:3] == shard.split[:3]), shard.split)  # val, valid, validation
        parts.setdefault(split, []).append(shard)
    folder = shards[0].folder.parent.parent
    if set(parts) != set(splits):
        raise UserError(
            f"{folder}: there are files of {', '.join(parts)}, not of {', '.join(splits)}; run again: {remedy}"
        )
    for split, part in parts.items():
        numbers = [shard.number for shard in part]
        if len({shard.count for shard in part}) > 1 or len(set(numbers)) < len(numbers):
            raise UserError(f"{folder}: files of two downloads, {split}-*; remove them and run: {remedy}")
        count = part[0].count or max(numbers) + 1
        missing = sorted(set(range(count)) - set(numbers))
        if missing:
            name = f"{split}-{missing[0]:05}-of-{count:05}" if part[0].count else f"{split}/{missing[0]:04}"
            raise UserError(
                f"{folder}: {len(missing)} of {count} files of {split} are missing, the first is {name}; "
                f"run again, it gets what is missing: {remedy}"
            )
    if not all(shard.count for shard in shards):
        _tell_converted(folder, parts, remedy)
    return {split: parts[split] for split in splits}


def _tell_converted(folder: Path, parts: dict[str, list[Shard]], remedy: str) -> None:
    held = ", ".join(
        f"{sum(s.rows for s in part)} images of {split} ({len(part)} files)" for split, part in parts.items()
    )
    partial = sorted({shard.path.parent.name for part in parts.values() for shard in part if shard.partial})
    print(f"{folder}: {held}; as the hub converted them, which doesn't say how many files there are")
    if partial:
        print(f"{folder}: {', '.join(partial)}: the hub converted only the first gigabytes; all images: {remedy}")


def unpack(shards: list[Shard], remedy: str) -> Path:
    """Unpack the images of each file, unless they are there, and return the folder of all; resumes a stopped unpacking.

    Raises `UserError` if the disk is too small, the folder can't be written, or a row has no image.
    """
    folder = shards[0].folder.parent
    if all(shard.folder.is_dir() for shard in shards):
        return folder
    _check_writable(folder)
    with locked(folder / ".lock", wait=True):
        left = [shard for shard in shards if not shard.folder.is_dir()]
        size, free = sum(shard.path.stat().st_size for shard in left) / 1e9, shutil.disk_usage(folder).free / 1e9
        needed = (
            f"{sum(shard.rows for shard in left)} images take about {size:.1f} GB in {folder}, {free:.1f} GB are free"
        )
        if size > free:
            raise UserError(f"{needed}: make room, or move the parquet files to a larger disk")
        if left:
            print(f"unpacking once: {needed}", flush=True)
        for shard in progress(left, desc="unpacking", unit="file"):
            with whole(shard.folder) as partial:
                _write_images(shard.path, partial, remedy)
    return folder


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
        (folder / ".lock").touch()
    except OSError as error:
        if error.errno in NO_SPACE:
            raise
        raise UserError(
            f"{folder}: images can't be unpacked there ({error.strerror}); link the parquet files into a folder of "
            f"your own and name that one: cp -rs {shlex.quote(str(folder.parent.resolve()))} DIR"
        ) from error


def _write_images(shard: Path, folder: Path, remedy: str) -> None:
    folder.mkdir()
    for row, content in enumerate(_contents(shard, remedy)):
        suffix = next((s for start, s in SIGNATURES.items() if (content or b"").startswith(start)), None)
        if suffix is None:
            what = "something else than JPEG, PNG or WebP" if content else "no bytes, at most a path,"
            raise UserError(f"{shard}: row {row} has {what} as its image; get: {remedy}")
        (folder / f"{row:06}.{suffix}").write_bytes(content)


def image_names(shard: Shard) -> list[str]:
    """Return the names of a file's unpacked images, in the order of its rows.

    Raises `UserError` if some are missing.
    """
    names = sorted(path.name for path in shard.folder.iterdir() if path.stem.isdecimal())
    if [int(name.partition(".")[0]) for name in names] != list(range(shard.rows)):
        raise UserError(
            f"{shard.folder}: holds {len(names)} images, {shard.rows} were unpacked; remove the folder, the next run "
            "unpacks it again"
        )
    return [f"{shard.folder.name}/{name}" for name in names]


@contextmanager
def opened(path: Path, remedy: str):
    """Open a parquet file. Raises `UserError` if pyarrow can't read it."""
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield file
    except UserError:
        raise
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(
            f"{path}: cannot be read ({reason}); if it was cut off, remove it and download it again: {remedy}"
        ) from error


def _place(file: Path) -> str:
    return f"{file.parent.name}/{file.name}"


def _named(file: Path) -> re.Match | None:
    return CONVERTED.fullmatch(_place(file)) or FILE.fullmatch(file.name)


def _folder(file: Path) -> Path:
    """Return the folder of the data set of a file."""
    return file.parent.parent if CONVERTED.fullmatch(_place(file)) else file.parent


def _shard(path: Path, remedy: str) -> Shard:
    said = _named(path).groupdict()
    with opened(path, remedy) as file:
        columns = tuple(file.schema.column(i).path for i in range(len(file.schema)))
        with open(path, "rb") as raw:  # the footer distinguishes files of the same name
            raw.seek(-file.metadata.serialized_size - 8, 2)
            digest = hashlib.sha256(raw.read()).hexdigest()[:8]
        rows = file.metadata.num_rows
    count, number = int(said.get("count") or 0), int(said["number"])
    name = path.stem if count else f"{said['split']}-{number:05}"
    folder = _folder(path) / "images" / f"{name}-{digest}"
    return Shard(path, columns, rows, folder, said["split"], number, count, bool(said.get("partial")))


def _contents(path: Path, remedy: str) -> Iterator[bytes | None]:
    """Yield the bytes of each row's image, with few rows in memory at a time."""
    with opened(path, remedy) as file:
        for batch in file.iter_batches(batch_size=64, columns=[BYTES]):
            for image in batch.column(0).to_pylist():
                yield image and image["bytes"]
