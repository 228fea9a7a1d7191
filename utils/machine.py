"""Checks for what a machine may lack: an optional package, a usable proxy, a compiler."""

import importlib
from http.client import HTTPException
from types import ModuleType
from typing import TYPE_CHECKING
from urllib.request import getproxies

from utils.errors import UserError

if TYPE_CHECKING:
    import torch

# What downloads may raise: urllib, torch, requests, and httpx, which raises ImportError for a SOCKS proxy and
# ValueError for any other unknown kind of proxy.
NOT_FETCHED = (OSError, RuntimeError, ValueError, ImportError, HTTPException)


def optional_package(module: str, package: str, *, asked: str, instead: str) -> ModuleType:
    """Import and return a module of an optional package.

    `asked` is the flag that needs it, `instead` a way to do without it; both go into the message. Raises `UserError` if
    the package is missing, or if its import fails with any exception.
    """
    try:
        return importlib.import_module(module)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name in (package, module):
            raise UserError(f"{asked}: {package} is not installed; pip install {package}, or {instead}") from error
        raise UserError(
            f"{asked}: {package} is installed but can't be imported ({one_line(error)}); "
            f"pip install --force-reinstall {package}, or {instead}"
        ) from error


def why_not_fetched(error: Exception) -> str:
    """Return one line on why a file could not be fetched, with the remedy for a proxy that may be the cause."""
    return one_line(error) + proxy_remedy()


def proxy_remedy() -> str:
    """Return the remedy for a proxy that is set; "" if none is.

    The proxy's address is left out: it may hold a password.
    """
    proxies = {name: url.partition("://")[0].lower() for name, url in getproxies().items() if name != "no"}
    odd = {name: kind for name, kind in proxies.items() if kind not in ("http", "https")}
    if not proxies:
        return ""
    name, kind = next(iter((odd or proxies).items()))
    said = f"; {name.upper()}_PROXY is set ({kind}://...): mend or unset it"
    if not odd:
        return said
    packages = ", or pip install socksio pysocks" if kind.startswith("socks") else ""
    return f"{said}, or give an http:// one{packages}"


def check_compile(device: "torch.device") -> None:
    """Raise `UserError` unless torch can compile for `device`, tried on one operation, which takes seconds."""
    import torch

    try:
        with torch.no_grad():
            torch.compile(torch.nn.functional.silu)(torch.ones(8, device=device))
    except Exception as error:  # tracer, code generator and compiler each raise their own
        raise UserError(
            f"--compile: torch can't compile for {device.type} here ({one_line(error)}); it needs a C++ compiler (g++),"
            " on a GPU also triton and Python's headers (python3-dev): install them, or leave the flag out"
        ) from error


def one_line(error: Exception) -> str:
    """Return the first line of an error's text, at most 200 characters, or its class if it has no text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
