"""How many batches the ranking needs: after which one its mask is final, and where `--ranking-batches auto` stops.

    python -m results.ranking_stop --record results/runs/ranking_stop --output results/runs/toy/train/Smiling_Male FLAGS
    python -m results.ranking_stop --record results/runs/ranking_stop --again       # the table from what is recorded

--output is a folder of train.py that holds the biased models, and FLAGS are all others that train.py was called with; --methods
and those of the ranking play no part. For each seed it takes the three gradients batch by batch, to the end of every set, and for
each k of the paper's figure it notes by how many tensors the mask after each batch differs from that of the full ranking, and where
auto stops with each patience of `PATIENCES`. With --draws N it also takes N more full rankings of the same images, in another order and
otherwise cropped, and notes by how many tensors their masks differ: what chance alone does. It trains nothing and looks at no test image. ranking_stop.json and ranking_stop.md go
to --record.

A stop is that of the k alone; images are those of all three sets. What it costs to compare masks is not counted.
"""

import argparse
import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from statistics import mean

import pandas as pd
from torch import nn

from datasets.images import FaceSet
from datasets.synthetic import SyntheticSets
from models.batches import Compute, train_batches
from models.experiment import Experiment
from models.options import BiasDegree, auto_top_k
from models.ranking import PATIENCE, SETS, mask_of, until_settled
from models.run import Outcome, Run
from models.selection import mean_gradients, sensitivity_table
from models.settings import Settings
from models.work import images_trained
from utils.arguments import positive_int
from utils.errors import UserError, command_line
from utils.files import write_whole
from utils.records import ROOT, check_settings, environment, read_record, record_folder
from utils.seeds import torch_generator
from utils.settings import parse

PATIENCES = (3, 5, 10, PATIENCE, 40)
FIXED = (1, 5, 10, 20, 40, 80)  # numbers of batches, to compare with
JSON, PAGE = "ranking_stop.json", "ranking_stop.md"


def erm(run: Run) -> Outcome:
    """Stands for the biased model, which has to be there."""
    raise UserError(f"no biased model in {run.biased_weights.parent}: train it, or correct --output")


def ranking(run: Run, biased_model: nn.Module, synthetic: SyntheticSets, *, bias_degree: BiasDegree) -> Outcome:
    """Stands for any method that ranks: what it asks for is what the sets are drawn by. It is never called."""
    raise NotImplementedError


def measure(settings: Settings, draws: int = 0) -> dict:
    """The record of all seeds, with so many more rankings by other draws. Raises `UserError` where a biased model is missing or was made with other settings."""
    asked = replace(settings, methods=("ranking",), ranking_batches=None, ranking_patience=None)
    experiment = Experiment(asked, {"erm": erm, "ranking": ranking})
    experiment.load()
    ks, rows, compute = auto_top_k(experiment.tensors), [], replace(settings.compute, keep_last_batch=False)
    for run in experiment.runs():
        folder = record_folder(settings.output, "erm", run.seed)
        found = read_record(folder, "settings") or erm(run)
        check_settings(found["settings"], experiment.of_erm, folder)
        synthetic = experiment.sets["ranking"].of_seed(run.seed)
        sets = dict(zip(SETS, (run.real["train"], synthetic.biased, synthetic.balanced), strict=True))
        images = {name: len(data) for name, data in sets.items()}
        tables = list(run.running_ranking(synthetic))
        others = [another_draw(run, sets, compute, draw) for draw in range(1, draws + 1)]
        for k in ks:
            apart = [len(mask_of(other, k) ^ mask_of(tables[-1], k)) for other in others]
            rows.append(row_of(tables, run.seed, k) | ({"draws": apart} if draws else {}))
        print(f"seed {run.seed}: {len(tables)} batches", flush=True)
    used = {str(n): images_used(images, dict.fromkeys(SETS, n), compute) for n in range(1, len(tables) + 1)}
    command = shlex.join(["python", "-m", "results.ranking_stop", *sys.argv[1:]]).replace(f"{ROOT}/", "")
    content = {"command": command, **environment(settings.compute.device), "batch_size": settings.batch_size}
    return {**content, "images": images, "batches": batches_of(tables[-1]), "images_used": used, "rows": rows}


def another_draw(run: Run, sets: dict[str, FaceSet], compute: Compute, draw: int) -> pd.DataFrame:
    """The sensitivity table of a full ranking whose order and crops are others than the run's; `draw` tells several apart."""
    means = []
    for name, data in sets.items():
        batches = train_batches(data, compute, torch_generator(run.seed, f"another draw {name}", draw))
        means.append(mean_gradients(run.biased_model(), batches, amp=compute.amp))
    return sensitivity_table(*means)


def images_used(images: dict[str, int], batches: dict[str, int], compute: Compute) -> int:
    """The images in so many batches of each set, or in all that it has."""
    return sum(images_trained(images[name], compute, batches[name]) for name in SETS)


