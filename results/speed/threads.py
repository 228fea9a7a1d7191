"""How fast training is with several settings of threads, alone and beside a busy neighbour, in one run.

    python -m results.speed.threads --output results/records/speed/threads

Each setting is a process of its own, since torch's threads are set when it is loaded; their turns alternate, so that what else
the machine does meets all of them. The neighbour is another training of the same kind with one thread. The table shows the
median of the turns in images/s.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from results.speed.turns import THREAD_VARIABLES
from utils.arguments import positive_int
from utils.errors import command_line
from utils.files import write_whole

CORES = os.cpu_count()
SETTINGS = {
    "torch's default": {},
    "one thread": {"OMP_NUM_THREADS": "1"},
    "waiting threads sleep": {"OMP_WAIT_POLICY": "passive"},
    "waiting threads sleep, bound": {"OMP_WAIT_POLICY": "passive", "OMP_PROC_BIND": "true"},
    "bound": {"OMP_PROC_BIND": "true"},
    "waiting threads turn briefly": {"GOMP_SPINCOUNT": "1000"},
}
WORK = """
import sys, time, torch
from models.batches import Compute
from models.classifier import new_classifier
from results.speed.bare import BareNetwork
size, width, batch, precision, seconds = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), sys.argv[4], float(sys.argv[5])
compute = Compute(torch.device("cpu"), precision == "bf16", size, batch)
network = BareNetwork(new_classifier("none", 1, width).to(memory_format=torch.channels_last), compute)
network.train(2 * batch)
start, steps = time.perf_counter(), 0
while time.perf_counter() - start < seconds:
    network.train(4 * batch)
    steps += 4
print(steps * batch / (time.perf_counter() - start), torch.get_num_threads())
"""


def main() -> None:
    """All settings by turns, without and with a neighbour; writes a table."""
    args = parse_args()
    work = [str(part) for part in (args.image_size, args.width, args.batch_size, args.precision)]
    found = {name: {"alone": [], "beside": []} for name in SETTINGS}
    threads = {}
    for turn in range(args.turns):
        for place in ("alone", "beside"):
            neighbour = start(work, 3600, {"OMP_NUM_THREADS": "1"}) if place == "beside" else None
            try:
                for name, variables in SETTINGS.items():
                    rate, threads[name] = start(work, args.seconds, variables).communicate()[0].split()
                    found[name][place].append(float(rate))
                    print(f"turn {turn + 1}, {place}: {name} {float(rate):.0f} images/s", flush=True)
            finally:
                if neighbour:
                    neighbour.kill()
                    neighbour.communicate()
    args.output.mkdir(parents=True, exist_ok=True)
    content = {"command": " ".join(sys.argv[1:]), "cores": CORES, "work": work, "threads": threads, "images/s": found}
    write_whole(args.output / "threads.json", json.dumps(content, indent=1) + "\n")
    write_whole(args.output / "threads.md", table(found, threads))
    print((args.output / "threads.md").read_text())


def start(work: list[str], seconds: float, variables: dict[str, str]) -> subprocess.Popen:
    """A process that trains for some seconds with these variables, and prints images/s and its threads."""
    environment = {name: value for name, value in os.environ.items() if name not in THREAD_VARIABLES} | variables
    command = [sys.executable, "-c", WORK, *work, str(seconds)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def table(found: dict[str, dict[str, list[float]]], threads: dict[str, str]) -> str:
    """Medians of the turns in Markdown, and beside the neighbour the ratio to torch's default."""
    lines = [
        "| setting | variables | threads | alone | beside a neighbour | ratio there |",
        "|---|---|---|---|---|---|",
    ]
    medians = {name: {place: statistics.median(rates) for place, rates in rows.items()} for name, rows in found.items()}
    usual = medians[next(iter(found))]["beside"]
    for name, row in medians.items():
        variables = " ".join(f"`{key}={value}`" for key, value in SETTINGS[name].items()) or "–"
        cells = [name, variables, threads[name], f"{row['alone']:.0f}", f"{row['beside']:.0f}"]
        lines.append("| " + " | ".join([*cells, f"{row['beside'] / usual:.2f}"]) + " |")
    return "\n".join(lines) + "\n"


def parse_args() -> argparse.Namespace:
    """The command line; by default the network and batches of the toy run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=positive_int, default=5)
    parser.add_argument("--seconds", type=positive_int, default=6, help="of each turn")
    parser.add_argument("--image-size", type=positive_int, default=48)
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--batch-size", type=positive_int, default=64)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--output", type=Path, default=Path("results/records/speed/threads"))
    return parser.parse_args()


if __name__ == "__main__":
    command_line(main)
