"""Ask a language model for the sentences of a pair, one at a time, and take only good ones."""

import json
import os
import re
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from prompts import FOLDER, Prompts
from prompts.answers import captions, without_thoughts
from prompts.check import frequency_gaps, opposites, prompt_faults, states, word_frequencies
from prompts.design import WITHOUT_POSE, Context, basic_prompt, with_pose
from prompts.endpoint import Endpoint
from prompts.replies import Reply
from utils.errors import UserError
from utils.files import write_whole
from utils.progress import progress
from utils.seeds import derived_seed

if TYPE_CHECKING:
    from prompts.backends import LocalModel

INSTRUCTION = FOLDER / "instruction.txt"
ANSWER = re.compile(r"[A-Za-z0-9 ,.;:'()-]+")


@dataclass
class Writer:
    """A dialogue with a model, for the sentence of each group and context until all are good.

    The file `partial` keeps every good sentence at once, with who wrote it. A later run reuses those that fit its own
    request, whatever its model, seed or flags.
    """

    prompts: Prompts
    template: str
    contexts: list[Context]
    model: "Endpoint | LocalModel"
    seed: int
    batch_size: int
    partial: Path
    origin: dict

    def __post_init__(self):
        self.instruction = INSTRUCTION.read_text(encoding="utf-8")
        self.answers, self.sources, self.reasons = {}, {}, {}
        self._take_up()

    def write(self, attempts: int, limit: float) -> dict[str, list[str]]:
        """Return the sentences of every group. Raises `UserError`, naming the missing ones, after the last attempt."""
        places = [(group, i) for i in range(len(self.contexts)) for group in self.prompts.groups]
        for attempt in range(attempts):
            missing = [place for place in places if place not in self.answers]
            if not missing:
                break
            try:
                self._ask(missing, attempt)
            except UserError as error:
                kept = f"{len(self.answers)} of {len(places)} sentences are kept in {self.partial}"
                goes_on = f"; {kept}, and the same command goes on" if self.answers else ""
                raise UserError(f"{error}{goes_on}") from error
            if len(self.answers) == len(places) and attempt < attempts - 1:
                for place in self._unbalanced(limit):
                    self.reasons[place] = "holds a word that goes with its group"
                    del self.answers[place]
        missing = [place for place in places if place not in self.answers]
        if missing:
            shown = [f"{group} {i + 1}: {self.reasons[group, i]}" for group, i in missing[:10]]
            raise UserError(
                f"no good answer for {len(missing)} of {len(places)} sentences in {attempts} attempts; the good ones "
                f"are kept in {self.partial}; run it again with more --attempts or another --seed, or use --template:\n  "
                + "\n  ".join(shown)
            )
        return self._sentences()

    def _sentences(self) -> dict[str, list[str]]:
        return {group: [self.answers[group, i] for i in range(len(self.contexts))] for group in self.prompts.groups}

    def _ask(self, places: list[tuple[str, int]], attempt: int) -> None:
        with progress(desc=f"attempt {attempt + 1}", total=len(places), unit="sentence") as bar:
            for start in range(0, len(places), self.batch_size):
                batch = places[start : start + self.batch_size]
                seed = derived_seed(self.seed, *batch[0], attempt, len(self.answers))  # a later run asks anew
                questions = [self._question(*place) for place in batch]
                for number, reply in self.model.answer(questions, [self._basic(*place) for place in batch], seed):
                    self._take(batch[number], reply)
                    bar.update()
                    bar.set_postfix(good=len(self.answers), refresh=False)

    def _take(self, place: tuple[str, int], reply: Reply) -> None:
        """Keep a good answer, also on disk, or note what is wrong with it."""
        text, fault = ("", reply.fault) if reply.fault else self._accept(*place, reply.text)
        if fault:
            cut_off = reply.cut_off and "--max-new-tokens" not in fault
            self.reasons[place] = f"{fault}; it was cut off: raise --max-new-tokens" if cut_off else fault
            return
        self.answers[place] = text
        self.sources[place] = {key: self.origin[key] for key in ("model", "served_by") if key in self.origin}
        self.sources[place]["sampling"] = self.model.sent(self.seed)
        self._save()

    def origin_of_all(self) -> dict:
        """Return the origin of most of the sentences, and under "others" that of those which an earlier run wrote otherwise."""
        counts = Counter(json.dumps(self.sources[place], sort_keys=True) for place in self.answers)
        (most, _), *others = counts.most_common()
        others = [{**json.loads(source), "sentences": count} for source, count in others]
        return {**self.origin, **json.loads(most), **({"others": others} if others else {})}

    def _question(self, group: str, number: int) -> str:
        basic, details = self._basic(group, number), "; ".join(self.contexts[number].details)
        opposite = [word for words in self.prompts.opposite_words(group).values() for word in words]
        return self.instruction.format(sentence=basic, details=details, forbidden=", ".join(opposites(opposite)))

    def _basic(self, group: str, number: int) -> str:
        return basic_prompt(self.prompts, self.template, group, number, self.contexts[number].age)

    def _accept(self, group: str, number: int, reply: str) -> tuple[str, str]:
        """Return the sentence in a reply, and what is wrong with it ("" for nothing). The reply may be anything."""
        answer = without_thoughts(reply)
        if answer is None:
            return "", "thoughts without an answer: raise --max-new-tokens, or ask a model that does not think first"
        found = captions(answer, self._basic(group, number))
        if not found:
            return answer, f"does not begin as told: {' '.join(answer.split())[:60]!r}"
        faults = [self._faults(group, number, text) for text in found]
        best = faults.index("") if "" in faults else 0
        return found[best], faults[best]

    def _faults(self, group: str, number: int, text: str) -> str:
        """Return what is wrong with a sentence that begins as told."""
        if not ANSWER.fullmatch(text):
            return f"not one line of plain text: {text[:60]!r}"
        context = self.contexts[number]
        left_out = [detail for detail in context.details if not states(text, re.sub(r"^an? ", "", detail))]
        if left_out:
            return f"leaves out {', '.join(left_out)}"
        found = prompt_faults(self.prompts, group, with_pose(text, context))
        if text in self.answers.values():
            found.append("was given before")
        return "; ".join(found)

    def _unbalanced(self, limit: float) -> list[tuple[str, int]]:
        """Return the answers to which the model added a word that is more frequent in their group than in another."""
        sentences = self._sentences()
        prompts = replace(self.prompts, prompts={WITHOUT_POSE: sentences})
        table = word_frequencies(prompts, WITHOUT_POSE)
        gaps = frequency_gaps(prompts, table)
        places = []
        for word in gaps.index[gaps > limit + 1e-9]:
            most = table.loc[word].idxmax()
            given = [any(states(detail, word) for detail in context.details) for context in self.contexts]
            places += [(most, i) for i, text in enumerate(sentences[most]) if states(text, word) and not given[i]]
        return list(dict.fromkeys(places))

    def _take_up(self) -> None:
        """Reuse the good sentences of an earlier run; a file that holds others is set aside."""
        if not self.partial.exists():
            return
        lost = 0
        try:
            content = json.loads(self.partial.read_text(encoding="utf-8"))
            earlier = {"model": content["request"].get("model"), "sampling": {"seed": content["request"].get("seed")}}
            for group, number, text, *source in content["answers"]:
                place = group, number
                if self._belongs(*place) and not self._accept(*place, text)[1]:
                    self.answers[place], self.sources[place] = text, source[0] if source else earlier
                else:
                    lost += 1
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            lost = "some"
        if lost:
            aside = next(p for n in range(1, 10_000) if not (p := self.partial.with_suffix(f".partial-{n}")).exists())
            os.replace(self.partial, aside)
            print(f"{self.partial} holds {lost} sentences of another request: set aside as {aside}", file=sys.stderr)
            if self.answers:
                self._save()
        if self.answers:
            print(f"{len(self.answers)} sentences of {self.partial} are used again", file=sys.stderr)

    def _belongs(self, group: object, number: object) -> bool:
        return group in self.prompts.groups and isinstance(number, int) and 0 <= number < len(self.contexts)

    def _save(self) -> None:
        answers = [[group, i, text, self.sources[group, i]] for (group, i), text in self.answers.items()]
        request = {"pair": self.prompts.pair, "template": self.template}
        write_whole(self.partial, json.dumps({"request": request, "answers": answers}, indent=1))
