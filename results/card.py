"""A model card beside the weights of a run, README.md in the hub's form, made from its record alone.

    python -m results.card --run results/runs/toy/train/Smiling_Male/aim-fair/seed_100
    python -m results.card --runs results/runs/toy/train/Smiling_Male                     for every run that has weights

A README.md that someone has edited is kept; --overwrite replaces it.
"""

import argparse
import math
import re
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from scipy.special import ndtri  # scipy.stats would take a second to load

from datasets.pairs import TWO, Pair
from results.records import pair_of
from results.remarks import alike, blind_seeds, protected_labels
from results.text import group_words
from utils.errors import UserError, command_line
from utils.files import encoded, write_whole
from utils.metrics import classes_of, hardly_learned, outputs_of, widest_gap
from utils.records import Metrics, Record, read_record

NAME, WEIGHTS = "README.md", "model.safetensors"
NEEDED = ("settings", "metrics.group_count")
CELEBA = ("celeba-non-commercial-research", "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html")
UTKFACE = ("utkface-non-commercial-research", "https://susanqq.github.io/UTKFace/")
FAIRFACE = ("fairface-terms", "https://github.com/joojs/fairface")
STATED_LATER = ("to-be-stated", None)
NON_COMMERCIAL = "may be used for **non-commercial research only**, and so may weights that were trained on it"
# by data set: its name, the licence for the hub with its page (None: this code's), what the card says of its terms
DATA = {
    "toy": (
        "toy faces drawn by code",
        None,
        "Nothing but drawings and images generated from them went in: as the code, MIT.",
    ),
    "celeba": ("CelebA", CELEBA, f"CelebA {NON_COMMERCIAL}. Its images may not be passed on."),
    "utkface": ("UTKFace", UTKFACE, f"UTKFace {NON_COMMERCIAL}."),
    "fairface": ("FairFace", FAIRFACE, "The terms of FairFace apply: read them on its page, and name it."),
    "csv": (
        "images of its maker's own",
        STATED_LATER,
        "**To be stated by whoever publishes this**: the terms of the images bind the weights. Where they are CelebA's or "
        "UTKFace's, the weights are for non-commercial research only.",
    ),
}


def main() -> None:
    """Read the command line and write the cards it names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--run", type=Path, metavar="DIR", help="<output>/<method>/seed_<n>: a card for this run")
    where.add_argument(
        "--runs", type=Path, metavar="DIR", help="the --output of train.py: a card for every run with weights"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace cards that someone has edited")
    args = parser.parse_args()
    print(write_card(args.run, args.overwrite) if args.run else write_cards(args.runs, args.overwrite))


class Edited(UserError):
    """Someone has edited the card that would be overwritten."""


def write_cards(runs: Path, overwrite: bool = False) -> str:
    """Write the card of every run with weights; return a line about them, and one for each card that was kept as it was edited.

    Raises UserError if no run has weights, or if a record is damaged.
    """
    folders = sorted(path.parent for path in runs.glob(f"*/seed_*/{WEIGHTS}"))
    if not folders:
        raise UserError(f"--runs {runs}: no */seed_*/{WEIGHTS} in it; give the --output of train.py")
    kept = []
    for folder in folders:
        try:
            write_card(folder, overwrite)
        except Edited as error:
            kept.append(str(error))
    return "\n".join([f"model cards: {len(folders) - len(kept)} in {runs}/<method>/seed_<n>/{NAME}", *kept])


def write_card(folder: Path, overwrite: bool = False) -> str:
    """Write the card of the run in `folder`; return a line about it.

    The biased model of the same seed is named beside it if its record lies in the folder `erm` of the same --output.

    Raises Edited if a card is there that reads otherwise, unless `overwrite`, and UserError if a record is missing or damaged.
    """
    record = read_record(folder, *NEEDED)
    if record is None:
        raise UserError(f"--run {folder}: no metrics.json; give <output>/<method>/seed_<n> of train.py")
    erm = None if record.method == "erm" else read_record(folder.parent.parent / "erm" / folder.name, *NEEDED)
    path, card = folder / NAME, make_card(record, erm)
    if path.exists() and not overwrite:
        if path.read_bytes() != encoded(card):
            raise Edited(f"{path} is not what its record gives, and kept; --overwrite replaces it")
        return f"model card: {path}, as it was"
    write_whole(path, card)
    return f"model card: {path}"


def make_card(record: Record, erm: Record | None = None) -> str:
    """Return the card of a record as Markdown with YAML front matter, beside that of the same seed's `erm`.

    The same records give the same text. An `erm` that was tested on other images is left out. Raises UserError if the record
    lacks its pair or image size.
    """
    real, metrics, pair = record.real_settings, record.metrics, pair_of(record)
    if not isinstance(size := real.get("image_size"), int):
        raise UserError(f"the record of {record.method}, seed {record.seed} has no image_size; run it again")
    own = str(real.get("dataset")), STATED_LATER, DATA["csv"][2]
    name, licence, terms = DATA.get(data_of(real, pair), own)
    erm = erm if erm and erm.metrics.group_count == metrics.group_count else None
    body = template().render(
        record=record,
        rows=result_rows({"ERM, the biased model": erm.metrics} if erm else {}, metrics, pair),
        real=real,
        labels="; ".join(protected_labels(record).values()),
        alike=alike(record) if blind_seeds([record]) else "",
        pair=pair,
        targets=pair.values_of[pair.target],
        named=pair.values_of[pair.target] != TWO,
        outputs=outputs_of(len(pair.values_of[pair.target])),
        data=name,
        terms=terms,
        size=size,
        network=str(real.get("network", "resnet18")),
        hardly=hardly_learned(metrics.accuracy, metrics.group_count).replace("ERM", "This model", 1),
    )
    return f"---\n{front_matter(record, pair, name, licence).to_yaml()}\n---\n\n{body}"


def front_matter(record: Record, pair: Pair, data: str, licence: tuple[str, str | None] | None) -> ModelCardData:
    """Return what the hub shows and searches."""
    metrics = record.metrics
    shown = (
        ("accuracy", "accuracy", metrics.accuracy),
        ("equalized_odds", "equalized odds, larger gap", metrics.equalized_odds),
        ("worst_group_accuracy", "worst-group accuracy", metrics.worst_group),
    )
    about = {
        "task_type": "image-classification",
        "dataset_type": re.sub(r"[^a-z0-9]+", "-", data.lower()).strip("-"),
        "dataset_name": data,
        "dataset_split": "test",
    }
    own = {"license": "mit"}
    if licence:
        own = {"license": "other", "license_name": licence[0]} | ({"license_link": licence[1]} if licence[1] else {})
    return ModelCardData(
        **own,
        library_name="pytorch",
        pipeline_tag="image-classification",
        tags=["fairness", "bias", "face-attributes", "aim-fair"],
        metrics=["accuracy"],
        model_name=" ".join(f"{record.method} {pair.name}, seed {record.seed}".split()),
        eval_results=[EvalResult(metric_type=k, metric_name=n, metric_value=round(v, 4), **about) for k, n, v in shown],
    )


def data_of(real: dict, pair: Pair) -> str:
    """Return the data set whose terms hold, from recorded settings. Of the hub's parquet files CelebA has no Female and no race."""
    if real.get("dataset") != "parquet":
        return str(real.get("dataset"))
    from datasets.parquet import RACES

    known = {"Female", "Race", "Age", *(race.replace(" ", "_") for race in RACES)}
    return "fairface" if known & set(pair.attributes) else "celeba"


