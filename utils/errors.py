"""Errors that a user can fix, and their report on the command line."""

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
SAME_REQUEST = 10.0  # seconds in which further signals to stop are ignored


class UserError(ValueError):
    """A fault in what the user gave. The message says what is wrong, where, and how to fix it."""


class Diverged(UserError):
    """A training whose loss or answers are no finite numbers: a lower learning rate mends it, and other methods may do well."""


def command_line(main: Callable[[], None]) -> None:
    """Run a script's `main` and end the process with one line instead of a traceback.

    After a `UserError`, on a full disk, or if a file can't be written or read, the exit status is 2. Ctrl-C, SIGTERM
    and SIGHUP (the terminal was closed) raise `KeyboardInterrupt` in `main`, which can save its state; the exit status
    is 128 plus the signal's number. If nobody reads the output any more, `main` continues.
    """
    keep_streams()
    if find_spec("fcntl") is None:
        _leave("error: this needs Linux or macOS; on Windows run it in WSL, the Windows Subsystem for Linux", 2)
    _interrupt_on_signals()
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file name may hold bytes that are no text
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
    """Make signals to stop raise `KeyboardInterrupt` with the signal's number, once within `SAME_REQUEST`.

    A second signal would interrupt the saving that the first one began: an impatient Ctrl-C, or a scheduler that
    signals both this process and runner.sh, which passes the signal on. A signal that is ignored, as under nohup, stays
    ignored.
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
