"""Curves for TensorBoard, written during training."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from utils.machine import optional_package


def check_tensorboard() -> None:
    """Raise `UserError` if the package that torch's writer needs is missing or broken."""
    optional_package("torch.utils.tensorboard", "tensorboard", asked="--tensorboard", instead="leave the flag out")


@contextmanager
def curve_log(folder: Path | None, name: str) -> Iterator[Callable[[dict], None]]:
    """Yield a function that writes a row of a curve (`models.training.fit`) to event files in `folder`/`name`.

    Without a folder it writes nothing. A resumed training replaces the epochs in the files from its first one on,
    because a kill may have lost the checkpoint of an epoch that was written.
    """
    if folder is None:
        yield lambda row: None
        return
    from torch.utils.tensorboard import SummaryWriter

    with ExitStack() as opened:
        writers = []

        def write(row: dict) -> None:
            if not writers:
                writers.append(opened.enter_context(SummaryWriter(folder / name, purge_step=row["epoch"])))
            for key, value in row.items():
                if key != "epoch":
                    writers[0].add_scalar(key, value, row["epoch"])
            writers[0].flush()

        yield write
