"""What training will cost: the images that pass through the network, times the seconds that each takes on this machine.

A method says its own work (`models.facts`). One that doesn't counts as one fine-tuning if it asks for `biased_model`, else as
one training from the start. Not counted: EIIL's inference of the environments, last-layer's logistic regressions, and the
copies of JTT's published protocol, whose number depends on the first model.
"""

from collections.abc import Iterable
from typing import NamedTuple

from models.auto import STEPS
from models.batches import Compute, of_mean_gradients
from models.facts import facts_of
from models.options import Method
from models.work import Sizes, Work, images_trained, one_fine_tuning, one_training
from utils.cost import Row

AT_MOST = "ranking: at most; --ranking-batches auto stops sooner where the mask settles"


class Rates(NamedTuple):
    """Seconds an image of each kind of `Work`."""

    trained: float
    head: float
    predicted: float

    def seconds(self, work: Work) -> float:
        """What a work takes."""
        return work.trained * self.trained + work.head * self.head + work.predicted * self.predicted


class Asked(NamedTuple):
    """A requested method, its sizes, and the seeds without a record of it; its records go to `folder`.

    final : of a method that chooses among short trials, what the best trial's training in full takes at most
    """

    method: Method
    sizes: Sizes
    seeds: tuple[int, ...]
    folder: str
    final: Work = Work()


def trained(method: Method, sizes: Sizes, compute: Compute) -> Work:
    """Return the work of a method's training, without the three gradients and the judging of its result."""
    if method.chooses:  # it judges its candidates at several steps
        count = 3 * len(facts_of(method.train).chosen_from or (method.name,))
        return Work(predicted=(1 + count * len(STEPS)) * (sizes.val + sizes.held_out))
    if not method.trains:
        return Work()  # it takes over one of its candidates, or changes it
    counted = facts_of(method.train).work or (one_fine_tuning if method.fine_tunes else one_training)
    return counted(sizes, compute, method.keywords)


def ranking_work(methods: Iterable[tuple[Method, Sizes]], compute: Compute, batches: int | str | None = None) -> Work:
    """The mean gradients of one seed, those that several methods share once.

    `batches` is `--ranking-batches`. "auto" counts whole sets, an upper bound; there, methods share all three sets or none.
    """
    passes, most = {}, batches if isinstance(batches, int) else None
    for method, sizes in methods:
        if sizes.biased and method.trains and method.ranks:
            prompts, degree = method.options["prompt-type"], method.options["bias-degree"]
            own = (prompts, degree, sizes.balanced) if batches == "auto" else None
            passes["real", own] = sizes.train
            passes["biased", prompts, degree, own] = sizes.biased
            passes["balanced", prompts, sizes.balanced, own] = sizes.balanced
    compute = of_mean_gradients(compute)
    return Work(trained=sum(images_trained(images, compute, most) for images in passes.values()))


def in_full(methods: list[tuple[Method, Sizes]], compute: Compute, batches: int | str | None) -> Work:
    """The work of a trial's training in full, by the `methods` that this takes: with ranking, evaluation, and judging by a choice."""
    work = ranking_work(methods, compute, batches)
    for method, sizes in methods:
        judged = len(STEPS) * (sizes.val + sizes.held_out) if method is methods[-1][0] else 0
        tested = 0 if method.copies else sizes.test + sizes.val + sizes.held_out
        work += trained(method, sizes, compute) + Work(predicted=judged + tested)
    return work


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
    for method, sizes, lacking, folder, final in asked:
        work, seeds = trained(method, sizes, compute) + final, len(lacking)
        more = {"seeds": seeds, "disk": seeds * weights, "memory": memory if seeds else 0, "note": remark(method)}
        rows.append(Row(method.label, folder, seeds * (work.trained + work.head), seeds * rates.seconds(work), **more))
        if not method.copies:
            work = Work(predicted=sizes.test + sizes.val + (sizes.held_out if method.fine_tunes else 0))
            seconds = seeds * rates.seconds(work)
            judged.append(Row("evaluation", f"{folder} evaluation", seeds * work.predicted, seconds, seeds))
    return [*rows[:1], *ranking_rows(asked, rates, compute, ranking_batches), *rows[1:], *judged]


def remark(method: Method) -> str:
    """Return what to say of a method that doesn't say its own work."""
    if facts_of(method.train).work or not method.trains:
        return ""
    return f"{method.label}: counted as one {'fine-tuning' if method.fine_tunes else 'training from the start'}"


def ranking_rows(asked: list[Asked], rates: Rates, compute: Compute, batches: int | str | None) -> list[Row]:
    """The row of the mean gradients, if a method takes them: of every seed those of the methods that it lacks."""
    ranked = [each for each in asked if each.sizes.biased and each.method.ranks and each.seeds]
    seeds, work = {seed for each in ranked for seed in each.seeds}, Work()
    if not seeds:
        return []
    for seed in seeds:
        work += ranking_work([(each.method, each.sizes) for each in ranked if seed in each.seeds], compute, batches)
    key = " ".join(["ranking", *(each.folder for each in ranked)])
    note = AT_MOST if batches == "auto" else ""
    return [Row("ranking (mean gradients)", key, work.trained, rates.seconds(work), len(seeds), note=note)]
