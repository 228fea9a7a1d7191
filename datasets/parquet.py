"""CelebA and FairFace as the hub has them: parquet files with the images as bytes in a column.

The images are unpacked once, their bytes as they are, into a folder `images` beside the parquet files. What is wrong
with files, columns or labels is said before that.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from datasets import celeba
from datasets.pairs import parse_pair
from datasets.splits import LARGEST, NAMES, Splits
from utils.errors import UserError
from utils.files import locked, whole
from utils.progress import progress

PAIRS = celeba.PAIRS  # of FairFace, name them with --pairs
FILE = re.compile(r"(?P<split>[a-z]+)-(?P<number>\d{5})-of-(?P<count>\d{5})(-[0-9a-f]+)?\.parquet")
BYTES = "image.bytes"
SIGNATURES = {b"\xff\xd8\xff": "jpg", b"\x89PNG": "png", b"RIFF": "webp"}
AGES = ("0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "more than 70")
AGE_LIMITS = (3, 10, 20, 30, 40, 50, 60, 70)
RACES = ("East Asian", "Indian", "Black", "White", "Middle Eastern", "Latino_Hispanic", "Southeast Asian")
FAIRFACE_CLASSES = {"age": AGES, "gender": ("Male", "Female"), "race": RACES}


class Kind(NamedTuple):
    """A data set: the columns that tell it from others, the splits in its files' names, how to get it."""

    columns: tuple[str, ...]
    splits: tuple[str, ...]
    download: str


CELEBA = Kind(
    ("celeb_id", "Male", "Smiling"),
    ("train", "valid", "test"),
    "hf download flwrlabs/celeba --repo-type dataset --local-dir DIR",
)
FAIRFACE = Kind(
    tuple(FAIRFACE_CLASSES),
    ("train", "validation"),
    'hf download HuggingFaceM4/FairFace --repo-type dataset --include "0.25/*" --local-dir DIR',
)
_COMMANDS = f"{CELEBA.download}, or {FAIRFACE.download}"


class Shard(NamedTuple):
    """A parquet file: its columns (a column in another: `image.bytes`), and the folder that its images go into."""

    path: Path
    columns: tuple[str, ...]
    rows: int
    folder: Path


def read(path: Path, target_sensitive: str, *, age_limit: int = 40) -> Splits:
    """The official splits in the order of the files' rows, CelebA's or FairFace's as the columns tell.

    FairFace's validation files are the test split, as in the papers that use it; every tenth training image is val. Its
    attributes are Female, each race, and Young: an age below `age_limit`, which must begin one of its age groups.
    """
    shards = find_shards(path)
    kind = kind_of(shards)
    parts = sort_shards(shards, kind)
    labels = {split: [read_labels(shard, kind, age_limit) for shard in part] for split, part in parts.items()}
    pair = parse_pair(target_sensitive, labels["train"][0].columns)
    folder = unpack([shard for part in parts.values() for shard in part], kind)
    tables = {
        split: pd.concat([table.set_axis(image_names(s)) for s, table in zip(parts[split], labels[split], strict=True)])
        for split in kind.splits
    }
    if kind is CELEBA:
        return Splits(pair, folder, dict(zip(NAMES, tables.values(), strict=True)), celeba.PAPER_SIZE)
    train, tenth = tables["train"], np.arange(len(tables["train"])) % 10 == 0
    return Splits(pair, folder, {"train": train[~tenth], "val": train[tenth], "test": tables["validation"]}, LARGEST)


def find_shards(root: Path) -> list[Shard]:
    """The parquet files of a folder, or of the one folder in it that has any. Raises `UserError`."""
    files = sorted([*root.glob("*.parquet"), *root.glob("*/*.parquet")])
    if not files:
        raise UserError(f"no parquet file in {root}; --real-data-path must name the DIR of: {_COMMANDS}")
    folders = sorted({str(file.parent) for file in files})
    if len(folders) > 1:
        raise UserError(
            f"{root}: there are parquet files in {', '.join(folders)}; --real-data-path must name one of these"
        )
    odd = [file for file in files if not FILE.fullmatch(file.name)]
    if odd:
        raise UserError(f"{odd[0]}: not named as train-00000-of-00019.parquet; take it away, or get: {_COMMANDS}")
    return [_shard(file) for file in files]


def kind_of(shards: list[Shard]) -> Kind:
    """Which data set it is. Raises `UserError` where a file has other columns than those of either, or than the first."""
    for shard in shards:
        kinds = [kind for kind in (CELEBA, FAIRFACE) if {BYTES, *kind.columns} <= set(shard.columns)]
        if not kinds:
            wanted = " or ".join(", ".join((BYTES, *kind.columns)) for kind in (CELEBA, FAIRFACE))
            shown = ", ".join(shard.columns[:8]) + (", ..." if len(shard.columns) > 8 else "")
            raise UserError(f"{shard.path}: has the columns {shown}, not {wanted}; get: {_COMMANDS}")
        if set(shard.columns) != set(shards[0].columns):
            raise UserError(
                f"{shard.path}: has other columns than {shards[0].path.name}; get both again: {kinds[0].download}"
            )
    return kinds[0]


