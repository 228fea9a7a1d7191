import os

import numpy as np
import pytest
import torch
from PIL import Image

from datasets.decoding import decode_images
from datasets.pairs import Pair
from datasets.synthetic import SyntheticImages, draw_groups, synthetic_pool
from datasets.synthetic_files import image_files
from utils.errors import UserError

PAIR = Pair("Smiling", ("Male",))


def save(path, colour, size=(6, 5)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def synthetic(tmp_path):
    for shade, group in enumerate(("0_0", "0_1", "1_0", "1_1")):
        for i in range(4):
            save(tmp_path / "Smiling_Male" / "contextual" / group / f"{i}.png", (shade * 10, i, 0))
    return tmp_path


def needed(n):
    return dict.fromkeys(("0_0", "0_1", "1_0", "1_1"), n)


def test_pixels_are_those_of_pillow_in_the_order_asked(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in (2, 0, 1)]
    for i, path in enumerate(paths):
        save(path, (i, 2 * i, 3 * i))
    pixels = decode_images(paths, tmp_path / "cache")
    assert pixels.shape == (3, 5, 6, 3) and pixels.dtype == np.uint8
    assert (pixels == [[[[0, 0, 0]]], [[[1, 2, 3]]], [[[2, 4, 6]]]]).all()


def test_cache_is_reused_and_follows_a_changed_image(tmp_path):
    path = tmp_path / "a.png"
    save(path, "red")
    cache = tmp_path / "cache"
    decode_images([path], cache)
    (file,) = cache.glob("*.npy")
    before = file.stat().st_mtime_ns
    decode_images([path], cache)
    assert file.stat().st_mtime_ns == before
    save(path, "blue")
    os.utime(path, ns=(1, 1))
    assert decode_images([path], cache)[0, 0, 0].tolist() == [0, 0, 255]


def test_pool_is_labelled_by_folder_and_sorted(synthetic, tmp_path):
    pool = synthetic_pool(synthetic, PAIR, "contextual", needed(4), tmp_path / "cache")
    assert pool.names[:5] == ("0_0/0.png", "0_0/1.png", "0_0/2.png", "0_0/3.png", "0_1/0.png")
    assert (pool.pixels[pool.rows][:, 0, 0, 0] == 10 * (2 * pool.target + pool.protected)).all()


def test_drawing_is_by_seed_balanced_and_without_repetition(synthetic, tmp_path):
    pool = synthetic_pool(synthetic, PAIR, "contextual", needed(4), tmp_path / "cache")
    sizes = {"0_0": 1, "0_1": 3, "1_0": 3, "1_1": 2}
    first, again, other = (draw_groups(pool, sizes, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert first.names == again.names != other.names
    assert len(set(first.names)) == 9
    groups = [f"{t}_{p}" for t, p in zip(first.target, first.protected)]
    assert {group: groups.count(group) for group in sizes} == sizes


def test_too_few_images_says_how_many_and_how_to_get_more(synthetic, tmp_path):
    (synthetic / "Smiling_Male" / "contextual" / "1_0" / "3.png").unlink()
    with pytest.raises(UserError, match=r"1_0 has 3 of 4.*--images-per-cell 4"):
        synthetic_pool(synthetic, PAIR, "contextual", needed(4), tmp_path / "cache")
    with pytest.raises(UserError, match="no folder"):
        synthetic_pool(synthetic, Pair("Young", ("Male",)), "contextual", needed(4), tmp_path / "cache")


def test_a_method_that_needs_more_images_than_the_last_one_is_told_so(synthetic, tmp_path):
    options = {"number_imbalanced": 8, "number_held_out": 1, "cache": tmp_path / "cache", "device": torch.device("cpu")}
    images = SyntheticImages(synthetic, PAIR, **options)
    assert images.sets("contextual", needed(2), None, must_hold_out=False).held_out_size == 1
    assert images.sets("contextual", needed(4), None, must_hold_out=False).held_out_size == 0
    with pytest.raises(UserError, match=r"0_0 has 4 of 5"):
        images.sets("contextual", needed(4), None, must_hold_out=True)


def test_partial_and_hidden_files_are_no_images(synthetic):
    folder = synthetic / "Smiling_Male" / "contextual" / "0_0"
    (folder / "9.partial").touch()
    (folder / ".8.png").touch()
    assert [path.name for path in image_files(folder)] == ["0.png", "1.png", "2.png", "3.png"]


def test_images_of_several_sizes_are_brought_to_one(tmp_path):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    save(paths[0], "red")
    with pytest.raises(UserError, match=r"b\.png"):  # which is missing
        decode_images(paths, tmp_path / "cache")
    save(paths[1], "blue", size=(9, 3))
    with pytest.raises(UserError, match="b.png is 9x3 pixels.*--decode-size"):
        decode_images(paths, tmp_path / "cache")
    pixels = decode_images(paths, tmp_path / "cache", 4)
    assert pixels.shape == (2, 4, 4, 3) and pixels[1, 0, 0].tolist() == [0, 0, 255]
    assert decode_images(paths[:1], tmp_path / "cache").shape == (1, 5, 6, 3)  # another file than with a size


def test_pool_from_a_csv_file(tmp_path):
    lines = ["image,Smiling,Male"]
    for t, p, i in np.ndindex(2, 2, 2):
        save(tmp_path / f"{i}{t}{p}.png", (100 * t, 100 * p, i))
        lines.append(f"{i}{t}{p}.png,{t},{p}")
    (tmp_path / "faces.csv").write_text("\n".join(lines))
    pool = synthetic_pool(tmp_path / "faces.csv", PAIR, "contextual", needed(2), tmp_path / "cache")
    first = pool.pixels[pool.rows]
    assert len(pool) == 8
    assert (first[:, 0, 0, 0] == 100 * pool.target).all() and (first[:, 0, 0, 1] == 100 * pool.protected).all()
    with pytest.raises(UserError, match="1_0 has 2 of 3"):
        synthetic_pool(tmp_path / "faces.csv", PAIR, "contextual", needed(3), tmp_path / "cache")
    (tmp_path / "faces.csv").write_text("image,Smiling,Male\n000.png,1,\n")
    with pytest.raises(UserError, match=r"Male is neither 0 nor 1 in line 2 \(empty\)"):
        synthetic_pool(tmp_path / "faces.csv", PAIR, "contextual", needed(1), tmp_path / "cache")
