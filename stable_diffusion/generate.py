"""Generate a balanced set of synthetic faces from the prompts of an attribute pair.

    python -m stable_diffusion.generate --target-sensitive Smiling_Male --outdir results/runs/synthetic

The defaults are the paper's: Stable Diffusion 2.1-base, DDIM with 50 steps, guidance 9, 512 pixels reduced
to 224, 10,500 images a cell. Images go to <outdir>/<pair>/<prompt type>/<cell>/, with a manifest and a
contact sheet of each cell beside them. Started again, it goes on where it stopped; more --images-per-cell
extend the set.
"""

import argparse
import hashlib
import json
import os
from pathlib import Path

import torch
from PIL import Image

from datasets.pairs import same_pair
from prompts import Prompts, find_prompt_file, prompts_of_type, read_prompts
from prompts.check import check_prompts
from stable_diffusion.contact_sheet import write_contact_sheets
from stable_diffusion.manifest import Manifest, check_manifest, plan
from stable_diffusion.pipeline import (
    DEFAULT_MODEL,
    PRECISIONS,
    SCHEDULERS,
    encode_prompts,
    load_pipeline,
    reduce,
    render,
)
from utils.arguments import choose_device, non_negative_float, positive_int
from utils.errors import UserError, command_line
from utils.progress import progress


def main() -> None:
    """The command line."""
    args = parse_args()
    device = choose_device(args.device)
    precision = args.precision or ("fp32" if device.type == "cpu" else "fp16")
    prompt_file = args.prompts or find_prompt_file(args.target_sensitive)
    prompts = read_prompts(prompt_file)
    if not same_pair(prompts.pair, args.target_sensitive):
        raise UserError(
            f"--prompts {args.prompts} is for {prompts.pair}, --target-sensitive says {args.target_sensitive}"
        )
    texts = prompts_of_type(prompts, args.prompt_type)
    folder = args.outdir / prompts.pair / args.prompt_type
    jobs = plan(texts, args.images_per_cell, args.seed)
    settings = {
        "model": args.model,
        "prompts": hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()[:12],
        "scheduler": args.scheduler,
        "steps": args.steps,
        "guidance_scale": args.guidance_scale,
        "size": args.size,
        "save_size": args.save_size,
        "seed": args.seed,
        "precision": precision,
    }
    check_manifest(folder, settings)
    if args.dry_run:
        check_prompts(prompt_file)
        print(f"{folder}: {len(jobs)} images asked for; {args.model}, {args.scheduler}, {args.steps} steps")
        return
    done = {job.image for job in jobs if (folder / job.image).exists()}
    print(f"{folder}: {len(done)} of {len(jobs)} images are there, on {device} in {precision}")
    # A batch always holds the same images, and is made again where one of them is missing: so a restart
    # computes exactly what an unbroken run does.
    batches = [jobs[i : i + args.batch_size] for i in range(0, len(jobs), args.batch_size)]
    open_batches = [batch for batch in batches if any(job.image not in done for job in batch)]
    if open_batches:
        pipeline = load_pipeline(args.model, args.scheduler, device, precision)
        if args.size % (2 * pipeline.vae_scale_factor):
            raise UserError(f"--size {args.size}: must be a multiple of {2 * pipeline.vae_scale_factor} for this model")
        distinct = list(dict.fromkeys(job.prompt for batch in open_batches for job in batch))
        embeddings = dict(zip(distinct, encode_prompts(pipeline, distinct), strict=True))
        empty = encode_prompts(pipeline, [""])
        for cell in texts:
            (folder / cell).mkdir(parents=True, exist_ok=True)
        manifest = Manifest(folder, settings, [job for job in jobs if job.image in done])
        with progress(desc="generating", total=len(jobs), initial=len(done), unit="image") as bar:
            for batch in open_batches:
                pixels = render(
                    pipeline,
                    torch.stack([embeddings[job.prompt] for job in batch]),
                    empty,
                    [job.seed for job in batch],
                    steps=args.steps,
                    guidance_scale=args.guidance_scale,
                    size=args.size,
                )
                new = [(job, image) for job, image in zip(batch, pixels, strict=True) if job.image not in done]
                for job, image in new:
                    save_whole(reduce(image, args.save_size), folder / job.image)
                manifest.add([job for job, _ in new])
                bar.update(len(new))
    for path in write_contact_sheets(folder, titles(prompts), args.save_size):
        print(f"contact sheet: {path}")


def save_whole(image: Image.Image, path: Path) -> None:
    """Write a PNG beside its place, then rename it into it: it is there whole or not at all."""
    partial = path.with_suffix(".partial")
    image.save(partial, format="PNG")
    os.replace(partial, path)


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
    parser.add_argument("--batch-size", type=positive_int, default=15)
    parser.add_argument("--steps", type=positive_int, default=50)
    parser.add_argument("--guidance-scale", type=non_negative_float, default=9.0)
    parser.add_argument("--scheduler", choices=tuple(SCHEDULERS), default="ddim")
    parser.add_argument("--size", type=positive_int, default=512, help="pixels a side the model draws")
    parser.add_argument("--save-size", type=positive_int, default=224, help="pixels a side of the saved images")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    parser.add_argument("--dry-run", action="store_true", help="check prompts and settings, generate nothing")
    parser.add_argument("--precision", choices=tuple(PRECISIONS), help="default: fp16, on a CPU fp32")
    return parser.parse_args()


if __name__ == "__main__":
    command_line(main)
