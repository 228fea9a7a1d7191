"""The same work by this project's own code, on the same files and the same network."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from datasets.images import FaceSet, decode_images
from datasets.synthetic import SyntheticPlan
from models.aim_fair import choose_tensors
from models.seed_run import Experiment, SeedRun
from models.training import Compute, Schedule, evaluate, fit
from utils.benchmark.plain import Files
from utils.seeds import torch_generator


def face_set(files: Files, cache: Path, size: int | None, device: torch.device) -> FaceSet:
    """The files as train.py reads them: decoded once, an evaluation set resized too, on the GPU where it has room."""
    pixels = decode_images(files.paths, cache, size)
    names = tuple(str(path) for path in files.paths)
    return FaceSet(pixels, np.arange(len(names)), files.target, files.protected, names).on(device)


def train_epoch(model: nn.Module, data: FaceSet, compute: Compute) -> None:
    """One epoch, validated on the first image of each cell."""
    cells = [int(np.flatnonzero((data.target == t) & (data.protected == p))[0]) for t in (0, 1) for p in (0, 1)]
    few = data.subset(np.array(cells))
    schedule = Schedule(1, 0.01, 1e-4, (10,))
    fit(model, data, few, schedule, compute, torch_generator(0, "benchmark"), later_wins_ties=True, label="ours")


def seed_run(
    sets: dict[str, FaceSet], pre: int, fine: int, compute: Compute, folder: Path
) -> tuple[SeedRun, SyntheticPlan]:
    """A seed of train.py, with `pre` and `fine` epochs."""
    schedules = Schedule(pre, 0.01, 1e-4, (10,)), Schedule(fine, 0.06, 1e-4, (10,))
    run = SeedRun(Experiment(sets, "none", 1.0, *schedules, compute), 100, folder / "biased.safetensors")
    pool, each = sets["synthetic"], len(sets["synthetic"]) // 4
    biased = {"0_0": each // 10, "0_1": each * 9 // 10, "1_0": each * 9 // 10, "1_1": each // 10}
    return run, SyntheticPlan(pool, "contextual", dict.fromkeys(pool.cells, each), biased, 0)


def save_biased(run: SeedRun, model: nn.Module) -> None:
    """Leave the biased model where the run looks for it."""
    save_file({name: value.cpu().contiguous() for name, value in model.state_dict().items()}, run.biased_weights)


def rank(run: SeedRun, plan: SyntheticPlan, top_k: int) -> list[str]:
    """The three gradients and the choice."""
    return choose_tensors(run.sensitivity(plan), top_k)


def whole_seed(run: SeedRun, plan: SyntheticPlan, top_k: int) -> dict:
    """Pre-training, ranking, fine-tuning, test."""
    save_biased(run, run.pre_train(run.experiment.real["train"], label="pre-train").model)
    model = run.fine_tune(rank(run, plan, top_k), plan, label="fine-tune").model
    return evaluate(model, run.experiment.real["test"], run.experiment.compute)


def bare_network(model: nn.Module, compute: Compute, batches: int) -> None:
    """Training steps on one batch that lies in the device's memory: what no training can be faster than."""
    model.train()
    shape = (compute.batch_size, 3, compute.image_size, compute.image_size)
    inputs = torch.randn(shape, device=compute.device).contiguous(memory_format=torch.channels_last)
    targets = torch.ones(compute.batch_size, 1, device=compute.device)
    fused = compute.device.type == "cuda"
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4, fused=fused)
    network = torch.compile(model) if compute.compile else model
    for _ in range(batches):
        with torch.autocast(compute.device.type, torch.bfloat16, enabled=compute.amp):
            logits = network(inputs)
        loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    if compute.device.type == "cuda":
        torch.cuda.synchronize(compute.device)
