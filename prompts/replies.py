"""Read what chat servers send back: an answer, or an error in one of many forms."""

import json
import re
from typing import NamedTuple

TEXT_LIMIT = 300  # characters of a server's own text in a message
_UNSUPPORTED = re.compile(
    r"unsupported|n[o']t support|not permitted|not allowed|unknown|unrecognized|unexpected|deprecated", re.I
)
_OUT_OF_RANGE = re.compile(
    r"too (large|long|big|high|small|low)|at (most|least)|between|range|(greater|less|more) than|exceed|maximum"
    r"|positive|negative|context length",
    re.I,
)


class Reply(NamedTuple):
    """A model's answer, thoughts included. `cut_off`: it was stopped at --max-new-tokens.

    `fault`: the reason why the server gave no answer to this question.
    """

    text: str
    cut_off: bool = False
    fault: str = ""


def read_reply(body: str) -> Reply | None:
    """Return the answer in a body: JSON, or the `data:` lines of a stream; None if it holds none.

    Thoughts that a server keeps apart come back as an unclosed `<think>` if the answer is empty.
    """
    content = read_json(body)
    if not isinstance(content, dict) or not isinstance(content.get("choices"), list):
        return None
    choice = content["choices"][0] if content["choices"] else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        return None if content.get("error") else Reply("")
    text = _plain(message.get("content"))
    thoughts = _plain(message.get("reasoning_content") or message.get("reasoning"))
    if not text.strip() and thoughts.strip():
        text = f"<think>{thoughts}"
    return Reply(text, choice.get("finish_reason") == "length")


def read_json(body: str):
    """Return the JSON value of a body, or the pieces of a stream as one answer; None if it is neither."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        pass
    try:
        lines = [line[5:].strip() for line in body.split("\n") if line.startswith("data:")]
        return _joined([json.loads(line) for line in lines if line not in ("", "[DONE]")])
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError, IndexError):
        return None


def server_text(body: str, limit: int = TEXT_LIMIT) -> str:
    """Return what a server says about an error, as one line of at most `limit` characters: JSON, HTML or text."""
    content = read_json(body)
    if content is None:
        title = re.search(r"<title[^>]*>(.*?)</title>", body, re.I | re.S)
        body = " ".join(title[1].split()) if title else re.sub(r"<[^>]*>", " ", body)
        content = next((line for line in body.splitlines() if line.strip()), "")
    text = " ".join("".join(c if c.isprintable() else " " for c in _message(content)).split())
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def error_code(body: str) -> int | None:
    """Return the HTTP status that an error object names within a body, if any."""
    content = read_json(body)
    error = content.get("error") if isinstance(content, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) and 400 <= code < 600 else None


def named_parameter(body: str, names: list[str]) -> tuple[str | None, bool]:
    """Return the parameter that an error is about (None: none of them), and whether its value is out of range."""
    content = read_json(body)
    error = content.get("error") if isinstance(content, dict) else None
    text = f"{error.get('param') if isinstance(error, dict) else ''} {server_text(body, 10_000)}"
    found = {name: re.search(rf"(?<!\w){name}(?!\w)", text) for name in names}
    places = {name: match.start() for name, match in found.items() if match}
    if not places:
        return None, False
    choose = max if " both " in text else min  # "temperature and top_p cannot both be set": the first may stay
    return choose(places, key=places.get), bool(_OUT_OF_RANGE.search(text) and not _UNSUPPORTED.search(text))


def _plain(content) -> str:
    """Return the text of a message's content, which may be a list of parts."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _joined(pieces: list[dict]):
    """Return the pieces of a stream as one answer; an error among them as it is; None without pieces."""
    errors = [piece for piece in pieces if piece.get("error")]
    if errors or not pieces:
        return errors[0] if errors else None
    choices = [piece["choices"][0] for piece in pieces if piece.get("choices")]
    deltas = [choice.get("delta") or {} for choice in choices]
    message = {
        key: "".join(_plain(d.get(key)) for d in deltas) for key in ("content", "reasoning_content", "reasoning")
    }
    reasons = [choice["finish_reason"] for choice in choices if choice.get("finish_reason")]
    return {"choices": [{"message": message, "finish_reason": reasons[-1] if reasons else None}]}


def _message(value) -> str:
    """Return the words of an error object, wherever its server puts them."""
    if isinstance(value, list):
        return "; ".join(map(_message, value))
    if isinstance(value, str) and value.lstrip().startswith("{"):
        inner = read_json(value)
        return value if inner is None else _message(inner)
    if not isinstance(value, dict):
        return str(value)
    if isinstance(value.get("loc"), list):
        return f"{'.'.join(map(str, value['loc']))}: {value.get('msg', value.get('type'))}"
    raw = value["metadata"].get("raw") if isinstance(value.get("metadata"), dict) else None
    for key in ("error", "message", "detail", "msg"):
        if value.get(key):
            return "; ".join([_message(value[key]), *([_message(raw)] if raw else [])])
    return json.dumps(value, ensure_ascii=False)
