"""Lists of images in text files, as people have them: any separator, with or without a BOM, a count and a heading."""

import codecs
import io
import re
import warnings
from pathlib import Path

import pandas as pd

from utils.errors import UserError

SEPARATORS = (",", ";", "\t")


def read_text(path: Path) -> str:
    """A text file in UTF-8, or in UTF-16 as Windows writes it, with or without a BOM. Raises `UserError`."""
    content = path.read_bytes()
    if content.startswith(b"PK\3\4"):
        raise UserError(f"{path}: is a workbook or an archive, no text; save its table as CSV in UTF-8")
    encodings = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
    encoding = encodings.get(content[:2], "utf-8-sig")
    if encoding != "utf-16" and b"\0" in content[:2]:  # the other half of the first letter
        encoding = "utf-16-be" if content.startswith(b"\0") else "utf-16-le"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: cannot be read as text in UTF-8 ({error.reason}); save it as UTF-8") from error


def separator(line: str) -> str | None:
    """What separates the fields of a line: comma, semicolon or tab, the first of them that it holds; else None."""
    return next((sign for sign in SEPARATORS if sign in line), None)


def table_lines(text: str) -> tuple[list[str], int, str]:
    """The lines of a CSV table from its heading on, the number of the heading's line in the file, and the separator.

    Spreadsheets write semicolons or tabs in place of commas, and some a first line that says which: `sep=;`.
    """
    lines = list(io.StringIO(text, newline=None))  # old Macs end lines with \r alone
    start = next((number for number, line in enumerate(lines) if line.strip()), 0)
    said = re.fullmatch(r'"?sep=(.)"?[\s,;]*', lines[start], re.IGNORECASE) if lines else None
    heading = lines[start + 1 : start + 2] if said else lines[start : start + 1]
    sign = said[1] if said else separator("".join(heading)) or ","
    start += bool(said)
    return lines[start:], start + 1, sign


def read_list(path: Path, form: str) -> tuple[list[str] | None, pd.DataFrame]:
    """The heading of a list, None where it has none, and its rows: the file names in column 0, as text, then values.

    A first line that holds nothing but a number counts the images. It may be missing; where it is wrong, a message
    says so. A line is taken for the heading if its last field is not a number. Raises `UserError`, ending in `form`,
    where the file holds no rows or lines of several lengths.
    """
    # spreadsheets fill lines up with separators
    lines = [line for line in (line.rstrip(" \t,;") for line in read_text(path).splitlines()) if line]
    count = lines[0].strip(" \"'") if lines else ""
    body = lines[1:] if count.isdecimal() else lines
    if not body:
        raise UserError(f"{path}: cannot be read, it holds no line with an image; {form}")
    sign = separator(body[-1])
    sign = None if sign == "\t" else sign  # tabs may line columns up by several: as good as blanks
    heading = [field.strip(" \"'") for field in body[0].strip().split(sign)]
    if _is_number(heading[-1]):
        heading = None
    try:
        table = _parse(body if heading is None else body[1:], sign)
    except (ValueError, IndexError, OverflowError, pd.errors.ParserWarning) as error:
        raise UserError(f"{path}: cannot be read: {' '.join(str(error).split())}; {form}") from error
    if count.isdecimal() and count.lstrip("0") != str(len(table)):
        print(
            f"{path}: the first line counts {count[:20]} images, {len(table)} are listed; if the list was cut off, get it "
            "again"
        )
    return heading, table


def _parse(lines: list[str], sign: str | None) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        table = pd.read_csv(
            io.StringIO("\n".join(lines)),
            sep=sign or r"\s+",
            header=None,
            dtype={0: str},
            skipinitialspace=True,
            index_col=False,
        )
    table[0] = table[0].str.strip()
    for column in table.columns[1:]:
        if not pd.api.types.is_numeric_dtype(table[column]):  # only what is no number stays text
            numbers = pd.to_numeric(table[column], errors="coerce")
            table[column] = numbers.astype(object).where(numbers.notna(), table[column])
    return table


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True
