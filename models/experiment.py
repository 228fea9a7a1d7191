"""An experiment: methods and seeds on one data set.

Checks everything first, then trains and records what is missing.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from torch import nn

from datasets.decoding import check_some
from datasets.images import fingerprint
from datasets.real import read_lists
from datasets.real_faces import fingerprints, labelled, load_faces
from datasets.synthetic import SyntheticImages, SyntheticSets
from models.averaging import batch_norms
from models.candidates import finalists, made_from, with_auto, with_candidates
from models.checks import check_flags, check_targets, check_to_come
from models.classifier import head_names, linear_head, new_classifier, outline
from models.facts import facts_of
from models.methods import of_network
from models.options import Method, parse_method
from models.recorded import adopt_best, check_output, method_settings
from models.result import train_and_record
from models.run import Run
from models.selection import check_top_k
from models.settings import Settings
from models.tensorboard import check_tensorboard
from models.top_k import count_of, counted
from models.weights import content_of
from utils.device import be_deterministic
from utils.environment import environment
from utils.errors import Diverged
from utils.files import locked
from utils.machine import check_compile
from utils.records import read_record, record_folder
from utils.same_settings import check_settings

LOCKS = ".locks"  # folder in the output
HAND_OVER = 0.01  # seconds in which a process that waits for a seed gets it, before this one comes back to it


class Experiment:
    """The methods and seeds of some settings, on their data; `known` holds all methods by name.

    The constructor reads the lists and checks methods, files, weights and the records in the output. It raises
    `UserError` for any fault in them. `load` then decodes the images.
    """

    def __init__(self, settings: Settings, known: dict[str, Callable]):
        if settings.deterministic:
            be_deterministic()
        if settings.tensorboard:
            check_tensorboard()
        self.settings, self.device, self.sets = settings, settings.compute.device, {}
        self.diverged = []  # what is to be said at the end
        self.choices = {}  # of each method that chooses, by label: a `models.choice.Choice` for each seed
        network = outline(settings.network, settings.width, settings.image_size)
        check_flags(settings, network)
        self.tensors = sum(1 for _ in network.parameters())
        self.known = known
        if settings.network != "resnet18":
            self.known = of_network(known, network, head_names(network, settings.network))
        self.flags = {name.replace("_", "-"): value for name, value in vars(settings).items()}
        self.flags["has-batch-norm"] = bool(batch_norms(network))
        self.flags["top-k"] = count_of(settings.top_k, self.tensors)
        asked = self._asked_methods(network)
        self.lists = read_lists(settings)
        self.train_labels = labelled(np.empty((0, 1, 1, 3), np.uint8), self.lists.tables["train"], self.lists.pair)
        check_targets(settings, asked, self.train_labels.targets)
        self.flags["train-labels"] = self.train_labels
        self.flags["images-of-biased-model"] = settings.pre_train_epochs * len(self.train_labels)
        self.asked, self.methods = {method.label for method in asked}, self.with_candidates(asked)
        self.finalists = {
            method.label: finalists(method, self.known, self.flags, self.tensors) for method in self.methods
        }
        self.finals = {
            label: [self.with_candidates([final]) for final in found.values()]
            for label, found in self.finalists.items()
        }
        self.of_erm = self._erm_settings()
        self.environment = environment(self.device)  # now, because files and packages may change during training
        self._check_top_k()
        if settings.compile:  # last, because it takes seconds
            check_compile(self.device)
        if begun(settings.output):
            self.of_erm["data"] = fingerprints(self.lists, settings)
        self._check_output(drawn=False)

    def describe(self) -> str:
        """Return the first line of a dry run, after reading some of the images. Raises `UserError` if too few are to come."""
        lists, settings = self.lists, self.settings
        paths = [lists.folder / name for name in lists.tables["train"].index]
        check_some(paths, settings.decode_size, settings.real_crop)
        counts = ", ".join(f"{len(table)} {split}" for split, table in lists.tables.items())
        labels = ", ".join(method.label for method in self.methods)
        seeds = list(settings.seeds)
        check_to_come(self.methods, settings, lists.pair, self.train_labels)
        return f"{lists.pair.name}: {counts} images; {labels}; seeds {seeds}; on {self.device}, {settings.precision}"

    def load(self) -> None:
        """Decode the images and prepare the synthetic sets of each method.

        Raises `UserError` if a file is no image, a group has too few images, or a record was made with other images.
        """
        settings = self.settings
        self.real = load_faces(self.lists, settings)
        self.images = SyntheticImages(
            settings.synthetic_data_root,
            self.lists.pair,
            number_imbalanced=settings.number_imbalanced_synthetic,
            number_held_out=settings.number_held_out_synthetic,
            cache=settings.cache_folder,
            decode_size=settings.decode_size,
            min_faithfulness=settings.min_faithfulness,
            tested=[self.lists.folder / name for name in self.lists.tables["test"].index],
            device=self.device,
        )
        self.sets = {method.label: self._sets(method) for method in self._all_methods()}
        self.of_erm["data"] = {split: fingerprint(faces) for split, faces in self.real.items()}
        self._check_output(drawn=True)

    def runs(self) -> Iterator[Run]:
        """Yield one run for each seed: free seeds first, then those that another process held and has left."""
        others = list(self.settings.seeds)
        for run in self.free_runs():
            others.remove(run.seed)
            yield run
        for seed in others:
            print(f"seed {seed} is run by another process; waiting for it", flush=True)
            with locked(self._lock(seed), wait=True):
                yield self.run(seed)

    def free_runs(self) -> Iterator[Run]:
        """Yield one run for each seed that no other process holds; it is held until the next one."""
        for seed in self.settings.seeds:
            with locked(self._lock(seed), wait=False) as mine:
                if mine:
                    yield self.run(seed)
            time.sleep(HAND_OVER)

    def record(self, method: Method, run: Run) -> None:
        """Train a method and write its record, unless there is one.

        Raises `UserError` if the record was made with other settings, and `Diverged` if the training did.
        """
        folder, asked = record_folder(self.settings.output, method.folder, run.seed), self._settings(method)
        if found := read_record(folder, "settings"):
            check_settings(found.settings, asked, folder)
            if method.name == "erm" and "weights_content" not in found.settings:
                self.of_erm.pop("weights_content", None)  # an older record lacks it, so the methods beside it do too
            print(f"{folder} is recorded already")
            return
        made_from = [other for other in self.made_from(method) if self.is_recorded(other, run.seed)]
        if (method.copies or method.changes) and not made_from:
            raise Diverged(f"seed {run.seed} {method.label}: what it is made from diverged; lower the learning rate")
        if method.copies:
            adopt_best(self.settings.output, made_from, method, run.seed, asked)
        else:
            run.settings, run.repeat = method.applied(self.settings), method.options.get("repeat", 1)
            run.made_from = tuple(other.label for other in made_from)
            run.choice = self.choices[method.label][run.seed] if method.chooses else None
            train_and_record(method, run, self.sets[method.label], folder, asked, self.environment)

    def _asked_methods(self, network: nn.Module) -> list[Method]:
        texts = [counted(text, self.tensors) for text in ("erm", *self.settings.methods)]
        asked = [parse_method(text, self.known, self.flags) for text in texts]
        if self.settings.settings == "auto":
            asked = [with_auto(method, self.known, self.flags) for method in asked]
        if any(method.name == "last-layer" for method in asked):
            linear_head(network, self.settings.network)  # raises if the head can't be fitted alone
        return asked

    def _erm_settings(self) -> dict:
        """Return the settings of the biased model for its record, without the fingerprint of its data."""
        settings, pair = self.settings, self.lists.pair
        network = settings.network
        start = new_classifier(settings.weights, settings.seeds[0], settings.width, network, settings.image_size)
        kept = settings.of_pre_training()
        if settings.weights != "none":
            kept["weights_content"] = content_of(start, head_names(start, network))
        kept |= {"target": pair.target, "protected": list(pair.protected)}
        if pair.values:
            kept["values"] = list(map(list, pair.values))
        return kept | {"number_train_data_real": len(self.train_labels)}

    def _check_top_k(self) -> None:
        ks = {method.options["top-k"] for method in self.methods if "top-k" in method.options} - {"auto"}
        for k in ks:
            check_top_k(k, self.tensors)
        if ks and self.settings.top_k is None and self.settings.network != "resnet18":
            k, network = self.flags["top-k"], self.settings.network
            print(f"{network}: --top-k {k} of {self.tensors} tensors, the paper's fraction", flush=True)

    def _all_methods(self) -> list[Method]:
        """Return the methods, and those that may be trained in full once short trials are done."""
        return [*self.methods, *(each for finals in self.finals.values() for final in finals for each in final)]

    def is_recorded(self, method: Method, seed: int) -> bool:
        """Return True if there is a record of a method and seed."""
        return read_record(record_folder(self.settings.output, method.folder, seed)) is not None

    def with_candidates(self, methods: list[Method]) -> list[Method]:
        """Return the methods, each after those that it is made from."""
        return with_candidates(methods, self.known, self.flags, self.tensors)

    def made_from(self, method: Method) -> list[Method]:
        """Return the methods whose results a method copies, changes or chooses among."""
        return made_from(method, self.known, self.flags, self.tensors)

    def starts_from(self, method: Method) -> list[Method]:
        """Return the methods that must be recorded before one: those that it is made from, and the biased model if it may ask for it."""
        biased = [other for other in self.methods if other.name == "erm" and other.trains]
        free = facts_of(method.train).from_scratch
        return [*([] if free else biased), *self.made_from(method)]

    def _sets(self, method: Method) -> SyntheticSets | None:
        """Return the synthetic images of a method; None if it needs none."""
        if not method.needs_synthetic:
            return None
        prompt_type, degree = method.options["prompt-type"], method.options.get("bias-degree")
        sizes = method.balanced_sizes(self.train_labels, self.settings.number_balanced_synthetic)
        return self.images.sets(prompt_type, sizes, degree, must_hold_out=method.must_hold_out)

    def _settings(self, method: Method) -> dict:
        """Return a method's settings for its record; before `load` without those of synthetic images."""
        sets = self.sets.get(method.label)
        return method_settings(method, self.settings, self.of_erm, self.train_labels, sets)

    def _check_output(self, *, drawn: bool) -> None:
        asked = {method.folder: self._settings(method) for method in self._all_methods()}
        check_output(self.settings.output, asked, self.of_erm, self.settings.seeds, drawn=drawn)

    def run(self, seed: int) -> Run:
        """Return a run of a seed."""
        erm = record_folder(self.settings.output, "erm", seed)
        return Run(self.settings, self.real, seed, erm / "model.safetensors")

    def _lock(self, seed: int) -> Path:
        return self.settings.output / LOCKS / str(seed)


def begun(output: Path) -> bool:
    """Return True if an output has a record, or a training that has begun."""
    try:
        return any(output.glob("*/*seed_*/*"))
    except FileNotFoundError:  # another process has just finished one
        return True
