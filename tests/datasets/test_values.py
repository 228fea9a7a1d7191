"""Attributes of any number of values: names, order, joined and left-out values, ranges; and biased lists of them."""

import re
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from support.noise import save

from datasets.bias import biased_group_sizes, common, largest_biased_size
from datasets.celeba import biased_subset, group_names
from datasets.custom import read_table
from datasets.pairs import TWO, Pair, groups_of, labels_in, values_in
from datasets.real import check_evaluation_splits, read_real, training_list
from datasets.real_faces import labelled
from datasets.synthetic_files import group_files
from datasets.utkface import RACES, read
from datasets.values import chosen_values, numbers_of, parse_values, value_name, with_values
from utils.errors import UserError

NAMED = Pair("Age", ("Race", "Male"), (("young", "old"), ("Asian", "Black", "White"), TWO))


@pytest.fixture
def own(tmp_path):
    """A table of 27 images: three moods by three places, in each of the three splits."""
    rows = []
    for split in ("train", "val", "test"):
        for mood in ("glad", "sad", "calm"):
            for place in ("Paris", "São Paulo", "東京"):
                rows.append((f"{len(rows)}.png", split, mood, place))
                save(tmp_path / rows[-1][0], len(rows))
    table = tmp_path / "own.csv"
    pd.DataFrame(rows, columns=["image", "split", "Mood", "Place"]).to_csv(table, index=False)
    return table


def change(path, line, column, value):
    table = pd.read_csv(path, dtype=str)
    table.loc[line - 2, column] = value
    table.to_csv(path, index=False)


@pytest.mark.parametrize(
    "text, name",
    [
        ("White", "White"),
        ("Latino_Hispanic", "Latino-Hispanic"),
        ("Hispanic/Latino, any", "Hispanic-Latino-any"),
        (" East  Asian ", "East-Asian"),
        ("東京", "東京"),
        ("हिन्दी", "हिन्दी"),
        ("Sa\u0303o", "São"),  # macOS writes accents apart
        ("..", "-"),
        ("-1", "-1"),
        ("40+", "40+"),
    ],
)
def test_a_value_gets_a_name_that_folders_can_hold(text, name):
    assert value_name(text) == name


def test_groups_of_named_values():
    assert Pair("Smiling", ("Male",)).groups == ("0_0", "0_1", "1_0", "1_1")
    assert NAMED.groups[:3] == ("young_Asian.0", "young_Asian.1", "young_Black.0") and len(NAMED.groups) == 12
    assert values_in(NAMED.groups)["old_White.1"] == (1, 2, 1)
    assert labels_in(NAMED.groups)["old_White.1"] == (1, 5)
    assert NAMED.described("old_Black.0") == {"Age": "old", "Race": "Black", "Male": "0"}
    # whole numbers that look like two attributes of two values each
    numbers = Pair("Smiling", ("Code",), (TWO, ("10", "11", "100")))
    assert values_in(numbers.groups)["1_100"] == (1, 2)
    assert values_in(groups_of(2))["1_01"] == (1, 0, 1)


@pytest.mark.parametrize("pair", [NAMED, Pair("A", ("B", "C")), Pair("A", ("B",), (("x", "y", "z"), TWO))])
def test_group_and_numbers_are_each_other_s_reverse(pair):
    sizes = [len(values) for values in pair.values_of.values()]
    for place, (group, numbers) in enumerate(values_in(pair.groups).items()):
        assert np.ravel_multi_index(numbers, sizes) == place
        assert [pair.values_of[name][n] for name, n in zip(pair.attributes, numbers)] == [
            *pair.described(group).values()
        ]


