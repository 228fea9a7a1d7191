"""Facts that a method declares besides its parameters: its work, its images, and its use of protected labels.

    @says(work=..., protected_labels=...)
    def mine(run: Run, ...) -> TrainedModel: ...

A method without declared facts is estimated as one fine-tuning (if it takes `biased_model`) or one training, and counts as one without protected labels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from models.labels import none


@dataclass(frozen=True)
class Facts:
    """The facts of a method; its `options` below are a dict of its keyword arguments.

    work : (sizes, compute, options) -> `models.work.Work` of one seed, without ranking and testing. None: estimated as
        one fine-tuning or one training from scratch, with a note
    group_sizes : (labelled training images) -> images of each group in its balanced set. None: by the flag or `ratio`
    protected_labels : (options) -> uses of protected labels of real images, by split (`models.labels`)
    tuned : True if it is one call of `run.fine_tune`; it then has the options `models.options.TUNED`
    from_scratch : True if it never asks for the biased model, so that it need not wait for it
    own_gradients : True if it draws a biased set but takes gradients in a way of its own; it says their work, and --ranking-batches
        plays no part
    chosen_from : names of the methods of whose results it takes the best; its function calls `models.auto.take_best`
    check : (options) -> None, raises `UserError` if options contradict each other, before anything is trained
    recorded : further settings for its records. If a method's computation changes, add a setting here, so that older
        records no longer match
    """

    work: Callable | None = None
    group_sizes: Callable | None = None
    protected_labels: Callable[[dict], dict[str, str]] = none
    tuned: bool = False
    from_scratch: bool = False
    own_gradients: bool = False
    chosen_from: tuple[str, ...] = ()
    check: Callable[[dict], None] | None = None
    recorded: Mapping = field(default_factory=lambda: MappingProxyType({}))


def says(**facts) -> Callable[[Callable], Callable]:
    """Return a decorator that gives a method its `Facts`."""

    def decorate(train: Callable) -> Callable:
        train.facts = Facts(**facts)
        return train

    return decorate


def facts_of(train: Callable) -> Facts:
    """Return the facts of a method."""
    return getattr(train, "facts", Facts())
