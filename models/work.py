"""The work of a training: the images that pass through the network, counted and not measured."""

from dataclasses import replace
from typing import NamedTuple

from models.batches import Compute, number_of_batches


class Sizes(NamedTuple):
    """Numbers of images in a method's sets (`balanced`, `biased`: 0 if it has none), and of its epochs."""

    train: int
    val: int
    test: int
    balanced: int = 0
    biased: int = 0
    held_out: int = 0
    pre_epochs: int = 15
    fine_epochs: int = 10
    fine_batch: int | None = None  # of fine-tuning, if it has its own
    val_once: bool = False  # val is evaluated after the last epoch alone
    statistics: int = 0  # real images on which batch norm's statistics are estimated after every epoch of it


class Work(NamedTuple):
    """Images that pass through the network: forward and backward; the same with all but the last layer frozen; forward."""

    trained: int = 0
    head: int = 0
    predicted: int = 0

    def __add__(self, other: "Work") -> "Work":
        return Work(*map(sum, zip(self, other, strict=True)))


def images_trained(images: int, compute: Compute, most: int | None = None) -> int:
    """Return the images of one epoch, or of its first `most` batches.

    A last short batch may be left out (`models.batches.train_batches`).
    """
    batches = number_of_batches(images, compute)
    return min(images, (batches if most is None else min(most, batches)) * compute.batch_size)


def fitted(images: int, epochs: int, sizes: Sizes, compute: Compute, *, head: bool = False) -> Work:
    """Return the work of `models.training.fit`: every epoch on the images, then on val, or on val once (`Schedule.evaluates`)."""
    seen = epochs * images_trained(images, compute)
    return Work(0 if head else seen, seen if head else 0, (1 if sizes.val_once else epochs) * sizes.val)


def one_training(sizes: Sizes, compute: Compute, options: dict) -> Work:
    """Return the work of `models.run.Run.pre_train` on the real images and the balanced set, if there is one."""
    return fitted(sizes.train + sizes.balanced, sizes.pre_epochs, sizes, compute)


def one_fine_tuning(sizes: Sizes, compute: Compute, options: dict, *, head: bool = False) -> Work:
    """Return the work of `models.run.Run.fine_tune`; `head`: only the last layer moves."""
    compute = replace(compute, batch_size=sizes.fine_batch or compute.batch_size)
    statistics = Work(predicted=sizes.fine_epochs * sizes.statistics)
    return fitted(sizes.balanced, sizes.fine_epochs, sizes, compute, head=head) + statistics


def one_probing(sizes: Sizes, compute: Compute, options: dict) -> Work:
    """Return the work of fine-tuning the last layer alone."""
    return one_fine_tuning(sizes, compute, options, head=True)


def on_real(sizes: Sizes, compute: Compute) -> Work:
    """Return the work of one training on the real images alone."""
    return fitted(sizes.train, sizes.pre_epochs, sizes, compute)


def on_balanced(sizes: Sizes, compute: Compute) -> Work:
    """Return the work of one training from the start on the balanced set alone."""
    return fitted(sizes.balanced, sizes.pre_epochs, sizes, compute)
