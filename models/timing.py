"""What a run of train.py will cost on this machine: a few real steps timed, then counted up (`models.cost`)."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from datasets.bias import biased_group_sizes
from datasets.decoding import cache_file, time_reading
from datasets.images import LabelledImages
from datasets.real import split_sizes
from datasets.real_faces import labelled
from datasets.splits import Splits
from datasets.synthetic_files import existing_files
from models.averaging import STATISTICS_BATCHES
from models.batches import Compute, inference_batch, lone_images_named, memory_named, predict, train_batches
from models.classifier import head_names
from models.cost import Asked, Rates, in_full, trained, training_rows
from models.options import Method
from models.run import Run
from models.settings import Settings
from models.training import mean_loss, train_epoch
from models.work import Sizes, Work, images_trained
from utils.cost import Row, peak_memory
from utils.records import read_record, record_folder

STEPS, SECONDS = 8, 2.0  # timed at most
# copies of the weights that a training holds besides: the best epoch's; in main memory also a checkpoint (weights, momentum
# and the best epoch's again) and its bytes while it is written
GPU_COPIES, CPU_COPIES = 1, 7


def estimate(
    settings: Settings, methods: list[Method], lists: Splits, finals: dict[str, list[list[Method]]]
) -> list[Row]:
    """The rows of what the settings ask for and is not recorded yet.

    `finals` has, for the label of a method that chooses, what each of its short trials takes to be trained in full.

    Raises `UserError` where a batch is too large for the memory, or too small for batch norm.
    """
    start = time.process_time()  # since the process began, so with the time that its imports took
    asked = [_asked(method, settings, lists, finals.get(method.label, [])) for method in methods]
    paths = [lists.folder / name for name in lists.tables["train"].index]
    pixels, _ = time_reading(paths, settings.decode_size, settings.real_crop)
    side = settings.decode_size or settings.image_size
    resized, seconds = time_reading(paths, side, settings.real_crop)  # as val is
    labels = [method.label for method in methods]
    rows = [Row("start", f"start {settings.output} {' '.join(labels)}", seconds=start)]
    rows += decoding_rows(settings, methods, lists, pixels.shape[1:3], seconds)
    if any(each.seeds for each in asked):
        head = any(trained(each.method, each.sizes, settings.compute).head for each in asked)
        with lone_images_named(), memory_named(settings.batch_size):
            rates, network = measure(settings, pixels, resized, head=head)
        weights = sum(tensor.nbytes for tensor in network.state_dict().values())
        copies = GPU_COPIES if settings.compute.device.type == "cuda" else CPU_COPIES
        memory = peak_memory(settings.compute.device) + weights * copies
        options = {"weights": weights, "memory": memory, "ranking_batches": settings.ranking_batches}
        rows += training_rows(asked, rates, settings.compute, **options)
    return rows


def measure(settings: Settings, pixels: np.ndarray, resized: np.ndarray, *, head: bool) -> tuple[Rates, nn.Module]:
    """The seconds an image, and the network; `pixels` and `resized` are uint8 (n, height, width, 3), n small.

    `head` says whether a training of the last layer alone is timed too.
    """
    compute, gpu = settings.compute, settings.compute.device.type == "cuda"
    faces = sample(pixels, compute.batch_size * (4 if gpu else 1)).on(compute.device)  # each call waits for a GPU
    network = Run(
        settings, {"train": faces}, settings.seeds[0], Path()
    ).new_network()  # more logits would take no longer
    seen = sample(resized, inference_batch(compute)).on(compute.device)
    trained = median_seconds(training_step(network, faces, compute)) / len(faces)
    predicted = median_seconds(lambda: predict(network, seen, compute)) / len(seen)
    if not head:
        return Rates(trained, trained, predicted), network
    begin = head_names(network, settings.network)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith(begin))
    return Rates(trained, median_seconds(training_step(network, faces, compute)) / len(faces), predicted), network


def training_step(network: nn.Module, faces: LabelledImages, compute: Compute) -> Callable[[], float]:
    """A function that trains on a set once, as `models.training.fit` does."""
    moving = [parameter for parameter in network.parameters() if parameter.requires_grad]
    options = {"lr": 1e-3, "momentum": 0.9, "weight_decay": 1e-4, "fused": compute.device.type == "cuda"}
    optimizer, generator = torch.optim.SGD(moving, **options), torch.Generator().manual_seed(0)

    def step() -> float:
        network.train()
        batches, bar = train_batches(faces, compute, generator), tqdm(disable=True)
        return train_epoch(network, batches, optimizer, mean_loss, compute=compute, bar=bar)

    return step


def median_seconds(step: Callable[[], object]) -> float:
    """The median time of a call, after one that warms up: of `STEPS` calls, or as many as `SECONDS` hold.

    Where the first alone takes longer than that, it is the measurement.
    """
    taken = []
    while len(taken) <= STEPS and sum(taken) < SECONDS:
        start = time.perf_counter()
        step()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:] or taken)


def sample(pixels: np.ndarray, count: int) -> LabelledImages:
    """A set of `count` images, each of `pixels` (n, height, width, 3) by turn, with targets 0 and 1 by turn."""
    places = np.arange(count)
    return LabelledImages(pixels, places % len(pixels), places % 2, places % 2, tuple(map(str, places)))


def _asked(method: Method, settings: Settings, lists: Splits, finals: list[list[Method]]) -> Asked:
    folders = [record_folder(settings.output, method.folder, seed) for seed in settings.seeds]
    seeds = [seed for seed, folder in zip(settings.seeds, folders, strict=True) if read_record(folder) is None]
    sized = [[(each, _sizes(each, settings, lists)) for each in final] for final in finals]
    works = [in_full(each, settings.compute, settings.ranking_batches) for each in sized]
    final = max(works, key=lambda work: (work.trained + work.head, work.predicted), default=Work())
    return Asked(method, _sizes(method, settings, lists), tuple(seeds), str(folders[0].parent), final)


def _sizes(method: Method, settings: Settings, lists: Splits) -> Sizes:
    """What a method works with, by the numbers asked for: the synthetic images may not be there yet."""
    settings = method.applied(settings)
    real = {split: len(lists.tables[split]) for split in ("train", "val", "test")}
    epochs = {"pre_epochs": settings.pre_train_epochs, "fine_epochs": settings.fine_tune_epochs}
    epochs |= {"fine_batch": settings.fine_tune_batch_size, "val_once": settings.select_by == "mean"}
    if settings.batch_norm == "real":
        most = STATISTICS_BATCHES * settings.batch_size
        epochs["statistics"] = min(most, images_trained(real["train"], settings.compute))
    if not method.needs_synthetic:
        return Sizes(**real, **epochs)
    balanced, biased = _groups(method, settings, lists)
    files = existing_files(settings.synthetic_data_root, lists.pair, method.options["prompt-type"])
    left = min(len(files[group]) - size for group, size in balanced.items())
    held_out = len(balanced) * max(0, min(left, settings.number_held_out_synthetic))
    return Sizes(**real, **epochs, balanced=sum(balanced.values()), biased=sum(biased.values()), held_out=held_out)


def _groups(method: Method, settings: Settings, lists: Splits) -> tuple[dict[str, int], dict[str, int]]:
    """The images of each group in the balanced set and in the biased one, which may be empty."""
    train = labelled(np.empty((0, 1, 1, 3), np.uint8), lists.tables["train"], lists.pair)
    degree, number = method.options.get("bias-degree"), settings.number_imbalanced_synthetic
    biased = {} if degree is None else biased_group_sizes(number, degree, lists.pair.groups)
    return method.balanced_sizes(train, settings.number_balanced_synthetic), biased


def decoding_rows(
    settings: Settings, methods: list[Method], lists: Splits, shape: tuple[int, int], seconds: float
) -> list[Row]:
    """A row for each set of images that is not decoded yet; `shape` is that of a real image, `seconds` those of an image."""
    rows, cache, side = [], settings.cache_folder, settings.decode_size
    for split, own in split_sizes(lists, settings).items():
        paths = [lists.folder / name for name in lists.tables[split].index]
        file = cache_file(paths, cache, own, settings.real_crop)
        if not file.exists():
            rows.append(_decoding(str(file), len(paths), (own, own) if own else shape, seconds))
    for prompt_type, needed in _needed(settings, methods, lists).items():
        paths = [
            path
            for found in existing_files(settings.synthetic_data_root, lists.pair, prompt_type).values()
            for path in found
        ]
        if len(paths) >= needed and cache_file(paths, cache, side).exists():
            continue
        own = time_reading(paths[:1], side)[0].shape[1:3] if paths else (side, side) if side else shape
        note = f"synthetic images not there yet are counted as {needed:,} of the size of the real ones"
        key = f"{cache} {settings.synthetic_data_root} {lists.pair.name} {prompt_type}"
        rows.append(_decoding(key, max(len(paths), needed), own, seconds, "" if len(paths) >= needed else note))
    return rows


def _decoding(key: str, images: int, shape: tuple[int, int], seconds: float, note: str = "") -> Row:
    return Row("decoding", key, images, images * seconds, disk=3 * images * shape[0] * shape[1], note=note)


def _needed(settings: Settings, methods: list[Method], lists: Splits) -> dict[str, int]:
    """By prompt type, the images that the methods must be able to draw from."""
    needed = {}
    for method in methods:
        if method.needs_synthetic:
            balanced, biased = _groups(method, settings, lists)
            prompt_type = method.options["prompt-type"]
            number = sum(max(size, biased.get(group, 0)) for group, size in balanced.items())
            needed[prompt_type] = max(needed.get(prompt_type, 0), number)
    return needed
