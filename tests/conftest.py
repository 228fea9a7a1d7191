"""Options of the tests, and what they share: small toy data, and the real faces if they are there."""

import io
import os
import shutil
import signal
import sys
import tarfile

import pytest
from support import SHARED, STOPPING

os.environ |= {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
os.environ |= {"PIP_NO_INDEX": "1", "UV_OFFLINE": "1"}  # no test installs anything
if sys.prefix != sys.base_prefix:
    os.environ["VIRTUAL_ENV"] = sys.prefix  # so that a runner that a test starts, in whatever folder, takes this one

for (
    number
) in STOPPING:  # a background job, or one under nohup, ignores some of them, and so would all that the tests start
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


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


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    """Six images a group, cut from noise: what they show does not matter here."""
    from PIL import Image

    root = tmp_path_factory.mktemp("synthetic")
    for group in ("0_0", "0_1", "1_0", "1_1"):
        folder = root / "Smiling_Male" / "contextual" / group
        folder.mkdir(parents=True)
        for i in range(6):
            Image.effect_noise((32, 32), 60 + i).convert("RGB").save(folder / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A CLIP of random weights in transformers' format."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    from prompts import TOKENIZER

    folder = tmp_path_factory.mktemp("clip")
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = small | {"vocab_size": 49408, "bos_token_id": 49406, "eos_token_id": 49407}
    vision = small | {"image_size": 32, "patch_size": 16}
    torch.manual_seed(0)
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    CLIPModel(config).save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    shutil.copytree(TOKENIZER, folder, dirs_exist_ok=True)
    return folder


@pytest.fixture
def made(toy, tmp_path):
    """Six labelled toy faces a group, as if they were generated."""
    from datasets.celeba import group_names, image_folder, split_attributes
    from datasets.pairs import Pair

    where = tmp_path / "made" / "Smiling_Male" / "contextual"
    groups = group_names(split_attributes(toy)["train"], Pair("Smiling", ("Male",)))
    for group in ("0_0", "0_1", "1_0", "1_1"):
        (where / group).mkdir(parents=True)
        for name in groups.index[groups == group][:6]:
            shutil.copy(image_folder(toy) / name, where / group)
    return where
