"""k, the number of tensors that each ranking keeps: a number, a fraction, or a choice among values."""

import argparse
import re

from utils.arguments import positive_fraction, positive_int

PAPER_TOP_K, PAPER_TENSORS = 55, 62  # of ResNet-18
PATIENCE = 20  # batches without a change after which a mask is final: results/records/ranking_stop/README.md
AUTO_TOP_K = (40, 45, 50, 55, 60)  # candidates of top-k=auto: the values in the paper's figure


def top_k(text: str) -> int | str:
    """Return a number of tensors, a percentage of them such as "89%" (as text), or "auto"."""
    if text.endswith("%"):
        positive_fraction(text[:-1], whole=100)
        return text
    return text if text == "auto" else int(text)


def ranking_batches(text: str) -> int | str:
    """Return a number of batches, 1 or more, or "auto"."""
    if text == "auto":
        return text
    try:
        return positive_int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is neither auto nor a number of batches") from error


def count_of(k: int | str | None, tensors: int) -> int | str:
    """Return a `top_k` as a number for a network of `tensors` tensors, or "auto"; None is the paper's fraction."""
    if k is None:
        return round(PAPER_TOP_K * tensors / PAPER_TENSORS)
    return round(float(k[:-1]) * tensors / 100) if isinstance(k, str) and k.endswith("%") else k


def counted(text: str, tensors: int) -> str:
    """Replace a percentage in a method's text: "aim-fair:top-k=89%" becomes "aim-fair:top-k=55" for 62 tensors."""
    return re.sub(r"(?<=[:,]top-k=)\d+(?:\.\d+)?%", lambda found: str(count_of(found[0], tensors)), text)


def auto_top_k(tensors: int) -> list[int]:
    """Return `AUTO_TOP_K`, or the same fractions of another network's tensors."""
    return list(dict.fromkeys(max(1, round(k * tensors / PAPER_TENSORS)) for k in AUTO_TOP_K))
