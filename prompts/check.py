"""Check prompt files: does every prompt say its group's words, and do the groups differ in nothing else?

    python -m prompts.check [FILE ...] [--limit 0.1] [--words]

Without a file, all shipped ones. Every prompt must state its own group's words, neither deny them nor state the
opposite, be unique, and fit the 77 tokens that Stable Diffusion reads. Between groups no context word's frequency (the
fraction of prompts that hold it) may differ by more than the limit: a detail that goes with one group teaches a classifier
to look for it. Prints a table, or, with status 2, every fault with its line.
"""

import argparse
import json
import re
from collections import Counter
from pathlib import Path

import pandas as pd

from prompts import FOLDER, Prompts, read_prompts, shipped_files
from prompts.tokens import count_tokens
from utils.arguments import non_negative_float
from utils.errors import UserError, command_line

MAX_TOKENS = 77
LIMIT = 0.1
GROUP_DETAIL_LIMIT = 0.1  # fraction of a group's prompts with a detail of one group
SYNONYMS = json.loads((FOLDER / "synonyms.json").read_text(encoding="utf-8"))
NO_CONTEXT = frozenset(["a", "an", "and", "at", "for", "from", "in", "is", "of", "on", "the", "to", "who", "with"])


def check_prompts(path: Path, limit: float = LIMIT) -> Prompts:
    """Read a prompt file; raise `UserError` naming every fault of its prompts and its line."""
    prompts = read_prompts(path)
    found = faults(prompts, limit)
    if found:
        lines = path.read_text(encoding="utf-8").splitlines()
        numbered = [f"{_place(lines, text)}{fault}" for text, fault in found]
        raise UserError("\n  ".join([f"{path}: {len(found)} faults:", *numbered]))
    return prompts


def faults(prompts: Prompts, limit: float = LIMIT) -> list[tuple[str | None, str]]:
    """Return what is wrong with a file's prompts: the prompt (None: the whole of a type) and the fault."""
    found = []
    for prompt_type, groups in prompts.prompts.items():
        counts = Counter(text for group in prompts.groups for text in groups[group])
        found += [(text, f"{prompt_type}: {n} times: {text!r}") for text, n in counts.items() if n > 1]
        for group in prompts.groups:
            for number, text in enumerate(groups[group], start=1):
                place = f"{prompt_type} {group} prompt {number} {text!r}"
                found += [(text, f"{place}: {fault}") for fault in prompt_faults(prompts, group, text)]
        table = word_frequencies(prompts, prompt_type)
        gaps = frequency_gaps(prompts, table)
        for word, row in table.loc[gaps.index[gaps > limit + 1e-9]].iterrows():
            spread = f"{row.min():.0%} ({row.idxmin()}) to {row.max():.0%} ({row.idxmax()})"
            found.append(
                (None, f"{prompt_type}: {word!r} is in {spread} of a group's prompts; the limit is {limit:.0%}")
            )
        for group in prompts.groups:
            detailed = [any(states(text, detail) for detail in prompts.group_details) for text in groups[group]]
            if (fraction := sum(detailed) / len(detailed)) > GROUP_DETAIL_LIMIT:
                found.append(
                    (None, f"{prompt_type} {group}: {fraction:.0%} of the prompts have a group detail; keep them few")
                )
    return found


def prompt_faults(prompts: Prompts, group: str, text: str) -> list[str]:
    """Return what is wrong with one prompt of a group."""
    found = []
    own_words, opposite_words = prompts.own_words(group), prompts.opposite_words(group)
    rest = _without(text, [word for words in own_words.values() for word in words])
    for name in (prompts.target, *prompts.protected):
        own, opposite = own_words[name], opposite_words[name]
        if not any(states(text, word) for word in own):
            found.append(f"does not say {' or '.join(own)}")
        found += [f"denies {word}" for word in own if denies(text, word)]
        own_synonyms = {synonym for word in own for synonym in SYNONYMS.get(word, ())}
        found += [f"says {word}" for word in opposites(opposite) if word not in own_synonyms and states(rest, word)]
    tokens = count_tokens(text)
    if tokens > MAX_TOKENS:
        found.append(f"{tokens} tokens, more than {MAX_TOKENS}")
    return found


