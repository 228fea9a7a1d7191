"""Each network from one end to the other on a few toy faces, unbroken and killed in the middle: a table.

    python -m results.networks --output results/runs/networks
    python -m results.networks --output results/runs/networks --networks regnet_y_400mf timm:vit_tiny_patch16_224

For each network it draws toy faces, takes other toy faces in place of generated ones, and runs train.py (erm and
aim-fair, two epochs each, random weights): once unbroken, and once killed in each of the two trainings and started again.
Then it compares the two runs' weights and test predictions, byte for byte. It shows that a network works, not how well:
nothing is learned from so few images. rows.jsonl keeps a line for each network, table.md shows them. A row that is there is
not run again; one that failed says why, and is tried again.
"""

import argparse
import csv
import importlib.util
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from datasets.celeba import image_folder, split_attributes
from datasets.toy import write_toy_celeba
from utils.arguments import positive_int
from utils.errors import UserError, command_line
from utils.files import write_whole
from utils.processes import run_child
from utils.records import ROOT, commit

NETWORKS = ("resnet18", "resnet50", "mobilenet_v3_small", "convnext_tiny", "vit_b_16", "swin_t")
NETWORKS += ("timm:resnet10t",) if importlib.util.find_spec("timm") else ()
SEED = 1
FLAGS = (
    f"--weights none --device cpu --seeds {SEED} --methods aim-fair --number-train-data-real 40 --bias-degree 1/3 "
    "--number-balanced-synthetic 8 --number-imbalanced-synthetic 32 --batch-size 8 --pre-train-epochs 2 "
    "--fine-tune-epochs 2 --checkpoint-seconds 0"
).split()
METHODS = ("erm", "aim-fair")
COMPARED = ("model.safetensors", "test_predictions.csv")
HEADINGS = ("network", "pixels", "tensors", "k", "chosen by both rankings", "seconds", "resumed run is the same")
NOTE = (
    "k: the tensors that each of the two rankings keeps, the paper's share (55 of 62). Seconds: the whole command of the "
    "unbroken run, loading included. The other run was killed (SIGKILL) at the first checkpoint of each of its two trainings "
    "and started again; it is the same where weights and test predictions of both methods are, byte for byte."
)


def main() -> None:
    """A row for each network that has none yet, and the table."""
    args = parse_args()
    path = args.output / "rows.jsonl"
    rows = read_rows(path)
    real, synthetic = draw_faces(args.output / "faces")
    for network in args.networks:
        flags = ["--network", network, "--image-size", str(args.image_size), *FLAGS]
        kept = rows.get(network, {})
        if kept.get("flags") == flags and "failed" not in kept:
            print(f"{network}: its row is there", flush=True)
            continue
        command = ["--real-data-path", real, "--synthetic-data-root", synthetic, *flags]
        work = args.output / "work" / network.replace(":", "-").replace("/", "-")
        rows[network] = {"network": network, "flags": flags, "commit": commit(), **measure(command, work)}
        print(markdown(rows[network]), flush=True)
        write_whole(path, "".join(json.dumps(row) + "\n" for row in rows.values()))
        write_whole(args.output / "table.md", table(list(rows.values())))
    print(f"table: {args.output / 'table.md'}")


def read_rows(path: Path) -> dict[str, dict]:
    """The rows that a file holds, by network; none where there is no file. Raises `UserError` where it is damaged."""
    try:
        rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return {row["network"]: row for row in rows}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}); remove it to run all networks again") from error


def draw_faces(folder: Path) -> tuple[Path, Path]:
    """The folder of toy faces in CelebA's layout, and a CSV file of others that stand for generated ones."""
    real, others = folder / "real", folder / "others"
    write_toy_celeba(real, {"train": 200, "val": 40, "test": 40}, seed=3, size=64)
    write_toy_celeba(others, {"train": 120, "val": 0, "test": 0}, seed=4, size=64)
    labels = split_attributes(others)["train"][["Smiling", "Male"]].gt(0).astype(int)
    labels.index = [(image_folder(others) / name).relative_to(folder).as_posix() for name in labels.index]
    write_whole(folder / "others.csv", labels.to_csv(index_label="image"))
    return real, folder / "others.csv"


