"""What leaving out unfaithful images does, on a generated set that is spoiled on purpose: a table.

    python -m results.spoiled --output results/runs/spoiled
    python -m results.spoiled --output results/runs/spoiled --images DIR --seeds 100 200   # images that are there

Settings, data and generator are those of the toy tables (results/run_table.py). From the generated images two sets are drawn:
a sound one, and a copy in which a share of one cell are images of another cell. A judge trained on labelled toy
faces scores both. Then runner.sh trains on both as they are, and on both less the images that
score below each P (--min-faithfulness). ERM needs no synthetic images: it is trained once. table.md says how many images
went, how many of those were the wrong ones, and what became of accuracy and equalized odds.

Every flag that isn't listed below goes to runner.sh. What is there is not made again: an interrupted command goes on.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from datasets.faithful import FILE, SCORE, read_scores
from datasets.pairs import CELLS, cell_values
from datasets.synthetic import image_files
from results.rows import TABLES
from results.run_table import run, runner_calls
from results.summary import by_methods, headings, read_records, summary_row
from utils.arguments import fraction, positive_int, share
from utils.errors import UserError, command_line
from utils.files import digests, whole, write_whole
from utils.processes import run_child
from utils.records import ROOT, check_settings, copy_record
from utils.seeds import derived_seed

PAIR, WHERE = "Smiling_Male", Path("Smiling_Male", "contextual")
METHODS = ("full", "aim-fair")
WRONG = "wrong_"  # how the name of an image begins that shows another cell than its own
METRICS = ("ACC", "mean of WST", "EO max")
NOTE = (
    "Percent, test split, mean ± sample standard deviation over n seeds. Went: images that score below P, of all in the set. "
    "Precision: the share of wrong ones among those that went; recall: the share of the wrong ones that went. Wrong ones "
    "are those put there on purpose; what the generator itself drew wrong counts as right, so precision is a lower bound."
)


def main() -> None:
    """Draw the sets, score them, train on them, and write the table."""
    args, flags = parse_args(sys.argv[1:])
    images = args.images or generate(args.output, flags)
    sets = draw_sets(args, images)
    said = {name: score(args, folder, name) for name, folder in sets.items()}
    if args.clip:
        said["CLIP"] = score_by_clip(args, sets["sound"])
    # the sound set filtered tells what filtering does by itself: fewer images, and what the generator drew wrong is gone
    runs = [(name, minimum) for name in sets for minimum in (None, *args.minimum)]
    for name, minimum in runs:
        train(args.output, sets[name], minimum, flags)
    write_whole(args.output / "table.md", page(args, sets, runs, said))
    print(f"table: {args.output / 'table.md'}")


def generate(output: Path, flags: list[str]) -> Path:
    """The folder of the toy tables' generated images, which runner.sh fills where it isn't full; it trains ERM too."""
    call = call_of(output / "runs" / "sound", ["erm"], flags)
    run(call)
    places = [value for flag, value in zip(call, call[1:]) if flag == "--synthetic-data-root"]
    return Path(places[-1]) / WHERE


def call_of(output: Path, methods: list[str], flags: list[str]) -> list[str]:
    """The arguments of runner.sh for methods with the settings of the toy tables; its records go to `output`/`PAIR`."""
    [call] = runner_calls(TABLES["table_3"], "toy", output, [PAIR], real=None, methods=methods, flags=flags)
    return call


def draw_sets(args: argparse.Namespace, images: Path) -> dict[str, Path]:
    """The folders of the sound and of the spoiled set; made where they aren't there.

    Raises `UserError` where a cell has no images, or the folders there are of other images or settings.
    """
    files = {cell: image_files(images / cell) for cell in CELLS}
    if empty := [cell for cell in CELLS if not files[cell]]:
        raise UserError(f"{images}: no image in {', '.join(empty)}; give --images <outdir>/<pair>/<prompt type>")
    content = "\n".join(digests([path for cell in CELLS for path in files[cell]]))
    asked = {"images": hashlib.sha256(content.encode()).hexdigest()[:12]}
    asked |= {key: vars(args)[key] for key in ("cell", "source", "share", "judge_faces")}
    marker = args.output / "sets" / "settings.json"
    if marker.exists():
        check_settings(json.loads(marker.read_text()), asked, marker.parent)
    write_whole(marker, json.dumps(asked, indent=1) + "\n")
    drawn = draw(files, args.cell, args.source, args.share)
    for name, cells in drawn.items():
        if not (args.output / "sets" / name).exists():
            with whole(args.output / "sets" / name) as partial:
                copy_set(cells, partial / WHERE)
    return {name: args.output / "sets" / name / WHERE for name in drawn}


def draw(files: dict[str, list[Path]], cell: str, source: str, share: float) -> dict[str, dict[str, dict[str, Path]]]:
    """Both sets: of each cell the images by the name they get.

    Both have the same number of each cell, as many as leave in `source` the images that replace a share of `cell`.
    """
    random = np.random.default_rng(derived_seed(0, "spoiled set"))
    size = int(min(map(len, files.values())) / (1 + share))
    wrong = round(share * size)
    mixed = {name: [found[i] for i in random.permutation(len(found))] for name, found in files.items()}
    sound = {name: {path.name: path for path in found[:size]} for name, found in mixed.items()}
    others = {f"{WRONG}{path.name}": path for path in mixed[source][size : size + wrong]}
    return {"sound": sound, "spoiled": sound | {cell: dict(list(sound[cell].items())[wrong:]) | others}}


def copy_set(cells: dict[str, dict[str, Path]], folder: Path) -> None:
    """Copy the images of each cell into a folder of its own."""
    for cell, images in cells.items():
        (folder / cell).mkdir(parents=True)
        for name, path in images.items():
            shutil.copyfile(path, folder / cell / name)


def score(args: argparse.Namespace, folder: Path, name: str) -> str:
    """Have a set scored by the judge, list its images with their scores in images.csv; returns what was printed."""
    faces = args.output / "judge_faces"
    counts = ["--train", args.judge_faces, "--val", 0, "--test", max(100, args.judge_faces // 10), "--seed", 7]
    module("datasets.toy", "--output", faces, *counts)
    judge = ["--data", faces, "--judge", args.output / "judge.safetensors", "--cache", args.output / "cache"]
    said = module("stable_diffusion.faithfulness", "--images", folder, *judge)
    labels = {cell: dict(zip(PAIR.split("_"), cell_values(cell))) for cell in CELLS}
    scores = read_scores(folder / FILE, (SCORE,), f"remove {folder / FILE}")[SCORE]
    rows = [{"image": image, **labels[image.partition("/")[0]], SCORE: value} for image, value in scores.items()]
    write_whole(folder / "images.csv", pd.DataFrame(rows).to_csv(index=False))
    keep_sheet(folder, args.output / f"worst_{name}.png")
    return said


def score_by_clip(args: argparse.Namespace, folder: Path) -> str:
    """Have a copy of a set scored by CLIP; returns what was printed."""
    copy = args.output / "sets" / "by_clip" / WHERE
    if not copy.exists():
        with whole(copy) as partial:
            shutil.copytree(folder, partial, ignore=shutil.ignore_patterns("*.csv"))
    said = module("stable_diffusion.faithfulness", "--images", copy, "--clip", args.clip)
    keep_sheet(copy, args.output / "worst_CLIP.png")
    return said


def keep_sheet(folder: Path, path: Path) -> None:
    """Copy the sheet of a set's worst images, if it has one."""
    if (folder / "faithfulness_worst.png").exists():
        shutil.copyfile(folder / "faithfulness_worst.png", path)


