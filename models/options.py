"""Options of a method: its keyword arguments, read from text by their types.

A method is written NAME or NAME:OPTION=VALUE,OPTION=VALUE: `aim-fair:top-k=50`, `random-mask:share=0.4,draw=2`.
"""

import argparse
import difflib
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
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
        return "synthetic" in inspect.signature(self.train).parameters

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
        kept = {_underscored(key): value for key, value in self.options.items() if key not in later}
        return kept | facts_of(self.train).recorded

    def protected_labels(self, select_by: str) -> dict[str, str]:
        """What it takes protected labels of real images for, by split, with that --select-by: see `models.labels`."""
        return labels_taken(facts_of(self.train).protected_labels, self.recorded(), select_by)


LATER = ("protocol", "first-lr", "first-weight-decay")
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
    return own


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
    """The methods with, before each of top-k "auto", the candidates it chooses among; each once, in order."""
    expanded = []
    for method in methods:
        if method.options.get("top-k") == "auto":
            expanded += candidates(method, known, flags, tensors)
        expanded.append(method)
    return list({method.label: method for method in expanded}.values())


def candidates(method: Method, known: dict[str, Callable], flags: dict, tensors: int = PAPER_TENSORS) -> list[Method]:
    """The same method with each of `auto_top_k` in place of "auto"."""
    _, _, rest = method.label.partition(":")
    others = [part for part in rest.split(",") if part and not part.startswith("top-k=")]
    texts = [",".join([f"top-k={k}", *others]) for k in auto_top_k(tensors)]
    return [parse_method(f"{method.name}:{text}", known, flags) for text in texts]


def _underscored(name: str) -> str:
    return name.replace("-", "_")
