"""Options of a method: its keyword arguments, read from text by their types.

A method is written NAME or NAME:OPTION=VALUE,OPTION=VALUE: `aim-fair:top-k=50`, `random-mask:share=0.4,draw=2`.
"""

import argparse
import difflib
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import NoneType
from typing import Annotated, Literal, get_args, get_origin, get_type_hints

from datasets.bias import parse_bias_degree
from datasets.images import LabelledImages
from models.facts import facts_of
from models.labels import labels_taken
from utils.arguments import non_negative_float, positive_float, positive_fraction, positive_int
from utils.errors import UserError
from utils.records import folder_name

PAPER_TOP_K, PAPER_TENSORS = 55, 62  # of ResNet-18
AUTO_TOP_K = (40, 45, 50, 55, 60)  # the values of the paper's figure, among which top-k=auto chooses


def top_k(text: str) -> int | str:
    """A number of tensors, their fraction such as "89%", or "auto"."""
    if text.endswith("%"):
        positive_fraction(text[:-1], whole=100)
        return text
    return text if text == "auto" else int(text)


def ranking_batches(text: str) -> int | str:
    """A number of batches, 1 or more, or "auto"."""
    if text == "auto":
        return text
    try:
        return positive_int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is neither auto nor a number of batches") from error


def count_of(k: int | str | None, tensors: int) -> int | str:
    """What a `top_k` means for a network of so many tensors: a number, or "auto"; None is the paper's fraction."""
    if k is None:
        return round(PAPER_TOP_K * tensors / PAPER_TENSORS)
    return round(float(k[:-1]) * tensors / 100) if isinstance(k, str) and k.endswith("%") else k


def counted(text: str, tensors: int) -> str:
    """A method with its top-k as a number, where it is a fraction: "aim-fair:top-k=89%" is "aim-fair:top-k=55" of 62."""
    return re.sub(r"(?<=[:,]top-k=)\d+(?:\.\d+)?%", lambda found: str(count_of(found[0], tensors)), text)


def auto_top_k(tensors: int) -> list[int]:
    """`AUTO_TOP_K`, or the same fractions of another network's tensors."""
    return list(dict.fromkeys(max(1, round(k * tensors / PAPER_TENSORS)) for k in AUTO_TOP_K))


def bias_degree(text: str) -> str:
    """A bias degree as `datasets.bias.parse_bias_degree` takes it, kept as text."""
    parse_bias_degree(text)
    return text


# Types to write beside a method's keyword arguments. Plain int, float and str do too.
Count = Annotated[int, positive_int]
Positive = Annotated[float, positive_float]
NotNegative = Annotated[float, non_negative_float]
PositiveFraction = Annotated[float, positive_fraction]
TopK = Annotated[int | str, top_k]
BiasDegree = Annotated[str, bias_degree]
Protocol = Literal["aligned", "published"]


# Options of every method that is one call of `run.fine_tune`: the flag's value for this method alone, and who chooses them.
TUNED = {
    "lr": (NotNegative | None, None),
    "batch-norm": (Literal["follow", "hold", "real"] | None, None),
    "select-by": (Literal["accuracy", "worst-group", "mean"] | None, None),
    "settings": (Literal["paper", "auto"], "paper"),
}
# Options that change a trained model without a step of training (`models.after`). A step is for methods that fine-tune.
STEP = {"step": (PositiveFraction, 1.0)}
THRESHOLD = {"threshold": (Literal["0.5", "val", "held-out"], "0.5")}


