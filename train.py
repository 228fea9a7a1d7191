"""Train a biased classifier, then make it fairer by selective fine-tuning on synthetic faces (AIM-Fair).

    python train.py --real-data-path DIR --synthetic-data-root DIR --target-sensitive Smiling_Male --output DIR

For every seed: (1) pre-train ResNet-18 on a biased list of real images (method `erm`); (2) take the mean
gradient at its weights on real, biased synthetic and balanced synthetic images; (3) choose the parameter
tensors that react strongly to bias and weakly to the domain; (4) fine-tune those alone on balanced
synthetic images (method `aim-fair`). The defaults are the paper's. Records go to
<output>/<method>/seed_<n>/, a table over seeds to <output>/summary.md; a seed already recorded is not run
again.
"""

import argparse
import hashlib
import shlex
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file

from datasets.bias import biased_cell_sizes
from datasets.images import FaceSet
from datasets.real import DATASETS, check_evaluation_splits, read_real, real_faces, training_list
from datasets.synthetic import synthetic_pool
from models.aim_fair import choose_tensors, draw_synthetic, fine_tune, measure_sensitivity
from models.classifier import new_classifier
from models.sensitivity import check_top_k
from models.training import Compute, Schedule, evaluate, fit, predict
from utils.arguments import choose_device, non_negative_float, positive_int
from utils.errors import command_line
from utils.metrics import fairness_metrics
from utils.records import check_settings, environment, read_record, record_folder, write_record
from utils.seeds import torch_generator
from utils.summary import write_summary

METHODS = ("erm", "aim-fair")


def main() -> None:
    """The four steps, seed by seed."""
    args = parse_args()
    compute = Compute(choose_device(args.device), args.precision == "bf16", args.image_size, args.batch_size)
    milestones = tuple(args.milestones)
    pre_training = Schedule(args.pre_train_epochs, args.pre_train_lr, args.weight_decay, milestones)
    fine_tuning = Schedule(args.fine_tune_epochs, args.fine_tune_lr, args.weight_decay, milestones)
    cache = args.cache or args.output / "cache"

    pair, images, splits = read_real(args.dataset, args.real_data_path, args.target_sensitive, args.age_limit)
    splits["train"] = training_list(args.dataset, splits["train"], pair, args.number_train_data_real, args.bias_degree)
    check_evaluation_splits(splits, pair)
    check_top_k(args.top_k, sum(1 for _ in new_classifier(args.weights, args.seeds[0]).parameters()))
    if args.dry_run:
        counts = ", ".join(f"{len(table)} {split}" for split, table in splits.items())
        print(
            f"{pair.name}: {counts} images; {', '.join(args.methods)}; seeds {args.seeds}; on {compute.device}, {args.precision}"
        )
        return
    real = {split: real_faces(images, table, pair, cache, args.decode_size) for split, table in splits.items()}
    erm_settings = {
        "dataset": args.dataset,
        "target": pair.target,
        "protected": list(pair.protected),
        "bias_degree": args.bias_degree,
        "number_train_data_real": len(splits["train"]),
        "data": {split: fingerprint(faces) for split, faces in real.items()},
        "weights": args.weights,
        "epochs": args.pre_train_epochs,
        "lr": args.pre_train_lr,
        "weight_decay": args.weight_decay,
        "milestones": args.milestones,
        "batch_size": args.batch_size,
        "image_size": args.image_size,
        "precision": args.precision,
    }
    if "aim-fair" in args.methods:
        sizes = {
            "balanced": dict.fromkeys(pair.cells, args.number_balanced_synthetic),
            "biased": biased_cell_sizes(args.number_imbalanced_synthetic, args.bias_degree, pair.cells),
        }
        needed = {cell: max(size[cell] for size in sizes.values()) for cell in pair.cells}
        pool = synthetic_pool(args.synthetic_data_root, pair, args.prompt_type, needed, cache, args.decode_size)
        aim_fair_settings = {
            "biased_model": erm_settings,
            "synthetic_data": fingerprint(pool),
            "prompt_type": args.prompt_type,
            "number_balanced_synthetic": args.number_balanced_synthetic,
            "number_imbalanced_synthetic": args.number_imbalanced_synthetic,
            "top_k": args.top_k,
            "epochs": args.fine_tune_epochs,
            "lr": args.fine_tune_lr,
        }

    for seed in args.seeds:
        folder = record_folder(args.output, "erm", seed)
        if not is_recorded(folder, erm_settings):
            clock = Clock()
            model = new_classifier(args.weights, seed).to(compute.device, memory_format=torch.channels_last)
            curve = fit(
                model,
                real["train"],
                real["val"],
                pre_training,
                compute,
                torch_generator(seed, "pre-train"),
                later_wins_ties=True,
                label=f"seed {seed} pre-train",
            )
            clock.lap("pre-train")
            record(folder, "erm", seed, model, real, compute, erm_settings, curve, clock)
        if "aim-fair" not in args.methods:
            continue

        biased_folder, folder = folder, record_folder(args.output, "aim-fair", seed)
        if not is_recorded(folder, aim_fair_settings):
            clock = Clock()
            model = new_classifier("none", seed)
            model.load_state_dict(load_file(biased_folder / "model.safetensors"))
            model.to(compute.device, memory_format=torch.channels_last)
            biased, balanced = (draw_synthetic(pool, sizes[name], seed, name) for name in ("biased", "balanced"))
            sensitivity = measure_sensitivity(model, real["train"], biased, balanced, seed, compute)
            chosen = choose_tensors(sensitivity, args.top_k)
            sensitivity["chosen"] = sensitivity["name"].isin(chosen)
            clock.lap("sensitivity")
            model, curve = fine_tune(model, chosen, balanced, real["val"], fine_tuning, seed, compute)
            clock.lap("fine-tune")
            tables = {"sensitivity": sensitivity}
            record(folder, "aim-fair", seed, model, real, compute, aim_fair_settings, curve, clock, tables)

    print(write_summary(args.output))
    print(f"records, weights and summary.md: {args.output}")


