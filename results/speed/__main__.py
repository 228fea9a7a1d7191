"""Measure this project's speed beside the paper's procedure and the bare network, in one process, on the same images.

    python -m results.speed                          all parts; twenty minutes on two CPU cores
    python -m results.speed --parts training seed    some of them

The paper's procedure is `results/speed/plain.py`, ours is what train.py and generation call, the bare network is that on one batch
in memory (`results/speed/bare.py`): what nothing around it can be faster than. All are medians of turns, taken in alternation; nothing
else may run meanwhile. `switches` measures what a flag gains beside the same work without it. Images are drawn toy
faces in JPEG files of CelebA's size; generation is Stable Diffusion 2.1-base with random weights. Results, with device,
versions and command, go to <output>/<device>.json and .md; those of another run on the same device are replaced.
"""

import argparse
import json
import re
import shlex
import sys
import tempfile
from pathlib import Path

import torch

from models.batches import Compute
from results.speed.classifier import SIZE, Bench
from results.speed.report import as_markdown, show
from results.speed.turns import Row, cores, thread_settings
from utils.arguments import choose_device, positive_int
from utils.environment import environment
from utils.errors import command_line
from utils.files import write_whole

PARTS = ("training", "validation", "ranking", "seed", "growth", "switches", "generation")
FEWEST = 8  # two of each group


def main() -> None:
    """The command line."""
    args = parse_args()
    device = choose_device(args.device)
    gpu = device.type == "cuda"
    count, size = args.images or (8192 if gpu else 512), args.image_size or (224 if gpu else 64)
    precision = args.precision or ("bf16" if gpu or fast_bf16() else "fp32")
    workers = args.workers if args.workers is not None else cores()
    compute = Compute(device, precision == "bf16", size, args.batch_size, args.compile)
    rows, switches = {}, {}
    content = {
        "command": shlex.join(["python", "-m", "results.speed", *sys.argv[1:]]), "turns": args.turns,
        "images": count, "source_size": SIZE, "image_size": size, "batch_size": args.batch_size, "precision": precision,
        "compile": args.compile, "workers_of_the_plain_procedure": workers, "thread_settings": thread_settings(),
        "generation": None, "notes": {}, **environment(device),
    }  # fmt: skip
    name = re.sub(r"[^a-z0-9]+", "_", content["device"].lower()).strip("_")

    def write() -> None:  # after each part, so that none is lost by another
        found = {
            kind: {name: row._asdict() for name, row in found.items()}
            for kind, found in (("rows", rows), ("switches", switches))
        }
        write_whole(args.output / f"{name}.json", json.dumps({**content, **found}, indent=1) + "\n")
        write_whole(args.output / f"{name}.md", as_markdown(content, rows, switches, "cuda" if gpu else "cpu"))

    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        if set(args.parts) - {"generation"}:
            bench = Bench(Path(scratch), count, compute, workers, args.turns)
            content["notes"] = bench.notes
        for part in (part for part in PARTS if part in args.parts):
            if part == "switches":
                switches |= bench.switches()
            elif part == "generation":
                rows[part], content["generation"] = drawn(args, device, Path(scratch) / "generation")
            else:
                rows[part] = getattr(bench, part)()
            for shown, row in (switches if part == "switches" else {part: rows[part]}).items():
                show(shown, row)
            write()
    print(f"{args.output / name}.json and .md")


def drawn(args: argparse.Namespace, device: torch.device, folder: Path) -> tuple[Row, str]:
    """The row of generation, and its sizes in words."""
    from results.speed.generation import generation  # diffusers takes seconds to load

    gpu = device.type == "cuda"
    side, steps = args.generation_size or (512 if gpu else 64), args.generation_steps or (50 if gpu else 4)
    number, batch = args.generation_images or (60 if gpu else 8), args.generation_batch_size or (15 if gpu else 4)
    row = generation(device, number, folder, batch_size=batch, steps=steps, size=side, turns=args.turns)
    return row, f"{number} images of {side} pixels in {steps} steps, batch {batch}"


def fast_bf16() -> bool:
    """Whether the processor computes in bf16 itself; where it doesn't, bf16 is slower than fp32."""
    path = Path("/proc/cpuinfo")
    return path.exists() and bool(re.search("avx512_bf16|amx_bf16", path.read_text()))


def parse_args() -> argparse.Namespace:
    """The command line; sizes that are not given follow from the device."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--images", type=positive_int, help="in each set (default: 512, on a GPU 8192)")
    parser.add_argument("--image-size", type=positive_int, help="default: 64, on a GPU 224")
    parser.add_argument("--batch-size", type=positive_int, default=128)
    parser.add_argument("--precision", choices=("fp32", "bf16"), help="ours (default: bf16 where the device has it)")
    parser.add_argument("--compile", action="store_true", help="compile the network of ours and the bare one")
    parser.add_argument("--workers", type=int, help="of the plain procedure (default: one for each core)")
    parser.add_argument("--turns", type=positive_int, default=3, help="of which the median counts (default: 3)")
    for name, what in (("size", "pixels"), ("steps", "steps"), ("images", "images"), ("batch-size", "images at once")):
        parser.add_argument(f"--generation-{name}", type=positive_int, help=f"{what} of generation")
    parser.add_argument("--scratch", type=Path, help="folder for images and caches (default: the system's)")
    parser.add_argument("--output", type=Path, default=Path("results/records/speed"))
    args = parser.parse_args()
    if args.images and args.images < FEWEST:
        parser.error(f"--images {args.images}: at least {FEWEST}, or the biased set of the ranking is empty")
    return args


if __name__ == "__main__":
    command_line(main)
