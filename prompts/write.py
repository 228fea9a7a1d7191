"""Write the prompts of a new pair.

    python -m prompts.write --target-sensitive Eyeglasses_Young --target "wearing eyeglasses|without eyeglasses" \\
        --protected "young|aged" --sentence "Portrait face photo of a {Young} person {Eyeglasses}"

The words are PRESENT|ABSENT, several alternatives with commas between. The contexts (face, hair, accessories, head
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
from pathlib import Path

from datasets.pairs import Pair, plain_name
from prompts import FOLDER, Prompts
from prompts.backends import DEFAULT_MODEL, Decoding, LocalModel
from prompts.check import LIMIT, check_prompts, report
from prompts.design import CONTEXTS, assemble, neutral_contexts, read_contexts, template_sentences
from prompts.endpoint import Endpoint
from prompts.writer import INSTRUCTION, Writer
from utils.arguments import PRECISIONS, choose_device, non_negative_float, positive_float, positive_int
from utils.errors import UserError, command_line
from utils.files import whole


def main() -> None:
    """The command line."""
    args = parse_args()
    pair = name_pair(args.target_sensitive, len(args.protected))
    words = {n: split_words(text) for n, text in zip(pair.attributes, [args.target, *args.protected], strict=True)}
    output = args.output or FOLDER / f"{pair.name}.json"
    if output.exists():
        raise UserError(f"{output} is there already; remove it or choose another --output")
    contexts, left_out = read_contexts(args.contexts)
    tags = set(args.leave_out).union(
        *(tags for name, tags in left_out.items() if plain_name(name) in map(plain_name, pair.attributes))
    )
    contexts = neutral_contexts(contexts, tags, args.ages)[: args.count]
    template = args.sentence or default_sentence(pair)

    prompts = Prompts(pair.name, pair.target, list(pair.protected), "", words, [], {})
    if args.template:
        origin = f"Sentences put together by `{shlex.join(['python', '-m', 'prompts.write', *sys.argv[1:]])}`; contexts written by hand."
        sentences = template_sentences(prompts, template, contexts)
    else:
        sampling = Decoding(args.temperature, args.top_p, args.max_new_tokens)
        origin = describe_origin(args)
        model = open_model(args, sampling)
        options = {"seed": args.seed, "batch_size": args.batch_size, "partial": output.with_suffix(".partial")}
        writer = Writer(prompts, template, contexts, model, **options, origin=origin)
        sentences = writer.write(args.attempts, args.limit)
        origin = writer.origin_of_all()
    prompts = assemble(prompts, template, contexts, sentences, origin)
    save(prompts, output, args.limit)
    output.with_suffix(".partial").unlink(missing_ok=True)
    print(report(prompts, output, all_words=False))
    print(f"prompts: {output}")


def save(prompts: Prompts, path: Path, limit: float) -> None:
    """Write a prompt file after checking it, whole or not at all."""
    with whole(path) as draft:
        draft.write_text(json.dumps(vars(prompts), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        check_prompts(draft, limit)


def name_pair(text: str, n_protected: int) -> Pair:
    """The attributes in TARGET_PROTECTED; several protected ones as Target_FirstSecond or Target_First_Second."""
    parts = text.split("_")
    if len(parts) > n_protected:
        return Pair("_".join(parts[:-n_protected]), tuple(parts[-n_protected:]))
    protected = re.findall(r"[A-Z][a-z0-9]*", parts[-1])
    if len(parts) != 2 or len(protected) != n_protected:
        raise UserError(f"--target-sensitive {text}: not TARGET_PROTECTED with {n_protected} protected attributes")
    return Pair(parts[0], tuple(protected))


def split_words(text: str) -> dict[str, list[str]]:
    """ "smiling|serious" as the words for 1 and for 0; commas part alternatives."""
    sides = [[word.strip() for word in side.split(",")] for side in text.split("|")]
    if len(sides) != 2 or not all(word for side in sides for word in side):
        raise UserError(f"the words {text!r} must be PRESENT|ABSENT, such as 'smiling|serious'")
    return {"1": sides[0], "0": sides[1]}


def default_sentence(pair: Pair) -> str:
    """A basic prompt that most adjectives and phrases fit into."""
    before = " ".join(f"{{{name}}}" for name in pair.protected)
    return f"Portrait face photo of a {{age}} {before} person, {{{pair.target}}}"


def describe_origin(args) -> dict:
    """Who writes the prompts, and how: for the file."""
    return {
        "model": Path(args.model).name if Path(args.model).exists() else args.model,
        "served_by": "an OpenAI-compatible endpoint"
        if args.base_url
        else "transformers, each answer begun for it as told",
        "instruction": INSTRUCTION.read_text(encoding="utf-8"),
        "sampling": {},  # filled in with what was really sent
        "contexts": "written by hand, the same in every group; head pose added after the model's sentence",
        "date": datetime.date.today().isoformat(),
    }


def open_model(args, sampling: Decoding):
    """The model that the flags name."""
    if args.base_url:
        options = {"key_variable": args.api_key_variable, "timeout": args.timeout, "retries": args.retries}
        return Endpoint(args.base_url, args.model, sampling, **options)
    return LocalModel(args.model, choose_device(args.device), args.precision, sampling)


def retry_count(text: str) -> int:
    """An argparse type: an integer from 0 to 100."""
    if not 0 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 100")
    return int(text)


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target-sensitive", required=True, metavar="TARGET_PROTECTED")
    parser.add_argument("--target", required=True, metavar="PRESENT|ABSENT", help="words for the target")
    parser.add_argument(
        "--protected", required=True, nargs="+", metavar="PRESENT|ABSENT", help="for each protected one"
    )
    parser.add_argument("--sentence", help="basic prompt with a place {Name} for each attribute and {age}")
    parser.add_argument("--output", type=Path, help="file to write (default: prompts/<pair>.json)")
    parser.add_argument("--contexts", type=Path, default=CONTEXTS, help="file of contexts")
    parser.add_argument(
        "--leave-out", nargs="*", default=[], metavar="TAG", help="more tags to leave out of the contexts"
    )
    parser.add_argument("--ages", action="store_true", help="ages 1, 3, ..., 99 years in place of young and elderly")
    parser.add_argument("--count", type=positive_int, default=50, help="prompts a group")
    parser.add_argument("--limit", type=non_negative_float, default=LIMIT, help="as in prompts.check")
    model = parser.add_argument_group("model")
    model.add_argument("--template", action="store_true", help="no model: words and context side by side")
    model.add_argument(
        "--model", default=DEFAULT_MODEL, help="hub id, folder or .gguf file; at --base-url its name there"
    )
    model.add_argument("--base-url", metavar="URL", help="OpenAI-compatible endpoint, such as http://localhost:8000")
    model.add_argument("--api-key-variable", default="OPENAI_API_KEY", metavar="NAME", help="environment variable")
    model.add_argument("--timeout", type=positive_float, default=60, help="seconds for an HTTP answer")
    model.add_argument("--retries", type=retry_count, default=4, help="of an HTTP request that failed")
    model.add_argument("--attempts", type=positive_int, default=5, help="questions for one sentence")
    model.add_argument("--batch-size", type=positive_int, default=8, help="questions side by side")
    model.add_argument("--temperature", type=non_negative_float, default=0.7)
    model.add_argument("--top-p", type=non_negative_float, default=0.9)
    model.add_argument("--max-new-tokens", type=positive_int, default=90)
    model.add_argument("--seed", type=int, default=0)
    model.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    model.add_argument("--precision", choices=tuple(PRECISIONS), help="of a local model (default: fp16, on a CPU fp32)")
    return parser.parse_args()


if __name__ == "__main__":
    command_line(main)
