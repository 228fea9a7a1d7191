"""Generate a balanced set of synthetic faces from the prompts of an attribute pair.

    python -m stable_diffusion.generate --target-sensitive Smiling_Male --outdir results/runs/synthetic

The defaults are the paper's: Stable Diffusion 2.1-base, DDIM with 50 steps, guidance 9, 512 pixels reduced to 224,
10,500 images a cell. Images go to <outdir>/<pair>/<prompt type>/<cell>/, with a manifest and a contact sheet of each
cell beside them. Started again, it continues where it stopped; a larger --images-per-cell extends the set. Under
`accelerate launch` each process takes its share; the set is the same.
"""

import argparse
from pathlib import Path

import torch

from datasets.pairs import same_pair
from prompts import Prompts, find_prompt_file, prompts_of_type, read_prompts
from prompts.check import check_prompts
from stable_diffusion.drawing.contact_sheet import write_contact_sheets
from stable_diffusion.drawing.flat import remove_flat
from stable_diffusion.drawing.guidance import ALWAYS
from stable_diffusion.loading.family import (
    FAST_SAMPLER,
    PAPER_GUIDANCE,
    PAPER_SAMPLER,
    PAPER_SIZE,
    SCHEDULERS,
    looks_distilled,
)
from stable_diffusion.loading.folder import not_here
from stable_diffusion.loading.source import DEFAULT_MODEL, Unreachable
from stable_diffusion.manifest import (
    CPU_BATCH,
    Job,
    Manifest,
    check_manifest,
    check_running,
    lock_of,
    merge_parts,
    noted_batch_size,
    noted_settings,
    notes_all,
    plan,
)
from stable_diffusion.recipe import describe, kind_of, noted_by_model, noted_kind, renamed, settings_of
from utils.arguments import PRECISIONS, choose_device, non_negative_float, positive_int, seed_number, share
from utils.cost import GENERATION, Row, check_flags, report
from utils.errors import UserError, command_line
from utils.files import locked
from utils.machine import check_compile
from utils.processes import Place, place

PREDICTIONS = ("epsilon", "v_prediction")  # what a UNet can tell: the noise, or the velocity
OFFLOADS = ("none", "model", "sequential")  # what waits in main memory: nothing, idle parts, every idle layer


def main() -> None:
    """The command line."""
    args = parse_args()
    check_flags(args.dry_run, args.no_estimate, args.cost_rows)
    device = choose_device(args.device)
    prompt_file = args.prompts or find_prompt_file(args.target_sensitive)
    prompts = read_prompts(prompt_file)
    if not same_pair(prompts.pair, args.target_sensitive):
        raise UserError(
            f"--prompts {args.prompts} is for {prompts.pair}, --target-sensitive says {args.target_sensitive}"
        )
    texts = prompts_of_type(prompts, args.prompt_type)
    folder = args.outdir / prompts.pair / args.prompt_type
    jobs = plan(texts, args.images_per_cell, args.seed)
    if args.offload != "none" and device.type == "cpu":
        raise UserError(f"--offload {args.offload}: keeps a GPU's memory free, and there is none; leave it out")
    complete = len(existing(jobs, folder)) == len(jobs) and not renamed(args.model, folder)
    if args.compile and len(existing(jobs, folder)) < len(jobs):
        check_compile(device)
    kind = noted_kind(folder) if complete else look_at(args.model, folder, args.dry_run)
    settings = noted_by_model(settings_of(args, texts, device, kind), folder)
    check_manifest(folder, settings)
    print(f"{folder}: {len(jobs)} images asked for; {args.model}, {describe(settings)}", flush=True)
    if args.steps is None and looks_distilled(args.model):
        print("note: by its name the model is distilled: it wants the --steps and --guidance-scale of its page")
    if args.dry_run:
        check_prompts(prompt_file)
        if not args.no_estimate:
            report([cost(args, settings, jobs, folder, device=device)], args.cost_rows)
        elif not complete and "weights" in noted_settings(folder) and not not_here(args.model):
            from stable_diffusion.loading.load import load

            load(args, settings, folder, device)
        return
    run(args, settings, jobs, folder, heads=titles(prompts), device=device)


