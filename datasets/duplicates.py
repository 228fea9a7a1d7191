"""Files with the same bytes."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from utils.errors import UserError
from utils.progress import progress


def digests(paths: list[Path]) -> list[str]:
    """The SHA-256 of each file's content, in order. Raises `UserError` for a file that cannot be read."""

    def digest(path):
        try:
            return hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from error

    with ThreadPoolExecutor() as pool:
        return list(progress(pool.map(digest, paths), desc="comparing files", total=len(paths), unit="file"))
