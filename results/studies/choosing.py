"""Chosen settings on real faces, by `--settings auto` and `--methods auto`; and other choices of the epoch and the threshold.

On two CPU cores, each with a training, a biased model takes 45 minutes in fp32, and a column of a seed about an hour. Cores with
bf16 came later, and took a third of that.
"""

from collections.abc import Iterator
from pathlib import Path
from statistics import mean

from results.records import RunSet, read_run_set
from results.studies import T2I, Arm, Study, unbiased, words
from results.study_tables import NOTE, methods_table, missing, values
from results.text import as_table
from results.val_threshold import at_val_threshold
from utils.records import Record

PLAIN = ("aim-fair", "full", "linear-probe", "random-mask:share=0.7")
CHOSEN = tuple(f"{name}{',' if ':' in name else ':'}settings=auto" for name in PLAIN)
KEPT = ("select-by=best-threshold", "select-by=mean")
UNTIL_AN_EPOCH = tuple(name for name in PLAIN if name != "linear-probe")
EPOCHS = tuple(f"{name}{',' if ':' in name else ':'}{kept}" for name in UNTIL_AN_EPOCH for kept in KEPT)
REAL = {"Smiling_Male": 8000, "Smiling_Young": 5600}  # biased real images of each pair
BIASED = {  # biased models: the pair, and how they and what follows from them are computed
    "Smiling_Male/erm": "",
    "Smiling_Male/erm_bf16": "--precision bf16",
    "Smiling_Young/erm_bf16": "--precision bf16",
}
COLUMNS = {
    "Smiling_Male/t2i": T2I,
    "Smiling_Male/utkface": unbiased("utkface_smiles.csv", 250, 600, 100),
    "Smiling_Male/generated": unbiased("generated", 250, 600, 100),
    "Smiling_Young/generated": unbiased("generated", 200, 600, 100),
}
IN_FP32 = ("Smiling_Male/t2i", "Smiling_Male/utkface")
# points: the most that a chosen model should lose in the mean of a column
ACCURACY_LOST, ODDS_ADDED, REGRET = -0.5, 1.0, 3.0


def arms() -> Iterator[Arm]:
    """Yield the biased models, then every column."""
    for name, machine in BIASED.items():
        yield Arm(name, flags(name.partition("/")[0], machine), ("erm",))
    for name, own in COLUMNS.items():
        biased = "Smiling_Male/erm" if name in IN_FP32 else f"{name.partition('/')[0]}/erm_bf16"
        methods = (*PLAIN, *CHOSEN, "auto")
        yield Arm(name, column_flags(name, own, biased), methods, erm_of=biased, together=True)
    name, biased = "Smiling_Male/t2i_epochs", "Smiling_Male/erm_bf16"
    yield Arm(name, column_flags(name, T2I, biased), (*UNTIL_AN_EPOCH, *EPOCHS), erm_of=biased)


def column_flags(name: str, own: tuple[str, ...], biased: str) -> tuple[str, ...]:
    """Return the flags of a column: its pair's, those of its biased models, and its own."""
    return (*flags(name.partition("/")[0], BIASED[biased]), *own)


def flags(pair: str, machine: str) -> tuple[str, ...]:
    """Return the flags that every training of a pair has."""
    real = f"--dataset celeba --real-data-path {{data}}/celeba --target-sensitive {pair} --number-train-data-real {REAL[pair]}"
    return words(f"{real} {machine}")


def columns(records: Path) -> dict[str, RunSet]:
    """Return the columns that have records, by name."""
    return {name: read_run_set(records / name) for name in COLUMNS if (records / name).is_dir()}


def results_table(records: Path) -> list[str]:
    """Return the table of every column's methods with the paper's settings and with chosen ones."""
    return methods_table(*columns(records), only=(*PLAIN, *CHOSEN, "auto"))(records)


def verdicts(records: Path) -> list[str]:
    """Return a row for each column and method that chooses, and for its mean over columns: difference to ERM, and regret."""
    heads = (
        "column",
        "method",
        "n",
        "ACC to ERM",
        "EO to ERM",
        "regret in EO",
        "worst seed: ACC, EO to ERM",
        "as wanted",
    )
    rows, regrets = [heads], {method: [] for method in (*CHOSEN, "auto")}
    for name, runs in columns(records).items():
        for method in (method for method in (*CHOSEN, "auto") if runs.runs(method)):
            changes = {key: to_erm(runs, method, key) for key in ("accuracy", "equalized_odds")}
            accuracy, odds = (list(found.values()) for found in changes.values())
            lost = [regret(runs, record) for record in runs.runs(method).values()]
            regrets[method].append(mean(lost))
            good = mean(accuracy) >= ACCURACY_LOST, mean(odds) <= ODDS_ADDED, mean(lost) <= REGRET
            cells = (f"{mean(accuracy):+.1f}", f"{mean(odds):+.1f}", f"{mean(lost):.1f}")
            worst = f"{min(accuracy):+.1f}, {max(odds):+.1f}"
            bad = [what for what, fine in zip(("accuracy", "odds", "regret"), good, strict=True) if not fine]
            rows.append((name, method, str(len(lost)), *cells, worst, f"**no**: {', '.join(bad)}" if bad else "yes"))
    for method, found in regrets.items():
        rows.append((f"mean of {len(found)} columns", method, "–", "–", "–", f"{mean(found):.1f}", "–", "–"))
    return as_table(rows)


