"""Methods and their options as users write them: NAME or NAME:OPTION=VALUE,OPTION=VALUE.

The options of a method are its keyword arguments. Their types read the text: `aim-fair:top-k=50`,
`random-mask:share=0.4,draw=2`.
"""

import argparse
import difflib
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Literal, get_type_hints

from datasets.bias import parse_bias_degree
from datasets.images import LabelledImages
from models.facts import facts_of
from models.labels import labels_taken
from models.top_k import top_k
from utils.arguments import non_negative_float, positive_float, positive_fraction, positive_int, read_option
from utils.errors import UserError
from utils.records import folder_name


def bias_degree(text: str) -> str:
    """Check a bias degree (`datasets.bias.parse_bias_degree`) and return it as text."""
    parse_bias_degree(text)
    return text


# Types for a method's keyword arguments. Plain int, float and str work too.
Count = Annotated[int, positive_int]
Positive = Annotated[float, positive_float]
NotNegative = Annotated[float, non_negative_float]
PositiveFraction = Annotated[float, positive_fraction]
TopK = Annotated[int | str, top_k]
BiasDegree = Annotated[str, bias_degree]
Protocol = Literal["aligned", "published"]


# Options of every method that is one call of `run.fine_tune`: flags of train.py for this method alone, and who sets them.
TUNED = {
    "lr": (NotNegative | None, None),
    "batch-norm": (Literal["follow", "hold", "real"] | None, None),
    "batch-size": (Count | None, None),
    "epochs": (Count | None, None),
    "select-by": (Literal["accuracy", "worst-group", "best-threshold", "mean"] | None, None),
    "repeat": (Count, 1),
    "settings": (Literal["paper", "auto"], "paper"),
}
# Options that change a trained model without training (`models.after`). STEP is for methods that start from the biased model.
CHOSEN = tuple(key for key in TUNED if key != "repeat")  # what settings=auto decides
STEP = {"step": (PositiveFraction, 1.0)}
THRESHOLD = {"threshold": (Literal["0.5", "val", "held-out"], "0.5")}


@dataclass(frozen=True)
class Method:
    """A method with the values of all its options.

    train : the function; its parameters `biased_model` and `synthetic` tell what it needs
    label : the name with the options that differ from their defaults
    """

    name: str
    train: Callable
    options: dict[str, object]
    label: str

    @property
    def folder(self) -> str:
        """The name of the method's folder."""
        return folder_name(self.label)

    @property
    def fine_tunes(self) -> bool:
        """True if the method starts from the biased model."""
        return "biased_model" in self._parameters

    @property
    def needs_synthetic(self) -> bool:
        """True if the method draws synthetic images."""
        return "synthetic" in self._parameters or self.options.get("threshold") == "held-out"

    @property
    def must_hold_out(self) -> bool:
        """True if the method can't do without held-out synthetic images."""
        return self.chooses or self.options.get("top-k") == "auto" or self.options.get("threshold") == "held-out"

    @property
    def chooses(self) -> bool:
        """True if the method takes the best of other methods' results."""
        return bool(facts_of(self.train).chosen_from) or self.options.get("settings") == "auto"

    @property
    def changes(self) -> bool:
        """True if the method changes one other method's result."""
        other = self.options.get("step", 1.0) != 1 or self.options.get("threshold", "0.5") != "0.5"
        return other and not self.chooses

    @property
    def copies(self) -> bool:
        """True if the method copies the best result of several values of k."""
        return self.options.get("top-k") == "auto" and not (self.chooses or self.changes)

    @property
    def trains(self) -> bool:
        """True if the method trains, and does not work with other methods' results."""
        return not (self.chooses or self.changes or self.copies)

    @property
    def ranks(self) -> bool:
        """True if the method takes the three gradients of a ranking, as whoever has a bias degree does unless it says otherwise."""
        return self.options.get("bias-degree") is not None and not facts_of(self.train).own_gradients

    @property
    def keywords(self) -> dict[str, object]:
        """Return the options that are keyword arguments of the function."""
        return {
            _underscored(key): value for key, value in self.options.items() if _underscored(key) in self._parameters
        }

    @property
    def _parameters(self) -> Mapping[str, inspect.Parameter]:
        return inspect.signature(self.train).parameters

    def balanced_sizes(self, train: LabelledImages, number: int) -> dict[str, int]:
        """Return the synthetic images of each group to train on: `number`, unless the method decides otherwise.

        Raises `UserError` if its ratio to the real images `train` leaves none.
        """
        if self.options.get("ratio") is not None:
            number = round(self.options["ratio"] * len(train) / len(train.groups))
            if number < 1:
                raise UserError(f"{self.label}: leaves no synthetic image of a group for {len(train)} real ones")
        sizes = facts_of(self.train).group_sizes
        return sizes(train) if sizes else dict.fromkeys(train.groups, number)

    def recorded(self) -> dict[str, object]:
        """Return the options for a record, with the method's further settings (`models.facts`).

        An option that older records lack is left out at its default, so that they still match.
        """
        defaults = {key: value for key, (_, value) in options_of(self.train).items()}
        general = general_options(self.train)
        later = {key for key in defaults if key in (*LATER, *general) and self.options[key] == defaults[key]}
        later |= {
            "lr",
            "batch-norm",
            "batch-size",
            "epochs",
        } & general.keys()  # a record has them among the settings of fine-tuning
        kept = {_underscored(key): value for key, value in self.options.items() if key not in later}
        kept |= {"choice": "once for all seeds"} if self.chooses else {}
        return kept | facts_of(self.train).recorded

    def applied(self, settings):
        """Return train.py's settings with the method's own settings of fine-tuning."""
        if not facts_of(self.train).tuned:  # its options may have the same names
            return settings
        names = {"lr": "fine_tune_lr", "batch-norm": "batch_norm", "batch-size": "fine_tune_batch_size"}
        names |= {"epochs": "fine_tune_epochs", "select-by": "select_by"}
        own = {flag: self.options[name] for name, flag in names.items() if self.options.get(name) is not None}
        return replace(settings, **own) if own else settings

    def protected_labels(self, select_by: str) -> dict[str, str]:
        """Return the uses of protected labels of real images, by split, under --select-by (`models.labels`)."""
        return labels_taken(facts_of(self.train).protected_labels, self.recorded(), select_by)


