"""Do bf16 and fp32 end alike? 24 trainings on toy faces; where a processor has no bf16 of its own, bf16 takes several times as long."""

from pathlib import Path
from statistics import stdev

from results.records import read_run_set
from results.studies import Arm, Study, words
from results.study_tables import mean_and_spread, values
from results.text import as_table

METHODS = {"erm": "ERM", "aim-fair": "AIM-Fair"}
METRICS = {"accuracy": "ACC", "equalized_odds": "EO", "worst_group": "worst group"}
SIX = (100, 200, 300, 400, 500, 600)
SEEDS = {"all six": SIX, "the first three": SIX[:3], "the last three": SIX[3:]}


def paired(records: Path) -> list[str]:
    """Return a row for each choice of seeds, method and metric: both precisions, and their difference seed by seed."""
    rows = [("seeds", "%", "fp32", "bf16", "bf16 less fp32, by seed", "standard error of that")]
    arms = {name: read_run_set(records / name) for name in ("fp32_first", "fp32", "bf16")}
    for chosen, seeds in SEEDS.items():
        for method, name in METHODS.items():
            for metric, heading in METRICS.items():
                first, fp32, bf16 = (values(column, method, metric) for column in arms.values())
                one, other = ([found[seed] for seed in seeds] for found in (first | fp32, bf16))
                gaps = [b - a for a, b in zip(one, other, strict=True)]
                error = f"{stdev(gaps) / len(gaps) ** 0.5:.1f}"
                rows.append((chosen, f"{name}, {heading}", *map(mean_and_spread, (one, other, gaps)), error))
    return as_table(rows)


STUDY = Study(
    title="bf16 and fp32 beside each other",
    body=(
        """
Toy faces, Smiling/Male. Mean ± sample standard deviation; EO is the equalized odds difference, the larger gap; the worst group is that
of each seed. The data and synthetic images are those of the toy tables at that time, so take the records' commits for the same numbers.
The processor has no bf16 arithmetic of its own, which makes bf16 several times slower there: the records hold the seconds.""",
        paired,
        """
With six seeds every mean difference is smaller than its spread over the seeds, so the two are not told apart. They may still differ by a few
points: see the standard errors. Three seeds can mislead, as AIM-Fair's accuracy with the first three. One seed alone may differ a lot, because training can turn
a difference in rounding into a large one: see how far the differences spread.""",
    ),
    common=words(
        "--dataset toy --real-data-path results/runs/toy/real "
        "--synthetic-data-root results/runs/toy/synthetic_of_tables --target-sensitive Smiling_Male --weights none "
        "--image-size 48 --number-train-data-real 1600 --width 0.25 --batch-size 32 --number-balanced-synthetic 400 "
        "--number-imbalanced-synthetic 800 --number-held-out-synthetic 200 --pre-train-epochs 10 --pre-train-lr 0.02 "
        "--fine-tune-epochs 4 --fine-tune-lr 0.03 --keep-last-batch"
    ),
    arms=(
        Arm("fp32_first", ("--precision", "fp32"), ("aim-fair",)),
        Arm("fp32", ("--precision", "fp32"), ("aim-fair",), seeds=SEEDS["the last three"]),
        Arm("bf16", ("--precision", "bf16"), ("aim-fair",), seeds=SEEDS["all six"]),
    ),
    note="`bash results/table.sh 3 --keep-last-batch` made the images, and trained `fp32_first` as a part of the toy tables. A commit with + is a "
    "working tree in which the tests were being edited.",
)
