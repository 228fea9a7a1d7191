"""What training will cost: the images that pass through the network, times the seconds that each takes on this machine.

The count is exact for the methods of this project, but for what `own_work` leaves out. A method of your own
counts as one fine-tuning where it asks for `biased_model`, else as one training from the start.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from models.batches import Compute, number_of_batches, of_mean_gradients
from models.options import Method
from utils.cost import Row

HEAD_ALONE = ("linear-probe", "update-block-fc")
COUNTED = (
    *HEAD_ALONE,
    *["erm", "aim-fair", "cvar-dro", "group-dro", "supplement", "repair", "full", "random-mask", "cosine"],
)
COUNTED += ("synthetic-only", "ffr", "lff", "jtt", "eiil", "surgical", "last-layer")  # see `own_work`

AT_MOST = "ranking: at most; --ranking-batches auto stops sooner where the mask settles"


class Sizes(NamedTuple):
    """The images of the sets that a method works with (for `balanced` and `biased` 0 where it has none), and its epochs."""

    train: int
    val: int
    test: int
    balanced: int = 0
    biased: int = 0
    held_out: int = 0
    pre_epochs: int = 15
    fine_epochs: int = 10
    fine_batch: int | None = None  # of fine-tuning, where it has its own
    statistics: int = 0  # real images on which batch norm's statistics are estimated after every epoch of it


class Work(NamedTuple):
    """Images that pass through the network: forward and backward; the same with all but the last layer frozen; forward."""

    trained: int = 0
    head: int = 0
    predicted: int = 0

    def __add__(self, other: "Work") -> "Work":
        return Work(*map(sum, zip(self, other, strict=True)))


class Rates(NamedTuple):
    """Seconds an image of each kind of `Work`."""

    trained: float
    head: float
    predicted: float

    def seconds(self, work: Work) -> float:
        """What a work takes."""
        return work.trained * self.trained + work.head * self.head + work.predicted * self.predicted


class Asked(NamedTuple):
    """A method that is to be run, its sizes, and the seeds that lack it; `folder` is where its records go."""

    method: Method
    sizes: Sizes
    seeds: tuple[int, ...]
    folder: str


def images_trained(images: int, compute: Compute, most: int | None = None) -> int:
    """Those of an epoch, or of its first `most` batches: a last short one may be left out (`models.batches.train_batches`)."""
    batches = number_of_batches(images, compute)
    return min(images, (batches if most is None else min(most, batches)) * compute.batch_size)


def fitted(images: int, epochs: int, val: int, compute: Compute, *, head: bool = False) -> Work:
    """The work of `models.training.fit`: every epoch on the images, then on val."""
    seen = epochs * images_trained(images, compute)
    return Work(0 if head else seen, seen if head else 0, epochs * val)


def fine_tuned(sizes: Sizes, compute: Compute, *, head: bool = False) -> Work:
    """The work of `models.run.Run.fine_tune`."""
    compute = replace(compute, batch_size=sizes.fine_batch or compute.batch_size)
    statistics = Work(predicted=sizes.fine_epochs * sizes.statistics)
    return fitted(sizes.balanced, sizes.fine_epochs, sizes.val, compute, head=head) + statistics


def trained(method: Method, sizes: Sizes, compute: Compute) -> Work:
    """The work of a method's training, without the three gradients and the judging of its result."""
    if method.options.get("top-k") == "auto":
        return Work()  # it takes over one of its candidates
    own = own_work(method, sizes, compute)
    if own is not None:
        return own
    if method.fine_tunes:
        return fine_tuned(sizes, compute, head=method.name in HEAD_ALONE)
    return fitted(sizes.train + sizes.balanced, sizes.pre_epochs, sizes.val, compute)


