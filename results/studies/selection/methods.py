"""The methods of the study: what is compared on each source, and how often it is repeated."""

LATE = "select-by=mean"  # the mean of the late epochs, which takes out the luck of the chosen one
RANDOM = "random-mask:share=0.775"  # 48 of 62 tensors, as many as AIM-Fair takes with k = 55
RANDOM_WEIGHTS = "random-mask:share=0.32,of=weights"  # AIM-Fair's mask has 26 to 37 % of the weights
PLAIN = ("aim-fair", "full", RANDOM)


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


ROWS = {  # of each arm with repetitions; the first is compared with the others
    "t2i": PLAIN,
    "generated": PLAIN,
    "late": tuple(with_options(method, LATE) for method in (*PLAIN, RANDOM_WEIGHTS)),
}
NAMES = {  # in sentences
    "aim-fair": "AIM-Fair",
    "full": "full fine-tuning",
    RANDOM: "a random mask of as many tensors",
    RANDOM_WEIGHTS: "a random mask of as many weights",
}
IN_WORDS = {  # the arms
    "t2i": "`t2i`",
    "generated": "`generated`",
    "late": "`t2i`, with 4,000 biased faces and the mean of the late epochs",
}


def plain(row: str) -> str:
    """Return a row without the option that keeps the late epochs' mean."""
    return row.replace(f":{LATE}", "").replace(f",{LATE}", "")


def pairs_of(source: str) -> tuple[tuple[str, str], ...]:
    """Return the two methods of each comparison on a source."""
    first, *others = ROWS[source]
    return tuple((first, other) for other in others)