@dataclass(frozen=True)
class Method:
    """A method with all its options; `label` names it with those that are not the default.

    `train` is its function. What it needs, its parameters say: `biased_model` a copy of the seed's biased model to
    fine-tune, `synthetic` a `datasets.synthetic.SyntheticSets`.
    """

    name: str
    train: Callable
    options: dict
    label: str

    @property
    def folder(self) -> str:
        """The name of its folder."""
        return folder_name(self.label)

    @property
    def fine_tunes(self) -> bool:
        """Whether it starts from the biased model."""
        return "biased_model" in inspect.signature(self.train).parameters

    @property
    def needs_synthetic(self) -> bool:
        """Whether it draws synthetic images."""
        return "synthetic" in inspect.signature(self.train).parameters or self.options["threshold"] == "held-out"

    @property
    def chooses(self) -> bool:
        """Whether it takes the best of other methods' results."""
        return bool(facts_of(self.train).chosen_from) or self.options.get("settings") == "auto"

    @property
    def trains(self) -> bool:
        """Whether it trains; otherwise it takes over, or changes, what other methods have trained."""
        return not (self.chooses or self.changes or self.options.get("top-k") == "auto")

    @property
    def changes(self) -> bool:
        """Whether it changes one other method's result."""
        other = self.options.get("step", 1.0) != 1 or self.options["threshold"] != "0.5"
        return other and not self.chooses

    @property
    def copies(self) -> bool:
        """Whether it takes over the best of its values of k as it is."""
        return not (self.trains or self.chooses or self.changes)

    @property
    def keywords(self) -> dict:
        """The options that its function takes, as keyword arguments."""
        own = inspect.signature(self.train).parameters
        return {_underscored(key): value for key, value in self.options.items() if _underscored(key) in own}

    def balanced_sizes(self, train: LabelledImages, number: int) -> dict[str, int]:
        """The synthetic images of each group that it trains on: `number`, unless it says otherwise.

        Raises `UserError` where its ratio to the real images of `train` leaves none.
        """
        if self.options.get("ratio") is not None:
            number = round(self.options["ratio"] * len(train) / len(train.groups))
            if number < 1:
                raise UserError(f"{self.label}: leaves no synthetic image of a group for {len(train)} real ones")
        sizes = facts_of(self.train).group_sizes
        return sizes(train) if sizes else dict.fromkeys(train.groups, number)

    def recorded(self) -> dict:
        """The options for a record, less those that older records lack and that are as they were then.

        And what the method adds to them (`models.facts`).
        """
        defaults = {key: value for key, (_, value) in options_of(self.train).items()}
        later = {key for key in defaults if key in LATER and self.options[key] == defaults[key]}
        later |= {"lr", "batch-norm"}  # they are among the settings of fine-tuning, as `applied`
        kept = {_underscored(key): value for key, value in self.options.items() if key not in later}
        return kept | facts_of(self.train).recorded

    def applied(self, settings):
        """Return train.py's settings with this method's own learning rate, batch norm and choice of the epoch."""
        names = {"lr": "fine_tune_lr", "batch-norm": "batch_norm", "select-by": "select_by"}
        own = {flag: self.options[name] for name, flag in names.items() if self.options.get(name) is not None}
        return replace(settings, **own) if own else settings

    def protected_labels(self, select_by: str) -> dict[str, str]:
        """What it takes protected labels of real images for, by split, with that --select-by: see `models.labels`."""
        return labels_taken(facts_of(self.train).protected_labels, self.recorded(), select_by)


LATER = ("protocol", "first-lr", "first-weight-decay", *TUNED, *STEP, *THRESHOLD)
FLAG = inspect.Parameter.empty  # the default of an option that the flag of the same name gives


def options_of(train: Callable) -> dict[str, tuple[object, object]]:
    """The options of a method: name to type and default (`FLAG`: what the flag of that name says).

    They are the keyword-only arguments of its function. A method that draws synthetic images also has `prompt-type`, the
    folder they come from, and `ratio`, their number to that of real ones, unless its `group_sizes` says how many it draws.
    Raises `UserError` for an option without a type.
    """
    types = get_type_hints(train, include_extras=True)
    keywords = [p for p in inspect.signature(train).parameters.values() if p.kind is p.KEYWORD_ONLY]
    untyped = [p.name for p in keywords if p.name not in types]
    if untyped:
        raise UserError(
            f"method {train.__name__}: write a type beside its option {untyped[0]} (models/options.py has some)"
        )
    own = {p.name.replace("_", "-"): (types[p.name], p.default) for p in keywords}
    if "synthetic" in inspect.signature(train).parameters:
        own["prompt-type"] = str, FLAG
        if not facts_of(train).group_sizes:
            own["ratio"] = Positive | None, None
    own |= TUNED if facts_of(train).tuned else {}
    own |= STEP if "biased_model" in inspect.signature(train).parameters and not facts_of(train).chosen_from else {}
    return own | THRESHOLD