def own_work(method: Method, sizes: Sizes, compute: Compute) -> Work | None:
    """The work of a method that does more or less than one training; None of the others.

    Not counted: EIIL's inference of the environments, last-layer's logistic regressions, and the copies of JTT's published
    protocol, whose number depends on the first model.
    """
    name, options, val = method.name, method.options, sizes.val
    once = fitted(sizes.train, sizes.pre_epochs, val, compute)
    published = options.get("protocol") == "published"
    balanced = fitted(sizes.balanced, sizes.pre_epochs, val, compute)
    if name == "synthetic-only":
        return balanced
    if name == "ffr":
        return balanced + once
    if name == "lff":  # two networks, of which one is tried on val
        return once + Work(trained=once.trained)
    if name == "jtt":
        return fitted(sizes.train, options["epochs"], val, compute) + Work(predicted=sizes.train) + once
    if name == "eiil":
        reference = fitted(sizes.train, 1, val, compute) if published else Work()
        return reference + Work(predicted=sizes.train) + once
    if name == "surgical":  # a mean gradient before every epoch
        seen = images_trained(sizes.balanced, of_mean_gradients(compute))
        return fine_tuned(sizes, compute) + Work(trained=sizes.fine_epochs * seen)
    if name == "last-layer":
        return Work(predicted=sizes.balanced + val)
    return None


def ranking_work(methods: Iterable[tuple[Method, Sizes]], compute: Compute, batches: int | str | None = None) -> Work:
    """The mean gradients of one seed, those that several methods share once. Whoever has a bias degree takes them.

    `batches` is `--ranking-batches`. "auto" counts whole sets, an upper bound; there, methods share all three sets or none.
    """
    passes, most = {}, batches if isinstance(batches, int) else None
    for method, sizes in methods:
        if sizes.biased and method.options.get("top-k") != "auto":
            prompts, degree = method.options["prompt-type"], method.options["bias-degree"]
            own = (prompts, degree, sizes.balanced) if batches == "auto" else None
            passes["real", own] = sizes.train
            passes["biased", prompts, degree, own] = sizes.biased
            passes["balanced", prompts, sizes.balanced, own] = sizes.balanced
    compute = of_mean_gradients(compute)
    return Work(trained=sum(images_trained(images, compute, most) for images in passes.values()))


def training_rows(
    asked: list[Asked],
    rates: Rates,
    compute: Compute,
    *,
    weights: int,
    memory: int,
    ranking_batches: int | str | None = None,
) -> list[Row]:
    """The rows of every method, of the ranking and of the evaluation; `weights` are the bytes of a network."""
    rows, judged = [], []
    for method, sizes, lacking, folder in asked:
        work, seeds = trained(method, sizes, compute), len(lacking)
        more = {"seeds": seeds, "disk": seeds * weights, "memory": memory if seeds else 0, "note": remark(method)}
        rows.append(Row(method.label, folder, seeds * (work.trained + work.head), seeds * rates.seconds(work), **more))
        if method.options.get("top-k") != "auto":
            work = Work(predicted=sizes.test + sizes.val + (sizes.held_out if method.fine_tunes else 0))
            seconds = seeds * rates.seconds(work)
            judged.append(Row("evaluation", f"{folder} evaluation", seeds * work.predicted, seconds, seeds))
    return [*rows[:1], *ranking_rows(asked, rates, compute, ranking_batches), *rows[1:], *judged]


def remark(method: Method) -> str:
    """What to say of a method that is not one of this project's."""
    if method.name in COUNTED or method.name.startswith(("update-block-", "freeze-block-")):
        return ""
    return f"{method.label}: counted as one {'fine-tuning' if method.fine_tunes else 'training from the start'}"


def ranking_rows(asked: list[Asked], rates: Rates, compute: Compute, batches: int | str | None) -> list[Row]:
    """The row of the mean gradients, if a method takes them: of every seed those of the methods that it lacks."""
    ranked = [each for each in asked if each.sizes.biased and each.seeds]
    seeds, work = {seed for each in ranked for seed in each.seeds}, Work()
    if not seeds:
        return []
    for seed in seeds:
        work += ranking_work([(each.method, each.sizes) for each in ranked if seed in each.seeds], compute, batches)
    key = " ".join(["ranking", *(each.folder for each in ranked)])
    note = AT_MOST if batches == "auto" else ""
    return [Row("ranking (mean gradients)", key, work.trained, rates.seconds(work), len(seeds), note=note)]
