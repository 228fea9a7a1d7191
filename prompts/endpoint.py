"""Language models behind an OpenAI-compatible HTTP endpoint, with the quirks of today's servers."""

import difflib
import queue
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urljoin, urlsplit

from tqdm import tqdm

from prompts.decoding import Decoding
from prompts.exchange import Response, Unavailable, chat_addresses, exchange, read_key, shown
from prompts.replies import Reply, error_code, named_parameter, read_json, read_reply, server_text
from utils.errors import UserError

LONGEST_WAIT = 300  # seconds that a server may ask to wait
TOLD_WAIT = 3  # seconds; a longer wait is printed
REDIRECTS = 5  # that are followed
_NAMES = {"temperature": "temperature", "top_p": "top_p", "max_new_tokens": "max_tokens", "seed": "seed"}
# without a Retry-After: Gemini's "retryDelay": "38s", and "Please try again in 7.66s"
_WAIT = re.compile(r"(?:retryDelay\"\s*:\s*\"|(?:try again|retry) (?:in|after) )(\d{1,6}(?:\.\d{1,9})?) ?s", re.I)
_FILTERED = re.compile(r"content.?(filter|policy|management)|filtered|moderation|safety", re.I)
_PAGE = re.compile(r"\s*(<!doctype|<html)", re.I)


