"""Language models behind an OpenAI-compatible HTTP endpoint, with the quirks of today's servers."""

import difflib
import os
import queue
import re
import sys
import threading
import time
from contextlib import ExitStack
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit, urlunsplit

import requests
from tqdm import tqdm
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from prompts.backends import Decoding
from prompts.replies import Reply, error_code, named_parameter, read_json, read_reply, server_text
from utils.errors import UserError
from utils.machine import proxy_remedy

BODY_LIMIT = 1_000_000  # bytes that are read of a server's answer
LONGEST_WAIT = 300  # seconds that a server may ask to wait
TOLD_WAIT = 3  # seconds; a longer wait is told
_NAMES = {"temperature": "temperature", "top_p": "top_p", "max_new_tokens": "max_tokens", "seed": "seed"}
# where there is no Retry-After: Gemini's "retryDelay": "38s", and "Please try again in 7.66s"
_WAIT = re.compile(r"(?:retryDelay\"\s*:\s*\"|(?:try again|retry) (?:in|after) )(\d{1,6}(?:\.\d{1,9})?) ?s", re.I)
_FILTERED = re.compile(r"content.?(filter|policy|management)|filtered|moderation|safety", re.I)
_PAGE = re.compile(r"\s*(<!doctype|<html)", re.I)


class Response(NamedTuple):
    """A server's answer: HTTP status, its name, the body as text, Retry-After in seconds, and the redirect's target."""

    status: int
    reason: str
    body: str
    wait: float | None
    location: str | None


class _Unavailable(Exception):
    """No answer now, perhaps later: the reason, and the seconds to wait, where the server names them."""

    def __init__(self, reason: str, wait: float | None = None, busy: bool = False):
        super().__init__(reason)
        self.wait, self.busy = wait, busy


