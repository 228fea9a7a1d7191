"""Score whether generated images show what their group asks for: each image, and the fraction of each group.

    python -m stable_diffusion.faithfulness --images results/runs/synthetic/Smiling_Male/contextual

CLIP scores the images by the words of the prompt file (--clip: a hub id or a folder), or, with --data or --judge, a
classifier trained on labelled faces does:

    python -m datasets.toy --output results/runs/judge --train 20000 --val 0 --test 2000 --seed 7
    python -m stable_diffusion.faithfulness --data results/runs/judge --images results/runs/toy/synthetic/Smiling_Male/contextual

faithfulness.csv in the folder gets a line an image: for each attribute the probability of the value that its group asks
for, against the likeliest other one, and the smallest of them as `faithfulness`, which train.py --min-faithfulness reads. Started again, it scores what
is new or has changed. It prints the fraction of each group that shows what it should (probability 0.5 or more), warns
if the groups differ more than by chance, which is a bias too, and draws the images that most clearly don't in
faithfulness_worst.png.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from datasets.celeba import group_names
from datasets.faithful import CONTENT, FILE, SCORE, SCORER, read_scores, short_digests
from datasets.known import DATASETS, VALUES
from datasets.pairs import Pair, values_in
from datasets.synthetic_files import image_files
from prompts import find_prompt_file, read_prompts
from stable_diffusion.fractions import as_asked, differences, fraction_right
from utils.arguments import positive_float, positive_int, seed_number
from utils.device import choose_device
from utils.errors import UserError, command_line
from utils.files import write_whole
from utils.progress import progress
from utils.settings import flag, parse

CHUNK = 1000  # images between two writes of the file: what a kill costs
DEFAULT_CLIP, TEMPLATE = "openai/clip-vit-large-patch14", "a photo, {}"
SHEET = "faithfulness_worst.png"
of_images, of_clip, of_judge = (partial(flag, group=each) for each in ("images", "CLIP", "a judge in place of CLIP"))
Scorer = tuple[
    Pair, Callable[[list[Path]], list[np.ndarray]], str
]  # probabilities of each attribute's values; its name


@dataclass(frozen=True)
class ScoringSettings:
    """The flags of this command."""

    images: Path = of_images(None, "<outdir>/<pair>/<prompt type> of a generation", type=Path, required=True)
    clip: str | None = of_clip(None, f"hub id, or folder in transformers' format (default: {DEFAULT_CLIP})")
    prompts: Path | None = of_clip(None, "prompt file (default: prompts/<pair>.json)", type=Path, metavar="FILE")
    template: str = of_clip(TEMPLATE, "the text around a word of the prompt file ({})")
    data: Path | None = of_judge(None, "labelled faces, to train and test the judge", type=Path)
    dataset: str = of_judge("celeba", f"the form of --data: {', '.join(DATASETS)}", choices=DATASETS)
    values: tuple[str, ...] = of_judge((), VALUES, nargs="+", metavar="NAME=VALUE,VALUE")
    judge: Path | None = of_judge(None, "file of the trained judge (.safetensors): used, or written", type=Path)
    epochs: int = of_judge(3, "default: 3", type=positive_int)
    lr: float = of_judge(0.1, "default: 0.1", type=positive_float)
    image_size: int = of_judge(64, "pixels a side", type=positive_int)
    seed: int = of_judge(0, "default: 0", type=seed_number)
    cache: Path = of_judge(Path("results/runs/judge_cache"), "folder for decoded images", type=Path)
    device: str = of_images("auto", "auto, cpu, cuda, cuda:1, ...")
    precision: str = of_images("fp32", "fp32 or bf16", choices=("fp32", "bf16"))


def main() -> None:
    """Score the images that are new or have changed."""
    settings = parse(ScoringSettings, __doc__)
    folder = settings.images.resolve()
    if not folder.is_dir():
        raise UserError(f"--images {settings.images}: no such folder; give <outdir>/<pair>/<prompt type>")
    if settings.clip and (settings.data or settings.judge):
        raise UserError(f"--clip {settings.clip} and a judge are both given: leave out --clip, or --data and --judge")
    if settings.values and not settings.data:
        raise UserError("--values goes with --data; the file of a judge, and the prompts of CLIP, have their values")
    device = choose_device(settings.device)
    pair, score, name = (by_judge if settings.data or settings.judge else by_clip)(settings, folder.parent.name, device)
    files = files_to_score(folder, pair, name)
    table = score_all(folder, files, pair.attributes, score=score, name=name)
    fractions = fraction_right(table, pair.attributes)
    print(f"images of {settings.images}, % judged as asked, by {name}\n{fractions.to_string(float_format='%.1f')}")
    print("\n".join(differences(fractions)))
    draw_worst(folder, table, name)


def files_to_score(folder: Path, pair: Pair, name: str) -> dict[str, list[Path]]:
    """Return the images of each group.

    Raises `UserError` if there are none, or if a folder beside the groups has images and is called like a group, because `name`,
    the scorer, does not know its values.
    """
    found = {
        child.name: image_files(child) for child in sorted(folder.iterdir()) if child.is_dir() and "_" in child.name
    }
    files = {group: found.pop(group, []) for group in pair.groups}
    if not any(files.values()):
        raise UserError(f"--images {folder}: no image in {', '.join(files)}; give <outdir>/<pair>/<prompt type>")
    if unknown := [group for group, images in found.items() if images]:
        raise UserError(
            f"--images {folder}: {', '.join(unknown)} is no group of {name}, which has {', '.join(files)}; move the folder away, "
            "or choose the values as the images have them (--values with --data, or --prompts)"
        )
    return files


def by_clip(settings: ScoringSettings, pair: str, device: torch.device) -> Scorer:
    """Return zero-shot CLIP as a scorer, by the words of the pair's prompt file."""
    from stable_diffusion.clip import clip_scorer

    prompts = read_prompts(settings.prompts or find_prompt_file(pair), pair)
    model = settings.clip or DEFAULT_CLIP
    score, name = clip_scorer(model, prompts, settings.template, device=device, amp=settings.precision == "bf16")
    return prompts.attributes, score, name


