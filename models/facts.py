"""Facts that a method declares besides its parameters: its work, its images, the labels it takes.

    @says(work=..., protected_labels=...)
    def mine(run: Run, ...) -> TrainedModel: ...

A method that says nothing is estimated as one training, and counts as taking no protected labels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from models.labels import none


@dataclass(frozen=True)
class Facts:
    """The facts of a method; `options` below is its options as keyword arguments.

    work : (sizes, compute, options) -> `models.work.Work` of one seed, without the ranking and the judging of the result.
        None: estimated as one fine-tuning or one training from the start; the estimate then prints a note.
    group_sizes : (labelled training images) -> images of each group in its balanced set. None: the flag or `ratio` says it.
    protected_labels : (options) -> what it takes protected labels of real images for, by split (`models.labels`).
    recorded : more settings for its records. If a method's computation changes, add a setting here, so that older
        records no longer match.
    """

    work: Callable | None = None
    group_sizes: Callable | None = None
    protected_labels: Callable[[dict], dict[str, str]] = none
    recorded: Mapping = field(default_factory=lambda: MappingProxyType({}))


def says(**facts) -> Callable[[Callable], Callable]:
    """Return a decorator that gives a method its `Facts`."""

    def decorate(train: Callable) -> Callable:
        train.facts = Facts(**facts)
        return train

    return decorate


def facts_of(train: Callable) -> Facts:
    """Return what a method says of itself."""
    return getattr(train, "facts", Facts())
