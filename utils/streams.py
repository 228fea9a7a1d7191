"""Standard output and error that are closed, or whose reader has gone: the work goes on without them."""

import errno
import os
import sys
from contextlib import contextmanager

GONE = {errno.EPIPE, errno.EIO}  # the reader of a pipe ended; the terminal was closed


class LastingStream:
    """A text stream that writes to nowhere once its reader has gone. Other errors, such as a full disk, are raised."""

    def __init__(self, stream):
        self._stream = stream

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write as the stream does."""
        with self._lasting():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush as the stream does."""
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
            os.dup2(nowhere, self._stream.fileno())  # what is still buffered goes there too
            os.close(nowhere)


def keep_streams() -> None:
    """Let this process print whoever reads: a missing stream becomes one to nowhere, the others last.

    A stream that something has put in place of the process's own is left as it is.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number: else the next file would, and get the messages
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, LastingStream(stream))
