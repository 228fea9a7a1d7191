"""Ask a language model for the sentences of a pair, one at a time, and take only good ones."""

import json
import os
import re
from pathlib import Path

from transformers import CLIPTokenizer

from prompts import FOLDER, Prompts
from prompts.check import SYNONYMS, TOKENIZER, frequency_gaps, prompt_faults, states, word_frequencies
from prompts.design import WITHOUT_POSE, cell_words, sentence
from utils.errors import UserError
from utils.progress import progress
from utils.seeds import derived_seed

INSTRUCTION = FOLDER / "instruction.txt"
ANSWER = re.compile(r"[A-Za-z0-9 ,.;:'()-]+")


class Writer:
    """Asks a model for the sentence of each cell and context until all are good.

    `partial` keeps what was had, with the request it belongs to; another request begins anew.
    """

    def __init__(self, prompts, template, contexts, model, seed, batch_size, partial, origin):
        self.prompts, self.contexts, self.model, self.seed = prompts, contexts, model, seed
        self.batch_size, self.partial, self.origin, self.template = batch_size, partial, origin, template
        self.tokenizer = CLIPTokenizer.from_pretrained(TOKENIZER)
        self.instruction = INSTRUCTION.read_text(encoding="utf-8")
        self.request = {"pair": prompts.pair, "words": prompts.words, "template": template, "seed": seed}
        self.request |= {"contexts": json.loads(json.dumps(contexts)), "model": origin["model"]}
        self.answers, self.reasons = {}, {}
        for cell, number, text in self._kept():
            if not self._accept(cell, number, text)[1]:
                self.answers[cell, number] = text

    def write(self, attempts: int, limit: float) -> dict[str, list[str]]:
        """The sentences of every cell. Raises `UserError`, naming what could not be had, after so many attempts."""
        places = [(cell, i) for i in range(len(self.contexts)) for cell in self.prompts.cells]
        for attempt in range(attempts):
            missing = [place for place in places if place not in self.answers]
            if not missing:
                break
            self._ask(missing, attempt)
            if len(self.answers) == len(places) and attempt < attempts - 1:
                for place in self._unbalanced(limit):
                    self.reasons[place] = "holds a word that goes with its cell"
                    del self.answers[place]
        missing = [place for place in places if place not in self.answers]
        if missing:
            shown = [f"{cell} {i + 1}: {self.reasons[cell, i]}" for cell, i in missing[:10]]
            raise UserError(
                f"{len(missing)} of {len(places)} sentences could not be had in {attempts} attempts; those that were are "
                f"kept in {self.partial}; run it again with more --attempts or another --seed, or use --template:\n  "
                + "\n  ".join(shown)
            )
        return {cell: [self.answers[cell, i] for i in range(len(self.contexts))] for cell in self.prompts.cells}

    def _ask(self, places, attempt: int) -> None:
        with progress(desc=f"attempt {attempt + 1}", total=len(places), unit="sentence") as bar:
            for start in range(0, len(places), self.batch_size):
                batch = places[start : start + self.batch_size]
                seed = derived_seed(self.seed, *batch[0], attempt, len(self.answers))  # a later run asks anew
                questions = [self._question(*place) for place in batch]
                replies = self.model.answer(questions, [self._basic(*place) for place in batch], seed)
                for place, reply in zip(batch, replies, strict=True):
                    text, fault = self._accept(*place, reply)
                    if fault:
                        self.reasons[place] = fault
                    else:
                        self.answers[place] = text
                self._save()
                bar.update(len(batch))
                bar.set_postfix(good=len(self.answers), refresh=False)

    def _question(self, cell: str, number: int) -> str:
        _, details, _ = self.contexts[number]
        opposite = [word for words in self.prompts.opposite_words(cell).values() for word in words]
        forbidden = dict.fromkeys(w for o in opposite for w in (o, *SYNONYMS.get(o, ())))
        basic = self._basic(cell, number)
        return self.instruction.format(sentence=basic, details="; ".join(details), forbidden=", ".join(forbidden))

    def _basic(self, cell: str, number: int) -> str:
        return sentence(self.template, cell_words(self.prompts.own_words(cell), number), self.contexts[number][0])

    def _accept(self, cell: str, number: int, reply: str) -> tuple[str, str]:
        """The sentence in a reply, and what is wrong with it ("" where nothing is). The reply may be anything."""
        text = reply.strip().strip("\"'`").strip().rstrip(".").strip()
        if not ANSWER.fullmatch(text):
            return text, f"not one line of plain text: {text[:60]!r}"
        if not text.startswith(self._basic(cell, number)):
            return text, f"does not begin as told: {text[:60]!r}"
        _, details, pose = self.contexts[number]
        left_out = [detail for detail in details if not states(text, re.sub(r"^an? ", "", detail))]
        if left_out:
            return text, f"leaves out {', '.join(left_out)}"
        found = prompt_faults(self.prompts, cell, ", ".join(filter(None, (text, pose))), self.tokenizer)
        if text in self.answers.values():
            found.append("was given before")
        return text, "; ".join(found)

    def _unbalanced(self, limit: float) -> list[tuple[str, int]]:
        """The answers that hold, of their own accord, a word more frequent in their cell than in another."""
        sentences = {c: [self.answers[c, i] for i in range(len(self.contexts))] for c in self.prompts.cells}
        prompts = Prompts(**{**vars(self.prompts), "prompts": {WITHOUT_POSE: sentences}})
        table = word_frequencies(prompts, WITHOUT_POSE)
        gaps = frequency_gaps(prompts, table)
        places = []
        for word in gaps.index[gaps > limit + 1e-9]:
            most = table.loc[word].idxmax()
            given = [any(states(d, word) for d in details) for _, details, _ in self.contexts]
            places += [(most, i) for i, text in enumerate(sentences[most]) if states(text, word) and not given[i]]
        return list(dict.fromkeys(places))

    def _kept(self) -> list:
        try:
            content = json.loads(self.partial.read_text(encoding="utf-8"))
            return content["answers"] if content["request"] == self.request else []
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def _save(self) -> None:
        answers = [[cell, i, text] for (cell, i), text in self.answers.items()]
        write_whole(self.partial, json.dumps({"request": self.request, "answers": answers}, indent=1))


def write_whole(path: Path, text: str) -> None:
    """Write a text file beside its place, then rename it into it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)
