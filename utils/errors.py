"""Errors that a user can fix, and how a command line reports them."""

import errno
import signal
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec

from utils.streams import keep_streams

FULL = "the disk is full"
NO_SPACE = {
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
    errno.EFBIG: "a file is larger than the file system or ulimit -f allows",
}
SAME_REQUEST = 10.0  # seconds in which further signals to stop add nothing to the first


class UserError(ValueError):
    """Something the user gave is wrong. The message says what, where, and how to fix it."""


def command_line(main: Callable[[], None]) -> None:
    """Run a script's `main` and end the process as a user would expect.

    A `UserError`, a full disk and a file that can't be written or read become one line on standard error and exit
    status 2. Ctrl-C, SIGTERM and SIGHUP (the terminal was closed) let `main` save what it has, as a `KeyboardInterrupt`,
    and leave with one line and status 128 + the signal's number. If nobody reads the output any more, `main` goes on.
    """
    keep_streams()
    if find_spec("fcntl") is None:
        _leave("error: this needs Linux or macOS; on Windows run it in WSL, the Windows Subsystem for Linux", 2)
    _interrupt_on_signals()
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file name need not be text
    try:
        main()
        sys.stdout.flush()
    except UserError as error:
        _leave(f"error: {error}", 2)
    except OSError as error:
        if error.errno in NO_SPACE:
            place = f" for {error.filename}" if error.filename else ""
            _leave(
                f"error: {NO_SPACE[error.errno]}{place}; what is finished is kept: make room and run the same command",
                2,
            )
        if not error.filename:
            raise
        _leave(f"error: {error.filename}: {error.strerror}; mend that or choose another folder", 2)
    except KeyboardInterrupt as error:
        number = error.args[0] if error.args else signal.SIGINT
        _leave("interrupted; the same command goes on where it stopped", 128 + number)


def _interrupt_on_signals() -> None:
    """Raise `KeyboardInterrupt` with the number of the signal, once for all that come together.

    A second one would break off what the first one has begun to save: an impatient Ctrl-C, or a scheduler that signals
    both runner.sh, which passes it on, and this process. A signal that is ignored, as under nohup, stays so.
    """
    last = -SAME_REQUEST

    def interrupt(number, frame):
        nonlocal last
        if time.monotonic() - last >= SAME_REQUEST:
            last = time.monotonic()
            raise KeyboardInterrupt(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)


def _leave(message: str, status: int) -> None:
    print(message, file=sys.stderr)
    sys.exit(status)