def module(name: str, *arguments) -> str:
    """Run a module of this project; returns what it printed. Exits with its status where it fails."""
    command = [sys.executable, "-m", name, *map(str, arguments)]
    done = run_child(command, stdout=subprocess.PIPE, text=True)
    print(done.stdout, flush=True)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout


def for_page(printed: str) -> str:
    """What a scorer printed, without this checkout's folder and without what it found done already."""
    lines = printed.replace(f"{ROOT}/", "").splitlines()
    kept = [line for line in lines if "images are scored by" not in line and not line.startswith("decoding ")]
    return "\n".join(kept).strip()


def train(output: Path, folder: Path, minimum: float | None, flags: list[str]) -> None:
    """Train the methods on a set, less the images that score below `minimum`; ERM is taken over from the sound set."""
    records = records_of(output, folder, minimum)
    for erm in (output / "runs" / "sound" / PAIR / "erm").glob("seed_*"):
        copy_record(erm, records / "erm" / erm.name)
    own = ["--synthetic-data-root", str(folder / "images.csv"), "--cache", str(output / "cache")]
    own += [] if minimum is None else ["--min-faithfulness", str(minimum)]
    run(call_of(records.parent, list(METHODS), [*flags, *own]))


def records_of(output: Path, folder: Path, minimum: float | None) -> Path:
    """Where the records of a run lie."""
    name = folder.parent.parent.name
    return output / "runs" / (name if minimum is None else f"{name}_{minimum:g}") / PAIR


