"""Prompt files: for each pair, what to ask the generator for in each of the four cells."""

import difflib
import json
from dataclasses import dataclass
from pathlib import Path

from datasets.pairs import CELLS, same_pair
from utils.errors import UserError

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Prompts:
    """The content of a prompt file.

    `words["target"]["1"]` lists the words that say the target is present, "0" that it is absent; likewise
    for "protected". `prompts[prompt type][cell]` lists the prompts of a cell (target_protected).
    """

    pair: str
    target: str
    protected: str
    origin: str
    words: dict[str, dict[str, list[str]]]
    prompts: dict[str, dict[str, list[str]]]


def find_prompt_file(pair: str) -> Path:
    """The shipped file of a pair, however its name is spelled; `UserError` with the nearest names otherwise."""
    shipped = {path.stem: path for path in sorted(FOLDER.glob("*.json"))}
    for name, path in shipped.items():
        if same_pair(name, pair):
            return path
    names = difflib.get_close_matches(pair, shipped, n=3, cutoff=0.4) or list(shipped)
    raise UserError(
        f"no prompts for the pair {pair} in {FOLDER}; there are {', '.join(names)}; pass your own with --prompts FILE"
    )


def read_prompts(path: Path) -> Prompts:
    """Read a prompt file. Raises `UserError` where it is not JSON or a part is missing or of another kind."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        prompts = Prompts(**{key: content[key] for key in Prompts.__dataclass_fields__})
        for part in ("target", "protected"):
            for value in ("0", "1"):
                _require_texts(prompts.words[part][value], f"words.{part}.{value}")
        if not prompts.prompts:
            raise ValueError("prompts holds no prompt type")
        for prompt_type, cells in prompts.prompts.items():
            for cell in CELLS:
                _require_texts(cells[cell], f"prompts.{prompt_type}.{cell}")
    except OSError as error:
        raise UserError(f"cannot read the prompt file {path}: {error.strerror}") from error
    except KeyError as error:
        raise UserError(f"{path}: {error} is missing; see prompts/Smiling_Male.json for the form") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a prompt file: {error}; see prompts/Smiling_Male.json for the form") from error
    return prompts


def prompts_of_type(prompts: Prompts, prompt_type: str) -> dict[str, list[str]]:
    """The prompts of each cell. Raises `UserError` where the file has none of that type."""
    if prompt_type not in prompts.prompts:
        raise UserError(
            f"the prompts of {prompts.pair} have no type {prompt_type}; they have {', '.join(prompts.prompts)}"
        )
    return prompts.prompts[prompt_type]


def _require_texts(value, where: str) -> None:
    if not (isinstance(value, list) and value and all(isinstance(text, str) and text.strip() for text in value)):
        raise ValueError(f"{where} must be a list of texts that are not empty")