def measure(command: list, work: Path) -> dict:
    """What a network's row says of the two runs; "failed", and why in one line, where one didn't come through.

    `work` is a folder for the runs, removed before and after.
    """
    shutil.rmtree(work, ignore_errors=True)
    try:
        start = time.perf_counter()
        finish([*command, "--output", work / "unbroken"])
        seconds = round(time.perf_counter() - start, 1)
        for method in METHODS:
            kill_in(method, [*command, "--output", work / "broken"], work / "broken")
        finish([*command, "--output", work / "broken"])
        return read_run(work / "unbroken") | {"seconds": seconds, "differ": differences(work)}
    except UserError as error:
        return {"failed": str(error)}
    finally:
        shutil.rmtree(work, ignore_errors=True)


def finish(command: list) -> None:
    """Run train.py to its end. Raises `UserError` with what it says where it fails."""
    done = run_child(training(command), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise UserError(reason(done.stderr, done.returncode))


def kill_in(method: str, command: list, output: Path) -> None:
    """Run train.py and kill it at the first checkpoint of a method's training.

    Raises `UserError` where it failed or came through before that.
    """
    unfinished = output / method / f".seed_{SEED}.unfinished"
    process = subprocess.Popen(training(command), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        while process.poll() is None and not list(unfinished.glob("*.pt")):
            time.sleep(0.005)
    finally:
        process.kill()
        _, errors = process.communicate()
    if process.returncode != -signal.SIGKILL or not unfinished.exists():
        why = reason(errors, process.returncode) if process.returncode > 0 else "it ended before"
        raise UserError(f"could not be killed in {method}: {why}")


def training(command: list) -> list[str]:
    """The command of train.py with these flags."""
    return [str(part) for part in (sys.executable, ROOT / "train.py", *command)]


def reason(errors: str, status: int) -> str:
    """One line of what a process wrote to standard error: the line of its error, else the last one."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()] or ["it said nothing"]
    said = [line.partition("error: ")[2] for line in lines if "error: " in line]
    return said[-1] if said else f"{lines[-1]} (status {status})"


def read_run(output: Path) -> dict:
    """The tensors of a run's network, how many each ranking keeps, and how many are among both."""
    folder = output / "aim-fair" / f"seed_{SEED}"
    with open(folder / "sensitivity.csv", newline="") as file:
        chosen = [row["chosen"] for row in csv.DictReader(file)]
    k = json.loads((folder / "metrics.json").read_text())["settings"]["top_k"]
    return {"tensors": len(chosen), "k": k, "chosen": chosen.count("True")}


def differences(work: Path) -> list[str]:
    """The compared files that are not the same in both runs."""
    names = [f"{method}/seed_{SEED}/{name}" for method in METHODS for name in COMPARED]
    return [name for name in names if (work / "unbroken" / name).read_bytes() != (work / "broken" / name).read_bytes()]


def table(rows: list[dict]) -> str:
    """All rows as a page in Markdown."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|" + "---|" * len(HEADINGS), *map(markdown, rows)]
    return "\n".join(["# Networks from one end to the other", "", *lines, "", NOTE]) + "\n"


def markdown(row: dict) -> str:
    """A row of the table."""
    pixels = row["flags"][row["flags"].index("--image-size") + 1]
    if "failed" in row:
        cells = [row["network"], pixels, "", "", "", "", f"failed: {row['failed']}".replace("|", "\\|")]
    else:
        same = f"no: {', '.join(row['differ'])}" if row["differ"] else "yes"
        cells = [row["network"], pixels, *(f"{row[key]}" for key in ("tensors", "k", "chosen", "seconds")), same]
    return "| " + " | ".join(cells) + " |"


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder for rows.jsonl, table.md and the toy faces")
    parser.add_argument("--networks", nargs="+", default=NETWORKS, metavar="NAME", help="as train.py's --network")
    parser.add_argument("--image-size", type=positive_int, default=64, help="pixels a side")
    return parser.parse_args()


if __name__ == "__main__":
    command_line(main)
