"""Train a biased classifier, then make it fairer by selective fine-tuning on synthetic faces (AIM-Fair).

    python train.py --real-data-path DIR --synthetic-data-root DIR --target-sensitive Smiling_Male --output DIR

For every seed: (1) pre-train ResNet-18 on a biased list of real images (method `erm`); (2) take the mean
gradient at its weights on real, biased synthetic and balanced synthetic images; (3) choose the parameter
tensors that react strongly to bias and weakly to the domain; (4) fine-tune those alone on balanced
synthetic images (method `aim-fair`). The defaults are the paper's. Records go to
<output>/<method>/seed_<n>/, a table over seeds to <output>/summary.md; a seed already recorded is not run
again.

--methods takes any number of others to compare with, which share the seed's biased model and its gradients:
    real images alone          erm cvar-dro lff jtt eiil, and group-dro, which trains on protected labels
    with synthetic ones        synthetic-only supplement repair
    fine-tuned on synthetic    linear-probe full update-block-N freeze-block-N (stem, 1, 2, 3, 4, fc) random-mask
                               cosine aim-fair
Options follow a colon: aim-fair:top-k=50, aim-fair:ratio=0.5, aim-fair:bias-degree=2/8, random-mask:share=0.4,draw=2,
synthetic-only:prompt-type=plain, jtt:epochs=2,weight=20.
"""

import argparse
import hashlib
import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save as safetensors_bytes

from datasets.celeba import check_images
from datasets.images import FaceSet, check_some
from datasets.real import DATASETS, check_evaluation_splits, read_real, real_faces, training_list
from datasets.synthetic import SyntheticImages, SyntheticPlan
from models.classifier import new_classifier
from models.methods import AUTO_TOP_K, Method, candidates, parse_method, top_k, with_candidates
from models.methods.mixtures import short_of_largest
from models.seed_run import Experiment, Outcome, SeedRun
from models.sensitivity import check_top_k
from models.training import ACCURACY, WORST_GROUP, Compute, Schedule, evaluate, predict
from utils.arguments import (
    be_deterministic,
    choose_device,
    non_negative_float,
    positive_float,
    positive_int,
    seed_number,
)
from utils.checkpoint import Unfinished
from utils.choice import choose
from utils.errors import UserError, command_line
from utils.lock import locked
from utils.metrics import fairness_metrics, positive
from utils.records import ROOT, adopt_record, check_settings, environment, read_record, record_folder, write_record
from utils.summary import write_summary

SELECT_BY = {"accuracy": ACCURACY, "worst-group": WORST_GROUP}  # --select-by, and the column of the curve it means
PAPER_CROP_SCALE = (0.08, 1.0)
NEWER_OPTIONS = ("protocol", "first-lr", "first-weight-decay")  # of methods: records made before they came lack them