def by_judge(settings: ScoringSettings, pair: str, device: torch.device) -> Scorer:
    """Return the judge that --judge keeps, else one that learns from --data; with --data, print how well it does there."""
    from stable_diffusion.judge import Judge, Labelled, load_judge, train_judge, value_numbers

    amp, size = settings.precision == "bf16", settings.image_size
    data = None
    if settings.data:
        data = Labelled(settings.dataset, settings.data, pair, settings.cache, settings.values)
        files_to_score(settings.images, data.pair, "the judge")  # before anything is trained
    if data is None or (settings.judge and settings.judge.exists()):
        judge = load_judge(settings.judge, pair, device, amp)
        if data and described(judge.pair) != described(data.pair):
            raise UserError(
                f"--judge {settings.judge}: it tells {described(judge.pair)} apart, and --data has {described(data.pair)}; "
                "give the values of the one to the other (--values), or another --judge"
            )
    else:
        training = {"epochs": settings.epochs, "lr": settings.lr, "seed": settings.seed}
        pixels, table = data.read("train")
        labels = value_numbers(table, data.pair)
        model = train_judge(pixels, labels, data.pair, size=size, device=device, amp=amp, **training)
        judge = Judge(model, data.pair, size, device, amp)
        if settings.judge:
            judge.save(settings.judge)
    if data:
        print(f"the judge on labelled test faces, % right\n{tested(judge, data).to_string(float_format='%.1f')}\n")
    return judge.pair, *judge.scorer(settings.cache)


def tested(judge, data) -> pd.DataFrame:
    """Return for each group of the labelled test faces how often a judge is right, as `fraction_right` does."""
    from stable_diffusion.judge import value_numbers

    pixels, table = data.read("test")
    asked, attributes = value_numbers(table, data.pair), data.pair.attributes
    right = pd.DataFrame(as_asked(judge.of_values(pixels), asked), columns=list(attributes))
    return fraction_right(right.assign(group=group_names(table, data.pair).to_numpy()), attributes)


