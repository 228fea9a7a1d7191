"""JTT, just train twice: the second model sees the errors of a first, weak model more often (Liu et al., ICML 2021).

The option `protocol` has two values:
    aligned (default)   The first model trains for one epoch with ERM's settings. The second draws images by weight, in
                        epochs as long as ERM's, and its epoch is chosen as for every method. So JTT takes the same
                        labels and steps as the methods it is compared with.
    published           As in the paper's experiments on CelebA, the first model trains for one epoch at learning rate
                        1e-5 and weight decay 0.1. The data get 50 copies of its errors, so an epoch is longer. The
                        epoch is chosen by worst-group accuracy on val, which takes protected labels of val. The second
                        model's schedule is that of the flags; the paper's is 50 epochs at the first one's rates.
`weight` is the sampling weight of an error: 51, for itself and the paper's 50 copies. `epochs`, `first-lr` and
`first-weight-decay` are settings of the first model.
"""

import numpy as np

from models.batches import Compute, predict
from models.facts import says
from models.labels import epoch_as_published
from models.options import Count, NotNegative, Positive, Protocol
from models.run import Run, TrainedModel
from models.schedule import LAST_EPOCH, WORST_GROUP
from models.work import Sizes, Work, fitted, on_real
from utils.errors import UserError
from utils.metrics import answers

PUBLISHED = {"lr": 1e-5, "weight_decay": 0.1, "select_by": LAST_EPOCH}  # training of the first model, on CelebA


def work(sizes: Sizes, compute: Compute, options: dict) -> Work:
    """Count both trainings and the first model's predictions; not the copies of the published protocol."""
    first = fitted(sizes.train, options["epochs"], sizes, compute)
    return first + Work(predicted=sizes.train) + on_real(sizes, compute)


def check(options: dict) -> None:
    """Raise `UserError` for a weight below 1 if images are copied."""
    if options["protocol"] == "published" and options["weight"] < 1:
        weight = options["weight"]
        raise UserError(f"jtt:protocol=published,weight={weight:g}: copies are added to the images; give at least 1")


@says(work=work, protected_labels=epoch_as_published, from_scratch=True, check=check)
def jtt(
    run: Run,
    *,
    epochs: Count = 1,
    weight: Positive = 51.0,
    first_lr: Positive | None = None,
    first_weight_decay: NotNegative | None = None,
    protocol: Protocol = "aligned",
) -> TrainedModel:
    """Train on the real images briefly, then again with the errors of that model shown more often."""
    train = run.real["train"]
    asked = {"lr": first_lr, "weight_decay": first_weight_decay}
    changes = PUBLISHED if protocol == "published" else {}
    changes = {**changes, "epochs": epochs, **{key: value for key, value in asked.items() if value is not None}}
    first = run.pre_train(train, label="jtt, first model", **changes).model
    wrong = errors(train.target, predict(first, train, run.settings.compute))
    if protocol == "published":
        return run.pre_train(train.subset(with_copies(wrong, weight)), label="jtt", select_by=WORST_GROUP)
    return run.pre_train(train, label="jtt", sampling=error_weights(wrong, weight))


def errors(target: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Return which images the first model gets wrong: bool (n,)."""
    return answers(logits) != target


def error_weights(wrong: np.ndarray, weight: float) -> np.ndarray:
    """Return sampling weights, float64 (n,): `weight` for each wrong image, 1 for the others."""
    return np.where(wrong, float(weight), 1.0)


def with_copies(wrong: np.ndarray, weight: float) -> np.ndarray:
    """Return the indices of all images, int64, with each wrong one `weight` times (rounded)."""
    return np.concatenate([np.arange(len(wrong)), np.repeat(np.flatnonzero(wrong), round(weight) - 1)])
