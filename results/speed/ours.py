"""The same work by this project's own code, on the same files and the same network."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from datasets.images import FaceSet, decode_images
from datasets.synthetic import SyntheticSets
from models.batches import Compute, evaluate
from models.run import Run
from models.selection import choose_tensors, sensitivity_table
from models.settings import Settings
from models.training import Schedule, fit
from results.speed.plain import Files
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
    fit(model, data, few, schedule, compute, generator=torch_generator(0, "benchmark"), label="ours")


def seed_run(
    sets: dict[str, FaceSet], pre: int, fine: int, compute: Compute, folder: Path
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
    synthetic = SyntheticSets(pool, dict.fromkeys(pool.cells, each), biased, 0, seed=100)
    return Run(settings, sets, 100, folder / "biased.safetensors"), synthetic


def save_biased(run: Run, model: nn.Module) -> None:
    """Leave the biased model where the run looks for it."""
    save_file({name: value.cpu().contiguous() for name, value in model.state_dict().items()}, run.biased_weights)


def rank(run: Run, synthetic: SyntheticSets, top_k: int) -> list[str]:
    """The three gradients and the choice."""
    return choose_tensors(sensitivity_table(*run.three_gradients(synthetic)), top_k)


def whole_seed(run: Run, synthetic: SyntheticSets, top_k: int) -> dict:
    """Pre-training, ranking, fine-tuning, test."""
    save_biased(run, run.pre_train(run.real["train"], label="pre-train").model)
    chosen = rank(run, synthetic, top_k)
    model = run.fine_tune(run.biased_model(), synthetic, only=chosen, label="fine-tune").model
    return evaluate(model, run.real["test"], run.settings.compute)


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