def described(pair: Pair) -> str:
    """Return the values of each attribute in words, the attributes without their names, which data sets spell differently."""
    return " and ".join(", ".join(values) for values in pair.values_of.values())


def score_all(
    folder: Path, files: dict[str, list[Path]], attributes: tuple[str, ...], *, score: Callable, name: str
) -> pd.DataFrame:
    """Bring the scores in the folder's file up to date; return them, a row an image."""
    paths = [path for found in files.values() for path in found]
    if odd := [path for path in paths if not str(path).isprintable()]:
        raise UserError(f"{odd[0].parent}: the name {odd[0].name!r} can't stand in a text file; rename the image")
    of_group = values_in(tuple(files))
    asked = np.array([of_group[group] for group, found in files.items() for _ in found])
    table = pd.DataFrame({"image": [path.relative_to(folder).as_posix() for path in paths]}).set_index("image")
    columns = [*attributes, SCORE]
    table[columns], table[SCORER] = np.nan, name
    table[CONTENT], table["group"] = short_digests(paths), [path.parent.name for path in paths]
    old = earlier(folder / FILE, tuple(columns), name)
    if old is not None:
        same = table.index.intersection(old.index)
        same = same[table.loc[same, CONTENT] == old.loc[same, CONTENT]]
        table.loc[same, columns] = old.loc[same, columns]
    new = np.flatnonzero(table[SCORE].isna())
    print(f"{len(table) - len(new)} of {len(table)} images are scored by {name}", flush=True)
    with progress(desc="scoring", total=len(new), unit="image") as bar:
        for start in range(0, len(new), CHUNK):
            rows = new[start : start + CHUNK]
            found = as_asked(score([paths[row] for row in rows]), asked[rows])
            if not np.isfinite(found).all():
                raise UserError(f"{name}: its probabilities are not finite; its weights are damaged, take another")
            if len(rows) > 1 and (blind := np.array(attributes)[(found == 0.5).all(0)]).size:
                raise UserError(
                    f"{name}: it gives each image exactly 0.5 for {', '.join(blind)}: it can't judge; take another"
                )
            table.loc[table.index[rows], columns] = np.column_stack([found, found.min(1)]).round(6)
            write(folder / FILE, table)
            bar.update(len(rows))
    if not len(new) and len(old) != len(table):
        write(folder / FILE, table)  # without images that are gone
    return table


def write(path: Path, table: pd.DataFrame) -> None:
    """Write what is scored yet, whole or not at all."""
    write_whole(path, table[table[SCORE].notna()].drop(columns="group").to_csv())


def earlier(path: Path, columns: tuple[str, ...], name: str) -> pd.DataFrame | None:
    """Read the scores that a file holds already; those of another scorer are kept under another name."""
    if not path.exists():
        return None
    remedy = "remove it to score all images again"
    text = read_scores(path, (), remedy)
    found = text[SCORER].unique() if SCORER in text else ["unknown"]
    if list(found) != [name] or CONTENT not in text:
        digest = hashlib.sha256(" ".join(found).encode()).hexdigest()[:8]
        aside = path.with_name(f"{path.stem}_{digest}{path.suffix}")
        os.replace(path, aside)
        print(f"{path.name} was by {', '.join(found)}: it is {aside.name} now")
        return None
    return read_scores(path, columns, remedy)


def draw_worst(folder: Path, table: pd.DataFrame, name: str) -> None:
    """Draw a sheet of the images that most clearly don't show what their group asks for; none if all do."""
    from stable_diffusion.drawing.contact_sheet import sheet_of

    worst = table[table[SCORE] < 0.5].sort_values(SCORE, kind="stable")
    if worst.empty:
        (folder / SHEET).unlink(missing_ok=True)
        return
    title = f"{folder.parent.name} {folder.name}: least faithful of {len(worst)} below 0.5, by {name}"
    captions = [f"{group}: {value:.2f}" for group, value in zip(worst["group"], worst[SCORE])]
    sheet_of([folder / image for image in worst.index], title, 96, captions).save(folder / SHEET)
    print(f"{len(worst)} images do not show what they should (below 0.5), the clearest: {folder / SHEET}")


if __name__ == "__main__":
    command_line(main)
