"""Exchange one HTTP request with a chat server; find the addresses that a user may mean, and the key."""

import os
import re
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

import requests
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from utils.errors import UserError
from utils.machine import proxy_remedy

BODY_LIMIT = 1_000_000  # bytes that are read of a server's answer


class Response(NamedTuple):
    """A server's answer: HTTP status, its name, the body as text, Retry-After in seconds, and the redirect's target."""

    status: int
    reason: str
    body: str
    wait: float | None
    location: str | None


class Unavailable(Exception):
    """No answer now, perhaps later: the reason, and the seconds to wait, if the server names them."""

    def __init__(self, reason: str, wait: float | None = None, busy: bool = False):
        super().__init__(reason)
        self.wait, self.busy = wait, busy


def exchange(method: str, url: str, body: dict | None = None, *, key: str, timeout: float) -> Response:
    """Send a request and read the answer, whatever its status.

    Raises `UserError` if the address can't be asked at all, `Unavailable` if there is no answer within `timeout` seconds
    or the connection breaks.
    """

    def authorize(request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Set the key; as an `auth` of its own it also keeps ~/.netrc from adding credentials."""
        if key:
            request.headers["Authorization"] = f"Bearer {key}"
        return request

    options = {"auth": authorize, "timeout": timeout, "allow_redirects": False, "stream": True}
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
        raise UserError(f"--base-url: {shown(url)}: no secure connection ({_reason(error)}); {hint}") from error
    except requests.exceptions.Timeout as error:
        raise Unavailable(f"{_reason(error)}; a slow server needs a longer --timeout") from error
    except (OSError, HTTPError) as error:  # also a reset while the answer is read
        if isinstance(error, requests.RequestException) and isinstance(
            error, ValueError
        ):  # a malformed address or proxy
            raise UserError(f"--base-url: {shown(url)} cannot be asked: {_reason(error)}{proxy_remedy()}") from error
        raise Unavailable(_reason(error)) from error


def chat_addresses(base_url: str) -> list[str]:
    """Return the addresses that may be meant, likeliest first. Raises `UserError` if it is no HTTP address."""
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
        raise UserError(f"--base-url {shown(base_url)}: {reason}")
    path = re.sub(r"(/chat/completions|/completions|/chat|/models)?/*$", "", parts.path)
    plain, versioned = (urlunsplit(parts._replace(path=f"{path}{end}/chat/completions")) for end in ("", "/v1"))
    if re.search(r"/v\d+$", path):
        return [plain]
    return [plain, versioned] if path or parts.path.strip("/") else [versioned, plain]


def read_key(variable: str) -> str:
    """Return the key in an environment variable, "" without one. Raises `UserError`, without showing it, if it is no key."""
    key = os.environ.get(variable, "").strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise UserError(f"--api-key-variable: {variable} holds characters that no key has; set it to the key alone")
    return key


def shown(url: str) -> str:
    """Return an address without the parts that may be secret: user name and query."""
    return re.sub(r"(?<=//)[^/@]*@", "", url.split("?")[0])


def _seconds(retry_after: str | None) -> float | None:
    """Return the seconds in a Retry-After, which may also be a date; None if it makes no sense."""
    try:
        return Retry(0).parse_retry_after(retry_after) if retry_after else None
    except (HTTPError, ValueError, OverflowError):
        return None


def _reason(error: Exception) -> str:
    """Return the cause of a failed exchange in one line."""
    cause = error.args[0] if error.args and isinstance(error.args[0], Exception) else error
    return " ".join(str(getattr(cause, "reason", None) or cause or type(error).__name__).split())[:300]
