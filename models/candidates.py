"""Methods whose result is made from other methods' results: which ones these are, so that they run first."""

from collections.abc import Callable

from models.facts import facts_of
from models.options import CHOSEN, STEP, THRESHOLD, Method, parse_method
from models.top_k import PAPER_TENSORS, auto_top_k

STEPS_OF_EPOCH = 16  # fewer are few


def with_candidates(
    methods: list[Method], known: dict[str, Callable], flags: dict, tensors: int = PAPER_TENSORS
) -> list[Method]:
    """Return the methods, each after those that it is made from; each once, in order."""
    found = {}
    for method in methods:
        for other in with_candidates(made_from(method, known, flags, tensors), known, flags, tensors):
            found.setdefault(other.label, other)
        found.setdefault(method.label, method)
    return list(found.values())


def made_from(method: Method, known: dict[str, Callable], flags: dict, tensors: int = PAPER_TENSORS) -> list[Method]:
    """Return the methods whose results a method copies, changes or chooses among; none if it trains.

    "top-k=auto" chooses among the values of `models.top_k.auto_top_k`, "settings=auto" among those of `settings_to_try`. The latter
    are short trials if they would otherwise cost more than the biased model: together they see at most as many images as its
    training did, or each a single epoch. The best trial is then trained in full (`finalists`).
    """
    given = _given(method)
    if method.chooses:
        kept = _without(given, (*CHOSEN, *THRESHOLD))
        names = facts_of(method.train).chosen_from or (method.name,)
        images = sum(method.balanced_sizes(flags["train-labels"], flags["number-balanced-synthetic"]).values())
        tried = [_parsed(name, kept | more, known, flags) for name in names for more in settings_to_try(flags, images)]
        fitted = sum(
            each.trains for each in with_candidates(tried, known, flags, tensors)
        )  # more of them if k is tried, too
        short = trial_epochs(flags["fine-tune-epochs"], fitted, images, flags["images-of-biased-model"])
        if short == flags["fine-tune-epochs"]:
            return tried
        return [_parsed(each.name, _given(each) | {"epochs": short}, known, flags) for each in tried]
    if method.changes:
        return [_parsed(method.name, _without(given, (*STEP, *THRESHOLD)), known, flags)]
    if method.copies:
        kept = _without(given, ("top-k",))
        return [_parsed(method.name, {"top-k": k, **kept}, known, flags) for k in auto_top_k(tensors)]
    return []


def finalists(
    method: Method, known: dict[str, Callable], flags: dict, tensors: int = PAPER_TENSORS
) -> dict[str, Method]:
    """Return what a method that chooses may train for all epochs, once its short trials are done, by the trial's label.

    Empty if the trials have all epochs already, or if the method does not choose.
    """
    tried = made_from(method, known, flags, tensors) if method.chooses else []
    return {
        each.label: _parsed(each.name, _without(_given(each), ("epochs",)), known, flags)
        for each in tried
        if each.options.get("epochs")
    }


def trial_epochs(epochs: int, candidates: int, images: int, most: int) -> int:
    """Return for how many epochs each candidate is tried: all, or as many as let them together see `most` images, at least one.

    `images` is what one candidate sees in an epoch. It is all epochs, too, if the trials and one training in full would take more.
    """
    short = max(1, min(epochs, most // (candidates * images)))
    return short if candidates * short + epochs < candidates * epochs else epochs


def settings_to_try(flags: dict, images: int) -> list[dict[str, str]]:
    """Return the options of fine-tuning that "settings=auto" tries: the flags' own, and two others.

    With the paper's learning rate, 0.06, the others are 0.01 with batch norm's statistics held, if the network has any, and
    0.002. They were chosen by the table "Which settings are worth trying?" of results/records/settings_rule/README.md. As there, they
    take a quarter of the batch if an epoch of all `images` has few steps: with so small a learning rate they would not get anywhere.
    """
    lr, batch = flags["fine-tune-lr"], flags["fine-tune-batch-size"] or flags["batch-size"]
    hold = {"batch-norm": "hold"} if flags["has-batch-norm"] else {}
    smaller = {"batch-size": max(1, batch // 4)} if images < STEPS_OF_EPOCH * batch else {}
    return [{}, {"lr": f"{lr / 6:.2g}", **hold, **smaller}, {"lr": f"{lr / 30:.2g}", **smaller}]


def with_auto(method: Method, known: dict[str, Callable], flags: dict) -> Method:
    """Return the method with "settings=auto", if it has that option and sets none of those that are chosen then."""
    given = _given(method)
    if not facts_of(method.train).tuned or given.keys() & {*CHOSEN, *STEP}:
        return method
    return _parsed(method.name, given | {"settings": "auto"}, known, flags)


def _given(method: Method) -> dict[str, str]:
    """Return the options in a method's label."""
    _, _, text = method.label.partition(":")
    return dict(part.split("=", 1) for part in text.split(",") if part)


def _without(given: dict[str, str], names: tuple[str, ...]) -> dict[str, str]:
    return {key: value for key, value in given.items() if key not in names}


def _parsed(name: str, given: dict, known: dict[str, Callable], flags: dict) -> Method:
    text = ",".join(f"{key}={value}" for key, value in given.items())
    return parse_method(f"{name}:{text}" if text else name, known, flags)
