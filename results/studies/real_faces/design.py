"""What is compared on real faces: pairs of attributes, sources of unbiased images, settings of fine-tuning, methods; and the arms."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean

from models.choice import best_of
from results.records import RunSet, read_run_set, run_set_folders
from results.studies import Arm, Finding, Place, words
from results.study_run import diverged

# Rows of the paper's tables 3 and 4, and the nearest relative.
TUNED = ("full", "linear-probe", "random-mask:share=0.7", "surgical", "aim-fair")
# With the settings that aim-fair got: the sweep of k, and the cosine in place of the difference.
LIKE_AIM_FAIR = (*(f"aim-fair:top-k={k}" for k in (35, 40, 45, 50, 60)), "cosine")
UNTUNED = ("last-layer",)  # it has no learning rate
REAL_ALONE = ("group-dro", "jtt", "eiil", "lff", "cvar-dro")
FROM_START = ("synthetic-only", "supplement", "ffr")
PAPER = "paper"  # 10 epochs at 0.06 in batches of 128; the statistics of batch norm follow the synthetic images
GRID = {PAPER: "", "paper_hold": "--batch-norm hold"} | {
    f"{norm}_{lr}": f"--batch-norm {norm} --fine-tune-lr {lr}"
    for norm in ("follow", "hold", "real")
    for lr in ("0.01", "0.002")
}
SEEDS = (100, 200, 300)
REST = "rest"
SOURCES = {
    "t2i": "faces by SDXL, FLUX and Stable Diffusion 3",
    "generated": "faces by a small Stable Diffusion that was trained on CelebA with its labels",
    "utkface": "photographs of another data set, UTKFace, with smiles labelled by a machine",
    REST: "real images of the same data that are in no list, so there is no gap between domains",
}


@dataclass(frozen=True)
class Source:
    """A source of unbiased images, and how many are used: of each group, biased in all, and held out of each group.

    path : flag of train.py; "" for `REST`, whose list is an arm of its own
    batch : of fine-tuning outside the paper's settings, because an epoch of few images has few steps
    """

    path: str
    balanced: int
    imbalanced: int
    held_out: int
    batch: int | None = None

    def flags(self, setting: str) -> tuple[str, ...]:
        """Return the flags of a setting of fine-tuning, less the path."""
        counts = {"balanced": self.balanced, "imbalanced": self.imbalanced, "held-out": self.held_out}
        numbers = " ".join(f"--number-{key}-synthetic {count}" for key, count in counts.items())
        batch = f"--fine-tune-batch-size {self.batch}" if self.batch and not setting.startswith(PAPER) else ""
        return words(f"{numbers} {GRID[setting]} {batch}")


@dataclass(frozen=True)
class Pair:
    """A pair of attributes on a data set: `real` biased images, sources of unbiased ones, learning rates of ERM to choose from."""

    pair: str
    dataset: str
    folder: str
    real: int
    sources: dict[str, Source]
    lrs: tuple[float, ...] = (0.01, 0.03)  # the first is the paper's
    more: str = ""

    def flags(self, lr: float) -> tuple[str, ...]:
        """Return the flags of every arm of the pair."""
        data = f"--dataset {self.dataset} --real-data-path {{data}}/{self.folder} --target-sensitive {self.pair}"
        return words(f"{data} --number-train-data-real {self.real} {self.more} --pre-train-lr {lr:g}")


SMALL = "--image-size 64"  # for two CPU cores
T2I = Source("{data}/t2i_faces/faces.csv", balanced=100, imbalanced=240, held_out=29, batch=32)
FOUR = {
    "t2i": T2I,
    "generated": Source("{data}/generated", balanced=1000, imbalanced=2000, held_out=200),
    "utkface": Source("{data}/utkface_smiles.csv", balanced=1300, imbalanced=2600, held_out=200),
    REST: Source("", balanced=250, imbalanced=600, held_out=50, batch=32),
}
YOUNG = {"generated": Source("{data}/generated", balanced=500, imbalanced=1000, held_out=100)}
WHITE = {REST: Source("", balanced=800, imbalanced=1600, held_out=100)}
PAIRS = {
    "Smiling_Male": Pair("Smiling_Male", "celeba", "celeba", 20000, FOUR),
    # has every baseline of table 1 on all seeds, which the larger one lacks
    "Smiling_Male_64": Pair("Smiling_Male", "celeba", "celeba", 8000, {"t2i": T2I}, (0.03,), SMALL),
    "Smiling_Young": Pair("Smiling_Young", "celeba", "celeba", 5600, YOUNG, (0.03,), SMALL),
    "Female_White": Pair("Female_White", "utkface", "UTKFace", 2400, WHITE, more=SMALL),
}


def first_arms() -> Iterator[Arm]:
    """Yield the biased models with each learning rate, and the lists of the real images that are left."""
    for name, pair in PAIRS.items():
        for lr in pair.lrs:
            yield Arm(f"{name}/erm_{lr:g}", pair.flags(lr), ("erm",), SEEDS)
        if REST in pair.sources:
            yield Arm(f"{name}/{REST}/list", measure=partial(list_rest, name))


def then(folder: Path) -> tuple[Arm, ...]:
    """Return the arms of every pair whose biased models are there: `accuracy_of_erm` chooses among them.

    For each source the paper's settings get every method; the other settings get what is tuned, on the first seed. Once
    these are there, `choices` takes a setting for each method, which gets the other seeds.
    """
    arms = []
    for name, pair in PAIRS.items():
        accuracy = accuracy_of_erm(folder / name)
        if len(accuracy) == len(pair.lrs):
            lr = max(accuracy, key=accuracy.get)
            arms.append(Arm(f"{name}/erm_{lr:g}", pair.flags(lr), REAL_ALONE, SEEDS))
            for source in pair.sources:
                arms += arms_of_source(folder, name, source, lr)
    return tuple(arms)


def arms_of_source(folder: Path, name: str, source: str, lr: float) -> Iterator[Arm]:
    """Yield the arms of one source of unbiased images."""
    own, place = PAIRS[name].sources[source], folder / name / source
    settings = {path.name: read_run_set(path) for path in run_set_folders(place)}

    def arm(setting: str, methods: tuple[str, ...], seeds: tuple[int, ...]) -> Arm:
        path = words(f"--synthetic-data-root {own.path or f'{{work}}/{name}/{REST}.csv'}")
        after = () if own.path else (f"{name}/{REST}/list",)
        flags = (*PAIRS[name].flags(lr), *path, *own.flags(setting))
        return Arm(f"{name}/{source}/{setting}", flags, methods, seeds, erm_of=f"{name}/erm_{lr:g}", after=after)

    def has(setting: str, method: str) -> bool:
        recorded = settings[setting].runs(method) if setting in settings else ()
        return SEEDS[0] in {*recorded, *diverged(place / setting).get(method, ())}

    yield arm(PAPER, (*TUNED, *UNTUNED, *LIKE_AIM_FAIR, *FROM_START), SEEDS)
    others = [setting for setting in GRID if setting != PAPER]
    yield from (arm(setting, TUNED, SEEDS[:1]) for setting in others)
    if all(has(setting, method) for setting in GRID for method in TUNED):
        chosen = choices(settings)
        for setting in others:
            like = LIKE_AIM_FAIR if chosen["aim-fair"] == setting else ()
            mine = [method for method in TUNED if setting == chosen[method] or method in ("full", "aim-fair")]
            yield arm(setting, (*mine, *like), SEEDS)


def accuracy_of_erm(folder: Path) -> dict[float, float]:
    """Return ERM's mean accuracy on val (a fraction) by learning rate, for those that are recorded and did not diverge."""
    found = {}
    for path in run_set_folders(folder):
        lr = path.name.removeprefix("erm_")
        if lr != path.name and "erm" not in diverged(path):
            found[float(lr)] = mean(r.val_metrics.accuracy for r in read_run_set(path).runs("erm").values())
    return found


def choices(settings: dict[str, RunSet]) -> dict[str, str]:
    """Return the setting that `models.choice` takes for each method: from the records of the first seed, in the order of `GRID`."""
    chosen = {}
    for method in TUNED:
        first = {
            setting: settings[setting].runs(method).get(min(record.seed for record in settings[setting].records))
            for setting in GRID
            if setting in settings
        }
        if found := {setting: record for setting, record in first.items() if record}:
            chosen[method] = list(found)[best_of(list(found.values()))]
    return chosen


def list_rest(name: str, place: Place) -> Iterator[Finding]:
    """Write a CSV file of the real images that are in no list, beside a link to their folder: train.py reads only below the file."""
    from results.rest import write_rest

    own, data = PAIRS[name], place.given("data", "it holds the images to list")
    path = place.work / name / f"{REST}.csv"
    yield Finding("images of each group", write_rest(own.dataset, data / own.folder, own.pair, own.real, path))
