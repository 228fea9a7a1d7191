"""How many batches does the ranking need, and what does `--ranking-batches auto` lose? An hour on two CPU cores."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from results.records import LABELS, read_run_set
from results.studies import T2I, Arm, Study, late, unbiased, words
from results.study_tables import findings, metrics_of
from results.text import MISSING, as_table

SEEDS, PATIENCE = (100, 200, 300), 20  # `models.top_k.PATIENCE`, auto's default
TOY = words(
    "--dataset toy --real-data-path results/runs/toy/real --synthetic-data-root results/runs/toy/synthetic "
    "--weights toy --width 0.25 --image-size 48 --crop-scale 0.6 1 --number-balanced-synthetic 200 "
    "--number-imbalanced-synthetic 400 --batch-size 64 --pre-train-epochs 7 --pre-train-lr 0.02 --milestones 6 "
    "--fine-tune-epochs 5 --fine-tune-lr 0.02 --precision bf16 --number-train-data-real"
)
FACES = words(
    "--dataset celeba --real-data-path {data}/celeba --target-sensitive Smiling_Male --weights {weights} "
    "--precision bf16 --pre-train-lr 0.03 --number-train-data-real"
)
LARGE, SMALL = (*FACES, *words("20000 --image-size 112")), (*FACES, *words("8000 --image-size 64"))
GENERATED = unbiased("generated", 1000, 2000, 200)
AUTO = "--ranking-batches auto"
FEWER = {"auto_20": AUTO, "auto_3": f"{AUTO} --ranking-patience 3", "first_5": "--ranking-batches 5"}
# what is trained with the full ranking and with fewer batches: flags, and which of `FEWER`
TRAINED = {
    "toy": ((*TOY, "1200"), tuple(FEWER)),
    "toy_4000": ((*TOY, "4000"), ("auto_20",)),
    "real_faces_64": ((*SMALL, *T2I), ("auto_20",)),
}


@dataclass(frozen=True)
class Measured:
    """A ranking that is measured batch by batch, for the biased models of the arm `models`; `draws` counts other full rankings."""

    title: str
    models: str
    flags: tuple[str, ...]
    seeds: tuple[int, ...] = SEEDS
    draws: int = 0


GENERATOR = "a small Stable Diffusion trained on CelebA with its labels"
MEASURED = {
    "toy": Measured("`runner.sh`'s defaults, three seeds", "toy/all", TRAINED["toy"][0], draws=4),
    "toy_4000": Measured("4,000 real images, three seeds", "toy_4000/all", TRAINED["toy_4000"][0], draws=4),
    "real_faces_t2i": Measured(
        "CelebA, 400 faces of text-to-image models, one seed", "real_faces_112/all", (*LARGE, *T2I), SEEDS[:1]
    ),
    "real_faces_generated": Measured(
        f"CelebA, 4,000 faces by {GENERATOR}, two seeds", "real_faces_112/all", (*LARGE, *GENERATED), SEEDS[:2]
    ),
}


def rankings(records: Path, name: str) -> pd.DataFrame:
    """Return a row for each ranking of an arm and each patience.

    final : the batch from which on the mask is the full ranking's
    after : the batch after which auto stops; early : whether that is before the end
    off : tensors that are then in one of the two masks alone
    saved : percent of the images of all three sets
    draws : for each other full ranking, the tensors in one of the two masks alone
    """
    found = findings(records, f"{name}/ranking_stop")
    sets, last = found["batches"], max(found["batches"].values())

    def used(batches: int) -> int:
        return sum(min(n, min(batches, sets[key]) * found["batch_size"]) for key, n in found["images"].items())

    rows = []
    for row in (value for what, value in found.items() if what.startswith("seed ")):
        final = max((batch for batch, count in enumerate(row["differ"], start=1) if count), default=0) + 1
        for patience, stop in row["stops"].items():
            after = stop["after"]
            own = {"after": after, "early": after < last, "off": row["differ"][after - 1]}
            own["saved"] = 100 * (1 - used(after) / used(last))
            rows.append({"patience": int(patience), "final": final, "draws": row.get("draws", []), **own})
    return pd.DataFrame(rows)


def overview(records: Path) -> list[str]:
    """Return a row for each measured arm, with auto's default patience."""
    heads = ("batches of real, biased, balanced images", "mask final after", "auto stops after", "the full mask")
    rows = [("", *heads, "off by at most", "images saved, mean", "another full ranking is off by")]
    for name, own in MEASURED.items():
        about, table = findings(records, f"{name}/ranking_stop"), rankings(records, name)
        table = table[table["patience"] == PATIENCE]
        batches = f"{', '.join(map(str, about['batches'].values()))} of {about['batch_size']}"
        ends = (table[key].agg(["min", "max"]).unique() for key in ("final", "after"))
        right = f"{(table['off'] == 0).sum()} of {len(table)}"
        cells = [*(" to ".join(map(str, pair)) for pair in ends), right, str(table["off"].max())]
        cells.append(f"{table['saved'].mean():.0f} %")
        drawn = pd.Series(table["draws"].sum(), dtype=int)
        others = f"{drawn.mean():.1f} (at most {drawn.max()}; {(drawn == 0).sum()} of {len(drawn)} the same)"
        rows.append((f"{name}: {own.title}", batches, *cells, others if len(drawn) else MISSING))
    return as_table(rows)