LATER = ("protocol", "first-lr", "first-weight-decay", "of", "unit")
FLAG = inspect.Parameter.empty  # default of an option that takes the value of the flag of its name


def options_of(train: Callable) -> dict[str, tuple[object, object]]:
    """Return type and default of each option of a method; the default `FLAG` is the value of the flag of that name.

    The options are the keyword-only arguments of its function. A method with synthetic images also has `prompt-type`,
    their folder, and `ratio`, their number to that of real images, unless its `group_sizes` decides how many it draws.
    Raises `UserError` if an option has no type.
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
    general = general_options(train)
    if clash := own.keys() & general.keys():
        raise UserError(f"method {train.__name__}: all methods have an option {min(clash)}; call its own otherwise")
    return own | general


def general_options(train: Callable) -> dict[str, tuple[object, object]]:
    """Return type and default of each option that a method has besides its own."""
    facts, fine_tunes = facts_of(train), "biased_model" in inspect.signature(train).parameters
    return (TUNED if facts.tuned else {}) | (STEP if fine_tunes and not facts.chosen_from else {}) | THRESHOLD


def parse_method(text: str, known: dict[str, Callable], flags: dict) -> Method:
    """Return the method that `text` names among the `known`; missing options take their defaults, or come from `flags`.

    Raises `UserError` for an unknown name (with the nearest ones), option or value, for an option that is given twice, and for options
    that contradict each other (`models.facts`).
    """
    name, _, rest = text.partition(":")
    if name not in known:
        family = re.match("(update|freeze)-block-", name)
        near = [other for other in known if family and other.startswith(family[0])]  # all blocks of the network
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
    if given.get("settings") == "auto" and (
        clash := given.keys() & {"lr", "batch-norm", "batch-size", "epochs", "select-by", "step"}
    ):
        raise UserError(f"--methods {text}: settings=auto chooses {min(clash)} itself; leave one of them out")
    if check := facts_of(known[name]).check:
        check({**defaults, **given})
    label = ",".join(f"{key}={given[key]}" for key in defaults if key in given and given[key] != defaults[key])
    return Method(name, known[name], {**defaults, **given}, f"{name}:{label}" if label else name)


def _underscored(name: str) -> str:
    return name.replace("-", "_")