def parse_method(text: str, known: dict[str, Callable], flags: dict) -> Method:
    """The method that `text` names among the `known`; options it leaves out are its defaults, or come from `flags`.

    Raises `UserError`, with the nearest names, for an unknown name, option or value, and for an option that is given twice.
    """
    name, _, rest = text.partition(":")
    if name not in known:
        family = re.match("(update|freeze)-block-", name)
        near = [other for other in known if family and other.startswith(family[0])]  # the network's blocks, all of them
        near = near or difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        said, near = ("did you mean", near) if near else ("there are", list(known))
        raise UserError(f"--methods {text}: no method {name}; {said} {', '.join(near)}")
    options = options_of(known[name])
    if "threshold=held-out" in rest.split(","):
        options = {"prompt-type": (str, FLAG), "ratio": (Positive | None, None)} | options
    lost = [key for key, (_, default) in options.items() if default is FLAG and key not in flags]
    if lost:
        raise UserError(f"method {name}: its option {lost[0]} has no default, and train.py has no flag --{lost[0]}")
    defaults = {key: flags[key] if default is FLAG else default for key, (_, default) in options.items()}
    given = {}
    for part in filter(None, rest.split(",")):
        key, _, value = part.partition("=")
        if key not in options:
            raise UserError(f"--methods {text}: {name} has no option {key!r}; it has {', '.join(options) or 'none'}")
        if key in given:
            raise UserError(f"--methods {text}: {key} is given twice; leave one out, or name the method twice")
        try:
            given[key] = read_option(options[key][0], value)
        except (ValueError, argparse.ArgumentTypeError) as error:
            raise UserError(f"--methods {text}: {key}={value}: {error}") from error
    if given.get("settings") == "auto" and (clash := given.keys() & {"lr", "batch-norm", "select-by", "step"}):
        raise UserError(f"--methods {text}: settings=auto chooses {min(clash)} itself; leave one of them out")
    label = ",".join(f"{key}={given[key]}" for key in defaults if key in given and given[key] != defaults[key])
    return Method(name, known[name], {**defaults, **given}, f"{name}:{label}" if label else name)


def read_option(kind, text: str):
    """The value of a type that a text stands for. Raises `ValueError` or argparse's own error for any other text."""
    if get_origin(kind) is Annotated:
        return kind.__metadata__[0](text)
    if get_origin(kind) is Literal:
        values = {str(value): value for value in get_args(kind)}
        if text not in values:
            raise ValueError(f"{text} is none of {', '.join(values)}")
        return values[text]
    if kind is bool:
        return read_option(Literal["true", "false"], text.lower()) == "true"
    inner = [part for part in get_args(kind) if part is not NoneType]
    return read_option(inner[0], text) if inner else kind(text)


def with_candidates(
    methods: list[Method], known: dict[str, Callable], flags: dict, tensors: int = PAPER_TENSORS
) -> list[Method]:
    """Return the methods, each after those that it is made from (`made_from`); each once, in order."""
    found = {}
    for method in methods:
        for other in with_candidates(made_from(method, known, flags, tensors), known, flags, tensors):
            found.setdefault(other.label, other)
        found.setdefault(method.label, method)
    return list(found.values())


def made_from(method: Method, known: dict[str, Callable], flags: dict, tensors: int = PAPER_TENSORS) -> list[Method]:
    """Return the methods whose results a method takes over, chooses among or changes; none if it trains.

    "top-k=auto" chooses among the values of `auto_top_k`, "settings=auto" among those of `models.auto.settings_to_try`.
    """
    if method.trains:
        return []
    _, _, rest = method.label.partition(":")
    given = dict(part.split("=", 1) for part in rest.split(",") if part)
    if method.chooses:
        kept = {key: value for key, value in given.items() if key not in (*TUNED, *THRESHOLD)}
        names = facts_of(method.train).chosen_from or (method.name,)
        return [_with(name, kept | more, known, flags) for name in names for more in settings_to_try(flags)]
    if method.changes:
        kept = {key: value for key, value in given.items() if key not in (*STEP, *THRESHOLD)}
        return [_with(method.name, kept, known, flags)]
    kept = {key: value for key, value in given.items() if key != "top-k"}
    return [_with(method.name, {"top-k": k, **kept}, known, flags) for k in auto_top_k(tensors)]


def with_auto(method: Method, known: dict[str, Callable], flags: dict) -> Method:
    """Return the method with "settings=auto", if it has that option and sets none of those which are chosen then."""
    _, _, rest = method.label.partition(":")
    given = dict(part.split("=", 1) for part in rest.split(",") if part)
    if not facts_of(method.train).tuned or given.keys() & {*TUNED, *STEP}:
        return method
    return _with(method.name, given | {"settings": "auto"}, known, flags)


def settings_to_try(flags: dict) -> list[dict]:
    """Return the options of fine-tuning that "settings=auto" tries: three, of which the first is what the flags say.

    With the paper's learning rate, 0.06, the others are 0.01 with batch norm's statistics held, if the network has any, and
    0.002. results/records/settings_rule has what they were chosen by.
    """
    lr = flags["fine-tune-lr"]
    hold = {"batch-norm": "hold"} if flags["has-batch-norm"] else {}
    return [{}, {"lr": f"{lr / 6:g}", **hold}, {"lr": f"{lr / 30:g}"}]


def _with(name: str, given: dict, known: dict[str, Callable], flags: dict) -> Method:
    text = ",".join(f"{key}={value}" for key, value in given.items())
    return parse_method(f"{name}:{text}" if text else name, known, flags)


def _underscored(name: str) -> str:
    return name.replace("-", "_")
