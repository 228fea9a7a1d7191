"""Do bf16 and fp32 end alike? 24 trainings on toy faces; where a processor has no bf16 of its own, bf16 takes several times as long."""

from pathlib import Path
from statistics import stdev

from results.records import read_run_set
from results.studies import Arm, Study
from results.study_tables import mean_and_spread, values
from results.text import as_table

METHODS = {"erm": "ERM", "aim-fair": "AIM-Fair"}
METRICS = {"accuracy": "ACC", "equalized_odds": "EO", "worst_group": "worst group"}


def both(records: Path, method: str, metric: str) -> list[dict[int, float]]:
    """Return a metric by seed in fp32 and in bf16."""
    arms = {name: values(read_run_set(records / name), method, metric) for name in ("fp32_first", "fp32", "bf16")}
    return [arms["fp32_first"] | arms["fp32"], arms["bf16"]]


def paired(records: Path) -> list[str]:
    """Return a row for each method and metric: both precisions, and their difference seed by seed."""
    rows = [("%, six seeds", "fp32", "bf16", "bf16 less fp32, by seed")]
    for method, name in METHODS.items():
        for metric, heading in METRICS.items():
            one, other = both(records, method, metric)
            shown = mean_and_spread(one.values()), mean_and_spread(other.values())
            rows.append((f"{name}, {heading}", *shown, mean_and_spread(other[seed] - one[seed] for seed in one)))
    return as_table(rows)


def fewer_seeds(records: Path) -> list[str]:
    """Return what fewer seeds would have shown."""
    odds = [found[100] for found in both(records, "erm", "equalized_odds")]
    accuracy = both(records, "aim-fair", "accuracy")
    first, last = (
        " and ".join(mean_and_spread(found[seed] for seed in seeds) for found in accuracy)
        for seeds in ((100, 200, 300), (400, 500, 600))
    )
    error = {key: standard_error(*both(records, "aim-fair", key)) for key in ("accuracy", "equalized_odds")}
    return [
        "Every mean difference is smaller than the spread over seeds, so six seeds don't tell the two apart. They may still differ: the standard",
        f"error of AIM-Fair's mean difference is {error['accuracy']:.1f} points of accuracy and {error['equalized_odds']:.1f} of EO. One seed alone may differ a lot, because training can",
        f"turn a difference in rounding into a large one: at seed 100 ERM's EO is {odds[0]:.1f} in fp32 and {odds[1]:.1f} in bf16.",
        f"Three seeds can mislead too: AIM-Fair's accuracy in fp32 and bf16 is {first} with the first three, {last} with the others.",
    ]


def standard_error(one: dict[int, float], other: dict[int, float]) -> float:
    """Return the standard error of the mean difference of two metrics by seed."""
    return stdev(other[seed] - one[seed] for seed in one) / len(one) ** 0.5


STUDY = Study(
    title="bf16 and fp32 beside each other",
    body=(
        """
Toy faces, Smiling/Male, six seeds. Mean ± sample standard deviation; EO is the equalized odds difference, the larger gap; the worst group is that
of each seed. The data and synthetic images are those of the toy tables at that time, so take the records' commits for the same numbers.
The processor has no bf16 arithmetic of its own, which makes bf16 several times slower there: the records hold the seconds.""",
        paired,
        fewer_seeds,
    ),
    common=(
        *("--dataset", "toy", "--real-data-path", "results/runs/toy/real"),
        *("--synthetic-data-root", "results/runs/toy/synthetic_of_tables", "--target-sensitive", "Smiling_Male"),
        *("--weights", "none", "--image-size", "48", "--number-train-data-real", "1600", "--width", "0.25"),
        *("--batch-size", "32", "--number-balanced-synthetic", "400", "--number-imbalanced-synthetic", "800"),
        *("--number-held-out-synthetic", "200", "--pre-train-epochs", "10", "--pre-train-lr", "0.02"),
        *("--fine-tune-epochs", "4", "--fine-tune-lr", "0.03", "--keep-last-batch"),
    ),
    arms=(
        Arm("fp32_first", ("--precision", "fp32"), ("aim-fair",)),
        Arm("fp32", ("--precision", "fp32"), ("aim-fair",), seeds=(400, 500, 600)),
        Arm("bf16", ("--precision", "bf16"), ("aim-fair",), seeds=(100, 200, 300, 400, 500, 600)),
    ),
    note="`bash results/table.sh 3 --keep-last-batch` made the images, and trained `fp32_first` as a part of the toy tables. A commit with + is a "
    "working tree in which the tests were being edited.",
)
