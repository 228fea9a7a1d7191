"""What the tests share: small toy data, the real data where it is at hand, and a way to run the scripts."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import traceback
from pathlib import Path
from unittest import mock

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("AIM_FAIR_SHARED", ROOT.parent / "shared"))
os.environ |= {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
os.environ |= {"PIP_NO_INDEX": "1", "UV_OFFLINE": "1"}  # no test installs anything
if sys.prefix != sys.base_prefix:
    os.environ["VIRTUAL_ENV"] = sys.prefix  # so that a runner that a test starts, in whatever folder, takes this one
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def pytest_addoption(parser):
    parser.addoption("--fast", action="store_true", help="leave out the tests that take seconds each")
    parser.addoption(
        "--long",
        action="store_true",
        help="a hundred kills in place of two, and the coverage of the intervals in full (5 minutes)",
    )


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes seconds; left out with --fast")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--fast"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="takes seconds; run without --fast"))


def run_script(*arguments, cwd=ROOT, **options):
    """Run a command with this interpreter first on PATH; returns the completed process."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    command = [str(argument) for argument in arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, **options)


def run_here(main, *arguments):
    """Run a script's `main` as its command line does, without the seconds a process takes to load torch."""
    import torch

    from utils.errors import command_line

    out, err, status = io.StringIO(), io.StringIO(), 0
    handlers, chosen = list(map(signal.getsignal, STOPPING)), torch.are_deterministic_algorithms_enabled()
    command = [f"{main.__module__}.py", *map(str, arguments)]
    with mock.patch.object(sys, "argv", command), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            command_line(main)
        except SystemExit as end:
            status = end.code or 0
        except Exception:
            status = 1
            traceback.print_exc()
    for number, handler in zip(STOPPING, handlers, strict=True):
        signal.signal(number, handler)
    torch.use_deterministic_algorithms(chosen)
    return subprocess.CompletedProcess(command, status, out.getvalue(), err.getvalue())


def assert_one_line_error(process, *parts):
    """The process failed with status 2, one line that begins with "error:", and every part in it."""
    assert process.returncode == 2, process.stderr
    lines = [line for line in process.stderr.splitlines() if "error:" in line]
    assert len(lines) == 1 and "Traceback" not in process.stderr, process.stderr
    for part in parts:
        assert str(part) in lines[0], lines[0]


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    """240 toy faces of 32 pixels in CelebA's layout."""
    from datasets.toy import write_toy_celeba

    root = tmp_path_factory.mktemp("toy")
    write_toy_celeba(root, {"train": 160, "val": 40, "test": 40}, seed=3, size=32, captions=True)
    return root


@pytest.fixture(scope="session")
def celeba_lists(tmp_path_factory):
    """The two label files of the real CelebA subset and its first 16 images."""
    archive = SHARED / "data" / "celeba.tar.gz"
    if not archive.exists():
        pytest.skip(f"no real faces: {archive} is missing (set AIM_FAIR_SHARED to the folder that holds data/)")
    root = tmp_path_factory.mktemp("celeba")
    images = 0
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.name.endswith(".txt") or (member.name.endswith(".jpg") and images < 16):
                images += member.name.endswith(".jpg")
                path = root / member.name  # not tar.extract: its filter came with Python 3.11.4
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(tar.extractfile(member).read())
    return root / "celeba"


@pytest.fixture
def image_bytes():
    """A small valid PNG as bytes."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, "PNG")
    return buffer.getvalue()
