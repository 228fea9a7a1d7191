"""Errors that a user can mend, and the way a command line reports them."""

import sys
from collections.abc import Callable


class UserError(ValueError):
    """Something the user gave is wrong. The message names what, where, and the remedy."""


def command_line(main: Callable[[], None]) -> None:
    """Run a script's `main`: a `UserError` becomes one line on standard error and exit status 2."""
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        sys.exit(130)
