"""Write the prompts of a new pair.

    python -m prompts.write --target-sensitive Eyeglasses_Young --target "wearing eyeglasses|without eyeglasses" \\
        --protected "young|aged" --sentence "Portrait face photo of a {Young} person {Eyeglasses}"

The words are PRESENT|ABSENT, several alternatives with commas between. An attribute of more values has VALUE=WORDS for each:
--protected "White=white|Black=black|Asian=Asian,East Asian". The contexts (face, hair, accessories, head
pose) come from a file and are the same in every group, without what would give the pair away. A language model turns
words and context into sentences, one at a time: `--model` with transformers, or `--base-url` at an OpenAI-compatible
endpoint; `--template` puts them side by side without a model. Answers are checked as by `python -m prompts.check`, and
bad ones are asked for again. Every good one is saved at once beside the output, so the same command, or one with other
flags or another model, continues where it stopped.
"""

import argparse
import datetime
import json
import re
import shlex
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.pairs import Pair, plain_name
from datasets.values import JOINED, value_name
from prompts import FOLDER, Prompts
from prompts.check import LIMIT, check_prompts, report
from prompts.decoding import DEFAULT_MODEL, Decoding
from prompts.design import CONTEXTS, assemble, neutral_contexts, read_contexts, template_sentences
from prompts.endpoint import Endpoint
from prompts.writer import INSTRUCTION, Writer
from utils.arguments import PRECISIONS, non_negative_float, positive_float, positive_int
from utils.errors import UserError, command_line
from utils.files import whole
from utils.settings import flag, parse

if TYPE_CHECKING:
    from prompts.backends import LocalModel

of_prompts, of_model, of_endpoint = (partial(flag, group=each) for each in ("prompts", "model", "endpoint"))


def retry_count(text: str) -> int:
    """Read a whole number from 0 to 100, as a type of argparse."""
    if not 0 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 100")
    return int(text)


@dataclass(frozen=True)
class WritingSettings:
    """The flags of this command."""

    target_sensitive: str = of_prompts(None, "the pair", required=True, metavar="TARGET_PROTECTED")
    target: str = of_prompts(None, "words for the target, or VALUE=WORDS|...", required=True, metavar="PRESENT|ABSENT")
    protected: tuple[str, ...] = of_prompts(
        None, "for each protected one", required=True, nargs="+", metavar="PRESENT|ABSENT"
    )
    sentence: str | None = of_prompts(None, "basic prompt with a place {Name} for each attribute and {age}")
    output: Path | None = of_prompts(None, "file to write (default: prompts/<pair>.json)", type=Path)
    contexts: Path = of_prompts(CONTEXTS, "file of contexts", type=Path)
    leave_out: tuple[str, ...] = of_prompts((), "more tags to leave out of the contexts", nargs="*", metavar="TAG")
    ages: bool = of_prompts(False, "ages 1, 3, ..., 99 years in place of young and elderly", action="store_true")
    count: int = of_prompts(50, "prompts a group (50)", type=positive_int)
    limit: float = of_prompts(LIMIT, f"as in prompts.check ({LIMIT})", type=non_negative_float)
    template: bool = of_model(False, "no model: words and context side by side", action="store_true")
    model: str = of_model(
        DEFAULT_MODEL, f"hub id, folder or .gguf file; at --base-url its name there ({DEFAULT_MODEL})"
    )
    attempts: int = of_model(5, "questions for one sentence (5)", type=positive_int)
    batch_size: int = of_model(8, "questions side by side (8)", type=positive_int)
    temperature: float = of_model(0.7, "0 takes the likeliest word each time (0.7)", type=non_negative_float)
    top_p: float = of_model(0.9, "probability of the words to draw from (0.9)", type=non_negative_float)
    max_new_tokens: int = of_model(90, "longest answer (90)", type=positive_int)
    seed: int = of_model(0, "default: 0", type=int)
    device: str = of_model("auto", "of a local model: auto, cpu, cuda, cuda:1, ...")
    precision: str | None = of_model(None, "of a local model (default: fp16, on a CPU fp32)", choices=tuple(PRECISIONS))
    base_url: str | None = of_endpoint(None, "OpenAI-compatible endpoint, such as http://localhost:8000", metavar="URL")
    api_key_variable: str = of_endpoint("OPENAI_API_KEY", "environment variable (OPENAI_API_KEY)", metavar="NAME")
    timeout: float = of_endpoint(60, "seconds for an HTTP answer (60)", type=positive_float)
    retries: int = of_endpoint(4, "of an HTTP request that failed (4)", type=retry_count)