def main() -> None:
    """Every method of every seed that is not recorded yet."""
    args = parse_args()
    if args.deterministic:
        be_deterministic()
    compute = Compute(
        choose_device(args.device),
        args.precision == "bf16",
        args.image_size,
        args.batch_size,
        args.compile,
        crop_scale=share_range("--crop-scale", args.crop_scale),
        keep_last_batch=args.keep_last_batch,
    )
    milestones = tuple(args.milestones)
    pre_training = Schedule(args.pre_train_epochs, args.pre_train_lr, args.weight_decay, milestones)
    fine_tuning = Schedule(args.fine_tune_epochs, args.fine_tune_lr, args.weight_decay, milestones)
    cache = args.cache or args.output / "cache"

    flags = {"top-k": args.top_k, "prompt-type": args.prompt_type, "bias-degree": args.bias_degree, "ratio": None}
    methods = with_candidates([parse_method(text, flags) for text in ["erm", *args.methods]], flags)
    pair, images, splits = read_real(args.dataset, args.real_data_path, args.target_sensitive, args.age_limit)
    splits["train"] = training_list(args.dataset, splits["train"], pair, args.number_train_data_real, args.bias_degree)
    check_evaluation_splits(splits, pair)
    check_images(images, [name for table in splits.values() for name in table.index])
    tensors = sum(1 for _ in new_classifier(args.weights, args.seeds[0], args.width).parameters())
    for k in {method.options.get("top-k") for method in methods} - {None, "auto"}:
        check_top_k(k, tensors)
    if args.dry_run:
        check_some([images / name for name in splits["train"].index], args.decode_size)
        counts = ", ".join(f"{len(table)} {split}" for split, table in splits.items())
        labels = ", ".join(method.label for method in methods)
        print(f"{pair.name}: {counts} images; {labels}; seeds {args.seeds}; on {compute.device}, {args.precision}")
        return
    # val and test are resized once, on reading: every epoch looks at them the same way
    sizes = {"train": args.decode_size, "val": args.decode_size or args.image_size}
    sizes["test"] = sizes["val"]
    real = {split: real_faces(images, table, pair, cache, sizes[split]) for split, table in splits.items()}
    real = {split: faces.on(compute.device) for split, faces in real.items()}
    synthetic = SyntheticImages(
        args.synthetic_data_root,
        pair,
        number_imbalanced=args.number_imbalanced_synthetic,
        number_held_out=args.number_held_out_synthetic,
        cache=cache,
        decode_size=args.decode_size,
        device=compute.device,
    )
    number = args.number_balanced_synthetic
    plans = {method.label: plan_for(method, synthetic, real["train"], number) for method in methods}
    erm_settings = {
        "dataset": args.dataset,
        "target": pair.target,
        "protected": list(pair.protected),
        "bias_degree": args.bias_degree,
        "number_train_data_real": len(splits["train"]),
        "data": {split: fingerprint(faces) for split, faces in real.items()},
        "weights": args.weights,
        "width": args.width,
        "epochs": args.pre_train_epochs,
        "lr": args.pre_train_lr,
        "weight_decay": args.weight_decay,
        "milestones": args.milestones,
        "batch_size": args.batch_size,
        "image_size": args.image_size,
        "precision": args.precision,
        **newer_settings(args.keep_last_batch, args.crop_scale, args.select_by),
    }
    fine_tune_settings = {"epochs": args.fine_tune_epochs, "lr": args.fine_tune_lr}

    select_by = SELECT_BY[args.select_by]
    experiment = Experiment(real, args.weights, args.width, pre_training, fine_tuning, compute, select_by)
    settings = {
        method.label: method_settings(
            method, plans[method.label], erm_settings, fine_tune_settings, args.number_imbalanced_synthetic
        )
        for method in methods
    }

    def run_seed(seed: int) -> None:
        run = SeedRun(experiment, seed, record_folder(args.output, "erm", seed) / "model.safetensors")
        for method in methods:
            folder, asked = record_folder(args.output, method.folder, seed), settings[method.label]
            if is_recorded(folder, asked):
                continue
            if method.options.get("top-k") == "auto":
                adopt_best(args.output, candidates(method, flags), method, seed, asked)
                continue
            run.unfinished, clock = Unfinished(folder, asked, args.checkpoint_seconds), Clock()
            outcome = train_method(method, run, plans[method.label])
            clock.lap("train")
            record(folder, method.label, seed, outcome, real, compute, asked, clock)
            run.unfinished.remove()

    each_by_one_process(args.seeds, args.output, run_seed)
    print(write_summary(args.output))
    print(f"records, weights and summary.md: {args.output}")


def plan_for(method: Method, synthetic: SyntheticImages, train: FaceSet, number: int) -> SyntheticPlan | None:
    """Which synthetic images a method draws, `number` of each cell unless it says otherwise; None where it draws none."""
    if not method.kind.synthetic:
        return None
    options = method.options
    if options.get("ratio") is not None:
        number = round(options["ratio"] * len(train) / len(train.cells))
    balanced = short_of_largest(train) if method.name == "repair" else dict.fromkeys(train.cells, number)
    must_hold_out = options.get("top-k") == "auto"
    return synthetic.plan(options["prompt-type"], balanced, options.get("bias-degree"), must_hold_out=must_hold_out)


def share_range(flag: str, shares: list[float]) -> tuple[float, float]:
    """Two shares of an image, the smaller first. Raises `UserError` unless they are above 0, at most 1 and in order."""
    low, high = shares
    if not 0 < low <= high <= 1:
        raise UserError(f"{flag} {low:g} {high:g}: expected two numbers above 0 and at most 1, the smaller one first")
    return low, high


def newer_settings(keep_last_batch: bool, crop_scale: list[float], select_by: str) -> dict:
    """Settings that older records lack, each left out where it is what those were made with: so they still match."""
    settings = {} if keep_last_batch else {"drop_last": True}
    if tuple(crop_scale) != PAPER_CROP_SCALE:
        settings["crop_scale"] = crop_scale
    return settings | ({"select_by": select_by} if SELECT_BY[select_by] != ACCURACY else {})


def method_settings(method: Method, plan, erm_settings: dict, fine_tune_settings: dict, number_imbalanced: int) -> dict:
    """All that a method's result depends on, for its record."""
    options = {
        key.replace("-", "_"): value
        for key, value in method.options.items()
        if key not in NEWER_OPTIONS or value != method.kind.defaults[key]
    }
    if plan is None:
        return erm_settings | ({method.name: options} if options else {})
    options["synthetic_data"] = fingerprint(plan.pool)
    options["number_balanced_synthetic"] = plan.balanced if method.name == "repair" else min(plan.balanced.values())
    if plan.biased:
        options["number_imbalanced_synthetic"] = number_imbalanced
    if not method.kind.fine_tunes:
        return erm_settings | options
    return {"biased_model": erm_settings} | options | fine_tune_settings | {"held_out_synthetic": plan.held_out}


