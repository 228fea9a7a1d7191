"""Your own images: a CSV file with the columns image, split and one column for each attribute, of 0 and 1 or of names."""

import csv
import os
import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path

import pandas as pd

from datasets.columns import attribute_columns, missing_note, refuse, refuse_rare
from datasets.lists import read_text, table_lines
from datasets.pairs import Pair, parse_pair
from datasets.splits import ALL, NAMES, Splits
from datasets.values import names_attribute, with_values
from utils.errors import UserError
from utils.files import copies, first_names, is_inside

_FORM = "--real-data-path must name a CSV file with the columns image, split (train, val or test) and attributes"


def read(path: Path, target_sensitive: str, *, values: tuple[str, ...] = ()) -> Splits:
    """Read the splits of a CSV file; by default all its training images are used."""
    pair, tables = read_table(path, target_sensitive, values)
    return Splits(pair, path.parent, tables, ALL)


def read_table(path: Path, target_sensitive: str, values: tuple[str, ...] = ()) -> tuple[Pair, dict[str, pd.DataFrame]]:
    """Return the pair that `target_sensitive` names among a file's columns, and the table of each split.

    A table is indexed by image, a path relative to the file's folder, and has the pair's columns with numbers from 0; a
    protected value may be missing (NaN) in train. `values` are the entries of --values (`datasets.values`). Prints the
    number of images that are copies of others in their split.

    Raises `UserError`, with lines and their content, if a value or split is invalid, a file is missing, an image is
    listed twice, or copies are in two splits.
    """
    table = read_lines(path, ("image", "split"), _FORM)
    pair = parse_pair(target_sensitive, [name for name in table.columns if name not in ("image", "split")])
    refuse(path, table, ~table["split"].isin(NAMES), "split is not train, val or test", show="split")
    labels = attribute_columns(path, table, pair)
    unknown = labels[list(pair.protected)].isna().any(axis=1) & (table["split"] != "train")
    words = pd.concat([table[name][unknown & labels[name].isna()] for name in pair.protected])
    what = f"{' or '.join(pair.protected)} is missing{missing_note(words)}, allowed only in train,"
    refuse(path, table, unknown, what, show="split")
    refuse_rare(path, table, labels[[name for name in pair.attributes if not names_attribute(values, name)]])
    table["image"] = find_images(path, table)
    _check_copies(path, table)
    empty = [name for name in NAMES if name not in set(table["split"])]
    if empty:
        raise UserError(f"{path}: no line has the split {' or '.join(empty)}; give it some of the images")
    pair, labels = with_values(pair, labels, values)
    table = table.loc[labels.index]
    labels.index = table["image"]
    return pair, {split: labels[(table["split"] == split).to_numpy()] for split in NAMES}


def read_lines(path: Path, required: tuple[str, ...], form: str) -> pd.DataFrame:
    """Read a CSV file as text: a row for each line that is not blank, indexed by line number in the file.

    Semicolons or tabs may separate fields, too, as some spreadsheets write them. Raises `UserError`, which ends with
    `form`, if the file, a required column or every row is missing, two columns have one name, or a line has more or
    fewer fields than the heading.
    """
    if not path.is_file():
        raise UserError(f"no file {path}; {form}")
    lines, line, sign = table_lines(read_text(path))
    reader, rows, start = csv.reader(lines, delimiter=sign, skipinitialspace=True), {}, line
    try:
        for row in reader:
            rows[line] = [field.strip() for field in row]
            line = start + reader.line_num  # a quoted field may hold line breaks
    except csv.Error as error:
        raise UserError(f"{path}: line {line}: cannot be read as CSV: {error}; {form}") from error
    rows = {line: row for line, row in rows.items() if any(row)}
    heading = rows.pop(min(rows, default=0), [])
    twice = next((name for name in heading if name and heading.count(name) > 1), None)
    if twice:
        raise UserError(f"{path}: two columns are called {twice!r}; {form}")
    for line, row in rows.items():
        if len(row) != len(heading) and any(row[len(heading) :] or [True]):
            raise UserError(f"{path}: line {line} has {len(row)} fields, the heading has {len(heading)}; {form}")
    missing = [name for name in required if name not in heading]
    if missing:
        raise UserError(f"{path}: no column {', '.join(missing)}, it begins with {','.join(heading)[:80]!r}; {form}")
    if not rows:
        raise UserError(f"{path}: no row; {form}")
    fields = [row[: len(heading)] for row in rows.values()]
    return pd.DataFrame(fields, index=list(rows), columns=heading).loc[:, [name for name in heading if name]]


