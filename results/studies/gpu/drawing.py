"""Arms that draw on a GPU with the tiny generator: in every precision, after a kill, and without enough memory."""

import contextlib
import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from prompts import find_prompt_file, prompts_of_type, read_prompts
from results.drawn import grey_levels
from results.processes import kill_once, together
from results.studies import Finding, Place
from results.studies.gpu.room import COMPILERS, FEW_THREADS, ONE_THREAD, empty
from results.toy_runs import differing
from stable_diffusion.drawing.produce import produce, render_batch
from stable_diffusion.drawing.sampling import Sampling
from stable_diffusion.loading.pipeline import load_pipeline
from stable_diffusion.manifest import Manifest
from stable_diffusion.plan import plan
from utils.errors import UserError
from utils.records import ROOT
from utils.tasks import with_variables

TINY = ROOT / "stable_diffusion" / "tiny"
SAMPLER = (
    *("--model", TINY, "--scheduler", "dpmpp", "--steps", 8, "--guidance-scale", 3),
    *("--size", 64, "--save-size", 64),
)
PAIR, BATCH = "Smiling_Male", 8
PRECISION = "fp16"  # the usual one on a GPU
IMAGES = ("*/*.png",)
MANY, ENOUGH = 64, 16  # images of each group, all at once, for memory to fall short; images at once that must still fit


def generation(place: Place) -> Iterator[Finding]:
    """Draw the same images in every precision. Look for the same bytes after a kill and with other batches; a batch too large."""
    work, gpu = empty(place, "generation"), place.device != "cpu"
    sets = {
        "CPU": draw(place, work / "CPU", "--precision", "fp32", device="cpu", variables=FEW_THREADS),
        "fp32": draw(place, work / "fp32", "--precision", "fp32"),
        "bf16": draw(place, work / "bf16", "--precision", "bf16"),
        "fp16": draw(place, work / "fp16", "--precision", PRECISION),
        "own batch": draw(place, work / "own batch", "--precision", "fp32", batch=None),
    }
    if gpu:
        sets["offload"] = draw(place, work / "offload", "--precision", PRECISION, "--offload", "model")
    killed = draw(place, work / "killed", "--precision", PRECISION)
    with ThreadPoolExecutor(1) as pool:
        others = pool.submit(together, sets, work)
        there = kill_drawing(killed, images(work / "killed"), work / "killed first.log")
        yield Finding("images there when it was killed", there)
        together({"killed": killed}, work)
        yield Finding("seconds of the command, beside others", others.result())
    for precision in ("fp32", "fp16", "bf16"):
        apart = grey_levels(images(work / "CPU"), images(work / precision))
        yield Finding(f"{precision}: grey levels of 255 from the CPU's fp32", apart)
    differ = differing(images(work / "fp16"), images(work / "killed"), IMAGES)
    yield Finding("images that a kill and a restart changed", differ, not differ)
    one, own = images(work / "fp32"), images(work / "own batch")
    sizes = [json.loads((f / "manifest.jsonl").read_text().splitlines()[0])["batch_size"] for f in (one, own)]
    what = "fp32: images that differ between batches of {} and of {} (its own choice)".format(*sizes)
    yield Finding(what, len(differing(one, own, IMAGES)))
    yield Finding("fp32: by how many grey levels", grey_levels(one, own))
    if gpu:
        apart = grey_levels(images(work / "fp16"), images(work / "offload"))
        yield Finding("--offload model: grey levels from those without", apart)
        yield from short_of_memory(place, images(work / "fp16"))


def compiled(place: Place) -> Iterator[Finding]:
    """Draw with --compile beside the same without."""
    work = empty(place, "compile_drawing")
    jobs = {"plain": draw(place, work / "plain", "--precision", PRECISION)}
    jobs["compiled"] = draw(place, work / "compiled", "--precision", PRECISION, "--compile", variables=COMPILERS)
    yield Finding("seconds of the command, beside others", together(jobs, work))
    yield Finding(
        f"{PRECISION}: grey levels from those without", grey_levels(images(work / "plain"), images(work / "compiled"))
    )


def draw(
    place: Place, outdir: Path, *more, batch: int | None = BATCH, device: str = "", variables: dict = ONE_THREAD
) -> list:
    """Return the command that draws a small set into `outdir`; with `batch` None it finds a batch size itself."""
    flags = ["--outdir", outdir, "--target-sensitive", PAIR, "--images-per-cell", 6 if place.small else 32]
    flags += [*SAMPLER, "--device", device or place.device, *(("--batch-size", batch) if batch else ())]
    return [*with_variables(variables), sys.executable, "-m", "stable_diffusion.generate", *flags, *more]


def images(outdir: Path) -> Path:
    """Return the folder of a set's groups."""
    return outdir / PAIR / "contextual"


def kill_drawing(command: list, folder: Path, log: Path) -> int:
    """Start a command and kill it as soon as an image is there; return how many are there then.

    Raises `UserError` if it ended before.
    """
    kill_once(lambda: any(folder.glob(IMAGES[0])), command, log)
    return len(list(folder.glob(IMAGES[0])))


def short_of_memory(place: Place, usual: Path) -> Iterator[Finding]:
    """Draw with less memory than a large batch takes: it is halved, and the set is finished.

    torch's own limit stands for a smaller GPU. It lies between what `ENOUGH` images at once take and what all do.
    """
    device = torch.zeros(1, device=place.device).device  # with its number, which setting a limit asks for
    sampling = Sampling(8, 3.0, 64, 64)
    pipeline = load_pipeline(str(TINY), "dpmpp", device, PRECISION)
    jobs = plan(prompts_of_type(read_prompts(find_prompt_file(PAIR)), "contextual"), MANY, 42)
    few = peak(lambda: render_batch(pipeline, jobs[:ENOUGH], sampling), device)
    many = peak(lambda: render_batch(pipeline, jobs, sampling), device)
    if few["reserved"] >= many["allocated"]:
        raise UserError(f"{len(jobs)} images at once need {many}, {ENOUGH} {few}: no limit lies between")
    limit = (few["reserved"] + many["allocated"]) // 2
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(limit / torch.cuda.get_device_properties(device).total_memory, device)
    said, folder = io.StringIO(), place.work / "generation" / "short"
    with contextlib.redirect_stdout(said):
        produce(pipeline, jobs, Manifest(folder, {}, len(jobs), []), sampling)
    halvings = re.findall(r"out of memory at (\d+)", said.getvalue())
    done = len(list(folder.glob(IMAGES[0])))
    megabytes = {"limit": limit / 1e6, f"{ENOUGH} at once": few["reserved"] / 1e6, "all": many["allocated"] / 1e6}
    yield Finding("short of memory: MB", megabytes)
    yield Finding(f"short of memory: a batch of {len(jobs)} was halved at", halvings, bool(halvings))
    yield Finding("short of memory: images drawn all the same", f"{done} of {len(jobs)}", done == len(jobs))
    yield Finding("short of memory: grey levels from the usual set", grey_levels(usual, folder))


def peak(work: Callable[[], object], device: torch.device) -> dict[str, int]:
    """Return the bytes that torch allocated and reserved at most during a call of `work`."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    work()
    torch.cuda.synchronize(device)
    return {"allocated": torch.cuda.max_memory_allocated(device), "reserved": torch.cuda.max_memory_reserved(device)}