def opposites(words: list[str]) -> list[str]:
    """Return words and their synonyms, each once."""
    return list(dict.fromkeys(each for word in words for each in (word, *SYNONYMS.get(word, ()))))


def states(text: str, word: str) -> bool:
    """Return whether a text holds a word or phrase as whole words: "woman" does not state "man"."""
    return re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text, re.IGNORECASE) is not None


def denies(text: str, word: str) -> bool:
    """Return whether a text negates a word: "not smiling", "without any eyeglasses", "non-smiling", "unsmiling"."""
    negation = (
        r"(?<!\w)(?:(?:not|no|never|without|isn't|hardly|barely)\s+(?:(?:a|an|any|really|very)\s+)?|non-?|un-?|no-)"
    )
    return re.search(rf"{negation}{re.escape(word)}(?!\w)", text, re.IGNORECASE) is not None


def word_frequencies(prompts: Prompts, prompt_type: str) -> pd.DataFrame:
    """Return the fraction of a group's prompts that hold a context word: a row each word, a column each group.

    The group's own words and words such as "of" and "the" don't count.
    """
    columns = {}
    for group in prompts.groups:
        own = [word for words in prompts.own_words(group).values() for word in words]
        texts = prompts.prompts[prompt_type][group]
        counts = Counter(word for text in texts for word in set(_words(_without(text, own))) - NO_CONTEXT)
        columns[group] = pd.Series({word: n / len(texts) for word, n in counts.items()}, dtype=float)
    return pd.DataFrame(columns).fillna(0.0).sort_index()


def frequency_gaps(prompts: Prompts, table: pd.DataFrame) -> pd.Series:
    """Return the largest difference between two groups of each word's frequency, largest first, without group details."""
    details = {word for detail in prompts.group_details for word in _words(detail)}
    gaps = table.max(axis=1) - table.min(axis=1)
    return gaps[~gaps.index.isin(details)].sort_values(ascending=False, kind="stable")


def report(prompts: Prompts, path: Path, all_words: bool) -> str:
    """Return the table of a file: for each type and group the number of prompts, their mean length and the largest gap."""
    lines = []
    for prompt_type, groups in prompts.prompts.items():
        table = word_frequencies(prompts, prompt_type)
        gaps = frequency_gaps(prompts, table)
        largest = f"{gaps.iloc[0]:.0%} ({gaps.index[0]})" if len(gaps) and gaps.iloc[0] > 0 else "0%"
        lengths = {group: [len(_words(text)) for text in groups[group]] for group in prompts.groups}
        counts = "  ".join(f"{group} {len(found)} x {sum(found) / len(found):.1f}" for group, found in lengths.items())
        lines.append(f"{path.name}  {prompt_type}: {counts} words; largest difference {largest} of {len(gaps)} words")
        if all_words:
            lines.append(table.assign(difference=gaps).to_string(float_format="%.2f"))
    return "\n".join(lines)


def _without(text: str, phrases: list[str]) -> str:
    """Return the text less the group's own phrases: "not smiling" does not state "smiling"."""
    for phrase in sorted(phrases, key=len, reverse=True):
        text = re.sub(rf"(?<![\w-]){re.escape(phrase)}(?![\w-])", " ", text, flags=re.IGNORECASE)
    return text


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9][a-z0-9'-]*", text.lower())


def _place(lines: list[str], text: str | None) -> str:
    quoted = {json.dumps(text), json.dumps(text, ensure_ascii=False)} if text else ()
    numbers = [str(n) for n, line in enumerate(lines, start=1) if any(q in line for q in quoted)]
    return f"line {', '.join(numbers)}: " if numbers else ""


def main() -> None:
    """Check the files, or all shipped ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="prompt files (default: all in prompts/)")
    parser.add_argument(
        "--limit", type=non_negative_float, default=LIMIT, help="largest difference in a word's frequency"
    )
    parser.add_argument("--words", action="store_true", help="print the frequency of every word in every group")
    args = parser.parse_args()
    problems = []
    for path in args.files or shipped_files():
        try:
            print(report(check_prompts(path, args.limit), path, args.words))
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError("\n".join(problems))


if __name__ == "__main__":
    command_line(main)
