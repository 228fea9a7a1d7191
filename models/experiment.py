"""Everything around the methods of an experiment: what it reads and refuses, which seeds it runs, and what it records."""

import shlex
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from datasets.images import LabelledImages, check_some, fingerprint
from datasets.real import fingerprints, labelled, load_faces, read_lists
from datasets.synthetic import SyntheticImages, SyntheticSets
from models.batches import evaluate, predict
from models.classifier import head_names, linear_head, new_classifier, outline
from models.methods import of_network
from models.options import Method, candidates, count_of, counted, parse_method, with_candidates
from models.ranking import batches_used
from models.recorded import adopt_best, check_output, method_settings
from models.run import Outcome, Run
from models.selection import check_top_k
from models.settings import Settings
from models.tensorboard import check_tensorboard
from models.training import batch_norms, memory_named
from models.weights import as_safetensors, content_of
from utils.arguments import be_deterministic
from utils.checkpoint import Unfinished
from utils.environment import environment
from utils.errors import UserError
from utils.files import locked
from utils.machine import check_compile
from utils.metrics import fairness_metrics, positive
from utils.records import ROOT, read_record, record_folder, write_record
from utils.same_settings import check_settings


class Experiment:
    """The methods and seeds that the settings ask for, on their data.

    To make one reads the lists and checks methods, files, weights and what is recorded in the output already, and raises
    `UserError` for what is wrong; `load` decodes the images. `known` are the methods there are, by name.
    """

    def __init__(self, settings: Settings, known: dict[str, Callable]):
        if settings.deterministic:
            be_deterministic()
        if settings.tensorboard:
            check_tensorboard()
        self.settings, self.device = settings, settings.compute.device
        network = outline(settings.network, settings.width, settings.image_size)
        if settings.batch_norm != "follow" and not batch_norms(network):
            raise UserError(
                f"--batch-norm {settings.batch_norm}: {settings.network} has no batch norm; leave the flag out"
            )
        if settings.ranking_patience and settings.ranking_batches != "auto":
            raise UserError(
                f"--ranking-patience {settings.ranking_patience} says when --ranking-batches auto stops: add that, or leave it out"
            )
        self.known = known
        if settings.network != "resnet18":
            self.known = of_network(known, network, head_names(network, settings.network))
        self.tensors = sum(1 for _ in network.parameters())
        self.flags = {name.replace("_", "-"): value for name, value in vars(settings).items()}
        self.flags["top-k"] = count_of(settings.top_k, self.tensors)
        texts = [counted(text, self.tensors) for text in ("erm", *settings.methods)]
        asked = [parse_method(text, self.known, self.flags) for text in texts]
        self.methods = with_candidates(asked, self.known, self.flags, self.tensors)
        if any(method.name == "last-layer" for method in self.methods):
            linear_head(network, settings.network)  # refuses a network whose head can't be fitted alone
        self.lists, self.sets = read_lists(settings), {}
        pair, table = self.lists.pair, self.lists.tables["train"]
        self.train_labels = labelled(np.empty((0, 1, 1, 3), np.uint8), table, pair)
        start = new_classifier(
            settings.weights, settings.seeds[0], settings.width, settings.network, settings.image_size
        )
        named = settings.weights != "none"
        self.of_erm = settings.of_pre_training() | {
            **({"weights_content": content_of(start, head_names(start, settings.network))} if named else {}),
            "target": pair.target,
            "protected": list(pair.protected),
            "number_train_data_real": len(table),
        }
        self.environment = environment(self.device)  # now: files and packages may change while it trains
        ks = {method.options["top-k"] for method in self.methods if "top-k" in method.options} - {"auto"}
        for k in ks:
            check_top_k(k, self.tensors)
        if settings.compile:  # last: it takes seconds
            check_compile(self.device)
        if ks and settings.top_k is None and settings.network != "resnet18":
            k = self.flags["top-k"]
            print(f"{settings.network}: --top-k {k} of {self.tensors} tensors, the paper's fraction", flush=True)
        if any(settings.output.glob("*/*seed_*/*")):  # a record or a training that has begun
            self.of_erm["data"] = fingerprints(self.lists, settings)
        self._check_output(drawn=False)

    def describe(self) -> str:
        """What a dry run says, after a look at some of the images."""
        lists, settings = self.lists, self.settings
        check_some(
            [lists.folder / name for name in lists.tables["train"].index], settings.decode_size, settings.real_crop
        )
        counts = ", ".join(f"{len(table)} {split}" for split, table in lists.tables.items())
        labels = ", ".join(method.label for method in self.methods)
        seeds = list(settings.seeds)
        return f"{lists.pair.name}: {counts} images; {labels}; seeds {seeds}; on {self.device}, {settings.precision}"

    def load(self) -> None:
        """Decode the images, and draw for each method. Raises `UserError` where a file is no image or a group has too few."""
        settings, pair = self.settings, self.lists.pair
        self.real = load_faces(self.lists, settings)
        self.images = SyntheticImages(
            settings.synthetic_data_root,
            pair,
            number_imbalanced=settings.number_imbalanced_synthetic,
            number_held_out=settings.number_held_out_synthetic,
            cache=settings.cache_folder,
            decode_size=settings.decode_size,
            min_faithfulness=settings.min_faithfulness,
            tested=[self.lists.folder / name for name in self.lists.tables["test"].index],
            device=self.device,
        )
        self.sets = {method.label: self._sets(method) for method in self.methods}
        self.of_erm["data"] = {split: fingerprint(faces) for split, faces in self.real.items()}
        self._check_output(drawn=True)

    def runs(self) -> Iterator[Run]:
        """A run of each seed that no other process is at; then, when that is done, of what another one left over.

        So the same command started once on each GPU spreads the seeds over them.
        """
        others = []
        for seed in self.settings.seeds:
            with locked(self._lock(seed), wait=False) as mine:
                if mine:
                    yield self._run(seed)
                else:
                    others.append(seed)
        for seed in others:
            print(f"seed {seed} is run by another process; waiting for it", flush=True)
            with locked(self._lock(seed), wait=True):
                yield self._run(seed)

    def record(self, method: Method, run: Run) -> None:
        """Train a method and write its record, unless it is there. Raises `UserError` where it was made otherwise."""
        folder, asked = record_folder(self.settings.output, method.folder, run.seed), self._settings(method)
        found = read_record(folder, "settings")
        if found:
            check_settings(found.settings, asked, folder)
            if method.name == "erm" and "weights_content" not in found.settings:
                self.of_erm.pop("weights_content", None)  # of an older version: no record says what was not noted then
            print(f"{folder} is recorded already")
        elif method.options.get("top-k") == "auto":
            choices = candidates(method, self.known, self.flags, self.tensors)
            adopt_best(self.settings.output, choices, method, run.seed, asked)
        else:
            run.method = method.folder
            run.unfinished = Unfinished(folder, asked, self.settings.checkpoint_seconds, self.environment)
            start = time.perf_counter()
            outcome = train_method(method, run, self.sets[method.label])
            seconds = {"train": round(run.unfinished.spent + time.perf_counter() - start, 2)}
            content, predictions = self._judged(outcome, seconds)
            content |= batches_used(outcome.tables)
            begun = {key: value for key, value in run.unfinished.begun.items() if content.get(key) != value}
            content |= {"begun": begun} if begun and run.unfinished.spent else {}
            content["protected_labels"] = method.protected_labels(self.settings.select_by)
            content = {"method": method.label, "seed": run.seed, **content, "settings": asked}
            tables = {"curve": pd.DataFrame(outcome.curve), **predictions, **outcome.tables}
            weights = as_safetensors(outcome.model)
            write_record(folder, content, tables, lambda path: path.write_bytes(weights))
            run.unfinished.remove()

    def _sets(self, method: Method) -> SyntheticSets | None:
        """The synthetic images of a method, the flag's number of each group unless it says otherwise; None where it has none."""
        if not method.needs_synthetic:
            return None
        options = method.options
        sizes = method.balanced_sizes(self.train_labels, self.settings.number_balanced_synthetic)
        must_hold_out = options.get("top-k") == "auto"
        return self.images.sets(options["prompt-type"], sizes, options.get("bias-degree"), must_hold_out=must_hold_out)

    def _settings(self, method: Method) -> dict:
        """All that a method's result depends on, for its record; before `load` less what synthetic images tell."""
        sets = self.sets.get(method.label)
        return method_settings(method, self.settings, self.of_erm, self.train_labels, sets)

    def _check_output(self, *, drawn: bool) -> None:
        """Raise `UserError` if the output holds what was made with other settings."""
        asked = {method.folder: self._settings(method) for method in self.methods}
        check_output(self.settings.output, asked, self.of_erm, self.settings.seeds, drawn=drawn)

    def _judged(self, outcome: Outcome, seconds: dict) -> tuple[dict, dict[str, pd.DataFrame]]:
        """The metrics of a model and where they come from, and tables of its logit of each test and val image."""
        compute, start = self.settings.compute, time.perf_counter()
        faces = {split: self.real[split] for split in ("test", "val")}
        logits = {split: predict(outcome.model, data, compute) for split, data in faces.items()}
        metrics = {
            split: fairness_metrics(data.target, data.protected, positive(logits[split]), data.groups)
            for split, data in faces.items()
        }
        judged = {"metrics": metrics["test"], "val_metrics": metrics["val"]}
        if outcome.held_out:
            judged["held_out_metrics"] = evaluate(outcome.model, outcome.held_out, compute)
        content = {
            **judged,
            "seconds": {**seconds, "test": round(time.perf_counter() - start, 2)},
            "command": shlex.join(["python", "train.py", *sys.argv[1:]]).replace(f"{ROOT}/", ""),
            **self.environment,
            "threads": torch.get_num_threads(),  # a training that goes on takes those it began with
        }
        return content, {f"{split}_predictions": _predictions(faces[split], logits[split]) for split in faces}

    def _run(self, seed: int) -> Run:
        erm = record_folder(self.settings.output, "erm", seed)
        return Run(self.settings, self.real, seed, erm / "model.safetensors")

    def _lock(self, seed: int) -> Path:
        return self.settings.output / f".seed_{seed}.lock"


def train_method(method: Method, run: Run, sets: SyntheticSets | None) -> Outcome:
    """Train a method, which gets what its parameters ask for. Raises `UserError` where the memory does not suffice."""
    needs = {"synthetic": sets.of_seed(run.seed)} if method.needs_synthetic else {}
    if method.fine_tunes:
        needs["biased_model"] = run.biased_model()
    own = run.settings.fine_tune_batch_size if method.fine_tunes else None
    with memory_named(run.settings.batch_size, f"seed {run.seed} {method.label}", fine_tune=own):
        outcome = method.train(run, **needs, **method.keywords)
    if not isinstance(outcome, Outcome):
        raise TypeError(
            f"method {method.name} gave a {type(outcome).__name__}, not what run.pre_train or run.fine_tune gives"
        )
    return outcome


def _predictions(faces: LabelledImages, logits: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"name": faces.names, "target": faces.target, "protected": faces.protected, "logit": logits})
