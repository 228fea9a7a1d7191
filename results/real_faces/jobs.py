"""Processes of which some run at once, and which end with the command that started them."""

import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore, Lock
from typing import TextIO

from utils.errors import UserError


class Jobs:
    """At most `most` processes at once, whatever asks for them."""

    def __init__(self, most: int):
        self._free, self._lock, self._running, self._stopped = BoundedSemaphore(most), Lock(), set(), False

    def run(self, command: list[str], log: TextIO) -> tuple[int, float]:
        """Run a command when a place is free; returns its status and its seconds. What it prints goes to `log`.

        Raises `UserError` after `stop`.
        """
        with self._free:
            with self._lock:
                if self._stopped:
                    raise UserError("interrupted before it was started")
                start = time.perf_counter()
                process = subprocess.Popen(command, stdout=log, stderr=log)
                self._running.add(process)
            try:
                return process.wait(), time.perf_counter() - start
            finally:
                with self._lock:
                    self._running.discard(process)

    def stop(self) -> None:
        """Start no other process, and ask those that run to end."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.terminate()

    def at_once(self, calls: list[Callable]) -> list:
        """The results of functions that are called in threads; the first failure is raised when all have ended.

        An interrupt stops all jobs, or those that wait for a place would still be started.
        """
        with ThreadPoolExecutor(max(1, len(calls))) as pool:
            futures = [pool.submit(call) for call in calls]
            try:
                return [future.result() for future in futures]
            except KeyboardInterrupt:
                self.stop()
                raise