def sort_shards(shards: list[Shard], kind: Kind) -> dict[str, list[Shard]]:
    """The files of each split, in order. Raises `UserError` unless each is there once."""
    parts: dict[str, list[Shard]] = {}
    for shard in shards:  # sorted by name
        parts.setdefault(FILE.fullmatch(shard.path.name)["split"], []).append(shard)
    folder = shards[0].path.parent
    if set(parts) != set(kind.splits):
        raise UserError(
            f"{folder}: there are files of {', '.join(parts)}, not of {', '.join(kind.splits)}; run again: {kind.download}"
        )
    for split, part in parts.items():
        names = [FILE.fullmatch(shard.path.name) for shard in part]
        numbers, count = [int(name["number"]) for name in names], int(names[0]["count"])
        if len({name["count"] for name in names}) > 1 or len(set(numbers)) < len(numbers):
            raise UserError(f"{folder}: files of two downloads, {split}-*; remove them and run: {kind.download}")
        missing = sorted(set(range(count)) - set(numbers))
        if missing:
            raise UserError(
                f"{folder}: {len(missing)} of {count} files of {split} are missing, the first is "
                f"{split}-{missing[0]:05}-of-{count:05}; run again, it gets what is missing: {kind.download}"
            )
    return {split: parts[split] for split in kind.splits}


def read_labels(shard: Shard, kind: Kind, age_limit: int) -> pd.DataFrame:
    """The 0/1 attributes of each row. Raises `UserError` where a label is missing or unknown."""
    with _opened(shard.path) as file:
        schema = file.schema_arrow
        classes = FAIRFACE_CLASSES
        if kind is CELEBA:
            classes = {name: ("False", "True") for name in schema.names if str(schema.field(name).type) == "bool"}
        table = file.read(columns=list(classes)).to_pandas()
    features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    for name, known in classes.items():
        named = features.get(name, {}).get("names", known)
        wrong = table[name][~table[name].isin(range(len(known)))]
        if tuple(named) != known or len(wrong):
            found = f"row {wrong.index[0]} has {wrong.iloc[0]}" if len(wrong) else f"its classes are {', '.join(named)}"
            raise UserError(
                f"{shard.path}: {name}: {found}, expected 0 to {len(known) - 1} for {', '.join(known)}; "
                f"get: {kind.download}"
            )
    return table.astype(int) if kind is CELEBA else _fairface_attributes(table, age_limit)


def _fairface_attributes(table: pd.DataFrame, age_limit: int) -> pd.DataFrame:
    if age_limit not in AGE_LIMITS:
        known = ", ".join(map(str, AGE_LIMITS))
        raise UserError(f"--age-limit {age_limit}: FairFace knows ages by groups; take one of {known}")
    attributes = {"Female": table["gender"] == 1, "Young": table["age"] <= AGE_LIMITS.index(age_limit)}
    races = {name.replace(" ", "_"): table["race"] == number for number, name in enumerate(RACES)}
    return pd.DataFrame(attributes | races).astype(int)


def unpack(shards: list[Shard], kind: Kind) -> Path:
    """Write each file's images, unless they are there, and return the folder of all; a stopped run is gone on with.

    Raises `UserError` where the disk is too small or a row holds no image.
    """
    folder = shards[0].folder.parent
    if all(shard.folder.is_dir() for shard in shards):
        return folder
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
                _write_images(shard.path, partial, kind)
    return folder


def _write_images(shard: Path, folder: Path, kind: Kind) -> None:
    folder.mkdir()
    for row, content in enumerate(_contents(shard)):
        suffix = next((s for start, s in SIGNATURES.items() if (content or b"").startswith(start)), None)
        if suffix is None:
            what = "something else than JPEG, PNG or WebP" if content else "no bytes, at most a path,"
            raise UserError(f"{shard}: row {row} has {what} as its image; get: {kind.download}")
        (folder / f"{row:06}.{suffix}").write_bytes(content)


def image_names(shard: Shard) -> list[str]:
    """The names of a file's unpacked images, in the order of its rows. Raises `UserError` where some are missing."""
    names = sorted(path.name for path in shard.folder.iterdir() if path.stem.isdecimal())
    if [int(name.partition(".")[0]) for name in names] != list(range(shard.rows)):
        raise UserError(
            f"{shard.folder}: holds {len(names)} images, {shard.rows} were unpacked; remove the folder, the next run "
            "unpacks it again"
        )
    return [f"{shard.folder.name}/{name}" for name in names]


@contextmanager
def _opened(path: Path):
    """A parquet file, open; what pyarrow finds wrong with it becomes a `UserError`."""
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield file
    except UserError:
        raise
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(
            f"{path}: cannot be read ({reason}); if it was cut off, remove it and download it again: {_COMMANDS}"
        ) from error


def _shard(path: Path) -> Shard:
    with _opened(path) as file:
        columns = tuple(file.schema.column(i).path for i in range(len(file.schema)))
        with open(path, "rb") as raw:  # the footer tells a file from another of its name
            raw.seek(-file.metadata.serialized_size - 8, 2)
            digest = hashlib.sha256(raw.read()).hexdigest()[:8]
        return Shard(path, columns, file.metadata.num_rows, path.parent / "images" / f"{path.stem}-{digest}")


def _contents(path: Path) -> Iterator[bytes | None]:
    """The bytes of each row's image, a few in memory at a time."""
    with _opened(path) as file:
        for batch in file.iter_batches(batch_size=64, columns=[BYTES]):
            for image in batch.column(0).to_pylist():
                yield image and image["bytes"]
