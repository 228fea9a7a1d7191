"""Measure this project's speed beside the paper's procedure and the bare network, in one process, on the same images.

    python -m results.speed                          all parts; minutes on two CPU cores
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
from results.speed.turns import thread_settings
from utils.arguments import choose_device, positive_int
from utils.errors import command_line
from utils.records import environment

PARTS = ("training", "validation", "ranking", "seed", "growth", "switches", "generation")


def main() -> None:
    """The command line."""
    args = parse_args()
    device = choose_device(args.device)
    gpu = device.type == "cuda"
    count, size = args.images or (8192 if gpu else 512), args.image_size or (224 if gpu else 64)
    precision = args.precision or ("bf16" if gpu or fast_bf16() else "fp32")
    workers = args.workers if args.workers is not None else torch.get_num_threads()
    compute = Compute(device, precision == "bf16", size, args.batch_size, args.compile)
    rows, switches, notes = {}, {}, {}
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        if set(args.parts) - {"generation"}:
            bench = Bench(Path(scratch), count, compute, workers)
            notes = bench.notes
            for part in (part for part in args.parts if part not in ("switches", "generation")):
                rows[part] = getattr(bench, part)()
                show(part, rows[part])
            if "switches" in args.parts:
                switches = bench.switches()
                for name, row in switches.items():
                    show(name, row)
        if "generation" in args.parts:
            from results.speed.generation import generation  # diffusers takes seconds to load

            side, steps = args.generation_size or (512 if gpu else 64), args.generation_steps or (50 if gpu else 4)
            number = args.generation_images or (60 if gpu else 8)
            batch = args.generation_batch_size or (15 if gpu else 4)
            folder = Path(scratch) / "generation"
            rows["generation"] = generation(device, number, folder, batch_size=batch, steps=steps, size=side)
            show("generation", rows["generation"])
            sizes = f"{number} images of {side} pixels in {steps} steps, batch {batch}"
    content = {
        "command": shlex.join(["python", "-m", "results.speed", *sys.argv[1:]]),
        "images": count, "source_size": SIZE, "image_size": size, "batch_size": args.batch_size, "precision": precision,
        "compile": args.compile, "workers_of_the_plain_procedure": workers, "thread_settings": thread_settings(),
        "generation": sizes if "generation" in rows else None, "rows": {name: row._asdict() for name, row in rows.items()},
        "switches": {name: row._asdict() for name, row in switches.items()}, "notes": notes, **environment(device),
    }  # fmt: skip
    args.output.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^a-z0-9]+", "_", content["device"].lower()).strip("_")
    (args.output / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
    (args.output / f"{name}.md").write_text(as_markdown(content, rows, switches, device.type))
    print(f"{args.output / name}.json and .md")


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
    parser.add_argument("--compile", action="store_true", help="compile the network of ours")
    parser.add_argument("--workers", type=int, help="of the plain procedure (default: one for each core)")
    for name, what in (("size", "pixels"), ("steps", "steps"), ("images", "images"), ("batch-size", "images at once")):
        parser.add_argument(f"--generation-{name}", type=positive_int, help=f"{what} of generation")
    parser.add_argument("--scratch", type=Path, help="folder for images and caches (default: the system's)")
    parser.add_argument("--output", type=Path, default=Path("results/records/speed"))
    return parser.parse_args()


if __name__ == "__main__":
    command_line(main)
