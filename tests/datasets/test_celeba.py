import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import assert_one_line_error
from support.small import train

from datasets.bias import biased_group_sizes, largest_biased_size
from datasets.celeba import (
    biased_subset,
    check_images,
    group_names,
    image_folder,
    read_attributes,
    read_partition,
    split_attributes,
)
from datasets.pairs import Pair, groups_of, parse_pair, same_pair
from utils.errors import UserError


def random_table(n, seed=0, values=(-1, 1)):
    rng = np.random.default_rng(seed)
    names = [f"{i:06d}.jpg" for i in range(1, n + 1)]
    return pd.DataFrame(rng.choice(values, (n, 3)), index=names, columns=["Smiling", "Male", "Blond_Hair"])


def test_eight_groups_multiply_the_fractions_and_keep_the_degree_of_each_attribute():
    groups = groups_of(2)
    sizes = biased_group_sizes(20000, "1/9", groups)
    assert sizes == dict(zip(groups, [100, 900, 900, 8100, 8100, 900, 900, 100]))
    assert sizes["1_10"] + sizes["1_11"] == 1000  # the first attribute alone: 1 to 9, as for a pair
    # fractions of 777 / 2 are 1/16, 3/16, 3/16 and 9/16, each rounded down
    assert list(biased_group_sizes(777, "1/3", groups).values()) == [24, 72, 72, 218, 218, 72, 72, 24]
    largest = largest_biased_size(sizes, "1/9")
    assert largest >= 20000 and biased_group_sizes(largest, "1/9", groups) == sizes


def test_biased_subset_of_eight_groups():
    table = random_table(4000).assign(Young=np.random.default_rng(5).choice([-1, 1], 4000))
    chosen = biased_subset(table, Pair("Smiling", ("Male", "Young")), size=400)
    sizes = biased_group_sizes(400, "1/9", groups_of(2))
    assert group_names(chosen, Pair("Smiling", ("Male", "Young"))).value_counts().to_dict() == sizes
    with pytest.raises(UserError, match=r"Smiling/Male\+Young.*0_11 has \d+ of 8100"):
        biased_subset(table, Pair("Smiling", ("Male", "Young")))


def plain_walk(table, target, protected, sizes):
    """The rule of the paper, one image at a time."""
    room, chosen = dict(sizes), []
    for name, row in table.iterrows():
        group = f"{int(row[target] > 0)}_{int(row[protected] > 0)}"
        if room[group]:
            room[group] -= 1
            chosen.append(name)
    return chosen


def test_paper_sizes():
    assert list(biased_group_sizes(20000, "1/9").values()) == [1000, 9000, 9000, 1000]
    assert list(biased_group_sizes(20000, "1").values()) == [5000, 5000, 5000, 5000]
    assert list(biased_group_sizes(1234, "0.3").values()) == [142, 474, 474, 142]
    assert list(biased_group_sizes(50, "1/9").values()) == [2, 22, 22, 2]


@pytest.mark.parametrize("values", [(-1, 1), (0, 1)])
@pytest.mark.parametrize(("size", "degree"), [(400, "1/9"), (200, "1/4"), (403, "2/3")])
def test_biased_subset_is_the_plain_walk(values, size, degree):
    table = random_table(2000, values=values)
    chosen = biased_subset(table, Pair("Smiling", ("Male",)), size=size, bias_degree=degree)
    assert list(chosen.index) == plain_walk(table, "Smiling", "Male", biased_group_sizes(size, degree))


def test_shortage_names_the_largest_size_that_works():
    table = random_table(1000)
    with pytest.raises(UserError, match=r"0_1 has \d+ of 900") as caught:
        biased_subset(table, Pair("Smiling", ("Male",)), size=2000)
    largest = int(str(caught.value).split("largest size that works is ")[1].split()[0])
    assert len(biased_subset(table, Pair("Smiling", ("Male",)), size=largest)) == sum(
        biased_group_sizes(largest, "1/9").values()
    )
    with pytest.raises(UserError):
        biased_subset(table, Pair("Smiling", ("Male",)), size=largest + 1)


