"""Faults injected for real: a file system that is full, and damage to what is kept between runs."""

import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image
from support import assert_one_line_error, run_here, small
from support.generation import command

from datasets.decoding import decode_images
from stable_diffusion import generate

NEEDED = 40 * 1024  # KiB that an unbroken run of the command below takes, and more


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, and a way to fill it up to a number of free KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", f"size={NEEDED}k", "tmpfs", folder]
    if not shutil.which("mount") or subprocess.run(options, capture_output=True).returncode:
        pytest.skip("a small file system takes the right to mount one")

    def fill(free):
        left = shutil.disk_usage(folder).free // 1024 - free
        with open(folder / "filling", "wb") as file:
            file.write(bytes(1024 * max(0, left)))

    yield folder, fill
    subprocess.run(["umount", folder], check=True)


def train(toy, synthetic, disk, seconds=60):
    return small.train(toy, synthetic, disk / "out", *small.TINY, "--checkpoint-seconds", seconds)


@pytest.mark.parametrize(
    ("free", "seconds"), [(60, 60), (500, 60), (500, 0)], ids=["decoded images", "weights", "checkpoint"]
)
def test_a_full_disk_is_one_line_and_with_room_the_run_goes_on(toy, synthetic, small_disk, free, seconds):
    disk, fill = small_disk
    fill(free)
    assert_one_line_error(train(toy, synthetic, disk, seconds), "disk is full")
    assert not list(disk.glob("out/*/seed_*"))
    (disk / "filling").unlink()
    done = train(toy, synthetic, disk)
    assert done.returncode == 0, done.stderr
    assert len(list(disk.glob("out/*/seed_1/metrics.json"))) == 2


def test_a_full_disk_in_generation_keeps_whole_images(small_disk):
    disk, fill = small_disk
    fill(30)
    assert_one_line_error(run_here(generate.main, *command(disk)), "disk is full")
    for path in disk.rglob("[01]_[01]/*.png"):
        with Image.open(path) as image:
            image.load()
    (disk / "filling").unlink()
    done = run_here(generate.main, *command(disk))
    assert done.returncode == 0 and len(list(disk.rglob("[01]_[01]/*.png"))) == 12
    assert not list(disk.rglob("*.partial"))


@pytest.mark.parametrize("length", [0, 50, 200])
def test_a_cache_that_was_cut_off_is_made_again(tmp_path, length):
    Image.new("RGB", (6, 5), "red").save(tmp_path / "a.png")
    expected = np.array(decode_images([tmp_path / "a.png"], tmp_path / "cache"))
    [file] = (tmp_path / "cache").glob("*.npy")
    file.write_bytes(file.read_bytes()[:length])
    np.testing.assert_array_equal(decode_images([tmp_path / "a.png"], tmp_path / "cache"), expected)
