"""The flags of train.py, and the settings that a record keeps of them."""

from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.known import DATASETS, VALUES, WHOLE
from models.network_names import network_name, of_inputs
from models.schedule import BATCH_NORM, SELECT_BY, Schedule
from models.top_k import AUTO_TOP_K, PAPER_TENSORS, PAPER_TOP_K, PATIENCE, ranking_batches, top_k
from utils.arguments import (
    fraction,
    images_of_type,
    network_width,
    non_negative_float,
    pixels,
    positive_float,
    positive_int,
    seed_number,
)
from utils.settings import flag
from utils.workers import submit_flag, workers_flag

if TYPE_CHECKING:
    from models.batches import Compute

PAPER_CROP_SCALE = (0.08, 1.0)
_data, _training, _machine = (partial(flag, group=name) for name in ("data", "training", "machine and output"))


@dataclass(frozen=True)
class Settings:
    """The flags of train.py; the defaults are the paper's."""

    real_data_path: Path = _data(
        None, "folder of the real data, for csv the file (docs/data.md)", type=Path, required=True
    )
    dataset: str = _data(
        "celeba",
        "toy: toy faces in CelebA's layout; csv: your own images; parquet: CelebA or FairFace from the hub",
        choices=tuple(DATASETS),
    )
    age_limit: int = _data(40, "ages below this count as Young, for UTKFace and FairFace", type=positive_int)
    decode_size: int | None = _data(None, "resize every image to this many pixels a side when it is read", type=pixels)
    real_crop: tuple[float, float, float, float] = _data(
        WHOLE,
        "use only this box of every real image, as fractions of its width and height; for synthetic images that show less around the face (default: 0 0 1 1, all of it)",
        nargs=4,
        type=fraction,
        metavar=("LEFT", "TOP", "RIGHT", "BOTTOM"),
    )
    synthetic_data_root: Path = _data(
        Path("results/runs/synthetic"), "folder of generated images, or a CSV file of other unbiased images", type=Path
    )
    target_sensitive: str = _data("Smiling_Male", "the pair", metavar="TARGET_PROTECTED")
    values: tuple[str, ...] = _data((), VALUES, nargs="+", metavar="NAME=VALUE,VALUE")
    prompt_type: str = _data("contextual", "folder of the synthetic images")
    bias_degree: str = _data("1/9", "minority to majority in the biased sets")
    number_train_data_real: int | None = _data(
        None,
        "biased real images (default: 20000; utkface, fairface: as many as possible; csv: all, as they are)",
        type=positive_int,
    )
    number_balanced_synthetic: int = _data(5000, "images of each group", type=positive_int)
    number_imbalanced_synthetic: int = _data(20000, "images of all groups together", type=positive_int)
    number_held_out_synthetic: int = _data(
        500,
        "images of each group, or fewer if the balanced set leaves fewer; fine-tuned models are compared on them without the test set",
        type=positive_int,
    )
    min_faithfulness: float | None = _data(
        None,
        "leave out synthetic images with a lower score, 0 to 1, by python -m stable_diffusion.faithfulness (default: keep all, as in the paper)",
        type=fraction,
        metavar="P",
    )
    methods: tuple[str, ...] = _training(
        ("aim-fair",), "see above; erm always runs (default: aim-fair)", nargs="+", metavar="METHOD"
    )
    settings: str = _training(
        "paper",
        "of fine-tuning: paper, as the flags say; auto: the best of three and of the biased model (docs/new_pair.md)",
        choices=("paper", "auto"),
    )
    seeds: tuple[int, ...] = _training(
        tuple(range(100, 1001, 100)), "default: 100, 200, ... 1000", nargs="+", type=seed_number
    )
    weights: str = _training(
        "imagenet",
        "initial weights; toy: a quarter of ResNet-18's width for toy faces, see models/start/README.md",
        metavar="imagenet|toy|none|FILE",
    )
    network: str = _training(
        "resnet18",
        "resnet18 is the paper's; any classification network of torchvision, timm:NAME, or your own",
        type=network_name,
        metavar="NAME",
    )
    width: float = _training(1, "fraction of the network's channels in every layer (default: 1)", type=network_width)
    pre_train_epochs: int = _training(15, "default: 15", type=positive_int)
    pre_train_lr: float = _training(0.01, "default: 0.01", type=non_negative_float)
    fine_tune_epochs: int = _training(10, "default: 10", type=positive_int)
    fine_tune_lr: float = _training(0.06, "default: 0.06", type=non_negative_float)
    batch_size: int = _training(128, "default: 128", type=positive_int)
    fine_tune_batch_size: int | None = _training(
        None, "batch size of fine-tuning (default: --batch-size, as in the paper)", type=positive_int
    )
    batch_norm: str = _training(
        "follow",
        "running statistics of batch norm in fine-tuning. follow: they follow the synthetic images, as in the paper; hold: they stay "
        "as pre-training left them; real: they are estimated on real images after every epoch",
        choices=BATCH_NORM,
    )
    keep_last_batch: bool = _training(False, "train on an epoch's short last batch, which the paper leaves out")
    weight_decay: float = _training(1e-4, "default: 1e-4", type=non_negative_float)
    milestones: tuple[int, ...] = _training(
        (10,), "epochs after which the learning rate falls tenfold (default: 10)", nargs="+", type=positive_int
    )
    image_size: int = _training(224, "pixels a side of the network's input (default: 224)", type=pixels)
    crop_scale: tuple[float, float] = _training(
        PAPER_CROP_SCALE,
        "fraction of a training image in its random crop; try 0.6 1 for small images and training from scratch "
        "(default: 0.08 1, the paper's)",
        nargs=2,
        type=positive_float,
        metavar=("MIN", "MAX"),
    )
    select_by: str = _training(
        "accuracy",
        "choose the epoch on val by accuracy, as in the paper; by worst-group, which needs protected labels of val; by best-threshold, the "
        "accuracy with the threshold that suits the epoch best; mean: keep the mean of the weights of the second half of the epochs, and evaluate val only after the last",
        choices=tuple(SELECT_BY),
    )
    top_k: int | str | None = _training(
        None,
        f"tensors that each of the two rankings keeps, or their fraction, such as 89%% (default: {PAPER_TOP_K} of "
        f"{PAPER_TENSORS}, or that fraction of another network's); auto: best of {', '.join(map(str, AUTO_TOP_K))}, "
        "or of those fractions, by accuracy on real val and equalized odds difference on held-out synthetic images",
        type=top_k,
    )
    ranking_batches: int | str | None = _training(
        None,
        "rank the tensors by at most N batches of each set (default: all, as in the paper); auto: by as many as needed until the "
        "chosen tensors have not changed for --ranking-patience batches",
        type=ranking_batches,
        metavar="auto|N",
    )
    ranking_patience: int | None = _training(
        None, f"batches, with --ranking-batches auto (default: {PATIENCE})", type=positive_int, metavar="N"
    )
    device: str = _machine("auto", "auto, cpu, cuda, cuda:1, ...")
    precision: str = _machine("fp32", "fp32 is the paper's", choices=("fp32", "bf16"))
    compile: bool = _machine(False, "compile the network for training")
    deterministic: bool = _machine(False, "repeat results exactly on a GPU too, but run slower")
    dry_run: bool = _machine(False, "check data and settings, estimate time, disk and memory, and train nothing")
    no_estimate: bool = _machine(False, "with --dry-run: don't estimate the cost")
    cost_rows: Path | None = _machine(None, "with --dry-run: append the estimate to this file", type=Path)
    images_to_come: tuple[str, int] | None = _machine(
        None, "with --dry-run: images of each group to be generated", type=images_of_type, metavar="TYPE=N"
    )
    prompts: Path | None = _machine(None, "with --dry-run: prompt file that these images will have", type=Path)
    workers: int = workers_flag(_machine)
    submit: tuple[str, ...] = submit_flag(_machine)
    output: Path = _machine(Path("results/runs/train"), "folder for the records", type=Path)
    checkpoint_seconds: float = _machine(
        60, "seconds between two checkpoints of a training, the most that a kill costs", type=non_negative_float
    )
    tensorboard: Path | None = _machine(None, "folder for TensorBoard's curves, written during training", type=Path)
    cache: Path | None = _machine(None, "folder for decoded images (default: <output>/cache)", type=Path)

    @cached_property
    def compute(self) -> "Compute":
        """Device, precision and image size. Raises `UserError` if the device or a crop is impossible."""
        from datasets.augment import check_crops
        from models.batches import Compute  # it loads torch, which --help should not wait for
        from utils.device import choose_device

        check_crops(self.crop_scale, self.real_crop)
        return Compute(
            choose_device(self.device),
            self.precision == "bf16",
            self.image_size,
            self.batch_size,
            self.compile,
            self.crop_scale,
            self.keep_last_batch,
        )

    @property
    def pre_training(self) -> Schedule:
        """The schedule of the biased model; of tied epochs the later one is kept."""
        return self._schedule(self.pre_train_epochs, self.pre_train_lr, later_wins_ties=True)

    @property
    def fine_tuning(self) -> Schedule:
        """The schedule of fine-tuning; of tied epochs the earlier one is kept."""
        return self._schedule(self.fine_tune_epochs, self.fine_tune_lr, later_wins_ties=False)

    @property
    def cache_folder(self) -> Path:
        """The folder of decoded images."""
        return self.cache or self.output / "cache"

    def of_pre_training(self) -> dict[str, object]:
        """Return the recorded settings of training from scratch, besides its data.

        A setting that older records lack is left out at the value that they were made with, so that they still match.
        """
        keys = ("dataset", "bias_degree", "weights", "width", "weight_decay", "batch_size", "image_size", "precision")
        kept = {key: getattr(self, key) for key in keys}
        kept |= {"epochs": self.pre_train_epochs, "lr": self.pre_train_lr, "milestones": list(self.milestones)}
        later = {
            "drop_last": (not self.keep_last_batch, False),
            "crop_scale": (list(self.crop_scale), list(PAPER_CROP_SCALE)),
            "select_by": (self.select_by, "accuracy"),
            "network": (self.network, "resnet18"),
            "real_crop": (list(self.real_crop), list(WHOLE)),
        }
        return kept | of_inputs(self.network) | _changed(later)

    def of_fine_tuning(self) -> dict[str, object]:
        """Return the recorded settings of fine-tuning, besides those of the biased model and the data."""
        later = {
            "batch_norm": (self.batch_norm, "follow"),
            "fine_tune_batch_size": (self.fine_tune_batch_size, None),
        }
        return {"epochs": self.fine_tune_epochs, "lr": self.fine_tune_lr} | _changed(later)

    def of_ranking(self) -> dict[str, object]:
        """Return the recorded settings of the ranking; none if it takes every batch."""
        if self.ranking_batches != "auto":
            return _changed({"ranking_batches": (self.ranking_batches, None)})
        return {"ranking_batches": "auto", "ranking_patience": self.ranking_patience or PATIENCE}

    def _schedule(self, epochs: int, lr: float, *, later_wins_ties: bool) -> Schedule:
        options = {"later_wins_ties": later_wins_ties, "select_by": SELECT_BY[self.select_by]}
        return Schedule(epochs, lr, self.weight_decay, self.milestones, **options)


def _changed(settings: dict[str, tuple]) -> dict[str, object]:
    """Return the settings whose value (first) differs from that of older records (second)."""
    return {key: value for key, (value, before) in settings.items() if value != before}
