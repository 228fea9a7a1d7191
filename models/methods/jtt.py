"""JTT, just train twice: what a first, weak model gets wrong is shown more often to the second (Liu et al., ICML 2021).

Two protocols, by the option `protocol`:
    aligned (default)   the first model trains as ERM does, for one epoch; images are drawn by weight, an epoch as long as
                        ERM's; the epoch is chosen as for every method. So JTT has the same labels as what it is compared with,
                        and as many steps after the first model's: that is why it is the default.
    published           as the paper's experiments on CelebA: the first model has a training of its own, one epoch at
                        learning rate 1e-5 and weight decay 0.1; 50 copies of its errors are added to the data, so an epoch
                        is longer; the epoch is chosen by worst-group accuracy on val, which takes protected labels there.
                        The second model's schedule is that of the flags: the paper's is 50 epochs at the first one's rates.
`weight` is what an error counts: 51, itself and the paper's 50 copies. `epochs`, `first-lr` and `first-weight-decay` are of
the first model.
"""

import numpy as np

from models.batches import Compute, predict
from models.facts import says
from models.labels import epoch_as_published
from models.options import Count, NotNegative, Positive, Protocol
from models.run import Run, TrainedModel
from models.training import LAST_EPOCH, WORST_GROUP
from models.work import Sizes, Work, fitted, on_real
from utils.errors import UserError
from utils.metrics import positive

PUBLISHED = {"lr": 1e-5, "weight_decay": 0.1, "select_by": LAST_EPOCH}  # the first model's training, on CelebA


def work(sizes: Sizes, compute: Compute, options: dict) -> Work:
    """Count the first model, its predictions, and the second; not the copies of the published protocol."""
    first = fitted(sizes.train, options["epochs"], sizes.val, compute)
    return first + Work(predicted=sizes.train) + on_real(sizes, compute)


@says(work=work, protected_labels=epoch_as_published)
def jtt(
    run: Run,
    *,
    epochs: Count = 1,
    weight: Positive = 51.0,
    first_lr: Positive | None = None,
    first_weight_decay: NotNegative | None = None,
    protocol: Protocol = "aligned",
) -> TrainedModel:
    """Train on the real images once briefly, and once more with what that model gets wrong shown more often."""
    if protocol == "published" and weight < 1:
        raise UserError(f"jtt:protocol=published,weight={weight}: copies come on top of the images; give at least 1")
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
    """Which images the first model gets wrong: bool (n,)."""
    return positive(logits) != (target == 1)


def error_weights(wrong: np.ndarray, weight: float) -> np.ndarray:
    """Sampling weights float64 (n,): `weight` for each image that is wrong, 1 for the others."""
    return np.where(wrong, float(weight), 1.0)


def with_copies(wrong: np.ndarray, weight: float) -> np.ndarray:
    """The places of all images, int64, then those of the wrong ones again, so that each is there `weight` times (rounded)."""
    return np.concatenate([np.arange(len(wrong)), np.repeat(np.flatnonzero(wrong), round(weight) - 1)])
