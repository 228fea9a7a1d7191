"""CelebA and FairFace from the hub: parquet files with the images as bytes in a column.

Faults of files, columns or labels raise an error before any image is unpacked (`datasets.shards`).
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from datasets import celeba
from datasets.pairs import parse_pair
from datasets.shards import BYTES, Shard, find_shards, image_names, opened, sort_shards, unpack
from datasets.splits import LARGEST, NAMES, Splits
from datasets.values import with_values
from utils.errors import UserError

PAIRS = celeba.PAIRS  # for FairFace give --pairs
AGES = ("0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "more than 70")
AGE_LIMITS = (3, 10, 20, 30, 40, 50, 60, 70)
RACES = ("East Asian", "Indian", "Black", "White", "Middle Eastern", "Latino_Hispanic", "Southeast Asian")
BINARY = (("0", "1"), ("-1", "1"), ("no", "yes"), ("false", "true"))  # other names for False and True
FAIRFACE_CLASSES = {"age": AGES, "gender": ("Male", "Female"), "race": RACES}


class Kind(NamedTuple):
    """A data set: the columns that identify it, the splits in its file names, and the command that downloads it."""

    columns: tuple[str, ...]
    splits: tuple[str, ...]
    download: str


CELEBA = Kind(
    ("Male", "Smiling"),
    ("train", "valid", "test"),
    "hf download flwrlabs/celeba --repo-type dataset --local-dir DIR",
)
FAIRFACE = Kind(
    tuple(FAIRFACE_CLASSES),
    ("train", "validation"),
    'hf download HuggingFaceM4/FairFace --repo-type dataset --include "0.25/*" --local-dir DIR',
)
_COMMANDS = f"{CELEBA.download}, or {FAIRFACE.download}"


def read(path: Path, target_sensitive: str, *, age_limit: int = 40, values: tuple[str, ...] = ()) -> Splits:
    """Read the official splits of CelebA or FairFace, which their columns tell apart, in the order of the rows.

    FairFace's validation files are the test split, as in the papers that use it; every tenth training image is val. Its
    attributes are Female, Race, Age (in groups), each race, and Young, an age below `age_limit`, which must be the start of
    an age group. `values` are the entries of --values (`datasets.values`).
    """
    shards = find_shards(path, _COMMANDS)
    kind = kind_of(shards)
    parts = sort_shards(shards, kind.splits, kind.download)
    labels = {split: [read_labels(shard, kind, age_limit) for shard in part] for split, part in parts.items()}
    pair = parse_pair(target_sensitive, labels["train"][0].columns)
    folder = unpack([shard for part in parts.values() for shard in part], kind.download)
    tables = {
        split: pd.concat([table.set_axis(image_names(s)) for s, table in zip(parts[split], labels[split], strict=True)])
        for split in kind.splits
    }
    pair, every = with_values(pair, pd.concat(tables.values()), values)
    tables = {split: every[every.index.isin(table.index)] for split, table in tables.items()}
    if kind is CELEBA:
        return Splits(pair, folder, dict(zip(NAMES, tables.values(), strict=True)), celeba.PAPER_SIZE)
    train, tenth = tables["train"], np.arange(len(tables["train"])) % 10 == 0
    return Splits(pair, folder, {"train": train[~tenth], "val": train[tenth], "test": tables["validation"]}, LARGEST)


def kind_of(shards: list[Shard]) -> Kind:
    """Return the data set of the files.

    Raises `UserError` if a file has the columns of neither, or not those of the first.
    """
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


def read_labels(shard: Shard, kind: Kind, age_limit: int) -> pd.DataFrame:
    """Return the attributes of each row, 0 or 1; of FairFace Race and Age, too. Raises `UserError` for a missing or unknown label.

    CelebA's attributes are columns of booleans, or of whole numbers that are mostly -1, 0 or 1; other columns number
    people or places. All values of an attribute must be 0 and 1, or -1 and 1.
    """
    with opened(shard.path, _COMMANDS) as file:
        schema, columns = file.schema_arrow, list(FAIRFACE_CLASSES)
        if kind is CELEBA:
            types = {name: str(schema.field(name).type) for name in schema.names}
            columns = [name for name, type in types.items() if type.startswith(("bool", "int", "uint"))]
        table = file.read(columns=columns).to_pandas()
    features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    classes = FAIRFACE_CLASSES
    if kind is CELEBA:
        table = table.loc[:, table.isin([-1, 0, 1]).mean() > 0.5]
        classes = dict.fromkeys(table, ("False", "True"))
    for name, known in classes.items():
        lowest = -1 if kind is CELEBA and (table[name] == -1).any() else 0
        wrong = table[name][~table[name].isin((-1, 1) if lowest else range(len(known)))]
        named = tuple(features.get(name, {}).get("names", known))
        if named not in (known, *(BINARY if kind is CELEBA else ())) or len(wrong):
            found = f"row {wrong.index[0]} has {wrong.iloc[0]}" if len(wrong) else f"its classes are {', '.join(named)}"
            wanted = "-1 and 1" if lowest else f"0 to {len(known) - 1}"
            raise UserError(
                f"{shard.path}: {name}: {found}, expected {wanted} for {', '.join(known)}; get: {kind.download}"
            )
    return table.gt(0).astype(int) if kind is CELEBA else _fairface_attributes(table, age_limit)


def _fairface_attributes(table: pd.DataFrame, age_limit: int) -> pd.DataFrame:
    if age_limit not in AGE_LIMITS:
        known = ", ".join(map(str, AGE_LIMITS))
        raise UserError(f"--age-limit {age_limit}: FairFace knows ages by groups; take one of {known}")
    attributes = {"Female": table["gender"] == 1, "Young": table["age"] <= AGE_LIMITS.index(age_limit)}
    races = {name.replace(" ", "_"): table["race"] == number for number, name in enumerate(RACES)}
    classes = {
        name: pd.Categorical.from_codes(table[name.lower()], FAIRFACE_CLASSES[name.lower()]) for name in ("Race", "Age")
    }
    return pd.DataFrame(attributes | races).astype(int).assign(**classes)
