"""The same work by this project's own code, on the same files and the same network."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from datasets.images import LabelledImages, decode_images
from datasets.synthetic import SyntheticSets
from models.batches import Compute, evaluate
from models.run import Run
from models.selection import choose_tensors, sensitivity_table
from models.settings import Settings
from models.training import Schedule, fit
from results.speed.plain import Files
from utils.seeds import torch_generator


def face_set(files: Files, cache: Path, size: int | None, device: torch.device) -> LabelledImages:
    """The files as train.py reads them: decoded once, an evaluation set resized too, on the GPU where it has room."""
    pixels = decode_images(files.paths, cache, size)
    names = tuple(str(path) for path in files.paths)
    return LabelledImages(pixels, np.arange(len(names)), files.target, files.protected, names).on(device)


def train_epoch(model: nn.Module, data: LabelledImages, compute: Compute) -> None:
    """One epoch, validated on the first image of each group."""
    groups = [int(np.flatnonzero((data.target == t) & (data.protected == p))[0]) for t in (0, 1) for p in (0, 1)]
    few = data.subset(np.array(groups))
    schedule = Schedule(1, 0.01, 1e-4, (10,))
    fit(model, data, few, schedule, compute, generator=torch_generator(0, "benchmark"), label="ours")


def seed_run(
    sets: dict[str, LabelledImages], pre: int, fine: int, compute: Compute, folder: Path
) -> tuple[Run, SyntheticSets]:
    """A seed of train.py, with `pre` and `fine` epochs."""
    settings = Settings(
        real_data_path=folder,
        weights="none",
        pre_train_epochs=pre,
        fine_tune_epochs=fine,
        batch_size=compute.batch_size,
        image_size=compute.image_size,
        device=str(compute.device),
        precision="bf16" if compute.amp else "fp32",
        compile=compute.compile,
    )
    pool, each = sets["synthetic"], len(sets["synthetic"]) // 4
    biased = {"0_0": each // 10, "0_1": each * 9 // 10, "1_0": each * 9 // 10, "1_1": each // 10}
    synthetic = SyntheticSets(pool, dict.fromkeys(pool.groups, each), biased, 0, seed=100)
    return Run(settings, sets, 100, folder / "biased.safetensors"), synthetic


def save_biased(run: Run, model: nn.Module) -> None:
    """Leave the biased model where the run looks for it."""
    save_file({name: value.cpu().contiguous() for name, value in model.state_dict().items()}, run.biased_weights)


def rank(run: Run, synthetic: SyntheticSets, top_k: int) -> list[str]:
    """The three gradients and the choice."""
    return choose_tensors(sensitivity_table(*run.three_gradients(synthetic)), top_k)


def ranked_sets(count: int) -> tuple[int, int, int]:
    """The images of the three gradients' sets in `seed_run`, where there are `count` in each of its sets."""
    each = count // 4
    return count, 2 * (each // 10 + each * 9 // 10), 4 * each


def whole_seed(run: Run, synthetic: SyntheticSets, top_k: int) -> list[str]:
    """Pre-training, ranking, fine-tuning, test; returns the tensors that moved."""
    save_biased(run, run.pre_train(run.real["train"], label="pre-train").model)
    chosen = rank(run, synthetic, top_k)
    model = run.fine_tune(run.biased_model(), synthetic, only=chosen, label="fine-tune").model
    evaluate(model, run.real["test"], run.settings.compute)
    return chosen
