"""Logits of val and test images in packed records, in hundredths, and what is asked of them: another threshold."""

import numpy as np
import pandas as pd

from utils.errors import UserError
from utils.metrics import best_threshold, classes_of
from utils.records import Record, rerun

SPLITS = ("val", "test")
OF_IMAGE = ["split", "name", "target", "protected"]


def hundredths(logits: pd.Series) -> pd.Series:
    """Return logits in hundredths, rounded down, int64, so that each keeps its side of 0."""
    return np.floor(100 * logits.astype(np.float64)).astype(np.int64)


def logits_in(table: pd.DataFrame) -> np.ndarray:
    """Return the logits of a record's predictions, float64 (n,), or of more than two targets (n, targets)."""
    logits = table[[name for name in table.columns if name.startswith("logit")]].to_numpy(np.float64)
    return logits[:, 0] if "logit" in table else logits


def read_logits(runs: dict[str, Record], read) -> pd.DataFrame:
    """Return the logits of runs in hundredths: the columns `OF_IMAGE`, and one for each run by its name in `runs`.

    read : (path, columns, remedy, rows) -> DataFrame of a CSV file, which raises UserError if it is damaged

    Raises UserError if runs have other images. A run of more than two targets has no column, because no threshold lies between
    them; nor has one without val_predictions.csv, which older ones lack. Without any column the frame is empty.
    """
    images, columns = pd.DataFrame(), {}
    for name, record in runs.items():
        if classes_of(record.metrics.group_accuracy) > 2 or not (record.folder / "val_predictions.csv").exists():
            continue
        parts = [_split(record, split, read) for split in SPLITS]
        both = pd.concat(parts, ignore_index=True)
        images = both[OF_IMAGE] if images.empty else images
        if not both[OF_IMAGE].equals(images):
            raise UserError(
                f"{record.folder}: val_predictions.csv has other images than the other runs'; {rerun(record.folder)}"
            )
        columns[name] = hundredths(both["logit"])
    return pd.concat([images, pd.DataFrame(columns)], axis=1)


def joined_logits(runs: pd.DataFrame, packed: pd.DataFrame, names: list[str], stays: list[str]) -> pd.DataFrame:
    """Return the logits of two frames by `read_logits`, those of `packed` only for the runs that stay; columns in the order of `names`.

    Raises UserError if they are of different images.
    """
    more = packed.drop(columns=[name for name in packed.columns if name not in (*OF_IMAGE, *stays)])
    if runs.empty or more.empty:
        both = more if runs.empty else runs
    elif not runs[OF_IMAGE].equals(more[OF_IMAGE]):
        raise UserError(
            "the packed logits are of other val images than those of the runs to be packed; pack into another folder"
        )
    else:
        both = pd.concat([runs, more.drop(columns=OF_IMAGE)], axis=1)
    return both[[name for name in (*OF_IMAGE, *names) if name in both.columns]]


def answers_at_threshold(logits: pd.DataFrame, run: str) -> np.ndarray:
    """Return a run's answers on test, bool (n,), at the threshold that suits its val best."""
    val, test = (logits[logits["split"] == split] for split in SPLITS)
    return (test[run] >= best_threshold(val[run].to_numpy(), val["target"].to_numpy())).to_numpy()


def _split(record: Record, split: str, read) -> pd.DataFrame:
    rows = (record.val_metrics if split == "val" else record.metrics).group_count
    path, columns = record.folder / f"{split}_predictions.csv", [*OF_IMAGE[1:], "logit"]
    frame = read(path, columns, rerun(record.folder), sum(rows.values()) if rows else None)
    return frame.assign(split=split)
