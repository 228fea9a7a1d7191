import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from datasets.bias import biased_cell_sizes, largest_biased_size
from datasets.celeba import biased_subset, cell_names, read_attributes, read_partition, split_attributes
from datasets.pairs import Pair, cells_of, parse_pair, same_pair
from utils.errors import UserError


def random_table(n, seed=0, values=(-1, 1)):
    rng = np.random.default_rng(seed)
    names = [f"{i:06d}.jpg" for i in range(1, n + 1)]
    return pd.DataFrame(rng.choice(values, (n, 3)), index=names, columns=["Smiling", "Male", "Blond_Hair"])


def test_eight_cells_multiply_the_shares_and_keep_the_degree_of_each_attribute():
    cells = cells_of(2)
    sizes = biased_cell_sizes(20000, "1/9", cells)
    assert sizes == dict(zip(cells, [100, 900, 900, 8100, 8100, 900, 900, 100]))
    assert sizes["1_10"] + sizes["1_11"] == 1000  # the first attribute alone: 1 to 9, as for a pair
    # shares of 777 / 2 are 1/16, 3/16, 3/16 and 9/16, each rounded down
    assert list(biased_cell_sizes(777, "1/3", cells).values()) == [24, 72, 72, 218, 218, 72, 72, 24]
    largest = largest_biased_size(sizes, "1/9")
    assert largest >= 20000 and biased_cell_sizes(largest, "1/9", cells) == sizes


def test_biased_subset_of_eight_cells():
    table = random_table(4000).assign(Young=np.random.default_rng(5).choice([-1, 1], 4000))
    chosen = biased_subset(table, "Smiling", ("Male", "Young"), size=400)
    sizes = biased_cell_sizes(400, "1/9", cells_of(2))
    assert cell_names(chosen, "Smiling", ("Male", "Young")).value_counts().to_dict() == sizes
    with pytest.raises(UserError, match=r"Smiling/Male\+Young.*0_11 has \d+ of 8100"):
        biased_subset(table, "Smiling", ("Male", "Young"))


def plain_walk(table, target, protected, sizes):
    """The rule of the paper, one image at a time."""
    room, chosen = dict(sizes), []
    for name, row in table.iterrows():
        cell = f"{int(row[target] > 0)}_{int(row[protected] > 0)}"
        if room[cell]:
            room[cell] -= 1
            chosen.append(name)
    return chosen


def test_paper_sizes():
    assert list(biased_cell_sizes(20000, "1/9").values()) == [1000, 9000, 9000, 1000]
    assert list(biased_cell_sizes(20000, "1").values()) == [5000, 5000, 5000, 5000]
    assert list(biased_cell_sizes(1234, "0.3").values()) == [142, 474, 474, 142]
    assert list(biased_cell_sizes(50, "1/9").values()) == [2, 22, 22, 2]


@pytest.mark.parametrize("values", [(-1, 1), (0, 1)])
@pytest.mark.parametrize(("size", "degree"), [(400, "1/9"), (200, "1/4"), (403, "2/3")])
def test_biased_subset_is_the_plain_walk(values, size, degree):
    table = random_table(2000, values=values)
    chosen = biased_subset(table, "Smiling", "Male", size=size, bias_degree=degree)
    assert list(chosen.index) == plain_walk(table, "Smiling", "Male", biased_cell_sizes(size, degree))


def test_shortage_names_the_largest_size_that_works():
    table = random_table(1000)
    with pytest.raises(UserError, match=r"0_1 has \d+ of 900") as caught:
        biased_subset(table, "Smiling", "Male", size=2000)
    largest = int(str(caught.value).split("largest size that works is ")[1].split()[0])
    assert len(biased_subset(table, "Smiling", "Male", size=largest)) == sum(biased_cell_sizes(largest, "1/9").values())
    with pytest.raises(UserError):
        biased_subset(table, "Smiling", "Male", size=largest + 1)


def test_no_size_works_where_a_cell_is_missing():
    assert largest_biased_size({"0_0": 5, "0_1": 0, "1_0": 5, "1_1": 5}, "1/9") == 0


@pytest.mark.parametrize("degree", ["0", "-1/9", "2", "1/0", "one"])
def test_bad_bias_degree(degree):
    with pytest.raises(UserError, match="--bias-degree"):
        biased_cell_sizes(100, degree)


def test_both_file_forms_read_alike(toy, tmp_path):
    attributes, partition = read_attributes(toy), read_partition(toy)
    attributes.rename_axis("image_id").to_csv(tmp_path / "list_attr_celeba.csv")
    codes = partition.map({"train": 0, "val": 1, "test": 2})
    codes.rename("partition").rename_axis("image_id").to_csv(tmp_path / "list_eval_partition.csv")
    pd.testing.assert_frame_equal(read_attributes(tmp_path), attributes, check_names=False)
    pd.testing.assert_series_equal(read_partition(tmp_path), partition, check_names=False)


def test_splits_follow_the_partition(toy):
    assert {name: len(table) for name, table in split_attributes(toy).items()} == {"train": 160, "val": 40, "test": 40}


def test_missing_and_damaged_lists_are_named(toy, tmp_path):
    with pytest.raises(UserError, match=r"list_attr_celeba.*--real-data-path"):
        read_attributes(tmp_path)
    path = tmp_path / "list_attr_celeba.txt"
    path.write_text("2\nSmiling Male\n1.jpg 1 -1\n2.jpg 1 7\n")
    with pytest.raises(UserError, match=r"values -1 and 1"):
        read_attributes(tmp_path)
    path.write_text("2\nSmiling Male\n1.jpg 1 -1\n1.jpg 1 1\n")
    with pytest.raises(UserError, match="listed twice"):
        read_attributes(tmp_path)
    path.write_text("")
    with pytest.raises(UserError, match="cannot be read"):
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
    chosen = biased_subset(table, "Smiling", "Male")
    sizes = {"0_0": 1000, "0_1": 9000, "1_0": 9000, "1_1": 1000}
    assert cell_names(chosen, "Smiling", "Male").value_counts().to_dict() == sizes
    assert list(chosen.index) == plain_walk(table, "Smiling", "Male", sizes)


@pytest.mark.parametrize(
    ("target", "protected", "last"),
    [("Smiling", "Male", "035382.jpg"), ("Smiling", "Young", "080833.jpg"), ("Young", "Male", "059353.jpg")],
)
def test_paper_lists_on_full_celeba(target, protected, last):
    root = os.environ.get("AIM_FAIR_CELEBA")
    if not root:
        pytest.skip("needs the full CelebA label files: set AIM_FAIR_CELEBA to their folder")
    assert biased_subset(read_attributes(Path(root)), target, protected).index[-1] == last