class Endpoint:
    """A chat endpoint, given as its address with or without `/v1` or `/v1/chat/completions`.

    The key is taken from the environment variable `key_variable` where it is set; it is sent to that server only, and
    never stored or printed. What a run learns about the server (its address, the parameters it refuses, that it is
    busy) is kept until the end of the run.
    """

    def __init__(
        self, base_url: str, model: str, sampling: Decoding, *, key_variable: str, timeout: float, retries: int
    ):
        self.urls, self.settled, self.failed_urls = chat_addresses(base_url), False, []
        self.model, self.sampling, self.timeout, self.retries = model, sampling, timeout, retries
        self.key_variable, self.key = key_variable, read_key(key_variable)
        self.names, self.learning = dict(_NAMES), threading.Lock()  # how the server calls each parameter
        self.busy, self.turn, self.not_before = False, threading.Lock(), 0.0

    def answer(self, questions: list[str], openings: list[str], seed: int):
        """Yields (number, `Reply`) of each question as it comes; they are asked side by side, but the first one alone.

        The openings are already part of the questions: endpoints have no common way to begin an answer for the model.
        Raises `UserError` where the endpoint refuses or, after all retries, cannot be reached: at the end, when every
        other question is answered.
        """
        waiting = list(enumerate(questions))
        if not self.settled:
            yield 0, self._ask(questions[0], seed)
            waiting = waiting[1:]
        replies = queue.SimpleQueue()

        def ask(number: int, question: str) -> None:
            try:
                replies.put((number, self._ask(question, seed + number)))
            except Exception as error:
                replies.put((number, error))

        for numbered in waiting:  # daemons, for Ctrl-C not to wait for them
            threading.Thread(target=ask, args=numbered, daemon=True).start()
        failures = []
        for _ in waiting:
            number, reply = replies.get()
            if isinstance(reply, Exception):
                failures.append(reply)
            else:
                yield number, reply
        if failures:
            raise failures[0]

    def sent(self, seed: int) -> dict:
        """The sampling as it is really sent, under the server's names where they differ, and what it refuses."""
        values = {**vars(self.sampling), "seed": seed}
        sent = {(own if name == _NAMES[own] else name): values[own] for own, name in self.names.items() if name}
        refused = [own for own, name in self.names.items() if not name]
        return {**sent, "refused": refused} if refused else sent

    def _ask(self, question: str, seed: int) -> Reply:
        """One question's answer. Where the server is busy, the questions line up and are asked one at a time."""
        with ExitStack() as line:
            lined_up = False
            for attempt in range(self.retries + 1):
                if self.busy and not lined_up:
                    lined_up = line.enter_context(self.turn)
                try:
                    return self._converse(question, seed)
                except _Unavailable as error:
                    reason, wait = str(error), error.wait
                    self.busy |= error.busy
                shown = _shown(self.urls[0])
                if wait is not None and wait > LONGEST_WAIT:
                    raise UserError(f"--base-url: {shown} asks to wait {wait:.0f} s ({reason})")
                wait = min(2**attempt, 30) * (2 if self.busy else 0.5) if wait is None else wait
                self.not_before = max(self.not_before, time.monotonic() + wait)
                if wait >= TOLD_WAIT and attempt < self.retries:
                    _tell(f"{shown}: {reason}; next try in {wait:.0f} s")
        raise UserError(f"--base-url: no answer from {shown} after {self.retries + 1} attempts ({reason})")

    def _converse(self, question: str, seed: int) -> Reply:
        """Ask until the server accepts the request's form. Raises `UserError` or `_Unavailable` where it doesn't."""
        while True:
            url, names = self.urls[0], dict(self.names)
            values = {**vars(self.sampling), "seed": seed % 2**31}
            sampling = {name: values[own] for own, name in names.items() if name}
            body = {"model": self.model, "messages": [{"role": "user", "content": question}], **sampling}
            response = self._send("POST", url, body)
            reply = read_reply(response.body) if response.status == 200 else None
            if reply is not None:
                self.urls, self.settled = [url], True
                return reply
            response = _judged(response)
            with self.learning:
                learned = (
                    self._follow(url, response)
                    or self._try_other_address(url, response)
                    or self._rename(names, response)
                )
            if not learned:
                failure = self._failure(url, names, response)
                alone = self.settled or _FILTERED.search(response.body)
                if alone and response.status in (400, 422):  # it is this question that is refused
                    return Reply("", fault=str(failure))
                raise failure

    def _send(self, method: str, url: str, body: dict | None = None) -> Response:
        """One HTTP exchange, after the pause that the server asked for."""
        pause = self.not_before - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        options = {"auth": self._authorize, "timeout": self.timeout, "allow_redirects": False, "stream": True}
        shown = _shown(url)
        try:
            with requests.request(method, url, json=body, **options) as response:
                content = b""
                for chunk in response.iter_content(2**16):
                    content += chunk
                    if len(content) > BODY_LIMIT:
                        break
                text, headers = content.decode("utf-8-sig", "replace"), response.headers
                wait = _seconds(headers.get("Retry-After"))
                return Response(response.status_code, response.reason or "", text, wait, headers.get("Location"))
        except requests.exceptions.SSLError as error:
            hint = "for a certificate of your own set REQUESTS_CA_BUNDLE; for a server without TLS write http://"
            raise UserError(f"--base-url: {shown}: no secure connection ({_reason(error)}); {hint}") from error
        except requests.exceptions.Timeout as error:
            raise _Unavailable(f"{_reason(error)}; a slow server needs a longer --timeout") from error
        except requests.RequestException as error:
            if isinstance(error, ValueError):  # a malformed address or proxy
                raise UserError(f"--base-url: {shown} cannot be asked: {_reason(error)}{proxy_remedy()}") from error
            raise _Unavailable(_reason(error)) from error
        except (OSError, HTTPError) as error:  # a reset while the answer is read
            raise _Unavailable(_reason(error)) from error

    def _authorize(self, request):
        """Set the key; as an `auth` of its own it also keeps ~/.netrc from adding credentials."""
        if self.key:
            request.headers["Authorization"] = f"Bearer {self.key}"
        return request

    def _follow(self, url: str, response: Response) -> bool:
        """Go to where a redirect of the same server leads."""
        if not 300 <= response.status < 400 or not response.location:
            return False
        target = urljoin(url, response.location)
        old, new = urlsplit(url), urlsplit(target)
        same = new.netloc == old.netloc and new.scheme == old.scheme
        same |= new.hostname == old.hostname and (old.scheme, new.scheme) == ("http", "https")
        if not same or target == url or len(self.failed_urls) > 5:
            raise UserError(
                f"--base-url: {_shown(url)} redirects to {_shown(target)}; give the address of the endpoint"
            )
        self.failed_urls.append(f"{_shown(url)} redirects")
        self.urls[0] = target
        return True

    def _try_other_address(self, url: str, response: Response) -> bool:
        """Where there is no endpoint at this address, try the next one that may be meant."""
        if response.status not in (404, 405) or re.search(r"\bmodel", server_text(response.body), re.I):
            return False
        self.failed_urls.append(f"{_shown(url)}: {self._said(response)}")
        if len(self.urls) > 1 and self.urls[0] == url:
            self.urls = self.urls[1:]
            return True
        return self.urls[0] != url

    def _rename(self, names: dict, response: Response) -> bool:
        """Send a refused parameter under another name, or leave it out, and say so once."""
        if response.status not in (400, 422) and not (
            response.status in (500, 501) and re.search(r"unsupport|not support", response.body, re.I)
        ):
            return False
        name, out_of_range = named_parameter(response.body, [name for name in names.values() if name])
        if name is None or out_of_range:
            return False
        own = next(own for own, called in names.items() if called == name)
        if self.names[own] != name:  # another question has found that out
            return True
        other = {"max_tokens": "max_completion_tokens"}.get(name)
        if name == "seed" and "extra_forbidden" in response.body:  # Mistral's name for it
            other = "random_seed"
        self.names[own] = other
        way = f"as {other}" if other else "without it"
        _tell(f"the endpoint refuses {name}; asking {way} ({self._said(response)})")
        return True

    def _failure(self, url: str, names: dict, response: Response) -> Exception:
        """What to raise for a failed answer."""
        said, status, text = self._said(response), response.status, server_text(response.body)
        if status in (408, 425, 429) or status >= 500:
            wait = response.wait
            if wait is None and (told := _WAIT.search(response.body)):
                wait = float(told[1])
            return _Unavailable(said, wait, status == 429 or wait is not None)
        hint = ""
        if status in (401, 403):
            hint = f"; put the key into {self.key_variable}"
        elif status in (404, 405) and self.failed_urls:
            return UserError(f"--base-url: no chat endpoint: {'; '.join(self.failed_urls)}")
        elif status in (400, 404, 422):
            name, _ = named_parameter(response.body, [name for name in names.values() if name])
            own = next((own for own, called in names.items() if called == name), None) if name else None
            hint = f"; mend --{own.replace('_', '-')}" if own else ""
            if not own and re.search(r"\bmodel", text, re.I):
                hint = self._nearest_models(url)
        return UserError(f"--base-url: {_shown(url)} refuses: {said}{hint}")

    def _nearest_models(self, url: str) -> str:
        """The models of the endpoint whose names are nearest, as the end of a message."""
        try:
            content = read_json(self._send("GET", url.replace("/chat/completions", "/models")).body)
            names = [str(model["id"]) for model in content["data"]]
        except (_Unavailable, UserError, KeyError, TypeError):
            return ""
        if not names or self.model in names:
            return ""
        nearest = difflib.get_close_matches(self.model, names, n=3, cutoff=0.4) or names[:5]
        return f"; --model {self.model} is none of its {len(names)} models; nearest: {', '.join(nearest)}"

    def _said(self, response: Response) -> str:
        """An answer's status and the server's own text, without the key."""
        text = server_text(response.body)
        said = f"HTTP {response.status} {response.reason}".rstrip() + (f": {text}" if text else ": no text")
        return said.replace(self.key, "***") if self.key else said


