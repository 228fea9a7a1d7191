"""The methods that train.py compares, by the names of its --methods, each with its options and their defaults.

A method is written NAME or NAME:OPTION=VALUE,OPTION=VALUE: `aim-fair:top-k=50`, `random-mask:share=0.4,draw=2`.
"""

import argparse
import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from datasets.bias import parse_bias_degree
from models.methods import baselines, fine_tuning, mixtures
from models.seed_run import Outcome
from utils.arguments import non_negative_float, positive_float, positive_int
from utils.errors import UserError

AUTO_TOP_K = (40, 45, 50, 55, 60)  # the values of the paper's figure, among which --top-k auto chooses


def top_k(text: str) -> int | str:
    """An option type: a number of tensors, or "auto"."""
    return text if text == "auto" else int(text)


def bias_degree(text: str) -> str:
    """An option type: a bias degree as `datasets.bias.parse_bias_degree` takes it, kept as text."""
    parse_bias_degree(text)
    return text


def share(text: str) -> float:
    """An option type: a number above 0 and at most 1."""
    value = float(text)
    if not 0 < value <= 1:
        raise ValueError(f"{text} is not above 0 and at most 1")
    return value


def protocol(text: str) -> str:
    """An option type: "aligned" or "published"."""
    if text not in ("aligned", baselines.PUBLISHED):
        raise ValueError(f"{text} is neither aligned nor {baselines.PUBLISHED}")
    return text


TYPES = {
    "alpha": share, "q": share, "momentum": non_negative_float, "epochs": positive_int, "weight": positive_float,
    "steps": positive_int, "lr": positive_float, "step-size": positive_float, "share": share, "draw": positive_int,
    "protocol": protocol, "first-lr": positive_float, "first-weight-decay": non_negative_float,
    "top-k": top_k, "bias-degree": bias_degree, "ratio": positive_float, "prompt-type": str,
}  # fmt: skip
# None: what the flag of that name says; for ratio, --number-balanced-synthetic
BALANCED = {"prompt-type": None, "ratio": None}
PROTOCOL = {"protocol": "aligned"}  # or as the method's own paper ran it
RANKED = {"top-k": None, "bias-degree": None, **BALANCED}


@dataclass(frozen=True)
class Kind:
    """A way to train: `train(run, options, plan)`, the defaults of its options, and whether it fine-tunes the biased model."""

    train: Callable[..., Outcome]
    defaults: dict = field(default_factory=dict)
    fine_tunes: bool = False

    @property
    def synthetic(self) -> bool:
        """Whether the method trains on synthetic images."""
        return "prompt-type" in self.defaults


FINE_TUNED = {
    "linear-probe": (fine_tuning.update_block("fc"), BALANCED),
    "full": (fine_tuning.full, BALANCED),
    **{f"update-block-{block}": (fine_tuning.update_block(block), BALANCED) for block in fine_tuning.BLOCKS},
    **{f"freeze-block-{block}": (fine_tuning.freeze_block(block), BALANCED) for block in fine_tuning.BLOCKS},
    "random-mask": (fine_tuning.random_mask, {"share": 0.6, "draw": 1, **BALANCED}),
    "cosine": (fine_tuning.ranked("cosine"), RANKED),
    "aim-fair": (fine_tuning.ranked("absolute"), RANKED),
}
KINDS = {
    "erm": Kind(baselines.erm),
    "cvar-dro": Kind(baselines.cvar_dro, {"alpha": 0.2}),
    "lff": Kind(baselines.lff, {"q": 0.7, "momentum": 0.7, **PROTOCOL}),
    "jtt": Kind(baselines.jtt, {"epochs": 1, "weight": 51.0, "first-lr": None, "first-weight-decay": None, **PROTOCOL}),
    "eiil": Kind(baselines.eiil, {"steps": 10000, "lr": 0.001, "step-size": 0.01, **PROTOCOL}),
    "group-dro": Kind(baselines.group_dro, {"step-size": 0.01, **PROTOCOL}),
    "synthetic-only": Kind(mixtures.synthetic_only, BALANCED),
    "supplement": Kind(mixtures.supplement, BALANCED),
    "repair": Kind(mixtures.repair, {"prompt-type": None}),
    **{name: Kind(train, defaults, fine_tunes=True) for name, (train, defaults) in FINE_TUNED.items()},
}


@dataclass(frozen=True)
class Method:
    """A method with all its options; `label` names it with those that are not the default."""

    name: str
    options: dict
    label: str

    @property
    def kind(self) -> Kind:
        """How it trains."""
        return KINDS[self.name]

    @property
    def folder(self) -> str:
        """The name of its folder: the label without signs that some file systems refuse."""
        return re.sub(r"[:/]", "-", self.label.replace(":", "_", 1))


def parse_method(text: str, flags: dict) -> Method:
    """The method that `text` names; options it leaves out come from its defaults, or, None there, from `flags`.

    Raises `UserError`, with the nearest names, for an unknown name, option or value.
    """
    name, _, rest = text.partition(":")
    if name not in KINDS:
        near = difflib.get_close_matches(name, KINDS, n=3, cutoff=0.5) or list(KINDS)
        raise UserError(f"--methods {text}: no method {name}; there are {', '.join(near)}")
    defaults = {key: flags.get(key) if value is None else value for key, value in KINDS[name].defaults.items()}
    given = {}
    for part in filter(None, rest.split(",")):
        key, _, value = part.partition("=")
        if key not in defaults:
            raise UserError(f"--methods {text}: {name} has no option {key!r}; it has {', '.join(defaults) or 'none'}")
        try:
            given[key] = TYPES[key](value)
        except (ValueError, argparse.ArgumentTypeError) as error:
            raise UserError(f"--methods {text}: {key}={value}: {error}") from error
    label = ",".join(f"{key}={given[key]}" for key in defaults if key in given and given[key] != defaults[key])
    return Method(name, {**defaults, **given}, f"{name}:{label}" if label else name)


def with_candidates(methods: list[Method], flags: dict) -> list[Method]:
    """The methods with, before each of top-k "auto", the candidates it chooses among; each once, in order."""
    expanded = []
    for method in methods:
        if method.options.get("top-k") == "auto":
            expanded += candidates(method, flags)
        expanded.append(method)
    return list({method.label: method for method in expanded}.values())


def candidates(method: Method, flags: dict) -> list[Method]:
    """The same method with each top-k of `AUTO_TOP_K` in place of "auto"."""
    _, _, rest = method.label.partition(":")
    others = [part for part in rest.split(",") if part and not part.startswith("top-k=")]
    return [parse_method(f"{method.name}:{','.join([f'top-k={k}', *others])}", flags) for k in AUTO_TOP_K]
