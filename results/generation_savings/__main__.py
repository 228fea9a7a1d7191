"""Measure what each saving of generation saves, and what it does to images and classifiers: toy faces, a table.

    python -m results.generation_savings --output results/records/generation_savings             all but the speed
    python -m results.generation_savings --output results/records/generation_savings --timing    images/s, tiny generator
    python -m results.generation_savings --output results/records/generation_savings --timing --full-size

The rows are DDIM as in the paper, each saving alone, and all together. Settings, data and generator are those of
`bash runner.sh`; biased models are trained once and shared. `--timing` wants a machine that does nothing else. `--full-size`
times Stable Diffusion 2.1-base with random weights. What is measured lies in <output>, a file a row; images and
records in --work. An interrupted command goes on; table.md is made from what is there. Every flag that isn't listed
below goes to runner.sh.
"""

import argparse
import json
import sys
from pathlib import Path

from results.generation_savings.savings import PLAIN, TIMED_ALONE, Saving, all_savings
from results.run_table import run
from results.spoiled import PAIR, WHERE, module
from stable_diffusion.loading.family import PAPER_SAMPLER
from utils.arguments import choose_device, positive_int, seed_number, share
from utils.errors import UserError, command_line
from utils.files import write_whole
from utils.records import check_settings, copy_record, environment

SIZES = {False: "tiny generator", True: "full size"}
JUDGE_FACES = 20000


def main() -> None:
    """Measure what is not there yet, and write the table."""
    args, flags = parse_args(sys.argv[1:])
    savings = all_savings(args.steps, args.guidance_until)
    if args.timing:
        time_rows(args, savings)
    else:
        for name in args.rows or [name for name in savings if name not in TIMED_ALONE]:
            measure_row(args, name, savings[name], flags)
    write_table(args.output, savings)


def measure_row(args: argparse.Namespace, name: str, saving: Saving, flags: list[str]) -> None:
    """Draw a row's images, train on them, and write its measurements to <output>/rows/<name>.json unless they are there.

    Raises `UserError` where they were made with other settings.
    """
    from results.generation_savings.measure import evaluations, grey_levels, metrics_of, shown_as_asked
    from stable_diffusion.manifest import noted_settings

    path = args.output / "rows" / f"{name}.json"
    asked = {"flags": saving.flags(), "seeds": args.seeds, "judge_faces": args.judge_faces, "runner": flags}
    if path.exists():
        check_settings(read(path)["settings"], asked, path)
        print(f"{path} is there already", flush=True)
        return
    folder, runs = args.work / "sets" / name / WHERE, args.work / "runs" / name / PAIR
    for erm in (args.work / "runs" / PLAIN / PAIR / "erm").glob("seed_*"):
        copy_record(erm, runs / "erm" / erm.name)
    seeds = ["--seeds", *map(str, args.seeds)]
    run([*seeds, *flags, *saving.flags(), "--synthetic-data-root", str(folder.parents[1]), "--output", str(runs)])
    score(args, folder)
    row = {"settings": asked, "title": saving.title, "manifest": noted_settings(folder)}
    row["manifest"]["model"] = Path(row["manifest"]["model"]).name  # the folder is this checkout's
    row |= {
        "evaluations": evaluations(noted_settings(folder)),
        "as_asked": shown_as_asked(folder, tuple(PAIR.split("_"))),
    }
    row |= {"grey_levels": grey_levels(folder, args.work / "sets" / PLAIN / WHERE)}
    row |= {method: metrics_of(runs, method, args.seeds) for method in ("erm", "aim-fair")}
    write_whole(path, json.dumps(row | environment(choose_device("cpu")), indent=1) + "\n")