def fingerprint(faces: FaceSet) -> str:
    """A short name for the content of a set: of all names and labels and of some of the pixels."""
    digest = hashlib.sha256(os.fsencode("\n".join(faces.names)))
    digest.update(np.stack([faces.target, faces.protected]).tobytes())
    [(some, _)] = faces.take(np.arange(0, len(faces), max(1, len(faces) // 64)))
    digest.update(some.cpu().numpy().tobytes())
    return f"{len(faces)} images, {digest.hexdigest()[:12]}"


def each_by_one_process(seeds: list[int], output: Path, run_seed: Callable[[int], None]) -> None:
    """Run every seed that no other process is at; then wait for those seeds, and run what is left of them.

    So the same command started once on each GPU spreads the seeds over them.
    """
    others = []
    for seed in seeds:
        with locked(output / f".seed_{seed}.lock", wait=False) as mine:
            if mine:
                run_seed(seed)
            else:
                others.append(seed)
    for seed in others:
        print(f"seed {seed} is run by another process; waiting for it", flush=True)
        with locked(output / f".seed_{seed}.lock", wait=True):
            run_seed(seed)


def train_method(method: Method, run: SeedRun, plan: SyntheticPlan | None) -> Outcome:
    """Train; raises `UserError` where the memory does not suffice."""
    try:
        return method.kind.train(run, method.options, plan)
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"seed {run.seed} {method.label}: out of memory; lower --batch-size (now {run.experiment.compute.batch_size}) "
            "or pass --precision bf16"
        ) from error


def is_recorded(folder: Path, settings: dict) -> bool:
    """Whether a run is recorded already; raises `UserError` where it was made with other settings."""
    found = read_record(folder, "settings")
    if found is None:
        return False
    check_settings(found["settings"], settings, folder)
    print(f"{folder} is recorded already")
    return True


def record(folder, label, seed, outcome: Outcome, real, compute, settings, clock) -> None:
    """Test the model of a method and write its record."""
    test, model = real["test"], outcome.model
    logits = predict(model, test, compute)
    judged = {"val_metrics": evaluate(model, real["val"], compute)}
    if outcome.held_out:
        judged["held_out_metrics"] = evaluate(model, outcome.held_out, compute)
    clock.lap("test")
    content = {
        "method": label,
        "seed": seed,
        "metrics": fairness_metrics(test.target, test.protected, positive(logits), test.cells),
        **judged,
        "settings": settings,
        "seconds": clock.seconds,
        "command": shlex.join(["python", "train.py", *sys.argv[1:]]).replace(f"{ROOT}/", ""),
        **environment(compute.device),
    }
    predictions = {"name": test.names, "target": test.target, "protected": test.protected, "logit": logits}
    tables = {"curve": pd.DataFrame(outcome.curve), "test_predictions": pd.DataFrame(predictions), **outcome.tables}
    weights = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_record(folder, content, tables, lambda path: path.write_bytes(safetensors_bytes(weights)))


def adopt_best(output: Path, choices: list[Method], method: Method, seed: int, settings: dict) -> None:
    """Record as `method` the best of the recorded `choices`, chosen without the test set: see `utils.choice`."""
    folders = [record_folder(output, choice.folder, seed) for choice in choices]
    found = [read_record(folder, "val_metrics.accuracy", "held_out_metrics.equalized_odds") for folder in folders]
    accuracy = [record["val_metrics"]["accuracy"] for record in found]
    odds = [record["held_out_metrics"]["equalized_odds"] for record in found]
    best = choose(accuracy, odds)
    table = pd.DataFrame({"top_k": AUTO_TOP_K, "val_accuracy": accuracy, "held_out_equalized_odds": odds})
    content = {**found[best], "method": method.label, "settings": settings, "chosen_top_k": AUTO_TOP_K[best]}
    adopt_record(folders[best], record_folder(output, method.folder, seed), content, {"top_k": table})
    print(f"seed {seed}: top-k {AUTO_TOP_K[best]} chosen")


class Clock:
    """Seconds of the stages of a run."""

    def __init__(self):
        self.seconds, self.start = {}, time.perf_counter()

    def lap(self, stage: str) -> None:
        """Note the time since the last lap as that of `stage`."""
        now = time.perf_counter()
        self.seconds[stage], self.start = round(now - self.start, 2), now


def parse_args() -> argparse.Namespace:
    """The command line; the defaults are the paper's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = parser.add_argument_group("data")
    data.add_argument(
        "--dataset",
        choices=DATASETS,
        default="celeba",
        help="toy faces are read from CelebA's layout, csv are your own",
    )
    data.add_argument("--real-data-path", type=Path, required=True, help="folder of the real data; csv: the file")
    data.add_argument("--age-limit", type=positive_int, default=40, help="years at which UTKFace's Young ends")
    data.add_argument(
        "--decode-size", type=positive_int, help="pixels a side to which all images are resized on reading"
    )
    data.add_argument(
        "--synthetic-data-root",
        type=Path,
        default=Path("results/runs/synthetic"),
        help="folder of generated images, or a CSV file of other unbiased images",
    )
    data.add_argument("--target-sensitive", default="Smiling_Male", metavar="TARGET_PROTECTED")
    data.add_argument("--prompt-type", default="contextual", help="folder of the synthetic images")
    data.add_argument("--bias-degree", default="1/9", help="minority to majority in the biased sets")
    data.add_argument(
        "--number-train-data-real",
        type=positive_int,
        help="biased real images (default: 20000; utkface: as many as can be had; csv: all, as they are)",
    )
    data.add_argument("--number-balanced-synthetic", type=positive_int, default=5000, help="of each cell")
    data.add_argument("--number-imbalanced-synthetic", type=positive_int, default=20000, help="in all")
    data.add_argument(
        "--number-held-out-synthetic",
        type=positive_int,
        default=500,
        help="of each cell, where the balanced set leaves so many: to judge fine-tuned models without the test set",
    )
    training = parser.add_argument_group("training")
    training.add_argument(
        "--methods",
        nargs="+",
        default=["aim-fair"],
        metavar="METHOD",
        help="see above; erm always runs (default: aim-fair)",
    )
    training.add_argument("--seeds", nargs="+", type=seed_number, default=list(range(100, 1001, 100)))
    training.add_argument("--weights", default="imagenet", metavar="imagenet|none|FILE", help="where training starts")
    training.add_argument(
        "--width", type=positive_float, default=1, help="share of ResNet-18's channels in every layer; the paper's is 1"
    )
    training.add_argument("--pre-train-epochs", type=positive_int, default=15)
    training.add_argument("--pre-train-lr", type=non_negative_float, default=0.01)
    training.add_argument("--fine-tune-epochs", type=positive_int, default=10)
    training.add_argument("--fine-tune-lr", type=non_negative_float, default=0.06)
    training.add_argument("--batch-size", type=positive_int, default=128)
    training.add_argument("--weight-decay", type=non_negative_float, default=1e-4)
    training.add_argument("--milestones", nargs="+", type=positive_int, default=[10], help="epochs: lr x 0.1")
    training.add_argument(
        "--keep-last-batch",
        action="store_true",
        help="train on an epoch's last short batch, which the paper leaves out",
    )
    training.add_argument("--image-size", type=positive_int, default=224, help="pixels a side")
    training.add_argument(
        "--crop-scale",
        nargs=2,
        type=positive_float,
        default=list(PAPER_CROP_SCALE),
        metavar=("MIN", "MAX"),
        help="share of a training image in its random crop; at 64 pixels or fewer, where 0.08 leaves a few pixels, take "
        "0.6 1 or so (default: 0.08 1, the paper's)",
    )
    training.add_argument(
        "--select-by",
        choices=tuple(SELECT_BY),
        default="accuracy",
        help="what chooses the epoch on val: accuracy, the paper's, or worst-group, which needs protected labels on val",
    )
    training.add_argument(
        "--top-k",
        type=top_k,
        default=55,
        help=f"tensors kept by each of the two rankings, or auto: the best of {', '.join(map(str, AUTO_TOP_K))}, chosen "
        "by accuracy on real val and equalized odds on held-out synthetic images",
    )
    machine = parser.add_argument_group("machine and output")
    machine.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    machine.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="fp32 is the paper's")
    machine.add_argument("--compile", action="store_true", help="compile the network for training")
    machine.add_argument(
        "--deterministic", action="store_true", help="on a GPU too the same result each time; slower there"
    )
    machine.add_argument("--dry-run", action="store_true", help="check data and settings, train nothing")
    machine.add_argument("--output", type=Path, default=Path("results/runs/train"), help="folder for the records")
    machine.add_argument(
        "--checkpoint-seconds",
        type=non_negative_float,
        default=60,
        help="at most one checkpoint of a training in so many; a kill costs as much",
    )
    machine.add_argument("--cache", type=Path, help="folder for decoded images (default: <output>/cache)")
    return parser.parse_args()


if __name__ == "__main__":
    command_line(main)