def by_patience(records: Path) -> list[str]:
    """Return a row for each measured arm and patience."""
    rows = [("", "patience", "rankings", "stopped early", "the full mask", "off by, mean (most)", "images saved, mean")]
    for name in MEASURED:
        for patience, table in rankings(records, name).groupby("patience"):
            off = f"{table['off'].mean():.1f} ({table['off'].max()})"
            counts = patience, len(table), table["early"].sum(), (table["off"] == 0).sum()
            rows.append((name, *map(str, counts), off, f"{table['saved'].mean():.0f} %"))
    return as_table(rows)


def trained(records: Path) -> list[str]:
    """Return AIM-Fair with the full ranking beside fewer batches, from the same biased models, with k = 55."""
    rows = [("%", "seeds", "ACC", "EO", "worst group, of each seed", "real batches used", "test answers beside `all`")]
    for name, (_, fewer) in TRAINED.items():
        full = read_run_set(records / name / "all").predictions
        for arm in ("all", *fewer):
            column = read_run_set(records / name / arm)
            found = [
                record.content.get("ranking_batches", {"real": "all"}) for record in column.runs("aim-fair").values()
            ]
            used = ", ".join(str(batches["real"]) for batches in found)
            runs = [run for run in full if run not in LABELS and run.startswith("aim-fair/")]
            differ = int((column.predictions[runs] != full[runs]).to_numpy().sum())
            cells = [str(len(found)), *metrics_of(column, "aim-fair"), used]
            rows.append((f"{name}, {arm}", *cells, f"{differ} differ" if differ else "the same"))
    return as_table(rows)


def arms() -> Iterator[Arm]:
    """Yield AIM-Fair with the full ranking and with fewer batches from the same biased models, then what is measured."""
    for name, (flags, fewer) in TRAINED.items():
        yield Arm(f"{name}/all", flags, ("aim-fair",))
        yield from (
            Arm(f"{name}/{arm}", (*flags, *words(FEWER[arm])), ("aim-fair",), erm_of=f"{name}/all") for arm in fewer
        )
    yield Arm("real_faces_112/all", LARGE, ("erm",))
    for name, own in MEASURED.items():
        asked = own.models, (*own.flags, "--seeds", *map(str, own.seeds)), own.draws
        yield Arm(f"{name}/ranking_stop", measure=late("ranking_stop.measure.batches", *asked), after=(own.models,))


STUDY = Study(
    title="How many batches the ranking needs",
    body=(
        """
`--ranking-batches auto` ends the ranking when the tensors that it chooses have not changed for 20 batches. This study measures from which
batch on the mask is that of the full ranking, where auto stops, and by how many tensors its mask is then off, for k of 40, 45, 50, 55 and 60.
A tensor that is missing and one in its place count as two. Images are those of all three sets. Nothing was timed, and the cost of comparing the masks
after every batch is not counted.""",
        overview,
        """
- **With 156 batches auto saves half of the images or more, and its mask is the full one or one swap off.** With few batches it saves
  little or nothing: `runner.sh`'s largest set on toy faces has 18 batches, fewer than the 20 that must pass without a change.
- **A mask that has been still for 20 batches is not final.** Two tensors beside a rank's edge may change places at any time, on real faces up to the
  last batches.
- **The full mask is itself a draw of order and crops.** On toy faces other full rankings of the same images, with other draws, differ from it by more
  than an early stop does (last column). So the full mask is a way to compare, not the right answer. On real faces we have not measured other draws.

## Why 20 batches

With a shorter patience fewer rankings find the full mask. With a longer one fewer images are saved:""",
        by_patience,
        """
## AIM-Fair with it

The full ranking (`all`) beside fewer batches (`auto_20`: the default; `auto_3`: `--ranking-patience 3`; `first_5`: `--ranking-batches 5`), from the
same biased models, with k = 55; mean ± sample standard deviation, EO is the larger gap:""",
        trained,
        """
Auto ends within the spread over seeds of the full ranking. Five batches end lower in accuracy, which three seeds don't tell from 0. Toy faces show no more
than that nothing breaks. On real faces (8,000 biased CelebA faces, 400 faces of text-to-image models) auto finds the full mask in all three seeds,
so AIM-Fair is the same model. With more synthetic faces, where some masks were one swap off, AIM-Fair with auto was not trained.""",
    ),
    arms=tuple(arms()),
    note="`bash runner.sh` makes the toy faces. The biased models of `real_faces_112` were those of the study real_faces, whose settings are the same. The "
    'commit of `toy_4000` has a "+" because the record of `toy` had just been written beside it.',
)
