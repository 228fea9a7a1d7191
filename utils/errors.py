"""Errors that a user can fix, and how a command line reports them."""

import errno
import signal
import sys
from collections.abc import Callable

NO_SPACE = {errno.ENOSPC, errno.EDQUOT}


class UserError(ValueError):
    """Something the user gave is wrong. The message says what, where, and how to fix it."""


def command_line(main: Callable[[], None]) -> None:
    """Run a script's `main` and end the process as a user would expect.

    A `UserError`, a full disk and a file that can't be written or read become one line on standard error and exit
    status 2. Ctrl-C and SIGTERM let `main` save what it has, as a `KeyboardInterrupt`, and leave with one line.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file name need not be text
    try:
        main()
    except UserError as error:
        _leave(f"error: {error}", 2)
    except OSError as error:
        if error.errno in NO_SPACE:
            place = f" for {error.filename}" if error.filename else ""
            _leave(f"error: the disk is full{place}; what is finished is kept: make room and run the same command", 2)
        if not error.filename:
            raise
        _leave(f"error: {error.filename}: {error.strerror}; mend that or choose another folder", 2)
    except KeyboardInterrupt:
        _leave("interrupted; the same command goes on where it stopped", 130)


def _interrupt(number, frame) -> None:
    raise KeyboardInterrupt


def _leave(message: str, status: int) -> None:
    print(message, file=sys.stderr)
    sys.exit(status)