def fingerprint(faces: FaceSet) -> str:
    """A short name for the content of a set: of all names and labels and of some of the pixels."""
    digest = hashlib.sha256("\n".join(faces.names).encode())
    digest.update(np.stack([faces.target, faces.protected]).tobytes())
    digest.update(faces.pixels[faces.rows[:: max(1, len(faces) // 64)]].tobytes())
    return f"{len(faces)} images, {digest.hexdigest()[:12]}"


def is_recorded(folder: Path, settings: dict) -> bool:
    """Whether a run is recorded already; raises `UserError` where it was made with other settings."""
    found = read_record(folder)
    if found is None:
        return False
    check_settings(found["settings"], settings, folder)
    print(f"{folder} is recorded already")
    return True


def record(folder, method, seed, model, real, compute, settings, curve, clock, tables=None) -> None:
    """Test the model and write its record."""
    test = real["test"]
    logits = predict(model, test, compute)
    val_metrics = evaluate(model, real["val"], compute)
    clock.lap("test")
    content = {
        "method": method,
        "seed": seed,
        "metrics": fairness_metrics(test.target, test.protected, logits > 0, test.cells),
        "val_metrics": val_metrics,
        "settings": settings,
        "seconds": clock.seconds,
        "command": shlex.join(["python", "train.py", *sys.argv[1:]]),
        **environment(compute.device),
    }
    predictions = {"name": test.names, "target": test.target, "protected": test.protected, "logit": logits}
    tables = {"curve": pd.DataFrame(curve), "test_predictions": pd.DataFrame(predictions), **(tables or {})}
    weights = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_record(folder, content, tables, lambda path: save_file(weights, path))


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
    training = parser.add_argument_group("training")
    training.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), help="erm always runs")
    training.add_argument("--seeds", nargs="+", type=int, default=list(range(100, 1001, 100)))
    training.add_argument("--weights", default="imagenet", metavar="imagenet|none|FILE", help="where training starts")
    training.add_argument("--pre-train-epochs", type=positive_int, default=15)
    training.add_argument("--pre-train-lr", type=non_negative_float, default=0.01)
    training.add_argument("--fine-tune-epochs", type=positive_int, default=10)
    training.add_argument("--fine-tune-lr", type=non_negative_float, default=0.06)
    training.add_argument("--batch-size", type=positive_int, default=128)
    training.add_argument("--weight-decay", type=non_negative_float, default=1e-4)
    training.add_argument("--milestones", nargs="+", type=positive_int, default=[10], help="epochs: lr x 0.1")
    training.add_argument("--image-size", type=positive_int, default=224, help="pixels a side")
    training.add_argument("--top-k", type=int, default=55, help="tensors kept by each of the two rankings")
    machine = parser.add_argument_group("machine and output")
    machine.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    machine.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="fp32 is the paper's")
    machine.add_argument("--dry-run", action="store_true", help="check data and settings, train nothing")
    machine.add_argument("--output", type=Path, default=Path("results/runs/train"), help="folder for the records")
    machine.add_argument("--cache", type=Path, help="folder for decoded images (default: <output>/cache)")
    return parser.parse_args()


if __name__ == "__main__":
    command_line(main)
