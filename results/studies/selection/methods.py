"""The methods of the study: what is compared on each source, and how often it is repeated."""

from typing import NamedTuple

from results.study_tables import IN_SENTENCES

LATE = "select-by=mean"  # the mean of the late epochs, which takes out the luck of the chosen one
RANDOM = "random-mask:share=0.775"  # 48 of 62 tensors, as many as AIM-Fair takes with k = 55
RANDOM_WEIGHTS = "random-mask:share=0.32,of=weights"  # AIM-Fair's mask has 26 to 37 % of the weights
PLAIN = ("aim-fair", "full", RANDOM)

FEW = (  # 12 of 62 tensors each
    "aim-fair:top-k=37",
    "criterion",
    "criterion:by=saliency",
    "criterion:by=fisher",
    "criterion:by=snr",
    "random-mask:share=0.2",
)
SINGLES = (  # a twentieth of all weights, or of each neuron's
    "criterion:share=0.05,unit=weight",
    "criterion:share=0.05,unit=neuron",
    "criterion:by=saliency,share=0.05,unit=weight",
    "criterion:by=fisher,share=0.05,unit=weight",
)
CONFIRMED = {  # fine-tuned again, from other biased models than those that they were chosen on
    "criterion:by=saliency,share=0.05,unit=weight": "by saliency",
    "criterion:share=0.05,unit=weight": "by the gradient's size",
}
RANDOM_SINGLE = "random-mask:share=0.05,of=single-weights"
FASTER = tuple(
    f"{RANDOM_SINGLE},lr={lr}" for lr in (0.6, 2.0)
)  # random weights have smaller gradients, so smaller steps
RATES = (0.06, 0.2)


def with_options(method: str, *options: str) -> str:
    """Return a method with more options."""
    name, _, own = method.partition(":")
    given = ",".join((*filter(None, [own]), *options))
    return f"{name}:{given}" if given else name


def repeated(method: str, times: int, *options: str) -> tuple[str, ...]:
    """Return a method and its repetitions, `times` in all, with more options; of a random mask each has another mask, too."""
    found = [with_options(method, *options)]
    for number in range(2, times + 1):
        drawn = (f"draw={number}",) if method.startswith("random-mask") else ()
        found.append(with_options(method, *drawn, *options, f"repeat={number}"))
    return tuple(found)


def at_rates(methods: tuple[str, ...]) -> tuple[str, ...]:
    """Return methods at each of `RATES`."""
    return tuple(with_options(method, f"lr={lr}") for method in methods for lr in RATES)


NAMES = IN_SENTENCES | {
    RANDOM: "a random mask of as many tensors",
    RANDOM_WEIGHTS: "a random mask of 32 % of the weights",
    RANDOM_SINGLE: "as many random weights",
    FASTER[0]: "as many random weights at ten times the learning rate",
}

EVERY = tuple(each for method in PLAIN for each in repeated(method, 5))
TWICE = tuple(each for method in PLAIN for each in repeated(method, 2))
EVERY_LATE = tuple(each for method in (*PLAIN, RANDOM_WEIGHTS) for each in repeated(method, 3, LATE))
AGAIN = tuple(each for method in CONFIRMED for each in repeated(method, 2))
AGAIN += (FASTER[0], f"{RANDOM_SINGLE},draw=2,lr=0.6,repeat=2")
FEW_ROWS, SINGLE_ROWS = at_rates(FEW), (*at_rates((*SINGLES, RANDOM_SINGLE)), *FASTER)
LATE_ROWS = tuple(with_options(method, LATE) for method in (*PLAIN, RANDOM_WEIGHTS))


class Source(NamedTuple):
    """An arm with repetitions. Its first row is compared with each of the others.

    at_val : each run has the threshold that suits val best, in place of 0.5
    words : the arm in a sentence
    """

    arm: str
    rows: tuple[str, ...]
    words: str
    at_val: bool = False

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Return the two methods of each comparison."""
        first, *others = self.rows
        return tuple((first, other) for other in others)


SOURCES = {
    "t2i": Source("t2i", PLAIN, "`t2i`"),
    "t2i, val's threshold": Source("t2i", PLAIN, "", at_val=True),
    "generated": Source("generated", PLAIN, "`generated`"),
    "generated, val's threshold": Source("generated", PLAIN, "", at_val=True),
    "late mean": Source("late", LATE_ROWS, "`t2i` with late means and 4,000 biased faces"),
    "late mean, val's threshold": Source("late", LATE_ROWS, "", at_val=True),
}


def plain(row: str) -> str:
    """Return a row without the option that keeps the late epochs' mean."""
    return row.replace(f":{LATE}", "").replace(f",{LATE}", "")
