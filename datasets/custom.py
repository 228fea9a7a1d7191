"""Your own images: a CSV file with the columns image, split and one 0/1 column for each attribute."""

import csv
import io
import os
from pathlib import Path

import pandas as pd

from datasets.lists import read_text, separator
from datasets.pairs import Pair, parse_pair
from datasets.splits import ALL, NAMES, Splits
from utils.errors import UserError
from utils.files import digests, is_inside

VALUES = {"0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0, "0,0": 0.0, "1,0": 1.0, "false": 0.0, "true": 1.0}
MISSING = ("", "nan", "na", "n/a", "<na>", "null", "none")
_FORM = "--real-data-path must name a CSV file with the columns image, split (train, val or test) and 0/1 attributes"


def read(path: Path, target_sensitive: str) -> Splits:
    """The splits that a CSV file gives; all images are trained on as they are."""
    pair, tables = read_table(path, target_sensitive)
    return Splits(pair, path.parent, tables, ALL)


def read_table(path: Path, target_sensitive: str) -> tuple[Pair, dict[str, pd.DataFrame]]:
    """The pair that `target_sensitive` names among the file's columns, and the table of each split.

    A table is indexed by image, a path relative to the file's folder, and holds the pair's columns with 0 and 1; in
    train a protected value may be missing (NaN). Raises `UserError`, with the lines and what they hold, for any other
    value, an unknown split, a missing file, or an image that is in two splits (by path or by content).
    """
    table = read_lines(path, ("image", "split"), _FORM)
    pair = parse_pair(target_sensitive, [name for name in table.columns if name not in ("image", "split")])
    _refuse(path, table, ~table["split"].isin(NAMES), "split is not train, val or test", show="split")
    labels = binary_columns(path, table, pair)
    unknown = labels[list(pair.protected)].isna().any(axis=1) & (table["split"] != "train")
    _refuse(path, table, unknown, f"{' or '.join(pair.protected)} is missing, which only train may do", show="split")
    check_files(path, table)
    _refuse_straddling(path, table)
    labels.index = table["image"]
    return pair, {split: labels[(table["split"] == split).to_numpy()] for split in NAMES}


def read_lines(path: Path, required: tuple[str, ...], form: str) -> pd.DataFrame:
    """A CSV file as text, a row for each line that is not blank, indexed by line number (the heading is line 1).

    Semicolons or tabs do in place of commas: some spreadsheets write them.

    Raises `UserError`, ending in `form`, where the file, a required column or every row is missing, two columns have one
    name, or a line has more or fewer cells than the heading.
    """
    if not path.is_file():
        raise UserError(f"no file {path}; {form}")
    text = read_text(path)
    reader = csv.reader(io.StringIO(text), delimiter=separator(text.partition("\n")[0]) or ",")
    rows, line = {}, 1
    try:
        for row in reader:
            rows[line], line = [cell.strip() for cell in row], reader.line_num + 1  # a quoted cell may hold line breaks
    except csv.Error as error:
        raise UserError(f"{path}: line {line}: cannot be read as CSV: {error}; {form}") from error
    heading = rows.pop(1, [])
    twice = next((name for name in heading if name and heading.count(name) > 1), None)
    if twice:
        raise UserError(f"{path}: two columns are called {twice!r}; {form}")
    rows = {line: row for line, row in rows.items() if any(row)}
    for line, row in rows.items():
        if len(row) != len(heading) and any(row[len(heading) :] or [True]):
            raise UserError(f"{path}: line {line} has {len(row)} cells, the heading has {len(heading)}; {form}")
    missing = [name for name in required if name not in heading]
    if missing or not rows:
        raise UserError(f"{path}: {'no column ' + ', '.join(missing) if missing else 'no row'}; {form}")
    cells = [row[: len(heading)] for row in rows.values()]
    return pd.DataFrame(cells, index=list(rows), columns=heading).loc[:, [name for name in heading if name]]


def binary_columns(path: Path, table: pd.DataFrame, pair: Pair) -> pd.DataFrame:
    """The pair's columns as 0.0 and 1.0; a missing protected value is NaN. Raises `UserError` for any other text.

    Accepted are 0 and 1, what programs turn them into (1.0 where a cell of the column is empty, True), and what they
    write for a missing value (`MISSING`).
    """
    columns = {}
    for name in pair.attributes:
        text = table[name].str.lower()
        columns[name] = text.map(VALUES)
        unclear = columns[name].isna() & ((name == pair.target) | ~text.isin(MISSING))
        _refuse(path, table, unclear, f"{name} is neither 0 nor 1", show=name)
    return pd.DataFrame(columns)


def check_files(path: Path, table: pd.DataFrame) -> None:
    """Raise `UserError` where an image of the column `image` is not there, not below the file's folder, or there twice."""
    stray = pd.Series([bool(name) and not is_inside(name) for name in table["image"]], table.index)
    _refuse(path, table, stray, f"the image is not given by a path below {path.parent}", show="image")
    present = [bool(name) and os.path.isfile(path.parent / name) for name in table["image"]]
    absent = ~pd.Series(present, table.index)
    _refuse(
        path,
        table,
        absent & table["image"].str.contains("\\", regex=False),
        "the image's path has \\ in place of /",
        show="image",
    )
    _refuse(path, table, absent, f"the image is not in {path.parent}", show="image")
    _refuse(path, table, table["image"].duplicated(), "an image is listed a second time", show="image")


def _refuse(path: Path, table: pd.DataFrame, wrong: pd.Series, what: str, show: str) -> None:
    """Raise `UserError` with the first lines that are wrong and what they hold in the column `show`."""
    lines = table.index[wrong]
    if len(lines):
        shown = ", ".join(f"{n} ({table[show][n][:80] or 'empty'})" for n in lines[:5])
        more = f" and {len(lines) - 5} more" if len(lines) > 5 else ""
        raise UserError(f"{path}: {what} in line {shown}{more}")


def _refuse_straddling(path: Path, table: pd.DataFrame) -> None:
    """Compare contents only where two files of different splits are equally long."""
    files = [path.parent / name for name in table["image"]]
    size = pd.Series([file.stat().st_size for file in files], table.index)
    suspects = table.groupby(size)["split"].transform("nunique") > 1
    content = pd.Series(digests([file for file, s in zip(files, suspects, strict=True) if s]), table.index[suspects])
    pairs = []
    for lines in content.groupby(content, sort=False).groups.values():
        splits = table["split"][lines]
        if splits.nunique() > 1:
            first, other = lines[0], splits.index[splits != splits.iloc[0]][0]
            place = [f"line {line} ({splits[line]}, {table['image'][line]})" for line in (first, other)]
            pairs.append(" and ".join(place))
    if pairs:
        more = f" and {len(pairs) - 3} more" if len(pairs) > 3 else ""
        raise UserError(
            f"{path}: {len(pairs)} images are in two splits under two names: {'; '.join(pairs[:3])}{more}; an image belongs "
            "to one split: take one line of each out"
        )
