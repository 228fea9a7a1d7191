"""The real generation script with the small generator of the repository, at two steps an image."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from support import ROOT, assert_one_line_error, run_here, run_script
from support.generation import GROUPS, TINY, command, generated, images, refused

from prompts import find_prompt_file
from stable_diffusion import generate
from stable_diffusion.drawing.flat import remove_flat
from stable_diffusion.drawing.render import render
from stable_diffusion.loading.pipeline import load_pipeline
from stable_diffusion.manifest import Manifest, check_running, lock_of
from stable_diffusion.plan import Job, plan
from stable_diffusion.recipe import Recipe
from utils.errors import UserError
from utils.files import locked
from utils.processes import Place


def start(rank, count, parts):
    """One of `count` processes that run the script."""
    environment = {**os.environ, "RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_RANK": str(rank)}
    environment |= {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "stable_diffusion.generate", *map(str, parts)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    outdir = tmp_path_factory.mktemp("unbroken")
    generated(command(outdir))
    return outdir


def test_writes_images_manifest_and_contact_sheets(unbroken):
    folder = unbroken / "Smiling_Male" / "contextual"
    names = [f"Smiling_Male/contextual/{group}/{i:06d}.png" for group in GROUPS for i in range(3)]
    assert list(images(unbroken)) == names
    settings, *entries = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    assert settings["settings"]["steps"] == 2 and settings["settings"]["scheduler"] == "ddim"
    assert sorted(f"Smiling_Male/contextual/{entry['image']}" for entry in entries) == names
    assert all(entry["cell"] == entry["image"][:3] for entry in entries)
    assert len({entry["seed"] for entry in entries}) == 12
    with Image.open(folder / "0_0" / "000000.png") as image:
        assert image.size == (32, 32) and image.mode == "RGB"
    assert all((folder / f"contact_sheet_{group}.png").exists() for group in GROUPS)


@pytest.mark.slow
def test_killed_and_started_again_gives_the_same_bytes(unbroken, tmp_path):
    process = start(0, 1, command(tmp_path))
    deadline = time.time() + 120
    while len(list(tmp_path.rglob("[01]_[01]/*.png"))) < 5 and process.poll() is None and time.time() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    # as if the kill had also cut off the manifest and lost an image in the middle of a batch
    folder = tmp_path / "Smiling_Male" / "contextual"
    (folder / "0_1" / "000000.png").unlink()
    with open(folder / "manifest.jsonl", "a") as file:
        file.write('{"image": "0_')
    generated(command(tmp_path))
    assert images(tmp_path) == images(unbroken)
    manifests = [(root / "Smiling_Male/contextual/manifest.jsonl").read_text() for root in (tmp_path, unbroken)]
    assert sorted(manifests[0].splitlines()) == sorted(manifests[1].splitlines())


def test_finished_set_is_left_alone_and_extended(unbroken):
    before = images(unbroken)
    generated(command(unbroken, per_group=4, batch=4))
    after = images(unbroken)
    assert len(after) == 16 and all(after[name] == content for name, content in before.items())
    for group in GROUPS:
        (unbroken / "Smiling_Male" / "contextual" / group / "000003.png").unlink()


@pytest.mark.parametrize("colour", [0, 255, (12, 200, 7)], ids=["black", "white", "a colour"])
def test_images_of_one_colour_that_an_older_version_wrote_are_made_again(unbroken, tmp_path, colour):
    shutil.copytree(unbroken, tmp_path, dirs_exist_ok=True)
    for image in ("0_0/000001.png", "1_0/000002.png"):
        mode = "RGB" if isinstance(colour, tuple) else "L"
        Image.new(mode, (32, 32), colour).convert("RGB").save(tmp_path / "Smiling_Male" / "contextual" / image)
    again = generated(command(tmp_path))
    assert "2 images" in again.stdout and "one colour" in again.stdout
    assert images(tmp_path) == images(unbroken)
    lines = (tmp_path / "Smiling_Male/contextual/manifest.jsonl").read_text().splitlines()
    assert len(lines) == len(set(lines)) == 13


@pytest.mark.parametrize("size", [32, 224, 1024])
def test_one_colour_is_found_by_size_and_nothing_else_is_touched(tmp_path, size):
    jobs = [Job(f"0_0/{i:06d}.png", "0_0", "a face", i) for i in range(5)]
    (tmp_path / "0_0").mkdir()
    Image.new("RGB", (size, size), (3, 2, 1)).save(tmp_path / jobs[0].image)
    shaded = np.zeros((size, size, 3), np.uint8)
    Image.fromarray(shaded).save(tmp_path / jobs[1].image)
    shaded[0, 0, 0] = 1  # small as well, but opened and seen to be more than one
    Image.fromarray(shaded).save(tmp_path / jobs[2].image)
    (tmp_path / jobs[3].image).write_bytes(b"")  # named by those who read it
    assert remove_flat(jobs, tmp_path, size) == 2
    assert [job.image for job in jobs if (tmp_path / job.image).exists()] == [jobs[2].image, jobs[3].image]


def test_other_settings_in_the_same_folder_are_refused(unbroken):
    before = images(unbroken)
    parts = ["seed 42", "seed 7", "scheduler 'ddim'", "scheduler 'euler'", "--outdir"]
    refused(command(unbroken, "--seed", 7, "--scheduler", "euler"), *parts)
    assert images(unbroken) == before


@pytest.mark.parametrize(
    "flags",
    [
        ["--steps", 3], ["--guidance-scale", 2], ["--scheduler", "euler"], ["--seed", 1], ["--precision", "bf16"],
        ["--save-size", 16], ["--size", 128], ["--guidance-until", 0.5], ["--fuse-projections"], ["--vae-slicing"],
        ["--vae-tiling"], ["--prediction", "epsilon"],
    ],
    ids=lambda flags: flags[0],
)  # fmt: skip
def test_a_dry_run_refuses_what_the_set_was_not_made_with(unbroken, flags):
    key = flags[0].removeprefix("--").replace("-", "_")
    refused(command(unbroken, *flags, "--dry-run", "--no-estimate"), f"{key} ", "--outdir")


def test_a_dry_run_refuses_other_prompts(unbroken, tmp_path):
    content = json.loads(find_prompt_file("Smiling_Male").read_text())
    flags = ["--prompts", tmp_path / "mine.json", "--dry-run", "--no-estimate"]
    (tmp_path / "mine.json").write_text(json.dumps(content))  # the same under another name
    generated(command(unbroken, *flags))
    content["prompts"]["contextual"]["0_0"].pop()
    (tmp_path / "mine.json").write_text(json.dumps(content))
    refused(command(unbroken, *flags), "prompts '", "--outdir")


def spelled(way, tmp_path):
    """A path to the tiny generator, or to a copy."""
    (tmp_path / "link").symlink_to(TINY)
    return {
        "trailing slash": f"{TINY}/",
        "relative": os.path.relpath(TINY),
        "around": TINY / ".." / TINY.name,
        "link": tmp_path / "link",
        "copy": shutil.copytree(TINY, tmp_path / "copy"),
    }[way]


@pytest.mark.parametrize("way", ["trailing slash", "relative", "around", "link", "copy"])
def test_a_generator_is_known_by_its_content_however_its_path_is_written(unbroken, tmp_path, way):
    outdir = shutil.copytree(unbroken, tmp_path / "out")
    model, manifest = spelled(way, tmp_path), outdir / "Smiling_Male" / "contextual" / "manifest.jsonl"
    head = manifest.read_text().splitlines()[0]
    (outdir / "Smiling_Male" / "contextual" / "0_1" / "000001.png").unlink()
    generated(command(outdir, "--model", model))
    noted = json.loads(head)
    assert json.loads(manifest.read_text().splitlines()[0])["settings"] == noted["settings"]
    assert images(outdir) == images(unbroken)
    del noted["settings"]["weights"]  # an older set knows its generator by name alone
    manifest.write_text("\n".join([json.dumps(noted), *manifest.read_text().splitlines()[1:]]) + "\n")
    again = run_here(generate.main, *command(outdir, "--model", model))
    if way == "copy":
        assert_one_line_error(again, f"model '{TINY}'; asked for: model '{model}'")
    else:
        assert again.returncode == 0, again.stderr


@pytest.mark.parametrize("more", [[], ["--dry-run"], ["--dry-run", "--no-estimate"]], ids=" ".join)
@pytest.mark.parametrize("per_group", [3, 4], ids=["finished", "to be extended"])
def test_another_generator_is_refused_however_much_is_there(unbroken, own_tiny, per_group, more):
    path = own_tiny / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({name: tensor * 1.01 for name, tensor in load_file(path).items()}, path, {"format": "pt"})
    before = images(unbroken)
    parts = [f"model '{TINY}', weights '", f"asked for: model '{own_tiny}', weights '", "--outdir"]
    refused(command(unbroken, "--model", own_tiny, *more, per_group=per_group), *parts)
    assert images(unbroken) == before


def test_images_of_which_no_manifest_tells_are_not_mixed_with_others(unbroken, tmp_path):
    outdir = shutil.copytree(unbroken, tmp_path / "out")
    (outdir / "Smiling_Male" / "contextual" / "manifest.jsonl").unlink()
    for more in ([], ["--dry-run"], ["--steps", 3]):
        refused(command(outdir, *more), "no manifest.jsonl", "--outdir")
    assert images(outdir) == images(unbroken)


@pytest.mark.parametrize("head", ["", "{", "[]", '{"settings": [1]}', '{"settings": null}', "\udcff"])
def test_a_damaged_first_line_is_one_line(unbroken, tmp_path, head):
    outdir = shutil.copytree(unbroken, tmp_path / "out")
    manifest = outdir / "Smiling_Male" / "contextual" / "manifest.jsonl"
    manifest.write_bytes("\n".join([head, *manifest.read_text().splitlines()[1:]]).encode(errors="surrogateescape"))
    refused(command(outdir), "first line should hold the settings", "--outdir")


def test_a_set_goes_on_with_the_weights_it_was_begun_with(unbroken, tmp_path):
    """A generator that is trained again in the same folder is another one; a set of an older version does not know."""
    model, outdir = shutil.copytree(TINY, tmp_path / "model"), shutil.copytree(unbroken, tmp_path / "out")
    manifest = outdir / "Smiling_Male" / "contextual" / "manifest.jsonl"
    head, *lines = manifest.read_text().splitlines()
    noted = json.loads(head)
    assert len(noted["settings"]["weights"]) == 12
    noted["settings"]["model"] = str(model)
    manifest.write_text("\n".join([json.dumps(noted), *lines]) + "\n")
    again = [*command(outdir), "--model", model]
    path = model / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    save_file({name: tensor * 1.01 for name, tensor in tensors.items()}, path, {"format": "pt"})
    generated(again)  # all is there: no model is loaded
    (missing := manifest.parent / "0_1" / "000001.png").unlink()
    for more in ([], ["--dry-run"]):
        refused([*again, *more], f"weights '{noted['settings']['weights']}'", "--outdir")
    assert not missing.exists()

    del noted["settings"]["weights"]
    manifest.write_text("\n".join([json.dumps(noted), *lines]) + "\n")
    generated(again)
    assert missing.exists()
    assert "weights" not in json.loads(manifest.read_text().splitlines()[0])["settings"]


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (["--target-sensitive", "Smiling_Mail"], ["Smiling_Male", "--prompts"]),
        (["--prompts", "missing.json"], ["missing.json"]),
        (["--model", "./nowhere"], ["./nowhere"]),
        (["--model", "someone/unheard-of"], ["someone/unheard-of", "folder"]),
        (["--size", "60"], ["--size 60", "multiple of 16"]),
        (["--device", "cuda"], ["no usable GPU", "--device cpu"]),
        (["--device", "tpu9"], ["--device tpu9"]),
        (["--images-per-cell", "0"], ["--images-per-cell"]),
    ],
)
def test_bad_input_is_one_line(tmp_path, flags, parts):
    refused(command(tmp_path, *flags), *parts)
    assert not images(tmp_path)


def test_plan_takes_groups_and_prompts_by_turn_and_does_not_depend_on_the_count():
    prompts = {group: [f"{group} a", f"{group} b"] for group in GROUPS}
    jobs = plan(prompts, 4, seed=42)
    assert [job.group for job in jobs[:4]] == list(GROUPS)
    assert [job.prompt for job in jobs if job.group == "1_0"] == ["1_0 a", "1_0 b"] * 2
    assert plan(prompts, 9, seed=42)[: len(jobs)] == jobs
    assert len({job.seed for job in jobs}) == len(jobs)
    assert plan(prompts, 4, seed=43)[0].seed != jobs[0].seed


def test_a_recipe_notes_what_older_manifests_hold_and_nothing_else_at_its_defaults():
    recipe = Recipe("a model", "digest", "ddim", 50, 9.0, 512, 224, 42, "fp16")
    first = ["model", "prompts", "scheduler", "steps", "guidance_scale", "size", "save_size", "seed", "precision"]
    assert list(recipe.noted()) == first
    assert replace(recipe, guidance_scale=None, size=None).noted().keys() == set(first)  # None is kept there
    more = replace(recipe, guidance_until=0.5, vae_slicing=True, pipeline="FluxPipeline", weights="w")
    assert list(more.noted().items())[9:] == [
        ("vae_slicing", True), ("guidance_until", 0.5), ("pipeline", "FluxPipeline"), ("weights", "w")
    ]  # fmt: skip


def test_a_recipe_goes_on_with_what_a_set_notes_of_the_same_model():
    recipe = Recipe(f"{TINY}/", "digest", "own", 50, 9.0, None, 224, 42, "fp16")
    noted = recipe.noted() | {"model": str(TINY), "size": 64, "schedule": {"a": 1}, "weights": "w"}
    assert recipe.continuing({}) == recipe
    assert recipe.continuing(noted) == replace(recipe, model=str(TINY), size=64, schedule={"a": 1}, weights="w")
    other = replace(recipe, model="another")
    assert other.continuing(noted) == recipe.continuing(noted)  # until it is loaded
    loaded = replace(other, weights="w")
    assert loaded.as_begun(noted).model == str(TINY) and replace(loaded, weights="v").as_begun(noted).model == "another"
    del noted["weights"]  # a set that an older version began
    assert loaded.as_begun(noted) == other and recipe.as_begun(noted).model == str(TINY)


@pytest.fixture(scope="module")
def pipeline():
    return load_pipeline(str(TINY), "ddim", torch.device("cpu"), "fp32")


def test_paper_timesteps(pipeline):
    pipeline.scheduler.set_timesteps(50)
    timesteps = pipeline.scheduler.timesteps.tolist()
    assert (timesteps[0], timesteps[1], timesteps[-1], len(timesteps)) == (981, 961, 1, 50)
    assert pipeline.scheduler.config.set_alpha_to_one is False


def test_no_guidance_is_the_plain_conditional_model(pipeline):
    images = render(pipeline, ["Portrait face photo of a man"], [1], steps=2, guidance_scale=1.0, size=64)
    assert images.shape == (1, 64, 64, 3) and images.dtype == np.uint8


def test_a_single_file_executes_nothing(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/never",)

    torch.save({"state_dict": {"a": Evil()}}, tmp_path / "evil.ckpt")
    parts = ["evil.ckpt", "holds Python objects", ".safetensors"]
    refused(command(tmp_path / "out", "--model", tmp_path / "evil.ckpt"), *parts)
    assert not (tmp_path / "never").exists()


def test_processes_that_begin_with_other_settings_are_told_before_there_is_an_image(tmp_path):
    """Machines whose copies of the model differ; what no running process has begun is nobody's."""
    mine, other = Place(0, 2), Place(1, 2)
    Manifest(tmp_path, {"weights": "a"}, 5, [], other)
    check_running(tmp_path, {"weights": "b"}, mine)
    with locked(lock_of(tmp_path, other), wait=True):
        with pytest.raises(UserError, match="weights 'a'; asked for: weights 'b'"):
            check_running(tmp_path, {"weights": "b"}, mine)
        check_running(tmp_path, {"weights": "b"}, other)
        check_running(tmp_path, {"weights": "a"}, mine)