def run(args: argparse.Namespace, settings: dict, jobs: list[Job], folder: Path, *, heads: dict, device) -> None:
    """Make the missing images of a set, alone in its folder or as one of several processes, and finish it."""
    process = place()
    with locked(lock_of(folder, process), wait=False) as alone:
        if not alone:
            raise UserError(f"another process generates into {folder}; wait for it or choose another --outdir")
        if flat := remove_flat(jobs, folder, args.save_size):
            print(f"{flat} images in {folder} were of one colour, from an overflow: they are made again")
        done = len(existing(jobs, folder))
        print(f"{folder}: {done} of {len(jobs)} images are there, on {device} in {settings['precision']}", flush=True)
        if done < len(jobs) or renamed(args.model, folder):
            settings = generate(args, settings, jobs, folder, device=device, process=process)
        with locked(folder / ".start.lock", wait=True):
            finish(folder, jobs, settings, heads, args.save_size)


def generate(
    args: argparse.Namespace, settings: dict, jobs: list[Job], folder: Path, *, device: torch.device, process: Place
) -> dict:
    """Make the images that are missing; returns the settings with what the model itself added to them."""
    # diffusers takes seconds to load: not before it is needed
    from stable_diffusion.drawing.produce import produce
    from stable_diffusion.loading.load import free_batch_size, load

    pipeline, settings, sampling = load(args, settings, folder, device)
    done = existing(jobs, folder) if process.count == 1 else []
    with locked(folder / ".start.lock", wait=True):  # so that all processes take the batch size of the first
        check_running(folder, settings, process)
        batch_size = args.batch_size or noted_batch_size(folder, settings)
        batch_size = batch_size or free_batch_size(pipeline, sampling, jobs[0], device)
        manifest = Manifest(folder, settings, batch_size, done, process)
    produce(pipeline, jobs, manifest, sampling)
    return settings


def cost(args: argparse.Namespace, settings: dict, jobs: list[Job], folder: Path, *, device: torch.device) -> Row:
    """What the missing images will cost, from a few sampling steps; without a time where the model isn't there yet."""
    left = [job for job in jobs if not (folder / job.image).exists()]
    if not left and not renamed(args.model, folder):
        return Row(GENERATION, str(folder))
    if reason := not_here(args.model):
        return Row(GENERATION, str(folder), len(left), None, note=f"{GENERATION}: not measured: {reason}")
    from stable_diffusion.drawing.cost import generation_row
    from stable_diffusion.loading.load import free_batch_size, load

    pipeline, settings, sampling = load(args, settings, folder, device)
    if not left:
        return Row(GENERATION, str(folder))
    batch_size = args.batch_size or noted_batch_size(folder, settings)
    batch_size = batch_size or free_batch_size(pipeline, sampling, jobs[0], device)
    return generation_row(pipeline, left, batch_size, sampling, device=device, key=str(folder))


def look_at(model: str, folder: Path, dry_run: bool) -> dict:
    """`kind_of` a model; a dry run that can't find out says so, and takes it for what the set was begun with."""
    try:
        return kind_of(model)
    except Unreachable as error:
        if not dry_run:
            raise
        print(f"not checked: {error}")
    return noted_kind(folder)


def existing(jobs: list[Job], folder: Path) -> list[Job]:
    """The jobs whose image exists."""
    return [job for job in jobs if (folder / job.image).exists()]


def finish(folder: Path, jobs: list[Job], settings: dict, heads: dict[str, str], size: int) -> None:
    """Write one manifest and a contact sheet of each cell, once every image exists: the last process does this."""
    done = existing(jobs, folder)
    if len(done) < len(jobs):
        print(f"this process is done; {len(jobs) - len(done)} images are left to others, or to the next start")
        return
    if not notes_all(folder, jobs):
        merge_parts(folder, settings, noted_batch_size(folder, settings) or CPU_BATCH, done)
    for path in write_contact_sheets(folder, heads, size):
        print(f"contact sheet: {path}")