def test_no_size_works_where_a_group_is_missing():
    assert largest_biased_size({"0_0": 5, "0_1": 0, "1_0": 5, "1_1": 5}, "1/9") == 0
    # 22 x 0.05 and 22 x 0.45, rounded down, are 1 and 9
    assert largest_biased_size({"0_0": 1, "0_1": 9, "1_0": 9, "1_1": 1}, "1/9") == 22


@pytest.mark.parametrize("degree", ["0", "-1/9", "2", "1/0", "one"])
def test_bad_bias_degree(degree):
    with pytest.raises(UserError, match="--bias-degree"):
        biased_group_sizes(100, degree)


def test_a_missing_list_is_named(tmp_path):
    with pytest.raises(UserError, match=r"list_attr_celeba.*--real-data-path"):
        read_attributes(tmp_path)


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("Smiling_Male", Pair("Smiling", ("Male",))),
        ("BlondHair_Male", Pair("Blond_Hair", ("Male",))),
        ("Blond_Hair_Male", Pair("Blond_Hair", ("Male",))),
        ("male_blondhair", Pair("Male", ("Blond_Hair",))),
        ("Smiling_MaleBlondHair", Pair("Smiling", ("Male", "Blond_Hair"))),
        ("Smiling_Male_Blond_Hair", Pair("Smiling", ("Male", "Blond_Hair"))),
    ],
)
def test_pair_spellings(text, pair):
    parsed = parse_pair(text, ["Smiling", "Male", "Blond_Hair"])
    assert parsed == pair
    assert same_pair(parsed.name, text)


@pytest.mark.parametrize("text", ["Smilng_Male", "Smiling", "Smiling_Smiling", "", "Hat_Male", "Smiling_MaleMale"])
def test_unknown_pair_names_the_nearest(text):
    with pytest.raises(UserError, match=r"Smiling|known"):
        parse_pair(text, ["Smiling", "Male", "Blond_Hair"])


def test_paper_size_can_be_filled_from_the_real_subset(celeba_lists):
    table = split_attributes(celeba_lists)["train"]
    chosen = biased_subset(table, Pair("Smiling", ("Male",)))
    sizes = {"0_0": 1000, "0_1": 9000, "1_0": 9000, "1_1": 1000}
    assert group_names(chosen, Pair("Smiling", ("Male",))).value_counts().to_dict() == sizes
    assert list(chosen.index) == plain_walk(table, "Smiling", "Male", sizes)


@pytest.mark.parametrize(
    ("target", "protected", "last"),
    [("Smiling", "Male", "035382.jpg"), ("Smiling", "Young", "080833.jpg"), ("Young", "Male", "059353.jpg")],
)
def test_paper_lists_on_full_celeba(target, protected, last):
    root = os.environ.get("AIM_FAIR_CELEBA")
    if not root:
        pytest.skip("needs the full CelebA label files: set AIM_FAIR_CELEBA to their folder")
    assert biased_subset(read_attributes(Path(root)), Pair(target, (protected,))).index[-1] == last


def write_lists(root, attributes, partition, suffix=".txt"):
    root.mkdir(parents=True, exist_ok=True)
    for name, text in (("list_attr_celeba", attributes), ("list_eval_partition", partition)):
        (root / f"{name}{suffix}").write_bytes(text if isinstance(text, bytes) else text.encode())


ATTRIBUTES = "2\nSmiling Male \n000001.jpg  1 -1\n000002.jpg -1  1\n"
PARTITION = "000001.jpg 0\n000002.jpg 2\n"