class Endpoint:
    """A chat endpoint, given as its address with or without `/v1` or `/v1/chat/completions`.

    The key is taken from the environment variable `key_variable` if it is set. It is sent to that server only, and
    never stored or printed. Questions are asked one by one until the server answers the first; by then the run has
    learned the server's address and the parameters it refuses (`names`: how it calls each, None for a refused one).
    """

    def __init__(
        self, base_url: str, model: str, sampling: Decoding, *, key_variable: str, timeout: float, retries: int
    ):
        self.urls, self.settled, self.failed_urls = chat_addresses(base_url), False, []
        self.model, self.sampling, self.timeout, self.retries = model, sampling, timeout, retries
        self.key_variable, self.key = key_variable, read_key(key_variable)
        self.names = dict(_NAMES)
        self.busy, self.turn, self.not_before = False, threading.Lock(), 0.0

    def answer(self, questions: list[str], openings: list[str], seed: int) -> Iterator[tuple[int, Reply]]:
        """Yield the number and `Reply` of each question as it comes; once the server is known, they are asked side by side.

        The openings are already part of the questions: endpoints have no common way to begin an answer for the model.
        Raises `UserError` if the endpoint refuses or, after all retries, cannot be reached: at the end, when every
        other question is answered.
        """
        waiting = list(enumerate(questions))
        while waiting and not self.settled:
            number, question = waiting.pop(0)
            yield number, self._ask(question, seed + number)
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
        """Return the sampling as it is really sent, under the server's names if they differ, and what it refuses."""
        values = {**vars(self.sampling), "seed": seed}
        sent = {(own if name == _NAMES[own] else name): values[own] for own, name in self.names.items() if name}
        refused = [own for own, name in self.names.items() if not name]
        return {**sent, "refused": refused} if refused else sent

    def _ask(self, question: str, seed: int) -> Reply:
        """Ask one question, again if the server is unavailable. If it is busy, the questions line up, one at a time."""
        with ExitStack() as line:
            lined_up = False
            for attempt in range(self.retries + 1):
                if self.busy and not lined_up:
                    lined_up = line.enter_context(self.turn)
                try:
                    return self._converse(question, seed)
                except Unavailable as error:
                    reason, wait = str(error), error.wait
                    self.busy |= error.busy
                server = shown(self.urls[0])
                if wait is not None and wait > LONGEST_WAIT:
                    raise UserError(f"--base-url: {server} asks to wait {wait:.0f} s ({reason})")
                wait = min(2**attempt, 30) * (2 if self.busy else 0.5) if wait is None else wait
                self.not_before = max(self.not_before, time.monotonic() + wait)
                if wait >= TOLD_WAIT and attempt < self.retries:
                    _tell(f"{server}: {reason}; next try in {wait:.0f} s")
        raise UserError(f"--base-url: no answer from {server} after {self.retries + 1} attempts ({reason})")

    def _converse(self, question: str, seed: int) -> Reply:
        """Ask until the server accepts the request's form. Raises `UserError` or `Unavailable` if it doesn't."""
        while True:
            url, values = self.urls[0], {**vars(self.sampling), "seed": seed % 2**31}
            body = {"model": self.model, "messages": [{"role": "user", "content": question}]}
            response = self._send("POST", url, body | {name: values[own] for own, name in self.names.items() if name})
            if response.status == 200 and (reply := read_reply(response.body)) is not None:
                self.urls, self.settled = [url], True
                return reply
            response = _judged(response)
            if not self.settled and self._learn(url, response):
                continue
            failure = self._failure(url, response)
            alone = self.settled or _FILTERED.search(response.body)
            if alone and response.status in (400, 422):  # it is this question that is refused
                return Reply("", fault=str(failure))
            raise failure

    def _send(self, method: str, url: str, body: dict | None = None) -> Response:
        """Exchange one request, after the pause that the server asked for."""
        pause = self.not_before - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        return exchange(method, url, body, key=self.key, timeout=self.timeout)

    def _learn(self, url: str, response: Response) -> bool:
        """Change the request as the server's answer suggests; return whether it is to be sent again."""
        return self._follow(url, response) or self._try_other_address(url, response) or self._rename(response)

    def _follow(self, url: str, response: Response) -> bool:
        """Go to the target of a redirect within the server. Raises `UserError` for any other redirect."""
        if not 300 <= response.status < 400 or not response.location:
            return False
        target = urljoin(url, response.location)
        old, new = urlsplit(url), urlsplit(target)
        same = new.netloc == old.netloc and new.scheme == old.scheme
        same |= new.hostname == old.hostname and (old.scheme, new.scheme) == ("http", "https")
        if not same or target == url or len(self.failed_urls) > REDIRECTS:
            raise UserError(f"--base-url: {shown(url)} redirects to {shown(target)}; give the address of the endpoint")
        self.failed_urls.append(f"{shown(url)} redirects")
        self.urls[0] = target
        return True

    def _try_other_address(self, url: str, response: Response) -> bool:
        """If there is no endpoint at this address, take the next one that may be meant."""
        if response.status not in (404, 405) or re.search(r"\bmodel", server_text(response.body), re.I):
            return False
        self.failed_urls.append(f"{shown(url)}: {self._said(response)}")
        self.urls = self.urls[1:] or self.urls
        return self.urls[0] != url

    def _rename(self, response: Response) -> bool:
        """Send a refused parameter under another name, or leave it out, and print so once."""
        unsupported = response.status in (500, 501) and re.search(r"unsupport|not support", response.body, re.I)
        own, name, out_of_range = self._named(response)
        if own is None or out_of_range or not (response.status in (400, 422) or unsupported):
            return False
        other = {"max_tokens": "max_completion_tokens"}.get(name)
        if name == "seed" and "extra_forbidden" in response.body:  # Mistral's name for it
            other = "random_seed"
        self.names[own] = other
        way = f"as {other}" if other else "without it"
        _tell(f"the endpoint refuses {name}; asking {way} ({self._said(response)})")
        return True

    def _named(self, response: Response) -> tuple[str | None, str | None, bool]:
        """Return our name and the server's of the parameter that an error names, and whether its value is out of range."""
        name, out_of_range = named_parameter(response.body, [name for name in self.names.values() if name])
        return next((own for own, called in self.names.items() if called == name and name), None), name, out_of_range

    def _failure(self, url: str, response: Response) -> Exception:
        """Return the exception for a failed answer."""
        said, status, hint = self._said(response), response.status, ""
        if status in (408, 425, 429) or status >= 500:
            told = _WAIT.search(response.body)
            wait = float(told[1]) if response.wait is None and told else response.wait
            return Unavailable(said, wait, status == 429 or wait is not None)
        if status in (404, 405) and self.failed_urls and not self.settled:
            return UserError(f"--base-url: no chat endpoint: {'; '.join(self.failed_urls)}")
        if status in (401, 403):
            hint = f"; put the key into {self.key_variable}"
        elif status in (400, 404, 422):
            own, *_ = self._named(response)
            if own:
                hint = f"; mend --{own.replace('_', '-')}"
            elif re.search(r"\bmodel", server_text(response.body), re.I):
                hint = self._nearest_models(url)
        return UserError(f"--base-url: {shown(url)} refuses: {said}{hint}")

    def _nearest_models(self, url: str) -> str:
        """Return the models of the endpoint whose names are nearest, as the end of a message."""
        try:
            content = read_json(self._send("GET", url.replace("/chat/completions", "/models")).body)
            names = [str(model["id"]) for model in content["data"]]
        except (Unavailable, UserError, KeyError, TypeError):
            return ""
        if not names or self.model in names:
            return ""
        nearest = difflib.get_close_matches(self.model, names, n=3, cutoff=0.4) or names[:5]
        return f"; --model {self.model} is none of its {len(names)} models; nearest: {', '.join(nearest)}"

    def _said(self, response: Response) -> str:
        """Return an answer's status and the server's own text, without the key."""
        text = server_text(response.body)
        said = f"HTTP {response.status} {response.reason}".rstrip() + (f": {text}" if text else ": no text")
        return said.replace(self.key, "***") if self.key else said


def _judged(response: Response) -> Response:
    """Give an answer of status 200 that is really an error the status that it should have."""
    if response.status != 200:
        return response
    text = server_text(response.body)
    if _PAGE.match(response.body) or re.search(r"unexpected endpoint|page not found", text, re.I):
        return response._replace(status=404, reason="in the text of a 200")
    return response._replace(status=error_code(response.body) or 502, reason="in the text of a 200")


def _tell(text: str) -> None:
    tqdm.write(text, file=sys.stderr)