def chat_addresses(base_url: str) -> list[str]:
    """The addresses that may be meant, likeliest first. Raises `UserError` for what is no HTTP address."""
    base_url = base_url.strip()
    if not base_url.lower().startswith(("http://", "https://")):
        raise UserError(f"--base-url {base_url}: must begin with http:// or https://")
    try:
        parts = urlsplit(base_url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise UserError(f"--base-url {base_url}: not an address ({error})") from error
    if not host or parts.username is not None:
        reason = "names no server" if not host else "holds a user name; put the key into --api-key-variable's variable"
        raise UserError(f"--base-url {_shown(base_url)}: {reason}")
    path = re.sub(r"(/chat/completions|/completions|/chat|/models)?/*$", "", parts.path)
    plain, versioned = (urlunsplit(parts._replace(path=f"{path}{end}/chat/completions")) for end in ("", "/v1"))
    if re.search(r"/v\d+$", path):
        return [plain]
    return [plain, versioned] if path or parts.path.strip("/") else [versioned, plain]


def read_key(variable: str) -> str:
    """The key in an environment variable, "" without one. Raises `UserError`, without showing it, if it is no key."""
    key = os.environ.get(variable, "").strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise UserError(f"--api-key-variable: {variable} holds characters that no key has; set it to the key alone")
    return key


def _judged(response: Response) -> Response:
    """An answer of status 200 that is really an error, with the status that it should have."""
    if response.status != 200:
        return response
    text = server_text(response.body)
    if _PAGE.match(response.body) or re.search(r"unexpected endpoint|page not found", text, re.I):
        return response._replace(status=404, reason="in the text of a 200")
    return response._replace(status=error_code(response.body) or 502, reason="in the text of a 200")


def _seconds(retry_after: str | None) -> float | None:
    """The seconds in a Retry-After, which may also be a date; None where there is no sensible one."""
    try:
        return Retry(0).parse_retry_after(retry_after) if retry_after else None
    except (HTTPError, ValueError, OverflowError):
        return None


def _reason(error: Exception) -> str:
    """The cause of a failed exchange in one line."""
    cause = error.args[0] if error.args and isinstance(error.args[0], Exception) else error
    return " ".join(str(getattr(cause, "reason", None) or cause or type(error).__name__).split())[:300]


def _shown(url: str) -> str:
    """An address without the parts that may be secret: user name and query."""
    return re.sub(r"(?<=//)[^/@]*@", "", url.split("?")[0])


def _tell(text: str) -> None:
    tqdm.write(text, file=sys.stderr)