def row_of(tables: list[pd.DataFrame], seed: int, k: int) -> dict:
    """What is recorded of a seed and k: the sensitivity tables after each batch, to the last, are `tables`.

    `mask` is the size of the full ranking's; `differ` holds, for each batch, by how many tensors the mask after it differs (those
    in one of the two alone); `stops`, by patience, where auto stops and whether because nothing had changed.
    """
    masks = [mask_of(table, k) for table in tables]
    stops = {}
    for patience in PATIENCES:
        table, settled = until_settled(tables, k, "absolute", patience)
        stops[str(patience)] = {"after": max(batches_of(table).values()), "settled": settled}
    differ = [len(mask ^ masks[-1]) for mask in masks]
    return {"seed": seed, "k": k, "mask": len(masks[-1]), "differ": differ, "stops": stops}


def batches_of(table: pd.DataFrame) -> dict[str, int]:
    """The batches of each set that a table of a `models.ranking.RunningRanking` is made from."""
    return {name: int(table[f"{name}_batches"].iloc[0]) for name in SETS}


def final_after(differ: list[int]) -> int:
    """The number of the batch after which the mask is the full ranking's and stays so."""
    return max((place for place, count in enumerate(differ, start=1) if count), default=0) + 1


def page(record: dict) -> str:
    """The record as Markdown."""
    rows, last = record["rows"], max(record["batches"].values())
    sets = ", ".join(f"{record['batches'][name]} of {name} images ({record['images'][name]:,})" for name in SETS)
    lines = [
        "# How many batches the ranking needs",
        "",
        f"Batches of {record['batch_size']}: {sets}. Final after: the batch from which on the mask is the full ranking's. Differs "
        "by: tensors that are in one of the two masks alone. Saved: of the images of all three sets.",
        "",
        *markdown(["seed", "k", "in the mask", "final after", f"auto ({PATIENCE}) stops after", "differs by", "saved"]),
    ]
    for row in rows:
        after = row["stops"][str(PATIENCE)]["after"]
        cells = [row["seed"], row["k"], row["mask"], final_after(row["differ"]), *stop_cells(record, row, after)]
        lines.append(line(cells))
    heading = ["rankings", "stopped early", "the full mask", "differs by, mean (most)", "saved, mean"]
    lines += [
        "",
        "Over all seeds and k, by patience (batches without a change):",
        "",
        *markdown(["patience", *heading]),
    ]
    for patience in PATIENCES:
        afters = [row["stops"][str(patience)]["after"] for row in rows]
        lines.append(line([patience, *summary(record, afters)]))
    lines += ["", "And with so many batches of each set, at most:", "", *markdown(["batches", *heading])]
    lines += [line([n, *summary(record, [n] * len(rows))]) for n in FIXED if n < last]
    apart = [count for row in rows for count in row.get("draws", ())]
    if apart:
        lines += [
            "",
            f"By chance alone: of {len(apart)} full rankings of the same images with other draws of order and crops, "
            f"{apart.count(0)} give the same mask; they differ by {mean(apart):.1f} tensors in the mean, {max(apart)} at most.",
        ]
    return "\n".join(lines) + "\n"


def summary(record: dict, afters: list[int]) -> list[str]:
    """The cells of stopping each of the rows after a batch: how often early, how often right, how far off, what is saved."""
    rows, last = record["rows"], max(record["batches"].values())
    off = [row["differ"][after - 1] for row, after in zip(rows, afters, strict=True)]
    saved = mean(saved_share(record, after) for after in afters)
    early = sum(after < last for after in afters)
    return [len(rows), early, off.count(0), f"{mean(off):.1f} ({max(off)})", f"{100 * saved:.0f} %"]


def stop_cells(record: dict, row: dict, after: int) -> list[str]:
    """Where a ranking stops, by how many tensors its mask differs, and what is saved."""
    stop = f"{after}" if after < max(record["batches"].values()) else "the end"
    return [stop, f"{row['differ'][after - 1]}", f"{100 * saved_share(record, after):.0f} %"]


def saved_share(record: dict, after: int) -> float:
    """The share of all images that a ranking leaves out which stops after a batch."""
    used, last = record["images_used"], max(record["batches"].values())
    return 1 - used[str(after)] / used[str(last)]


def markdown(heading: list[str]) -> list[str]:
    """The first two lines of a table."""
    return [line(heading), line(["---"] * len(heading))]


def line(cells: list) -> str:
    """A row of a table."""
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    """The command line; flags that aren't listed are train.py's."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--record", type=Path, required=True, help=f"folder for {JSON} and {PAGE}")
    parser.add_argument("--again", action="store_true", help=f"make {PAGE} from the {JSON} that is there")
    parser.add_argument(
        "--draws", type=positive_int, default=0, help="more full rankings, by other draws (default: none)"
    )
    args, flags = parser.parse_known_args()
    if args.again and (flags or args.draws):
        raise UserError(
            f"{flags[0] if flags else '--draws'} plays no part in --again, which measures nothing: leave one of them out"
        )
    if args.again and not (args.record / JSON).exists():
        raise UserError(f"--again: no {JSON} in {args.record}; measure first")
    if not args.again:
        record = measure(parse(Settings, __doc__, flags), args.draws)
        args.record.mkdir(parents=True, exist_ok=True)
        write_whole(args.record / JSON, json.dumps(record) + "\n")
    text = page(json.loads((args.record / JSON).read_text()))
    write_whole(args.record / PAGE, text)
    print(text, end="")


if __name__ == "__main__":
    command_line(main)