def result_rows(others: dict[str, Metrics], metrics: Metrics, pair: Pair) -> list[list[str]]:
    """Return the table of results as text, its heading first: the metrics of `others` by name, then those of the model.

    It has a row for each group and for all images, then the worst group and the equalized odds difference; in percent.
    """
    columns = {**others, "this model" if others else "accuracy": metrics}
    rows = [["group", "is", "images", *columns]]
    for group, count in metrics.group_count.items():
        found = (with_interval(each.group_accuracy[group], count) for each in columns.values())
        rows.append([group, plain(group_words(pair)[group]), f"{count:,}", *found])
    found = (with_interval(each.accuracy, metrics.images) for each in columns.values())
    rows.append(["all", "", f"{metrics.images:,}", *found])
    rows.append(["worst group", "", "", *(f"{100 * each.worst_group:.1f}" for each in columns.values())])
    odds = [f"{100 * each.equalized_odds:.1f}" for each in columns.values()]
    if len(pair.groups) > 2 * classes_of(pair.groups):  # else there are no other groups to compare
        gaps = (widest_gap(each.group_accuracy) for each in columns.values())
        odds = [f"{value} ({plain(' to '.join(gap))})" for value, gap in zip(odds, gaps, strict=True)]
    return [*rows, ["equalized odds difference", "", "", *odds]]


def with_interval(fraction: float, count: int) -> str:
    """Return a fraction of `count` images and its interval as text, in percent."""
    return "{:.1f} ({:.1f} to {:.1f})".format(*interval(fraction, count))


def interval(fraction: float, count: int) -> tuple[float, float, float]:
    """Return a fraction of `count` images and its 95 % interval, Wilson's (JASA 22, 209, 1927), all in percent."""
    z = ndtri(0.975)
    share, weight = round(fraction * count) / count, z * z / count
    centre, half = share + weight / 2, z * math.sqrt(share * (1 - share) / count + weight / count / 4)
    low, high = ((centre + sign * half) / (1 + weight) for sign in (-1, 1))
    return 100 * fraction, 100 * max(0.0, low), 100 * min(1.0, high)


def plain(value: object) -> str:
    """Return a text on one line with Markdown's signs escaped."""
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", " ".join(str(value).split()))


def template() -> Template:
    """Return the template of the card; names go into it with Markdown's signs escaped."""
    options = {"undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True}
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent, encoding="utf-8"), **options)
    environment.filters["plain"] = plain
    environment.filters["code"] = lambda value: " ".join(str(value).replace("`", "'").split())
    return environment.get_template("card.md.j2")


if __name__ == "__main__":
    command_line(main)
