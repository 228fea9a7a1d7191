"""The curves of a training for TensorBoard, as it goes on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from utils.errors import UserError


def check_tensorboard() -> None:
    """Raise `UserError` where the package is missing that torch's writer needs."""
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: F401
    except ImportError as error:
        raise UserError(f"--tensorboard: {error}; pip install tensorboard, or leave the flag out") from error


@contextmanager
def curve_log(folder: Path | None, name: str) -> Iterator[Callable[[dict], None]]:
    """What writes a row of a curve (`models.training.fit`) to a folder's event files, under a name; nothing without one.

    A training that goes on adds to what is there.
    """
    if folder is None:
        yield lambda row: None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(folder / name) as writer:

        def write(row: dict) -> None:
            for key, value in row.items():
                if key != "epoch":
                    writer.add_scalar(key, value, row["epoch"])
            writer.flush()

        yield write