def score(args: argparse.Namespace, folder: Path) -> None:
    """Have a set scored by a judge that has learned from other labelled toy faces, as `results.spoiled` does."""
    faces, judge = args.work / "judge_faces", args.work / "judge.safetensors"
    counts = ["--train", args.judge_faces, "--val", 0, "--test", max(100, args.judge_faces // 10), "--seed", 7]
    module("datasets.toy", "--output", faces, *counts)
    own = ["--data", faces, "--judge", judge, "--cache", args.work / "cache"]
    module("stable_diffusion.faithfulness", "--images", folder, *own)


def time_rows(args: argparse.Namespace, savings: dict[str, Saving]) -> None:
    """Time every row, and write each as soon as it is timed to <output>/timing_<size>.json.

    Raises `UserError` where timings of other settings are there.
    """
    from results.generation_savings.timing import rate

    device = choose_device(args.device)
    gpu = device.type == "cuda"
    images = args.images or ((16 if gpu else 1) if args.full_size else 50)
    size = args.size or (512 if args.full_size and gpu else 64)
    about = environment(device)
    asked = {key: about[key] for key in ("device", "threads")} | {"images": images, "size": size, "turns": args.turns}
    asked |= {"steps": args.steps, "guidance_until": args.guidance_until}
    path = args.output / f"timing_{SIZES[args.full_size].replace(' ', '_')}.json"
    rows = {}
    if path.exists():
        check_settings(read(path)["settings"], asked, path)
        rows = read(path)["rows"]
    for name in sorted(savings, key=TIMED_ALONE.__contains__):  # compiling takes minutes: last
        saving = savings[name]
        if name not in rows:
            rows[name] = rate(saving, device, full_size=args.full_size, images=images, size=size, turns=args.turns)
            write_whole(path, json.dumps({"settings": asked, "rows": rows, **about}, indent=1) + "\n")
        print(f"{rows[name]['images_per_second']:10.3g} images/s  {saving.title}", flush=True)


def write_table(output: Path, savings: dict[str, Saving]) -> None:
    """Write table.md from what is measured."""
    from results.generation_savings.page import page

    rows = {path.stem: read(path) for path in (output / "rows").glob("*.json")}
    timings = {size: output / f"timing_{size.replace(' ', '_')}.json" for size in SIZES.values()}
    timings = {size: read(path) for size, path in timings.items() if path.exists()}
    write_whole(output / "table.md", page(savings, rows, timings))
    print(f"table: {output / 'table.md'}")


def read(path: Path) -> dict:
    """What a file of measurements holds. Raises `UserError` where it is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        found["settings"].keys()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged; remove it and start again") from error
    return found


def parse_args(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The flags listed here, and those for runner.sh."""
    parser = argparse.ArgumentParser(
        prog="python -m results.generation_savings",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for the rows and table.md")
    parser.add_argument("--work", type=Path, default=Path("results/runs/generation_savings"), help="images, records")
    parser.add_argument("--steps", type=positive_int, default=PAPER_SAMPLER[1], help="of DDIM (50)")
    parser.add_argument("--guidance-until", type=share, default=0.5, metavar="SHARE", help="of the steps (0.5)")
    parser.add_argument("--seeds", type=seed_number, nargs="+", default=[100, 200, 300])
    parser.add_argument("--judge-faces", type=positive_int, default=JUDGE_FACES, help="labelled faces for the judge")
    rows = [name for name in all_savings(1, 1.0) if name not in TIMED_ALONE]
    parser.add_argument("--rows", nargs="+", choices=rows, help=f"some of {' '.join(rows)}; {PLAIN} must come first")
    timing = parser.add_argument_group("speed")
    timing.add_argument("--timing", action="store_true", help="time the rows in place of drawing and training")
    timing.add_argument("--full-size", action="store_true", help="Stable Diffusion 2.1's size, random weights")
    timing.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...; only of --timing")
    timing.add_argument("--images", type=positive_int, help="at once (50; at full size 16 on a GPU, 1 on a CPU)")
    timing.add_argument("--size", type=positive_int, help="pixels a side (64; at full size on a GPU 512)")
    timing.add_argument("--turns", type=positive_int, default=3, help="batches, of which the median counts (3)")
    args, flags = parser.parse_known_args(arguments)
    if args.full_size and not args.timing:
        parser.error("--full-size only times: add --timing")
    if args.timing and args.rows:
        parser.error("--timing times all rows: leave out --rows")
    if args.rows and PLAIN not in args.rows[:1] and not (args.output / "rows" / f"{PLAIN}.json").exists():
        parser.error(f"--rows {' '.join(args.rows)}: {PLAIN} must come first, others are compared with it")
    if args.timing and flags:
        parser.error(f"--timing runs no runner.sh: leave out {' '.join(flags)}")
    args.output, args.work = args.output.resolve(), args.work.resolve()
    return args, flags


if __name__ == "__main__":
    command_line(main)