def left_out(folder: Path, minimum: float | None) -> list[str]:
    """The cells of a row that say which images of a set score below `minimum`: went, wrong ones, precision, recall."""
    scores = pd.read_csv(folder / "images.csv", index_col="image")[SCORE]
    wrong = scores.index.str.contains(f"/{WRONG}")
    if minimum is None:
        return ["–", f"{wrong.sum()} in the set", "–", "–"]
    gone = (scores < minimum).to_numpy()
    both = int((gone & wrong).sum())
    shares = [f"{100 * both / n:.1f}" if n else "–" for n in (gone.sum(), wrong.sum())]
    return [f"{gone.sum()} of {len(scores)}", f"{both} of {wrong.sum()}", *shares]


def page(args: argparse.Namespace, sets: dict[str, Path], runs: list[tuple], said: dict[str, str]) -> str:
    """The table, and what the scorers said of the sets, in Markdown."""
    lines = [["set", "method", "n", "went", "wrong ones", "precision", "recall", "ACC", "WST", "EO"]]
    for name, minimum in runs:
        found = by_methods(read_records(records_of(args.output, sets[name], minimum)))
        filtered = left_out(sets[name], minimum)
        label = name if minimum is None else f"{name}, P = {minimum:g}"
        for method in METHODS if len(lines) > 1 else ("erm", *METHODS):
            row = dict(zip(headings(list(found[method][0]["group_accuracy"])), summary_row(method, found[method])))
            own = ["(none)", "–", "–", "–", "–"] if method == "erm" else [label, *filtered]
            lines.append([own[0], method, row["n"], *own[1:], *(row[metric] for metric in METRICS)])
    lines.insert(1, ["---"] * len(lines[0]))
    spoil = f"Spoiled: {100 * args.share:g} % of {args.cell} are images of {args.source}.\n"
    parts = ["# A set that is spoiled on purpose, and filtered", "", spoil]
    parts += ["| " + " | ".join(line) + " |" for line in lines] + ["", NOTE]
    for name, text in {**said, "CLIP": said.get("CLIP", "not measured (--clip)")}.items():
        title = "The sound set by CLIP" if name == "CLIP" else f"The {name} set by the judge"
        parts += ["", f"## {title}", "", "```", for_page(text), "```"]
        if (args.output / f"worst_{name}.png").exists():
            parts += ["", f"![The least faithful images](worst_{name}.png)"]
    return "\n".join(parts) + "\n"


def parse_args(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The flags listed here, and those for runner.sh."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for sets, judge, records and table.md")
    parser.add_argument("--images", type=Path, help="generated <pair>/<prompt type> (default: the toy tables' own)")
    parser.add_argument("--cell", choices=CELLS, default="0_1", help="the cell to spoil (0_1)")
    parser.add_argument("--source", choices=CELLS, default="1_1", help="the cell whose images go there (1_1)")
    parser.add_argument("--share", type=share, default=0.15, help="of the cell's images (0.15)")
    parser.add_argument("--minimum", type=fraction, nargs="+", default=[0.1, 0.5, 0.9], metavar="P")
    parser.add_argument("--judge-faces", type=positive_int, default=20000, help="labelled faces that train the judge")
    parser.add_argument("--clip", help="also score the sound set by CLIP: hub id, or folder in transformers' format")
    args, flags = parser.parse_known_args(arguments)
    if args.cell == args.source:
        parser.error(f"--cell and --source are both {args.cell}")
    args.output = args.output.resolve()
    return args, flags


if __name__ == "__main__":
    command_line(main)