@pytest.mark.parametrize(
    ("attributes", "partition"),
    [
        (ATTRIBUTES, PARTITION),
        (ATTRIBUTES.replace("\n", "\r\n"), PARTITION.replace("\n", "\r\n")),
        (ATTRIBUTES.removeprefix("2\n"), "2\n" + PARTITION),  # without the count, and with one
        (("\ufeff" + ATTRIBUTES).encode(), ("\ufeff" + PARTITION).encode()),
        (ATTRIBUTES.encode("utf-16"), PARTITION.encode("utf-16")),  # what PowerShell's > writes
        ("2\nSmiling\tMale\n000001.jpg\t1\t-1\n000002.jpg\t-1\t1\n", "000001.jpg\t0\n000002.jpg\t2\n"),
        ("2\nSmiling,Male\n000001.jpg,1,-1\n000002.jpg,-1,1\n", "000001.jpg,0\n000002.jpg,2\n"),
        (
            "image_id;Smiling;Male\n000001.jpg;1;-1\n000002.jpg;-1;1\n",
            "image_id;partition\n000001.jpg;0\n000002.jpg;2\n",
        ),
        ("2,,\nimage_id, Smiling, Male\n000001.jpg, 1, -1\n000002.jpg, -1, 1\n\n", "000001.jpg,0,\n000002.jpg,2,\n"),
        ('"image_id","Smiling","Male"\n"000001.jpg",1,-1\n"000002.jpg",-1,1\n', "image_id partition\n" + PARTITION),
        ("image_id Smiling Male\n000001.jpg 1 0\n000002.jpg 0 1\n", PARTITION + "\n\n"),
    ],
)
@pytest.mark.parametrize("suffix", [".txt", ".csv"])
def test_lists_as_people_have_them_read_alike(tmp_path, attributes, partition, suffix):
    write_lists(tmp_path, attributes, partition, suffix)
    table = read_attributes(tmp_path)
    assert table.index.tolist() == ["000001.jpg", "000002.jpg"] and table.columns.tolist() == ["Smiling", "Male"]
    assert table.gt(0).to_numpy().tolist() == [[True, False], [False, True]]
    assert read_partition(tmp_path).to_dict() == {"000001.jpg": "train", "000002.jpg": "test"}


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ("000001.jpg 1 -1\n", "line with the attributes' names is missing"),
        ("2\n000001.jpg 1 -1\n", "line with the attributes' names is missing"),
        ("Smiling Male Young Bald\n000001.jpg 1 -1\n", "4 names above lines of 3 fields"),
        ("Smiling Smiling\n000001.jpg 1 -1\n", "two attributes are called 'Smiling'"),
        ("Smiling Male\n000001.jpg 1 -1\n000002.jpg 1\n", "found .*nan, the first for 000002.jpg, Male"),
        ("Smiling Male\n000001.jpg 1 -1\n000002.jpg 3 1\n", "found .*3, the first for 000002.jpg, Smiling"),
        ("Smiling Male\n000001.jpg 1 -1 1 1\n", "2 names above lines of 5 fields"),
        ("Smiling Male\n000001.jpg 1 -1\n000002.jpg 1 1 1 1\n", "cannot be read"),
        ("Smiling Male\n000001.jpg 1 -1\n000001.jpg 1 1\n", "listed twice"),
        ("Smiling Male\n", "names is missing|no line with an image|cannot be read"),
        ("", "cannot be read"),
        ("Smiling Fr\xe4nzi\n000001.jpg 1 -1\n".encode("latin-1"), "save it as UTF-8"),
    ],
)
def test_a_list_of_attributes_that_is_unclear_says_why(tmp_path, attributes, said):
    write_lists(tmp_path, attributes, PARTITION)
    with pytest.raises(UserError, match=said) as caught:
        read_attributes(tmp_path)
    assert "list_attr_celeba.txt" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("partition", "said"),
    [
        (PARTITION.replace(" 2", " 3"), "found 3 for 000002.jpg"),
        (PARTITION.replace(" 2", " test"), "found test for 000002.jpg"),
        ("000001.jpg 0 1\n000002.jpg 2 1\n", "3 fields in a line"),
        ("image_id partition\n", "cannot be read"),
    ],
)
def test_a_list_of_splits_that_is_unclear_says_why(tmp_path, partition, said):
    write_lists(tmp_path, ATTRIBUTES, partition)
    with pytest.raises(UserError, match=rf"list_eval_partition\.txt.*{said}"):
        read_partition(tmp_path)


