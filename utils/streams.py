"""Standard streams that may be closed or lose their reader, without stopping the program."""

import errno
import os
import sys
from contextlib import contextmanager

GONE = {errno.EPIPE, errno.EIO}  # the reader of a pipe ended; the terminal was closed


class LastingStream:
    """A text stream that discards its output once its reader has gone. It raises other errors, such as a full disk."""

    def __init__(self, stream):
        self._stream = stream

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text."""
        with self._lasting():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        with self._lasting():
            self._stream.flush()

    @contextmanager
    def _lasting(self):
        try:
            yield
        except OSError as error:
            if error.errno not in GONE:
                raise
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())  # discards the buffered output too
            os.close(nowhere)


def keep_streams() -> None:
    """Make standard streams safe to write: replace a missing one by /dev/null, and wrap the others in `LastingStream`.

    A stream that replaces the process's own, as in tests, is left as it is.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # occupies the free number; else the next opened file would get the messages
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, LastingStream(stream))