def test_columns_of_two_values_stay_and_others_get_numbers(capsys):
    table = pd.DataFrame({"Male": [1, -1, 1, -1], "Race": pd.Categorical(["b", "a", "b", "a"], ["b", "a", "c"])})
    assert with_values(Pair("Male", ("Race",)), table[["Male"]].assign(Race=[0, 1, 1, 0]))[0].values == ()
    pair, found = with_values(Pair("Male", ("Race",)), table)
    assert pair.values == (TWO, ("b", "a")) and found["Race"].tolist() == [0, 1, 0, 1]  # in the order of the categories
    assert capsys.readouterr().out == "Race: b (2), a (2)\n"
    faces = labelled(np.empty((0, 1, 1, 3), np.uint8), found, pair)
    assert faces.target.tolist() == [1, 0, 1, 0] and faces.protected.tolist() == [0, 1, 0, 1]
    assert faces.group_counts() == {"0_b": 0, "0_a": 2, "1_b": 2, "1_a": 0}


def test_values_are_chosen_joined_left_out_and_cut_into_ranges(capsys):
    table = pd.DataFrame({"Age": [3, 17, 18, 39, 40, 101], "Race": list("abcdab")})
    chosen = ("Age=18-39,0-17,40+", "Race=b/d,a")
    pair, found = with_values(Pair("Age", ("Race",)), table, chosen)
    assert pair.values == (("18-39", "0-17", "40+"), ("b~d", "a"))
    assert found["Age"].tolist() == [1, 1, 0, 2, 2] and found["Race"].tolist() == [1, 0, 0, 1, 0]
    assert capsys.readouterr().out.splitlines()[1] == "Race: b~d (3), a (2); left out: 1"
    assert numbers_of(pd.Series(["18", "b"]), ("0-17", "18-39")).tolist()[0] == 1
    again, same = with_values(Pair("Age", ("Race",)), table, chosen_values(pair))
    assert again == pair and same.equals(found)


@pytest.mark.parametrize("text", ["Race", "Race=", "Race=a", "Race=a,a", "Race=a,,b", "=a,b", "Race=a/b,b", "Race=a,"])
def test_a_wrong_entry_is_refused(text):
    with pytest.raises(UserError, match=re.escape(f"--values {text}: expected NAME=VALUE,VALUE")):
        parse_values(text)


@pytest.mark.parametrize(
    "values, chosen, part",
    [
        (range(1000), (), "Race has 1000 values (0, 1, 2, ...), at most 30 work: --values Race=0-17,18-39,40+ joins or leaves out"),
        ([f"n{i}" for i in range(31)], (), "--values Race=n0/n1,n2 joins or leaves out"),
        (["a", "A", "b"], (), "of its values 'a' and 'A' differ only in signs or capitals"),
        (["x/y", "x-y", "b"], (), "of its values 'x-y' and 'x/y' differ only in signs or capitals"),
        (["a", "..", "b"], (), "one of its values has no letter and no digit"),
        (["a", "a", "a"], (), "Race has one value alone, a; choose another attribute"),
        (["a", "b", "c"], ("Race=a,z",), "--values Race: no image has z; the data have a, b, c"),
        (["a", "b", "c"], ("Colour=a,b",), "--values Colour=...: the pair's attributes are Male, Race"),
    ],
)  # fmt: skip
def test_values_that_cannot_be_used_are_one_line(values, chosen, part):
    table = pd.DataFrame({"Male": np.arange(len(values)) % 2, "Race": list(values)})
    with pytest.raises(UserError, match=re.escape(part)):
        with_values(Pair("Male", ("Race",)), table, chosen)


def test_an_own_table_has_names_in_both_columns(own):
    pair, tables = read_table(own, "Mood_Place")
    assert pair.values == (("calm", "glad", "sad"), ("Paris", "São-Paulo", "東京"))
    assert tables["train"].loc["1.png"].tolist() == [1, 1]
    assert group_names(tables["val"], pair)["9.png"] == "glad_Paris"
    check_evaluation_splits(tables, pair)
    listing = own.with_name("drawn.csv")
    listing.write_text("image,Mood,Place\n0.png,glad,Paris\n1.png,sad,São Paulo\n")
    assert {group for group, files in group_files(listing, pair, "")[1].items() if files} == {
        "glad_Paris",
        "sad_São-Paulo",
    }
    listing.write_text("image,Mood,Place\n0.png,glad,Paris\n1.png,sad,Berlin\n")
    with pytest.raises(UserError, match=r"Place is none of Paris, São-Paulo, 東京 in line 3 \(Berlin\)"):
        group_files(listing, pair, "")