def test_a_count_that_is_wrong_is_said(tmp_path, capsys):
    write_lists(tmp_path, ATTRIBUTES.replace("2\n", "202599\n", 1), PARTITION)
    assert len(read_attributes(tmp_path)) == 2
    assert "the first line counts 202599 images, 2 are listed" in capsys.readouterr().out


def test_the_folders_of_the_project_pages_drive(tmp_path):
    write_lists(tmp_path / "Anno", ATTRIBUTES, PARTITION)
    (tmp_path / "Eval").mkdir()
    (tmp_path / "Anno" / "list_eval_partition.txt").rename(tmp_path / "Eval" / "list_eval_partition.txt")
    (tmp_path / "Img" / "img_align_celeba").mkdir(parents=True)
    assert {name: len(table) for name, table in split_attributes(tmp_path).items()} == {"train": 1, "val": 0, "test": 1}
    assert image_folder(tmp_path) == tmp_path / "Img" / "img_align_celeba"


def test_an_archive_that_was_not_unzipped_is_named(tmp_path):
    (tmp_path / "img_align_celeba.zip").touch()
    with pytest.raises(UserError, match="no folder .*img_align_celeba; unzip img_align_celeba.zip; --real-data-path"):
        image_folder(tmp_path)


def dry_run(root, output):
    return train(root, "nowhere", output, "--dry-run", "--no-estimate")


@pytest.fixture
def copy(toy, tmp_path):
    shutil.copytree(toy, tmp_path / "celeba")
    return tmp_path / "celeba"


def test_a_dry_run_counts_the_images_that_are_missing_and_lists_each_folder_once(copy, tmp_path, monkeypatch):
    for i in range(201, 241):  # all of test
        (copy / "img_align_celeba" / f"{i:06d}.jpg").unlink()
    (copy / "img_align_celeba" / "000230.jpg").mkdir()
    done = dry_run(copy, tmp_path / "out")
    assert_one_line_error(done, "40 of 120 listed images are not in", "the first is 000201.jpg", "unpack the images")
    for odd in ("._000001.jpg", ".DS_Store", "Thumbs.db", "desktop.ini"):
        (copy / "img_align_celeba" / odd).touch()
    looked = []
    monkeypatch.setattr(Path, "is_file", lambda path: looked.append(path) or os.path.isfile(path))
    check_images(copy / "img_align_celeba", [f"{i:06d}.jpg" for i in range(1, 201)])
    assert not looked  # no file was asked for by itself


def test_a_dry_run_names_another_format_and_another_folder(copy, tmp_path):
    images = copy / "img_align_celeba"
    for path in images.glob("*.jpg"):
        path.rename(path.with_suffix(".JPG"))
    assert_one_line_error(dry_run(copy, tmp_path / "out"), "120 of 120 listed images", ".JPG in its place")
    for path in images.glob("*.JPG"):
        path.rename(path.with_suffix(".png"))
    assert_one_line_error(dry_run(copy, tmp_path / "out"), "120 of 120 listed images", ".png in its place")
    for path in images.glob("*.png"):
        path.rename(path.with_suffix(".jpg"))
    images.rename(copy / "inner")
    images.mkdir()
    (copy / "inner").rename(images / "data")
    assert_one_line_error(dry_run(copy, tmp_path / "out"), "120 of 120 listed images", f"it lies in {images / 'data'}")
    (images / "data").rename(images / "img_align_celeba")  # as Kaggle's archive nests them
    assert dry_run(copy, tmp_path / "out").returncode == 0
    for path in (images / "img_align_celeba").glob("*.jpg"):
        path.rename(images / path.name)
    assert_one_line_error(dry_run(copy, tmp_path / "out"), f"it lies in {images}: move")