def find_images(path: Path, table: pd.DataFrame) -> list[str]:
    """Return the path of each image, relative to the file's folder, as the disk spells it (`disk_names`).

    Raises `UserError` if an image is missing, not below that folder, or listed twice, even by a link or another
    spelling.
    """
    table = table.assign(image=disk_names(path.parent, table["image"]))
    stray = pd.Series([bool(name) and not is_inside(name) for name in table["image"]], table.index)
    what = f"the image's path leads out of {path.parent}, the folder of the table: "
    what += "move the table to a folder above its images"
    refuse(path, table, stray, f"{what}; it stands", show="image")
    first = first_names(path.parent, list(table["image"]))
    absent = pd.Series([place is None for place in first], table.index)
    slashes = absent & table["image"].str.contains("\\", regex=False)
    refuse(path, table, slashes, "the image's path has \\ in place of /", show="image")
    hint = next((_hint(path.parent, name) for name in table["image"][absent]), "")
    refuse(path, table, absent, f"the image is not in {path.parent}", show="image", hint=hint)
    twice = [(place, row) for row, place in enumerate(first) if place != row]
    _refuse_pairs(path, table, twice, "are listed twice", "take one line of each out")
    return list(table["image"])


def disk_names(folder: Path, names: Iterable[str]) -> list[str]:
    """Return file names as paths below `folder`; a name that is no such path, or is one already, stays as it is.

    An absolute path, or one with `..`, that leads below `folder` is made relative. A name without a file is replaced by
    that of the one file that differs only in Unicode's form: macOS writes accents apart (NFD), tables together (NFC).
    """
    listing = lru_cache(_plain_names)  # for this call only, because a folder may change before the next
    return [_disk_name(folder, _below(folder, name), listing) for name in names]


def _below(folder: Path, name: str) -> str:
    if not name or "\0" in name or is_inside(name):
        return name
    path, root = folder.absolute() / name, folder.absolute()
    real = Path(os.path.realpath(path.parent), path.name)
    for file, place in ((path, root), (real, root.resolve())):
        if file.is_relative_to(place) and is_inside(str(file.relative_to(place))):
            return file.relative_to(place).as_posix()
    return name


def _disk_name(folder: Path, name: str, listing: Callable[[Path], dict[str, list[str]]]) -> str:
    if name.isascii() or not is_inside(name) or os.path.exists(folder / name):
        return name
    place = folder
    for part in Path(name).parts:
        alike = listing(place).get(unicodedata.normalize("NFC", part), [])
        if part not in alike and len(alike) != 1:
            return name
        place /= part if part in alike else alike[0]
    return place.relative_to(folder).as_posix()


def _plain_names(folder: Path) -> dict[str, list[str]]:
    """Return the names in a folder by their NFC form."""
    names: dict[str, list[str]] = {}
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        names.setdefault(unicodedata.normalize("NFC", name), []).append(name)
    return names


def _check_copies(path: Path, table: pd.DataFrame) -> None:
    """Raise `UserError` for files of two splits with equal content; print the number of copies within a split."""
    groups = copies([path.parent / name for name in table["image"]])
    split, straddling = table["split"].tolist(), []
    for group in groups:
        straddling += [(group[0], row) for row in group if split[row] != split[group[0]]][:1]
    remedy = "an image belongs to one split: take one line of each out"
    _refuse_pairs(path, table, straddling, "are in two splits under two names", remedy)
    within = [(group[0], row) for group in groups for row in group[1:]]
    if within:
        print(f"{path}: {len(within)} images are copies of others in their split, each counts: {_pairs(table, within)}")


def _hint(folder: Path, name: str) -> str:
    """Return a hint on what stands in place of a missing file."""
    path = folder / name
    if os.path.islink(path):
        return f"; the first is a link to {os.readlink(path)}, which does not exist"
    if name and os.path.exists(path):
        return "; the first is no file"
    for other in sorted(path.parent.iterdir()) if os.path.isdir(path.parent) else ():
        if other.stem.strip().lower() == path.stem.lower():
            return f"; in place of the first there is {other.name!r}"
    return ""


def _refuse_pairs(path: Path, table: pd.DataFrame, pairs: list[tuple[int, int]], what: str, remedy: str) -> None:
    """Raise `UserError` if there are pairs of rows that clash, with the lines of the first ones."""
    if pairs:
        raise UserError(f"{path}: {len(pairs)} images {what}: {_pairs(table, pairs)}; {remedy}")


def _pairs(table: pd.DataFrame, pairs: list[tuple[int, int]]) -> str:
    split = [f"{name}, " for name in table["split"]] if "split" in table else [""] * len(table)
    place = [f"line {n} ({s}{i})" for n, s, i in zip(table.index, split, table["image"], strict=True)]
    more = f" and {len(pairs) - 3} more" if len(pairs) > 3 else ""
    return "; ".join(f"{place[first]} and {place[other]}" for first, other in pairs[:3]) + more