@pytest.mark.slow
def test_several_processes_of_which_one_is_killed_make_the_same_set(unbroken, tmp_path):
    count = 2
    processes = [start(rank, count, command(tmp_path)) for rank in range(count)]
    processes[-1].send_signal(signal.SIGKILL)  # before it has done anything
    texts = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes[:-1]] == [0] * (count - 1), texts
    assert len(list(tmp_path.rglob("[01]_[01]/*.png"))) < 12 and "left to others" in texts[0][0]
    launched = ["-m", "torch.distributed.run", "--nproc-per-node", count, "-m", "stable_diffusion.generate"]
    threads = f"OMP_NUM_THREADS={torch.get_num_threads()}"  # as above: their number decides how sums are rounded
    again = run_script("env", threads, sys.executable, *launched, *command(tmp_path))
    assert again.returncode == 0, again.stderr
    assert images(tmp_path) == images(unbroken)
    folders = [root / "Smiling_Male" / "contextual" for root in (tmp_path, unbroken)]
    noted, expected = ((folder / "manifest.jsonl").read_text().splitlines()[1:] for folder in folders)
    assert sorted(noted) == sorted(line for line in expected if (folders[1] / json.loads(line)["image"]).exists())
    assert not list(folders[0].glob("manifest.part-*")) and list(folders[0].glob("contact_sheet_*.png"))


def test_a_second_process_in_one_folder_is_told_so(tmp_path):
    with locked(tmp_path / "Smiling_Male" / "contextual" / ".process-0-of-1.lock", wait=False) as mine:
        assert mine
        refused(command(tmp_path), "another process generates", "--outdir")


def test_ranks_that_make_no_sense_are_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "two")
    refused(command(tmp_path), "RANK=3, WORLD_SIZE=two")
