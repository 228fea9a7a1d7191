"""Lists of images in text files with any separator, with or without a BOM, a count and a heading."""

import codecs
import io
import re
import warnings
from pathlib import Path

import pandas as pd

from utils.errors import UserError

SEPARATORS = (",", ";", "\t")


def read_text(path: Path) -> str:
    """Read a text file in UTF-8 or UTF-16, with or without a BOM. Raises `UserError` if it is no such file."""
    content = path.read_bytes()
    if content.startswith(b"PK\3\4"):
        raise UserError(f"{path}: is a workbook or an archive, no text; save its table as CSV in UTF-8")
    encodings = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
    encoding = encodings.get(content[:2], "utf-8-sig")
    if encoding != "utf-16" and b"\0" in content[:2]:  # one half of the first letter in UTF-16
        encoding = "utf-16-be" if content.startswith(b"\0") else "utf-16-le"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: cannot be read as text in UTF-8 ({error.reason}); save it as UTF-8") from error


def separator(line: str) -> str | None:
    """Return the separator in a line: comma, semicolon or tab, the first that occurs, or None."""
    return next((sign for sign in SEPARATORS if sign in line), None)


def table_lines(text: str) -> tuple[list[str], int, str]:
    """Return the lines of a CSV table from its heading on, the heading's line number, and the separator.

    Spreadsheets may write semicolons or tabs instead of commas, and name the sign in a first line: `sep=;`.
    """
    lines = list(io.StringIO(text, newline=None))  # old Macs end lines with \r alone
    start = next((number for number, line in enumerate(lines) if line.strip()), 0)
    said = re.fullmatch(r'"?sep=(.)"?[\s,;]*', lines[start], re.IGNORECASE) if lines else None
    heading = lines[start + 1 : start + 2] if said else lines[start : start + 1]
    sign = said[1] if said else separator("".join(heading)) or ","
    start += bool(said)
    return lines[start:], start + 1, sign


def read_list(path: Path, form: str) -> tuple[list[str] | None, pd.DataFrame]:
    """Return the heading of a list, or None, and its rows: file names in column 0, as text, then values.

    A first line with a single number counts the images; a message is printed if it is wrong. The next line is the
    heading if its last field is no number. Raises `UserError`, which ends with `form`, if the file has no rows or lines
    of several lengths.
    """
    # spreadsheets append separators
    lines = [line for line in (line.rstrip(" \t,;") for line in read_text(path).splitlines()) if line]
    count = lines[0].strip(" \"'") if lines else ""
    body = lines[1:] if count.isdecimal() else lines
    if not body:
        raise UserError(f"{path}: cannot be read, it holds no line with an image; {form}")
    sign = separator(body[-1])
    sign = None if sign == "\t" else sign  # several tabs may align columns, so they count as blanks
    heading = [field.strip(" \"'") for field in body[0].strip().split(sign)]
    if _is_number(heading[-1]):
        heading = None
    try:
        table = _parse(body if heading is None else body[1:], sign)
    except (ValueError, IndexError, OverflowError, pd.errors.ParserWarning) as error:
        raise UserError(f"{path}: cannot be read: {' '.join(str(error).split())}; {form}") from error
    if count.isdecimal() and count.lstrip("0") != str(len(table)):
        listed = f"the first line counts {count[:20]} images, {len(table)} are listed"
        print(f"{path}: {listed}; if the list was cut off, download it again")
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
        if not pd.api.types.is_numeric_dtype(table[column]):  # only fields that are no numbers stay text
            numbers = pd.to_numeric(table[column], errors="coerce")
            table[column] = numbers.astype(object).where(numbers.notna(), table[column])
    return table


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True
