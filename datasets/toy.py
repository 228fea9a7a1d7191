"""Toy faces: small portraits drawn by code, in CelebA's layout.

    python -m datasets.toy --output results/runs/toy/real --train 8000 --val 1000 --test 2000

With them the whole chain runs anywhere in minutes. They demonstrate the software and prove nothing about people. Ten
attributes have CelebA's names and are drawn independently of each other, so a training list is biased only because it
was chosen so. A core draws some hundred faces a second.
"""

import argparse
import csv
import json
import shutil
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from datasets.toy_captions import describe
from datasets.toy_drawing import draw_face
from datasets.toy_faces import ATTRIBUTES, Face, sample_face
from utils.errors import UserError, command_line
from utils.progress import progress

FEW = 64  # images that stand for all in a dry run
CHUNK = 64  # images that a process draws before it asks for more
PAIRS = ("Smiling_Male",)


def read(path: Path, target_sensitive: str):
    """Read the faces as `datasets.celeba.read` does."""
    from datasets import celeba  # loads pandas, which the drawing processes don't need

    return celeba.read(path, target_sensitive)


def write_toy_celeba(
    root: Path, counts: dict[str, int], seed: int, size: int = 64, captions: bool = False, drawn: int | None = None
) -> None:
    """Draw toy faces and write them in CelebA's layout, with `captions` also captions.csv (image, caption).

    counts : number of images of train, val and test
    seed : face i depends only on (seed, i)
    size : pixels a side
    drawn : draw only so many images and copy them for all others, which is enough to check and estimate a run; the lists
        are those of the whole set

    A finished set of the same settings is left as it is. Raises `UserError` if the folder holds a set of other
    settings, or images that this program has not written.
    """
    settings = {"counts": counts, "seed": seed, "size": size, "captions": captions} | (
        {"drawn": drawn} if drawn else {}
    )
    marker, folder = root / "toy.json", root / "img_align_celeba"
    if marker.exists():
        found = json.loads(marker.read_text())
        if found == settings:
            print(f"toy faces: {root} is complete")
            return
        raise UserError(
            f"{root} holds toy faces of other settings: {found}, asked for {settings}; choose another --output"
        )
    if folder.exists() and not (root / "unfinished").exists():
        raise UserError(f"{folder} exists and was not written by this program; choose another --output")
    folder.mkdir(parents=True, exist_ok=True)
    (root / "unfinished").touch()
    faces = _draw_all(partial(_draw_and_save, folder, seed, size, drawn), sum(counts.values()))
    _copy_others(folder, drawn or len(faces), len(faces))
    _write_lists(root, counts, [face for face, _ in faces])
    if captions:
        rows = [(f"img_align_celeba/{_name(index)}", caption) for index, (_, caption) in enumerate(faces)]
        with open(root / "captions.csv", "w", newline="") as file:
            csv.writer(file).writerows([("image", "caption"), *rows])
    (root / "unfinished").unlink()
    marker.write_text(json.dumps(settings, indent=1) + "\n")


def _draw_all(draw, count: int) -> list[tuple[Face, str]]:
    if count <= CHUNK:  # drawn in the time that processes take to start
        return [draw(index) for index in progress(range(count), desc="toy faces", unit="image")]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        results = pool.map(draw, range(count), chunksize=CHUNK)
        try:
            return list(progress(results, desc="toy faces", total=count, unit="image"))
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)  # else it would draw all images before it ends
            raise


def _draw_and_save(folder: Path, seed: int, size: int, drawn: int | None, index: int) -> tuple[Face, str]:
    rng = np.random.default_rng([seed, index])
    face = sample_face(rng)
    if not drawn or index < drawn:
        draw_face(face, rng, size).save(folder / _name(index), quality=95, subsampling=0)
    return face, describe(face, np.random.default_rng([seed, index, 1]))


def _copy_others(folder: Path, drawn: int, count: int) -> None:
    """Copy the first `drawn` images by turns for all others; links would count as one image that is listed twice."""
    for index in range(drawn, count):
        shutil.copyfile(folder / _name(index % drawn), folder / _name(index))


def _write_lists(root: Path, counts: dict[str, int], faces: list[Face]) -> None:
    values = [" ".join(f"{value:2d}" for value in face.attributes().values()) for face in faces]
    rows = [f"{_name(index)} {row}" for index, row in enumerate(values)]
    (root / "list_attr_celeba.txt").write_text("\n".join([str(len(rows)), " ".join(ATTRIBUTES), *rows]) + "\n")
    splits = np.repeat([0, 1, 2], [counts[split] for split in ("train", "val", "test")])
    lines = [f"{_name(index)} {code}\n" for index, code in enumerate(splits)]
    (root / "list_eval_partition.txt").write_text("".join(lines))


def _name(index: int) -> str:
    return f"{index + 1:06d}.jpg"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder to write, in CelebA's layout")
    parser.add_argument("--train", type=int, default=8000, help="training images")
    parser.add_argument("--val", type=int, default=1000, help="validation images")
    parser.add_argument("--test", type=int, default=2000, help="test images")
    parser.add_argument("--seed", type=int, default=1, help="another seed draws other faces")
    parser.add_argument("--size", type=int, default=64, help="pixels a side")
    parser.add_argument("--captions", action="store_true", help="also write captions.csv, to train a generator on")
    parser.add_argument(
        "--few", action="store_true", help=f"draw only {FEW} images, for a dry run; copies stand for the others"
    )
    args = parser.parse_args()
    counts = {"train": args.train, "val": args.val, "test": args.test}
    write_toy_celeba(args.output, counts, args.seed, args.size, args.captions, FEW if args.few else None)


if __name__ == "__main__":
    command_line(main)