def titles(prompts: Prompts) -> dict[str, str]:
    """A heading for the contact sheet of each cell."""
    heads = {cell: ", ".join(words[0] for words in prompts.own_words(cell).values()) for cell in prompts.cells}
    return {cell: f"{prompts.pair} {cell}: {head}" for cell, head in heads.items()}


def parse_args() -> argparse.Namespace:
    """The command line; the defaults are the paper's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target-sensitive", default="Smiling_Male", metavar="TARGET_PROTECTED")
    parser.add_argument(
        "--prompt-type",
        default="contextual",
        help="plain, contextual, contextual-without-pose, or a type of your file; contextual-25: its first 25 prompts",
    )
    parser.add_argument("--prompts", type=Path, metavar="FILE", help="prompt file (default: prompts/<pair>.json)")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="hub id, diffusers folder, .safetensors or .ckpt file")
    parser.add_argument("--outdir", type=Path, default=Path("results/runs/synthetic"))
    parser.add_argument("--images-per-cell", type=positive_int, default=10500)
    parser.add_argument(
        "--batch-size",
        type=positive_int,
        help=f"images at once (default: as many as the GPU holds; on a CPU {CPU_BATCH})",
    )
    own = "; of a model that is not Stable Diffusion 1.x or 2.x its own"
    parser.add_argument("--steps", type=positive_int, help=f"default: {PAPER_SAMPLER[1]}{own}")
    parser.add_argument("--guidance-scale", type=non_negative_float, help=f"default: {PAPER_GUIDANCE:g}{own}")
    parser.add_argument(
        "--guidance-until",
        type=share,
        default=ALWAYS,
        metavar="SHARE",
        help="guide only the first SHARE of the steps, then draw by the prompt alone, at half the work a step (1)",
    )
    parser.add_argument("--scheduler", choices=tuple(SCHEDULERS), help=f"default: {PAPER_SAMPLER[0]}{own}")
    parser.add_argument(
        "--fast", action="store_true", help=f"a modern solver in fewer steps: {FAST_SAMPLER[0]}, {FAST_SAMPLER[1]}"
    )
    parser.add_argument(
        "--prediction",
        choices=PREDICTIONS,
        help="what the model's UNet predicts (default: what its folder says; of a single file it is measured)",
    )
    parser.add_argument(
        "--compile", action="store_true", help="compile the UNet or transformer: minutes at the start, faster after"
    )
    parser.add_argument(
        "--fuse-projections",
        action="store_true",
        help="query, key and value of the attention in one matrix product: images differ by rounding",
    )
    parser.add_argument(
        "--offload",
        choices=OFFLOADS,
        default="none",
        help="keep in main memory what the GPU doesn't need just now: the model's parts, or each layer (slow)",
    )
    parser.add_argument("--vae-slicing", action="store_true", help="decode one image at a time: less memory")
    parser.add_argument("--vae-tiling", action="store_true", help="decode in tiles: less memory for large images")
    parser.add_argument("--size", type=positive_int, help=f"pixels a side the model draws (default: {PAPER_SIZE}{own})")
    parser.add_argument("--save-size", type=positive_int, default=224, help="pixels a side of the saved images")
    parser.add_argument("--seed", type=seed_number, default=42)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    parser.add_argument(
        "--dry-run", action="store_true", help="check all, estimate time, disk and memory, make no image"
    )
    parser.add_argument("--no-estimate", action="store_true", help="with --dry-run: don't estimate the cost")
    parser.add_argument(
        "--cost-rows", type=Path, help="with --dry-run: append the estimate to this file in place of printing it"
    )
    parser.add_argument("--precision", choices=tuple(PRECISIONS), help="default: fp16, on a CPU fp32")
    return parser.parse_args()


if __name__ == "__main__":
    command_line(main)