@pytest.mark.parametrize(
    "value, part",
    [
        ("mad", r"Mood has a value that fewer than 3 images have: correct it.*in line 4 \(mad\)"),
        ("", r"Mood is missing in line 4 \(empty\)"),
        ("3", r"Mood is a number, and elsewhere a name, in line 4 \(3\)"),  # numbers and names in one column
    ],
)
def test_slips_in_an_own_table_are_named_with_their_lines(own, value, part):
    change(own, 4, "Mood", value)
    with pytest.raises(UserError, match=part):
        read_table(own, "Mood_Place")


def test_numbers_are_classes_and_names_among_them_a_slip(own):
    table = pd.read_csv(own)
    table.assign(Mood=table["Mood"].map({"glad": 2, "sad": 10, "calm": 0})).to_csv(own, index=False)
    assert read_table(own, "Mood_Place")[0].values[0] == ("0", "2", "10")
    change(own, 5, "Mood", "two")
    with pytest.raises(UserError, match=r"Mood is no whole number, as it is elsewhere, in line 5 \(two\)"):
        read_table(own, "Mood_Place")


@pytest.mark.parametrize("text", ["Age=0-20,18-39", "Age=0-9/20-29,15-21", "Age=0-1,1+", "Age=40+,50+"])
def test_overlapping_ranges_are_refused(text):
    with pytest.raises(UserError, match="overlap; both ends belong to a range"):
        parse_values(text)


def test_an_attribute_s_values_are_given_once():
    table = pd.DataFrame({"Male": [0, 1, 2, 0, 1, 2], "Race": list("abcabc")})
    pair = Pair("Male", ("Race",))
    with pytest.raises(UserError, match="--values race=... is given twice, with other values"):
        with_values(pair, table, ("Race=a,b", "race=b,c"))
    found, _ = with_values(pair, table, ("Male=0,1", "Race=a,b"))
    assert found.values == (TWO, ("a", "b")) and found.groups == ("0_a", "0_b", "1_a", "1_b")
    assert chosen_values(found) == ("Male=0,1", "Race=a,b")  # also where what is left is 0 and 1


def test_a_value_with_or_in_its_name_is_one_value(capsys):
    table = pd.DataFrame(
        {"Male": [0, 1] * 3, "Race": ["Black or White", "Black", "White", "Black"] + ["White", "Asian"]}
    )
    pair, found = with_values(Pair("Male", ("Race",)), table, ("Race=Black or White,Black",))
    assert found["Race"].tolist() == [0, 1, 1]
    assert capsys.readouterr().out == "Race: Black-or-White (1, 'Black or White' in the data), Black (2); left out: 3\n"


def test_names_are_sorted_with_the_numbers_inside_them_and_codes_stay_names(own, capsys):
    table = pd.read_csv(own)
    ages = {"glad": "3-9", "sad": "10-19", "calm": "<3"}
    table.assign(
        Mood=table["Mood"].map(ages), Place=table["Place"].map({"Paris": "01", "São Paulo": "10", "東京": "02"})
    ).to_csv(own, index=False)
    assert read_table(own, "Mood_Place")[0].values == (("3-9", "10-19", "-3"), ("01", "02", "10"))
    assert "3-9 (9), 10-19 (9), -3 (9, '<3' in the data)" in capsys.readouterr().out


def test_words_that_count_as_missing_are_said_to(own):
    change(own, 12, "Place", "NA")
    with pytest.raises(
        UserError, match=r"Place is missing in line 12|Place is missing \(NA, null and none count as missing\)"
    ):
        read_table(own, "Mood_Place")
    table = pd.read_csv(own, keep_default_na=False)
    table.assign(Mood=[0.5, 1.5, 2.5] * 9).to_csv(own, index=False)
    with pytest.raises(UserError, match="Mood is no whole number in line 2"):
        read_table(own, "Mood_Place")