def to_erm(runs: RunSet, method: str, key: str) -> dict[int, float]:
    """Return a metric's difference to ERM by seed, in points."""
    own, erm = values(runs, method, key), values(runs, "erm", key)
    return {seed: own[seed] - erm[seed] for seed in own}


def regret(runs: RunSet, record: Record) -> float:
    """Return by how many points a chosen model's odds exceed the best candidate's, seen with the test set.

    The best candidate has the lowest odds of those whose test accuracy is at most half a point below ERM's. Steps shorter than the
    whole are no candidates here, because they have no record.
    """
    table = runs.choices
    own = table[(table["method"] == record.method) & (table["seed"] == record.seed)]
    erm = runs.runs("erm")[record.seed].metrics
    tested = [runs.runs(label)[record.seed].metrics for label in dict.fromkeys(own["candidate"])]
    good = [metrics.equalized_odds for metrics in tested if metrics.accuracy >= erm.accuracy - 0.005]
    return 100 * (record.metrics.equalized_odds - min(good))


def chosen_table(records: Path) -> list[str]:
    """Return what was chosen in every column, once for all seeds."""
    rows = [("column", "method", "chosen", "step")]
    for name, runs in columns(records).items():
        for method in (method for method in (*CHOSEN, "auto") if runs.runs(method)):
            chosen = [record.content["chosen"] for record in runs.runs(method).values()]
            for label, step in dict.fromkeys((each["candidate"], each["step"]) for each in chosen):
                rows.append((name, method, f"`{label}`", f"{step:g}"))
    return as_table(rows)


def epochs_table(records: Path) -> list[str]:
    """Return accuracy, worst group and odds of epochs kept in three ways, at the threshold 0.5 and at val's."""
    heads = ("at 0.5: ACC / WST / EO", "at val's threshold: ACC / WST / EO", "change in ACC", "in EO")
    rows = [("column", "method", "n", *heads)]
    names = [name for each in COLUMNS for name in (each, f"{each}_epochs") if (records / name).is_dir()]
    for name in names:
        runs = read_run_set(records / name)
        at_val = at_val_threshold(runs)
        wanted = ("erm", *PLAIN, *EPOCHS)
        for method in (method for method in wanted if runs.runs(method)):
            usual = [three(record.content["metrics"]) for record in runs.runs(method).values()]
            moved = [three(record.content["metrics"]) for record in at_val.runs(method).values()]
            before, after = ([mean(part) for part in zip(*each, strict=True)] for each in (usual, moved))
            changes = [f"{b - a:+.1f}" for a, b in zip(before, after, strict=True)]
            cells = (" / ".join(f"{value:.1f}" for value in each) for each in (before, after))
            rows.append((name, method, str(len(usual)), *cells, changes[0], changes[2]))
    return as_table(rows)


def three(metrics: dict) -> tuple[float, float, float]:
    """Return accuracy, worst group accuracy and equalized odds difference in percent."""
    worst = min(metrics["group_accuracy"].values())
    return tuple(100 * value for value in (metrics["accuracy"], worst, metrics["equalized_odds"]))


STUDY = Study(
    title="Chosen settings on real faces",
    body=(
        """
A user with a pair, images or a network of their own has no settings. `settings=auto` tries three of fine-tuning, and four lengths of the step from the
biased model; `auto` does so for AIM-Fair, full fine-tuning and linear probing ([how](../../../docs/new_pair.md#3-which-settings)). Each choice is made once for all
seeds. Here both choose on real faces: CelebA at 64 pixels, a ResNet-18 from ImageNet weights, one biased model a seed, the test set unseen until the end. Unbiased images: `t2i`, faces by SDXL,
FLUX and Stable Diffusion 3, 100 a group; `utkface`, photographs of UTKFace as they are, which end at forehead and chin, 250 a group: a hostile source;
`generated`, faces by a small Stable Diffusion that was trained on CelebA. `t2i` and `utkface` ran in fp32, the others in bf16 with biased models of their own.""",
        results_table,
        NOTE,
        f"""
## Does a choice ever make a classifier worse?

We wanted, in the mean of every column: at most {-ACCURACY_LOST:g} points of accuracy lost to ERM, at most {ODDS_ADDED:g} point of odds added, and a regret of at
most {REGRET:g} points. *Regret* is the difference to the lowest odds among the candidates whose test accuracy is at most half a point below ERM's.""",
        verdicts,
        "What was chosen:",
        chosen_table,
        """
## Which epoch, and which threshold?

Fine-tuned on few images of another domain, a model answers too often with one class. The threshold that is most accurate on real val, which takes target labels
alone, mends that; the record keeps the logits, so it is asked of every run afterwards. `select-by=best-threshold` keeps the epoch with the best accuracy at such a
threshold, `select-by=mean` the mean of the weights after the later half of the epochs.""",
        epochs_table,
        missing(tuple(arms())),
    ),
    common=words("--weights {weights} --image-size 64 --pre-train-lr 0.03"),
    arms=tuple(arms()),
)
