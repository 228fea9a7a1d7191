"""Everything that train.py can be told, and what a record keeps of it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from datasets.images import WHOLE
from datasets.real import DATASETS
from models.options import AUTO_TOP_K, PAPER_TENSORS, PAPER_TOP_K, ranking_batches, top_k
from models.ranking import PATIENCE
from models.registry import network_name, of_inputs
from models.training import ACCURACY, BATCH_NORM, LATE_MEAN, WORST_GROUP, Compute, Schedule
from utils.arguments import (
    choose_device,
    fraction,
    network_width,
    non_negative_float,
    pixels,
    positive_float,
    positive_int,
    seed_number,
)
from utils.errors import UserError
from utils.settings import flag

SELECT_BY = {
    "accuracy": ACCURACY,
    "worst-group": WORST_GROUP,
    "mean": LATE_MEAN,
}  # --select-by, and the column of the curve it means
PAPER_CROP_SCALE = (0.08, 1.0)
DATA, TRAINING, MACHINE = "data", "training", "machine and output"


@dataclass(frozen=True)
class Settings:
    """The flags of train.py; the defaults are the paper's."""

    real_data_path: Path = flag(
        None,
        "folder of the real data, csv: the file; docs/data.md says where to get them",
        group=DATA,
        type=Path,
        required=True,
    )
    dataset: str = flag(
        "celeba",
        "toy faces are read from CelebA's layout, csv are your own, parquet is CelebA or FairFace from the hub",
        group=DATA,
        choices=tuple(DATASETS),
    )
    age_limit: int = flag(40, "years at which UTKFace's and FairFace's Young ends", group=DATA, type=positive_int)
    decode_size: int | None = flag(
        None, "pixels a side to which all images are resized on reading", group=DATA, type=pixels
    )
    real_crop: tuple[float, float, float, float] = flag(
        WHOLE,
        "left, top, right and bottom, as fractions of width and height, of the part of every real image that is used; for "
        "synthetic images that show less around the face (default: 0 0 1 1, the whole)",
        group=DATA,
        nargs=4,
        type=fraction,
        metavar=("LEFT", "TOP", "RIGHT", "BOTTOM"),
    )
    synthetic_data_root: Path = flag(
        Path("results/runs/synthetic"),
        "folder of generated images, or a CSV file of other unbiased images",
        group=DATA,
        type=Path,
    )
    target_sensitive: str = flag("Smiling_Male", "the pair", group=DATA, metavar="TARGET_PROTECTED")
    prompt_type: str = flag("contextual", "folder of the synthetic images", group=DATA)
    bias_degree: str = flag("1/9", "minority to majority in the biased sets", group=DATA)
    number_train_data_real: int | None = flag(
        None,
        "biased real images (default: 20000; utkface, fairface: as many as possible; csv: all, as they are)",
        group=DATA,
        type=positive_int,
    )
    number_balanced_synthetic: int = flag(5000, "of each group", group=DATA, type=positive_int)
    number_imbalanced_synthetic: int = flag(20000, "in all", group=DATA, type=positive_int)
    number_held_out_synthetic: int = flag(
        500,
        "of each group, as far as the balanced set leaves that many; they judge fine-tuned models without the test set",
        group=DATA,
        type=positive_int,
    )
    min_faithfulness: float | None = flag(
        None,
        "leave out synthetic images that score less, 0 to 1, by python -m stable_diffusion.faithfulness (default: none, "
        "as in the paper)",
        group=DATA,
        type=fraction,
        metavar="P",
    )
    methods: tuple[str, ...] = flag(
        ("aim-fair",), "see above; erm always runs (default: aim-fair)", group=TRAINING, nargs="+", metavar="METHOD"
    )
    settings: str = flag(
        "paper",
        "of fine-tuning: paper, as the flags say; or auto: the best of three, and of the biased model, by accuracy on real val and "
        "equalized odds on held-out synthetic images (docs/new_pair.md)",
        group=TRAINING,
        choices=("paper", "auto"),
    )
    seeds: tuple[int, ...] = flag(
        tuple(range(100, 1001, 100)), "default: 100, 200, ... 1000", group=TRAINING, nargs="+", type=seed_number
    )
    weights: str = flag(
        "imagenet",
        "where training starts; toy: a quarter of ResNet-18's width for toy faces, see models/start/README.md",
        group=TRAINING,
        metavar="imagenet|toy|none|FILE",
    )
    network: str = flag(
        "resnet18",
        "resnet18 is the paper's; any classification network of torchvision, timm:NAME, or your own",
        group=TRAINING,
        type=network_name,
        metavar="NAME",
    )
    width: float = flag(
        1, "fraction of the network's channels in every layer; the paper's is 1", group=TRAINING, type=network_width
    )
    pre_train_epochs: int = flag(15, "default: 15", group=TRAINING, type=positive_int)
    pre_train_lr: float = flag(0.01, "default: 0.01", group=TRAINING, type=non_negative_float)
    fine_tune_epochs: int = flag(10, "default: 10", group=TRAINING, type=positive_int)
    fine_tune_lr: float = flag(0.06, "default: 0.06", group=TRAINING, type=non_negative_float)
    batch_size: int = flag(128, "default: 128", group=TRAINING, type=positive_int)
    fine_tune_batch_size: int | None = flag(
        None, "of fine-tuning alone (default: --batch-size, as in the paper)", group=TRAINING, type=positive_int
    )
    batch_norm: str = flag(
        "follow",
        "running statistics of batch norm in fine-tuning: follow the synthetic images, as in the paper; hold, as "
        "pre-training left them; or real, estimated anew on real training images after every epoch",
        group=TRAINING,
        choices=BATCH_NORM,
    )
    keep_last_batch: bool = flag(
        False,
        "train on an epoch's last short batch, which the paper leaves out",
        group=TRAINING,
        action="store_true",
    )
    weight_decay: float = flag(1e-4, "default: 1e-4", group=TRAINING, type=non_negative_float)
    milestones: tuple[int, ...] = flag((10,), "epochs: lr x 0.1", group=TRAINING, nargs="+", type=positive_int)
    image_size: int = flag(224, "pixels a side", group=TRAINING, type=pixels)
    crop_scale: tuple[float, float] = flag(
        PAPER_CROP_SCALE,
        "fraction of a training image in its random crop; for small images from scratch try 0.6 1 (default: 0.08 1, the "
        "paper's)",
        group=TRAINING,
        nargs=2,
        type=positive_float,
        metavar=("MIN", "MAX"),
    )
    select_by: str = flag(
        "accuracy",
        "whose weights are kept: of the epoch of the best accuracy on val, as in the paper; of the best worst-group there, which needs "
        "protected labels; or the mean of the weights of the later half of the epochs",
        group=TRAINING,
        choices=tuple(SELECT_BY),
    )
    top_k: int | str | None = flag(
        None,
        f"tensors kept by each of the two rankings, or their fraction, as in 89%% (default: {PAPER_TOP_K} of "
        f"{PAPER_TENSORS}, or that fraction of another network's); or auto: the best of {', '.join(map(str, AUTO_TOP_K))}, or "
        "those fractions, chosen by accuracy on real val and equalized odds on held-out synthetic images",
        group=TRAINING,
        type=top_k,
    )
    ranking_batches: int | str | None = flag(
        None,
        "batches of each set that the ranking of the tensors takes at most; or auto: until the tensors it chooses have stayed "
        "the same for --ranking-patience batches (default: all, as in the paper)",
        group=TRAINING,
        type=ranking_batches,
        metavar="auto|N",
    )
    ranking_patience: int | None = flag(
        None, f"with --ranking-batches auto (default: {PATIENCE})", group=TRAINING, type=positive_int, metavar="N"
    )
    device: str = flag("auto", "auto, cpu, cuda, cuda:1, ...", group=MACHINE)
    precision: str = flag("fp32", "fp32 is the paper's", group=MACHINE, choices=("fp32", "bf16"))
    compile: bool = flag(False, "compile the network for training", group=MACHINE, action="store_true")
    deterministic: bool = flag(
        False, "the same result each time on a GPU too, but slower", group=MACHINE, action="store_true"
    )
    dry_run: bool = flag(
        False,
        "check data and settings, estimate time, disk and memory, train nothing",
        group=MACHINE,
        action="store_true",
    )
    no_estimate: bool = flag(False, "with --dry-run: don't estimate the cost", group=MACHINE, action="store_true")
    cost_rows: Path | None = flag(
        None, "with --dry-run: append the estimate to this file in place of printing it", group=MACHINE, type=Path
    )
    output: Path = flag(Path("results/runs/train"), "folder for the records", group=MACHINE, type=Path)
    checkpoint_seconds: float = flag(
        60,
        "seconds between two checkpoints of a training: at most what a kill costs",
        group=MACHINE,
        type=non_negative_float,
    )
    tensorboard: Path | None = flag(
        None, "folder for the curves as TensorBoard reads them, while they are trained", group=MACHINE, type=Path
    )
    cache: Path | None = flag(None, "folder for decoded images (default: <output>/cache)", group=MACHINE, type=Path)

    @cached_property
    def compute(self) -> Compute:
        """Where and how the network runs. Raises `UserError` for an impossible device or crop."""
        low, high = self.crop_scale
        if not 0 < low <= high <= 1:
            raise UserError(
                f"--crop-scale {low:g} {high:g}: expected two numbers above 0 and at most 1, the smaller one first"
            )
        left, top, right, bottom = self.real_crop
        if left >= right or top >= bottom:
            raise UserError(
                f"--real-crop {left:g} {top:g} {right:g} {bottom:g}: expected LEFT below RIGHT and TOP below BOTTOM, from 0 to 1"
            )
        return Compute(
            choose_device(self.device),
            self.precision == "bf16",
            self.image_size,
            self.batch_size,
            self.compile,
            crop_scale=self.crop_scale,
            keep_last_batch=self.keep_last_batch,
        )

    @property
    def pre_training(self) -> Schedule:
        """How the biased model is trained: of epochs that tie the later one is kept."""
        return self._schedule(self.pre_train_epochs, self.pre_train_lr, later_wins_ties=True)

    @property
    def fine_tuning(self) -> Schedule:
        """How it is fine-tuned: of epochs that tie the earlier one is kept."""
        return self._schedule(self.fine_tune_epochs, self.fine_tune_lr, later_wins_ties=False)

    @property
    def cache_folder(self) -> Path:
        """Where decoded images lie."""
        return self.cache or self.output / "cache"

    def of_pre_training(self) -> dict:
        """What a training from the start depends on besides its data, for its record.

        Settings that were added later are left out at the value that older records were made with, so those still
        match.
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

    def of_fine_tuning(self) -> dict:
        """What fine-tuning depends on besides that and its data."""
        kept = {"epochs": self.fine_tune_epochs, "lr": self.fine_tune_lr}
        later = {
            "batch_norm": (self.batch_norm, "follow"),
            "fine_tune_batch_size": (self.fine_tune_batch_size, None),
        }
        return kept | _changed(later)

    def of_ranking(self) -> dict:
        """What the ranking of the tensors depends on besides that: nothing where every batch is taken."""
        if self.ranking_batches != "auto":
            return _changed({"ranking_batches": (self.ranking_batches, None)})
        return {"ranking_batches": "auto", "ranking_patience": self.ranking_patience or PATIENCE}

    def _schedule(self, epochs: int, lr: float, *, later_wins_ties: bool) -> Schedule:
        options = {"later_wins_ties": later_wins_ties, "select_by": SELECT_BY[self.select_by]}
        return Schedule(epochs, lr, self.weight_decay, self.milestones, **options)


def _changed(settings: dict[str, tuple]) -> dict:
    """Of settings and what each always was before it could be chosen: those that differ."""
    return {key: value for key, (value, before) in settings.items() if value != before}