def main() -> None:
    """Write the prompt file of a pair."""
    settings = parse(WritingSettings, __doc__)
    pair = name_pair(settings.target_sensitive, len(settings.protected))
    texts = (settings.target, *settings.protected)
    words = {name: split_words(text) for name, text in zip(pair.attributes, texts, strict=True)}
    output = settings.output or FOLDER / f"{pair.name}.json"
    if output.exists():
        raise UserError(f"{output} is there already; remove it or choose another --output")
    contexts, left_out = read_contexts(settings.contexts)
    own = set(map(plain_name, pair.attributes))
    tags = {tag for name, tags in left_out.items() if plain_name(name) in own for tag in tags}
    contexts = neutral_contexts(contexts, tags.union(settings.leave_out), settings.ages)[: settings.count]
    template = settings.sentence or default_sentence(pair)

    prompts = Prompts(pair.name, pair.target, list(pair.protected), "", words, [], {})
    partial = output.with_suffix(".partial")
    if settings.template:
        origin = f"Sentences put together by `{shlex.join(['python', '-m', 'prompts.write', *sys.argv[1:]])}`; contexts written by hand."
        sentences = template_sentences(prompts, template, contexts)
    else:
        origin, model = describe_origin(settings), open_model(settings)
        writer = Writer(prompts, template, contexts, model, settings.seed, settings.batch_size, partial, origin)
        sentences = writer.write(settings.attempts, settings.limit)
        origin = writer.origin_of_all()
    prompts = assemble(prompts, template, contexts, sentences, origin)
    save(prompts, output, settings.limit)
    partial.unlink(missing_ok=True)
    print(report(prompts, output, all_words=False))
    print(f"prompts: {output}")


def save(prompts: Prompts, path: Path, limit: float) -> None:
    """Write a prompt file, whole or not at all. Raises `UserError` if its check finds a fault."""
    with whole(path) as draft:
        draft.write_text(json.dumps(vars(prompts), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        check_prompts(draft, limit)


def name_pair(text: str, n_protected: int) -> Pair:
    """Return the attributes in TARGET_PROTECTED, several protected ones as Target_FirstSecond or Target_First_Second.

    Raises `UserError` for another number of protected attributes.
    """
    parts = text.split("_")
    if len(parts) > n_protected:
        return Pair("_".join(parts[:-n_protected]), tuple(parts[-n_protected:]))
    protected = re.findall(r"[A-Z][a-z0-9]*", parts[-1])
    if len(parts) != 2 or len(protected) != n_protected:
        raise UserError(f"--target-sensitive {text}: not TARGET_PROTECTED with {n_protected} protected attributes")
    return Pair(parts[0], tuple(protected))


def split_words(text: str) -> dict[str, list[str]]:
    """Split "smiling|serious" into the words for 1 and for 0, with commas between alternatives; "A=a|B=b" into those of A and B.

    Raises `UserError` if it can't.
    """
    names, texts = ["1", "0"], text.split("|")
    if all("=" in side for side in texts):
        names, texts = zip(*([part.strip() for part in side.split("=", 1)] for side in texts), strict=True)
        names = [JOINED.join(map(value_name, name.split(JOINED))) for name in names]
    sides = [[word.strip() for word in side.split(",")] for side in texts]
    if (
        len(sides) < 2
        or len(names) != len(sides)
        or len({*names}) != len(sides)
        or not all((*names, *(word for side in sides for word in side)))
    ):
        raise UserError(
            f"the words {text!r} must be PRESENT|ABSENT, such as 'smiling|serious', or VALUE=WORDS for each value, such as "
            "'White=white|Black=black|Asian=Asian,East Asian'"
        )
    return dict(zip(names, sides, strict=True))


def default_sentence(pair: Pair) -> str:
    """Return a basic prompt that most adjectives and phrases fit into."""
    before = " ".join(f"{{{name}}}" for name in pair.protected)
    return f"Portrait face photo of a {{age}} {before} person, {{{pair.target}}}"


def describe_origin(settings: WritingSettings) -> dict:
    """Return who writes the prompts, and how, for the file."""
    here = "transformers, each answer begun for it as told"
    return {
        "model": Path(settings.model).name if Path(settings.model).exists() else settings.model,
        "served_by": "an OpenAI-compatible endpoint" if settings.base_url else here,
        "instruction": INSTRUCTION.read_text(encoding="utf-8"),
        "sampling": {},  # filled in with what was really sent
        "contexts": "written by hand, the same in every group; head pose added after the model's sentence",
        "date": datetime.date.today().isoformat(),
    }


def open_model(settings: WritingSettings) -> "Endpoint | LocalModel":
    """Return the model that the flags name. Raises `UserError` if it can't be loaded or asked."""
    sampling = Decoding(settings.temperature, settings.top_p, settings.max_new_tokens)
    if settings.base_url:
        options = {"timeout": settings.timeout, "retries": settings.retries}
        return Endpoint(settings.base_url, settings.model, sampling, key_variable=settings.api_key_variable, **options)
    from prompts.backends import LocalModel  # it loads torch and transformers, which an endpoint does not need
    from utils.device import choose_device

    return LocalModel(settings.model, choose_device(settings.device), settings.precision, sampling)


if __name__ == "__main__":
    command_line(main)
