"""Find the caption in a language model's answer, whatever surrounds it."""

import re

_THOUGHTS = r"(?:think|thinking|thought|thoughts|reasoning)"
_OPENS = re.compile(rf"[<\[]{_THOUGHTS}[>\]]", re.I)
_CLOSES = re.compile(rf"[<\[]/{_THOUGHTS}[>\]]", re.I)
_TYPOGRAPHY = str.maketrans(
    dict.fromkeys("‘’‚‛′", "'") | dict.fromkeys("“”„‟«»", '"') | dict.fromkeys("‐‑‒–—―−", "-")
    | dict.fromkeys("\u00a0\u2007\u2009\u202f", " ") | dict.fromkeys("\u200b\u2060\ufeff")
)  # fmt: skip
_LABEL = r"[\w ',!*-]*\b(?:caption|prompt|answer|output|response|result|sentence|description|title|photo|option|here|sure)\b[\w ',!*]*"
# what may stand before a caption in its line: a bullet or number, a label such as "Caption:", and opening marks
_BEFORE = re.compile(
    rf"[\s>#+*•\"'`_{{(\[-]*(?:\(?\d{{1,3}}[.):]\s*)?[\s*\"'`_]*(?:{_LABEL}[*_\"'`]*:)?[\s*\"'`_]*", re.I
)
_MARK = re.compile(r"(\*+|_+|`+|\"|')$")
_WORD_COUNT = re.compile(r"\s*\(\d+ words\)$", re.I)
_LONGEST = 1000  # characters of a line that may hold a caption; one of 77 tokens is far shorter
_EMPHASIS = re.compile(r"(\*{1,3}|_{1,3}|`)(?=\S)(.+?)(?<=\S)\1")


def without_thoughts(text: str) -> str | None:
    """Return what follows a model's thoughts; None if they don't end.

    The tag that opens them may be missing: many chat templates put it into the question.
    """
    *_, text = _CLOSES.split(text)
    return None if _OPENS.search(text) else text


def captions(text: str, start: str) -> list[str]:
    """Return the lines that begin with the words `start`, in order and without what models put around a caption.

    That is quotes, emphasis, code fences, bullets, numbers and labels such as "Caption:". Typographic apostrophes and
    dashes become plain. A line with anything else before those words is not a caption.
    """
    found = [_caption(line.strip(), start) for line in text.translate(_TYPOGRAPHY).splitlines()]
    return list(dict.fromkeys(filter(None, found)))


def _caption(line: str, start: str) -> str | None:
    if len(line) > _LONGEST:
        return None
    if start not in line:
        line = _EMPHASIS.sub(r"\2", line)
    before, found, rest = line.partition(start)
    if not found or not _BEFORE.fullmatch(before):
        return None
    text, mark = found + rest, _MARK.search(before)
    if mark:  # the caption ends with the closing mark, unless only its beginning is emphasized
        text, *after = re.split(rf"{re.escape(mark[0])}(?!\w)", text, maxsplit=1)
        text += after[0] if after and mark[0][0] in "*_" and after[0].startswith(",") else ""
    text = _WORD_COUNT.sub("", _EMPHASIS.sub(r"\2", text).rstrip(" \"'`*_}]"))
    return text.rstrip(" \"'`*_").rstrip(".").rstrip()
