"""CSV files of records: whole, or a line that says what is wrong with them."""

import io
from pathlib import Path

import pandas as pd
from pandas.api.types import is_numeric_dtype

from utils.errors import UserError

TEXTS = ("name", "method")  # the columns that hold no numbers


def read_csv(path: Path, columns: list[str], remedy: str, rows: int | None = None) -> pd.DataFrame:
    """A CSV file of a record, whole: it ends with a line's end, and has the columns, no gap in them, and that many rows.

    Raises `UserError`, ending in the remedy, where it is missing or anything else.
    """
    try:
        content = path.read_bytes()
        frame = pd.read_csv(io.BytesIO(content), float_precision="round_trip")  # written again as it was
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        reason = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
        raise UserError(f"{path} is damaged or incomplete ({reason}); {remedy}") from error
    missing = [name for name in columns if name not in frame.columns]
    texts = [name for name in columns if name not in (*TEXTS, *missing) and not is_numeric_dtype(frame[name])]
    if missing:
        fault = f"it has no column {missing[0]}"
    elif texts:
        fault = f"not all of {texts[0]} are numbers"
    elif not content.endswith(b"\n") or frame[columns].isna().any(axis=None) or frame.empty:
        fault = "it was cut off"
    elif rows is not None and len(frame) != rows:
        fault = f"it has {len(frame)} rows in place of {rows}"
    else:
        return frame
    raise UserError(f"{path} is damaged or incomplete ({fault}); {remedy}")
