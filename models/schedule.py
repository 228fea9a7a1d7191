"""The schedule of a training, and which epoch it keeps."""

from dataclasses import dataclass

# Columns of the curve that can choose the epoch whose weights are kept.
ACCURACY, WORST_GROUP, LAST_EPOCH = "val_accuracy", "val_worst_group_accuracy", "epoch"
BEST_THRESHOLD = "val_accuracy_at_best_threshold"  # a column only if it chooses
LATE_MEAN = "mean"  # no column: the mean of the weights after each epoch of the second half
SELECT_BY = {  # values of --select-by
    "accuracy": ACCURACY,
    "worst-group": WORST_GROUP,
    "best-threshold": BEST_THRESHOLD,
    "mean": LATE_MEAN,
}
BATCH_NORM = ("follow", "hold", "real")  # what fine-tuning does with batch norm's running statistics


@dataclass(frozen=True)
class Schedule:
    """SGD with momentum, a tenfold lower learning rate after each milestone, and the choice of the epoch to keep.

    milestones : epochs
    later_wins_ties : which of two equally good epochs is kept
    select_by : column of the curve whose largest value chooses the epoch: `ACCURACY`, `WORST_GROUP` or `BEST_THRESHOLD` on val,
        `LAST_EPOCH`. `LATE_MEAN` is none: it keeps the mean of the weights after each epoch of the second half, and estimates
        batch norm's statistics anew for it, unless they are held
    """

    epochs: int
    lr: float
    weight_decay: float
    milestones: tuple[int, ...]
    momentum: float = 0.9
    later_wins_ties: bool = True
    select_by: str = ACCURACY

    def evaluates(self, epoch: int) -> bool:
        """True if val is evaluated after this epoch, counted from 1: `LATE_MEAN` compares no epochs, so the last one is enough."""
        return self.select_by != LATE_MEAN or epoch == self.epochs
