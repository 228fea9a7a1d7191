"""Contexts of prompts, the same in every group, and the sentences that they make with the words of a group."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from prompts import FOLDER, Prompts, require_texts
from utils.errors import UserError

WITHOUT_POSE, WITH_POSE = "contextual-without-pose", "contextual"
CONTEXTS = FOLDER / "contexts" / "faces.json"
_TAGGED = re.compile(r"\[([^:\[\]]+):([^\[\]]*)\]")


class Context(NamedTuple):
    """One context of a prompt: the age word, the details (face, hair, accessories) and the head pose."""

    age: str
    details: list[str]
    pose: str


def read_contexts(path: Path) -> tuple[list[tuple[str, str, str]], dict[str, list[str]]]:
    """Return the contexts of a file, each (age word, details with tags, head pose), and the tags an attribute leaves out.

    Raises `UserError` if the file is not of that form.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        contexts = [tuple(context) for context in content["contexts"]]
        if not contexts or any(len(c) != 3 or not all(isinstance(part, str) for part in c) for c in contexts):
            raise ValueError("contexts must be a list of [age word, details, pose]")
        for name, tags in content["left_out"].items():
            if tags:
                require_texts(tags, f"left_out.{name}")
    except OSError as error:
        raise UserError(f"cannot read the contexts {path}: {error.strerror}") from error
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a file of contexts: {error!r}; see {CONTEXTS} for the form") from error
    return contexts, content["left_out"]


def neutral_contexts(contexts: list[tuple[str, str, str]], left_out: set[str], ages: bool) -> list[Context]:
    """Return the contexts without what would give the pair away.

    Parts tagged with a member of `left_out` are removed, and so is the age word if "age" is left out. With `ages`
    the age words are 1-year-old, 3-year-old and so on to 99-year-old, as the paper has them for UTKFace.
    """

    def keep(match):
        return "" if left_out & {tag.strip() for tag in match[1].split(",")} else match[2]

    neutral = []
    for index, (age, details, pose) in enumerate(contexts):
        parts = [re.sub(r"\s+", " ", part).strip() for part in _TAGGED.sub(keep, details).split(",")]
        word = f"{2 * index % 100 + 1}-year-old" if ages else "" if "age" in left_out else age
        neutral.append(Context(word, [part for part in parts if part], pose))
    return neutral


def sentence(template: str, words: dict[str, str], age: str) -> str:
    """Return the basic prompt: `template` with {attribute} and {age} filled in and its articles set right.

    Raises `UserError` for any other place.
    """
    try:
        text = template.format(**words, age=age)
    except (KeyError, IndexError, ValueError) as error:
        places = ", ".join(f"{{{name}}}" for name in (*words, "age"))
        raise UserError(f"--sentence {template!r}: {error!r}; its places are {places}") from error
    text = re.sub(r"\s+", " ", text).strip()
    return re.sub(r"\b([Aa])n? (?=(\S+))", lambda m: f"{m[1]}{'n' if _takes_an(m[2]) else ''} ", text)


def group_words(own: dict[str, list[str]], number: int) -> dict[str, str]:
    """Return the words of a group for its n-th prompt. If an attribute has several, they take turns."""
    return {name: alternatives[number % len(alternatives)] for name, alternatives in own.items()}


def basic_prompt(prompts: Prompts, template: str, group: str, number: int, age: str) -> str:
    """Return the basic prompt of a group for its n-th context, whose age word is `age`."""
    return sentence(template, group_words(prompts.own_words(group), number), age)


def with_pose(text: str, context: Context) -> str:
    """Add the head pose of its context to a sentence."""
    return ", ".join(filter(None, (text, context.pose)))


def template_sentences(prompts: Prompts, template: str, contexts: list[Context]) -> dict[str, list[str]]:
    """Return the basic prompt of each group with the details of each context after it."""
    return {
        group: [
            ", ".join([basic_prompt(prompts, template, group, i, context.age), *context.details])
            for i, context in enumerate(contexts)
        ]
        for group in prompts.groups
    }


def assemble(
    prompts: Prompts, template: str, contexts: list[Context], sentences: dict[str, list[str]], origin: str | dict
) -> Prompts:
    """Return the prompts of a pair: one plain prompt a group, and the sentences without and with head pose."""
    types = {
        "plain": {group: [basic_prompt(prompts, template, group, 0, "")] for group in prompts.groups},
        WITHOUT_POSE: sentences,
        WITH_POSE: {group: list(map(with_pose, texts, contexts)) for group, texts in sentences.items()},
    }
    return replace(prompts, origin=origin, prompts=types)


def _takes_an(word: str) -> bool:
    return re.match(r"(8|11|18)(?!\d)|8\d-|[aeio]|u(?!ni|s|k)", word.lower()) is not None