def test_a_value_that_a_split_lacks_is_named(own):
    for line in (20, 21, 22):
        change(own, line, "Mood", "sad")  # of test: now without glad
    pair, tables = read_table(own, "Mood_Place")
    with pytest.raises(
        UserError, match="the test split has no image of group glad_Paris, glad_São-Paulo, glad_東京 .*--values"
    ):
        check_evaluation_splits(tables, pair)
    train = tables["train"][tables["train"]["Mood"] > 0]
    with pytest.raises(
        UserError, match="train has no image with Mood calm: add some, or leave the value out with --values"
    ):
        training_list(train, pair, "all", "1/9")


def test_celeba_has_no_values_to_choose(toy):
    with pytest.raises(UserError, match="--values: all attributes of --dataset celeba have the values 0 and 1"):
        read_real("celeba", toy, "Smiling_Male", values=("Male=0,1",))


def test_utkface_has_races_and_ages(utkface):
    pair = read(utkface, "Female_Race", values=("Race=White,Black",)).pair
    assert pair.values == (TWO, ("White", "Black")) and RACES[2] == "Asian"
    pair, _, tables, _ = read(utkface, "Age_Female", values=("Age=0-9,10-29,30+",))
    assert pair.groups[:2] == ("0-9_0", "0-9_1")
    row = tables["train"].iloc[0]
    assert row["Age"] == np.searchsorted([10, 30], int(tables["train"].index[0].split("_")[0]), side="right")


def test_biased_sizes_of_two_and_two_are_the_paper_s():
    """The formula as the paper has it: d / (d + 1) / 2 where target and protected value are alike, 1 / (d + 1) / 2 elsewhere."""
    for attributes in (1, 2):
        for degree in ("1/9", "1/3", "2/7", "1"):
            for size in (777, 20000):
                d, found = Fraction(degree), biased_group_sizes(size, degree, groups_of(attributes))
                for group, (target, *values) in values_in(groups_of(attributes)).items():
                    same = sum(value == target for value in values)
                    assert found[group] == int(size * d**same / (d + 1) ** attributes / 2)


@pytest.mark.parametrize("targets, values", [(2, 5), (3, 2), (3, 3), (5, 3), (10, 7)])
def test_each_target_has_common_and_rare_values(targets, values):
    table = np.array([[common(t, v, targets, values) for v in range(values)] for t in range(targets)])
    assert table.any(axis=1).all() and table.any(axis=0).all() and not table.all(axis=1).any()
    pair = Pair("T", ("P",), (tuple(f"t{n}" for n in range(targets)), tuple(f"p{n}" for n in range(values))))
    sizes = biased_group_sizes(100000, "1/9", pair.groups)
    counts = np.array(list(sizes.values())).reshape(targets, values)
    assert counts.sum() > 100000 - len(sizes) and np.ptp(counts.sum(axis=1)) <= values
    for row, marks in zip(counts, table, strict=True):
        assert row[marks].min() >= 9 * row[~marks].max() and row[~marks].min() > 0
    assert largest_biased_size(sizes, "1/9") >= 100000


def test_three_targets_and_three_values():
    pair = Pair("T", ("P",), (("a", "b", "c"), ("x", "y", "z")))
    sizes = biased_group_sizes(330, "1/9", pair.groups)
    assert list(sizes.values()) == [10, 10, 90, 10, 90, 10, 90, 10, 10]
    rows = pd.DataFrame([(t, p) for _ in range(100) for t in range(3) for p in range(3)], columns=["T", "P"])
    chosen = biased_subset(rows, pair, 330)
    assert group_names(chosen, pair).value_counts().to_dict() == sizes
    with pytest.raises(UserError, match="a_z has 100 of 180.*the largest size that works is 370"):
        biased_subset(rows, pair, 660)
