"""Check prompt files: does every prompt say what its cell is, and nothing else?

    python -m prompts.check [FILE ...]

Without a file, all shipped ones. A prompt must state its own cell's words and not the opposite ones, must
be the only one of its wording, and must fit the 77 tokens that Stable Diffusion reads. Ends with status 2,
naming every fault, where one does not.
"""

import argparse
import re
from collections import Counter
from pathlib import Path

from transformers import CLIPTokenizer

from datasets.pairs import CELLS
from prompts import FOLDER, Prompts, read_prompts
from utils.errors import UserError, command_line

TOKENIZER = Path(__file__).parent.parent / "stable_diffusion" / "tiny" / "tokenizer"  # CLIP's own vocabulary
MAX_TOKENS = 77


def faults(prompts: Prompts, tokenizer: CLIPTokenizer) -> list[str]:
    """What is wrong with a file's prompts, a line each."""
    found = []
    for prompt_type, cells in prompts.prompts.items():
        repeated = [text for text, n in Counter(text for cell in CELLS for text in cells[cell]).items() if n > 1]
        found += [f"{prompt_type}: twice: {text!r}" for text in repeated]
        for cell in CELLS:
            for number, text in enumerate(cells[cell], start=1):
                where = f"{prompt_type} {cell} prompt {number} {text!r}"
                found += [f"{where}: {fault}" for fault in _word_faults(prompts.words, cell, text)]
                tokens = len(tokenizer(text).input_ids)
                if tokens > MAX_TOKENS:
                    found.append(f"{where}: {tokens} tokens, more than {MAX_TOKENS}")
    return found


def check_prompts(prompts: Prompts) -> None:
    """Raise `UserError` naming every fault of a file's prompts."""
    found = faults(prompts, CLIPTokenizer.from_pretrained(TOKENIZER))
    if found:
        raise UserError("\n  ".join([f"{len(found)} faults in the prompts of {prompts.pair}:", *found]))


def _word_faults(words: dict, cell: str, text: str) -> list[str]:
    found = []
    for part, value in zip(("target", "protected"), cell.split("_"), strict=True):
        own, opposite = words[part][value], words[part]["10"[int(value)]]
        if not any(states(text, word) for word in own):
            found.append(f"does not say {' or '.join(own)}")
        found += [f"says {word}" for word in opposite if states(_without(text, own), word)]
    return found


def states(text: str, word: str) -> bool:
    """Whether a text holds a word or phrase as whole words: "woman" does not state "man"."""
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) is not None


def _without(text: str, phrases: list[str]) -> str:
    """The text less the cell's own phrases: "not smiling" does not state "smiling"."""
    for phrase in sorted(phrases, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(phrase)}(?!\w)", " ", text, flags=re.IGNORECASE)
    return text


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="prompt files (default: all in prompts/)")
    for path in parser.parse_args().files or sorted(FOLDER.glob("*.json")):
        prompts = read_prompts(path)
        check_prompts(prompts)
        for prompt_type, cells in prompts.prompts.items():
            counts = ", ".join(f"{cell} {len(cells[cell])}" for cell in CELLS)
            print(f"{path.name}: {prompt_type} prompts are good: {counts}")


if __name__ == "__main__":
    command_line(main)
