"""Checkpoints of unfinished trainings. A training that resumes ends with the same result as an unbroken one."""

import hashlib
import io
import json
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import torch

from utils.files import whole
from utils.same_settings import check_settings

DIGEST = hashlib.sha256().digest_size  # bytes before the state itself
SETTINGS = "settings.json"  # beside the checkpoints
SECONDS = 60.0  # between two writes: the most that a kill costs


class Checkpoint:
    """A file with the newest training state, at most `seconds` old, written whole or not at all.

    Used as a context manager it also writes the newest state if a `KeyboardInterrupt` ends the block. `spent` is the
    time in seconds that earlier processes put into the loaded state.
    """

    def __init__(self, path: Path, seconds: float = SECONDS):
        self.path, self.seconds = path, seconds
        self._state, self._written = None, time.monotonic()
        self.spent, self._begun = 0.0, time.monotonic()

    def __enter__(self) -> "Checkpoint":
        return self

    def __exit__(self, kind, error, trace) -> None:
        if kind is KeyboardInterrupt:
            self.write()

    def load(self) -> dict | None:
        """Return the state in the file, on the CPU; None if there is no file, or a damaged one (with a message)."""
        if not self.path.exists():
            return None
        content = self.path.read_bytes()
        if content[:DIGEST] != hashlib.sha256(content[DIGEST:]).digest():
            print(f"{self.path} is damaged; this training starts from the beginning", flush=True)
            return None
        state = torch.load(io.BytesIO(content[DIGEST:]), map_location="cpu", weights_only=True)
        self.spent = state.pop("spent", 0.0)
        return state

    def keep(self, state: dict) -> None:
        """Keep a state, which the caller must not change later, and write it if the last write is `seconds` ago."""
        self._state = state | {"spent": self.spent + time.monotonic() - self._begun}
        if time.monotonic() - self._written >= self.seconds:
            self.write()

    def write(self) -> None:
        """Write the newest state, if there is one."""
        if self._state is None:
            return
        buffer = io.BytesIO()
        torch.save(self._state, buffer)
        with whole(self.path) as partial, open(partial, "wb") as file:
            file.write(hashlib.sha256(buffer.getbuffer()).digest())
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        self._state, self._written = None, time.monotonic()


def check_unfinished(record: Path, settings: dict, besides: Iterable[str] = ()) -> bool:
    """Return whether trainings of this record have begun. Raises `UserError` if they began with other settings."""
    folder = _folder(record)
    try:
        found = json.loads((folder / SETTINGS).read_text())
    except (OSError, ValueError):
        return False  # missing, or cut off before there was any checkpoint
    check_settings(found, settings, f"the unfinished run in {folder}, which may be removed,", besides)
    return True


def _folder(record: Path) -> Path:
    return record.with_name(f".{record.name}.unfinished")


class Unfinished:
    """The checkpoints of one record's trainings, in a hidden folder beside the record.

    `begun` is the environment (`utils.environment.environment`) of the process that began the trainings; empty if an older
    version began them.
    """

    def __init__(self, record: Path, settings: dict, seconds: float = SECONDS, environment: dict | None = None):
        self._uses, self._given = Counter(), []
        self.folder, self.seconds = _folder(record), seconds
        self.folder.mkdir(parents=True, exist_ok=True)
        origin = self.folder / "environment.json"
        if not check_unfinished(record, settings):
            origin.write_text(json.dumps(environment or {}))
            (self.folder / SETTINGS).write_text(json.dumps(settings))
        try:
            self.begun = json.loads(origin.read_text())
        except (OSError, ValueError):
            self.begun = {}

    def checkpoint(self, stage: str) -> Checkpoint:
        """Return the checkpoint of the training `stage`; several trainings of one name are told apart by order."""
        name = re.sub("[^a-z0-9]+", "-", stage.lower())
        self._uses[name] += 1
        number = f"-{self._uses[name]}" if self._uses[name] > 1 else ""
        self._given.append(Checkpoint(self.folder / f"{name}{number}.pt", self.seconds))
        return self._given[-1]

    @property
    def spent(self) -> float:
        """The seconds that earlier processes put into the loaded states."""
        return sum(checkpoint.spent for checkpoint in self._given)

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
