"""Prompt files: for each pair, what to ask the generator for in each of its groups."""

import difflib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from datasets.pairs import TWO, Pair, same_pair
from datasets.values import JOINED, value_name
from utils.errors import UserError

FOLDER = Path(__file__).parent
TOKENIZER = FOLDER.parent / "stable_diffusion" / "tiny" / "tokenizer"  # CLIP's, in all of Stable Diffusion 1.x and 2.x
_FORM = "see prompts/Smiling_Male.json for the form"


@dataclass(frozen=True)
class Prompts:
    """The content of a prompt file.

    `words[attribute]["1"]` lists the words that say that the attribute is present, "0" that it is absent. An attribute of other
    values has words for each, in the order of the groups: `words["Race"]["Asian"]`.
    `group_details` lists details that belong to one group alone (a beard, lipstick) and need not be in all groups.
    `prompts[prompt type][group]` lists the prompts of a group (target_protected). `origin` says who wrote them, and how.
    """

    pair: str
    target: str
    protected: list[str]
    origin: str | dict
    words: dict[str, dict[str, list[str]]]
    group_details: list[str]
    prompts: dict[str, dict[str, list[str]]]

    @property
    def attributes(self) -> Pair:
        """The attributes with their values."""
        names = (self.target, *self.protected)
        values = tuple(TWO if set(self.words[name]) == {*TWO} else tuple(self.words[name]) for name in names)
        return Pair(self.target, tuple(self.protected), () if all(each == TWO for each in values) else values)

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of the groups, target_protected."""
        return self.attributes.groups

    def own_words(self, group: str) -> dict[str, list[str]]:
        """Return for each attribute the words that state its value in a group."""
        return {name: self.words[name][value] for name, value in self.attributes.described(group).items()}

    def opposite_words(self, group: str) -> dict[str, list[str]]:
        """Return for each attribute the words that state another value."""
        return {
            name: [word for other, words in self.words[name].items() if other != value for word in words]
            for name, value in self.attributes.described(group).items()
        }


def shipped_files() -> list[Path]:
    """Return the prompt files of this folder."""
    return [path for path in sorted(FOLDER.glob("*.json")) if "_" in path.stem]


def find_prompt_file(pair: str) -> Path:
    """Return the shipped file of a pair, however its name is spelled. Raises `UserError` if there is none."""
    shipped = {path.stem: path for path in shipped_files()}
    for name, path in shipped.items():
        if same_pair(name, pair):
            return path
    names = difflib.get_close_matches(pair, shipped, n=3, cutoff=0.4) or list(shipped)
    raise UserError(
        f"no prompts for the pair {pair} in {FOLDER}; there are {', '.join(names)}; write some with python -m "
        "prompts.write, or pass your own with --prompts FILE"
    )


def read_prompts(path: Path, pair: str | None = None) -> Prompts:
    """Read a prompt file, of `pair` if that is given.

    Raises `UserError` if it is not JSON, if a part is missing or of another kind, or if it is of another pair.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))  # some editors begin a file with a mark
        prompts = Prompts(**{key: content[key] for key in Prompts.__dataclass_fields__})
        if not isinstance(prompts.pair, str) or not isinstance(prompts.target, str):
            raise ValueError("pair and target must be texts")
        require_texts(prompts.protected, "protected")
        if not isinstance(prompts.group_details, list):
            raise ValueError("group_details must be a list")
        for name in (prompts.target, *prompts.protected):
            values = prompts.words[name]
            for value in values if len(values) > 1 and not set(TWO) & set(values) else TWO:
                require_texts(values[value], f"words.{name}.{value}")
            for part in (part for value in values for part in value.split(JOINED)):
                if value_name(part) != part:
                    raise ValueError(f"words.{name}: folders can't hold the value {part!r}; write {value_name(part)!r}")
        if not prompts.prompts:
            raise ValueError("prompts holds no prompt type")
        for prompt_type, groups in prompts.prompts.items():
            if prompt_type in ("", "..") or Path(prompt_type).name != prompt_type:
                raise ValueError(f"the prompt type {prompt_type!r} can't be the name of a folder")
            for group in prompts.groups:
                require_texts(groups[group], f"prompts.{prompt_type}.{group}")
    except OSError as error:
        raise UserError(f"cannot read the prompt file {path}: {error.strerror}") from error
    except KeyError as error:
        raise UserError(f"{path}: {error} is missing; {_FORM}") from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path}: not a prompt file: {error}; {_FORM}") from error
    if pair and not same_pair(prompts.pair, pair):
        raise UserError(f"the prompt file {path} is for {prompts.pair}, not for {pair}; give another --prompts")
    return prompts


def prompts_of_type(prompts: Prompts, prompt_type: str) -> dict[str, list[str]]:
    """Return the prompts of each group; `contextual-25` means the first 25 of `contextual`.

    Raises `UserError` if the file has none of that type, or fewer, or if two groups share a prompt: their images would
    show the same under different labels.
    """
    limited = re.fullmatch(r"(.+)-(\d+)", prompt_type)
    name, count = (
        (limited[1], int(limited[2])) if limited and prompt_type not in prompts.prompts else (prompt_type, None)
    )
    if name not in prompts.prompts:
        raise UserError(f"the prompts of {prompts.pair} have no type {name}; they have {', '.join(prompts.prompts)}")
    groups = {group: prompts.prompts[name][group][:count] for group in prompts.groups}
    if count is not None and (count < 1 or min(map(len, groups.values())) < count):
        raise UserError(f"--prompt-type {prompt_type}: {name} has {min(map(len, groups.values()))} prompts a group")
    first = {}
    for group, texts in groups.items():
        for text in texts:
            if first.setdefault(text, group) != group:
                raise UserError(
                    f"the {name} prompts of {prompts.pair}: {text!r} stands in {first[text]} and in {group}, which must differ; "
                    "`python -m prompts.check FILE` lists all faults"
                )
    return groups


def require_texts(value: object, name: str) -> None:
    """Raise `ValueError` unless `value` is a list of texts that are not empty."""
    if not (isinstance(value, list) and value and all(isinstance(text, str) and text.strip() for text in value)):
        raise ValueError(f"{name} must be a list of texts that are not empty")
