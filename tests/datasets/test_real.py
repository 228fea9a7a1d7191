"""UTKFace and one's own images."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest
from support import ROOT, SHARED, assert_one_line_error, run_here
from support.noise import save

import train
from datasets.celeba import group_names
from datasets.custom import read_table
from datasets.pairs import Pair
from datasets.real import check_evaluation_splits, read_real, training_list
from datasets.real_faces import real_faces
from datasets.utkface import read_utkface, split_balanced
from utils.errors import UserError

FEMALE_WHITE = Pair("Female", ("White",))


def test_utkface_reads_names_and_lists_what_it_leaves_out(utkface, capsys):
    _, table = read_utkface(utkface, 20)
    two = ["Female", "White", "Young"]
    assert table[two].sum().to_dict() == {"Female": 80, "White": 80, "Young": 4 * 19} and len(table) == 160
    assert table.loc["7_1_0_20170116000000086.jpg.chip.jpg"].tolist() == [1, 1, 1, "White", 7]
    printed = capsys.readouterr().out
    assert "39_1_20170116174525125.jpg.chip.jpg" in printed and "24_0_1_20170116220224657 .jpg" in printed
    assert "1 files left out, each the copy of another (1 of them under other labels)" in printed
    assert "9_1_1_20180000000000000.jpg.chip.jpg" not in table.index  # the first by name is kept


def test_utkface_split_is_balanced_and_does_not_depend_on_the_order_of_files(utkface):
    _, table = read_utkface(utkface, 20)
    splits = split_balanced(table, FEMALE_WHITE)
    counts = {
        name: group_names(part, Pair("Female", ("White",))).value_counts().to_dict() for name, part in splits.items()
    }
    assert counts["test"] == dict.fromkeys(FEMALE_WHITE.groups, 8)
    assert counts["val"] == dict.fromkeys(FEMALE_WHITE.groups, 4)
    assert counts["train"] == dict.fromkeys(FEMALE_WHITE.groups, 28)
    assert len(set().union(*(part.index for part in splits.values()))) == 160
    ages = [int(name.split("_")[0]) for name in splits["train"].index]
    assert ages != sorted(ages)  # so that the biased list does not take the youngest
    names = sorted(table.index)
    renamed = {name: name.replace("20170116", "20990116") for name in names[::3]}
    for old, new in renamed.items():
        (utkface / old).rename(utkface / new)
    _, again = read_utkface(utkface, 20)
    assert [renamed.get(name, name) for name in split_balanced(table, FEMALE_WHITE)["test"].index] == list(
        split_balanced(again, FEMALE_WHITE)["test"].index
    )


def test_utkface_training_list_is_the_largest_that_works(utkface):
    pair, _, splits, size = read_real("utkface", utkface, "Female_White", age_limit=20)
    chosen = training_list(splits["train"], pair, size, "1/3")
    assert group_names(chosen, Pair("Female", ("White",))).value_counts().to_dict() == {
        "0_0": 9,
        "0_1": 28,
        "1_0": 28,
        "1_1": 9,
    }
    assert len(training_list(splits["train"], pair, 40, "1/3")) == 40
    pair, _, splits, size = read_real("utkface", utkface, "Young_Female", age_limit=20)
    assert pair == Pair("Young", ("Female",))
    with pytest.raises(UserError, match=r"0 images and 10 are needed; choose another pair or --age-limit"):
        read_real("utkface", utkface, "Young_Female", age_limit=100)


def test_utkface_missing_folder(tmp_path):
    with pytest.raises(UserError, match="no UTKFace image"):
        read_utkface(tmp_path / "none", 40)


def moved(utkface, tmp_path, place):
    """The images of the fixture below a folder of their own, `place` saying where in turn."""
    root = tmp_path / "moved"
    for i, path in enumerate(sorted(utkface.glob("*.jpg"))):
        target = root / place(i) / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    return root


@pytest.mark.parametrize("above", ["", "UTKFace"])
@pytest.mark.parametrize("parts", [("part1", "part2", "part3"), ("part2",), ("crop_part1",)])
def test_utkface_in_the_parts_of_its_archives(utkface, tmp_path, above, parts):
    _, flat = read_utkface(utkface, 20)
    root = moved(utkface, tmp_path, lambda i: f"{above}/{parts[i % len(parts)]}".lstrip("/"))
    (root / above / parts[0] / "._1_0_0_20170116000000000.jpg.chip.jpg").touch()  # what macOS adds to archives
    folder, table = read_utkface(root, 20)
    assert folder == root / above and all((folder / name).is_file() for name in table.index)
    assert len(table) == len(flat) == 160 and {name.split("/")[0] for name in table.index} == set(parts)
    same = {"1_0_0_20170116000000000.jpg.chip.jpg", "9_1_1_20180000000000000.jpg.chip.jpg"}  # the first by name is kept
    order = [name.rpartition("/")[2] for name in table.index]
    assert [name for name in order if name not in same] == [name for name in flat.index if name not in same]


def test_aligned_images_are_read_and_those_in_the_wild_are_not_mixed_in(utkface, tmp_path, capsys):
    root = moved(utkface, tmp_path, lambda i: "utkface_aligned_cropped/UTKFace")
    save(root / "part1" / "7_1_0_20180116000000086.jpg", 0)
    folder, table = read_utkface(root, 20)
    assert folder == root / "utkface_aligned_cropped" / "UTKFace" and len(table) == 160
    assert f"UTKFace: read from {folder}; left out: {root / 'part1'}" in capsys.readouterr().out


def test_utkface_a_copy_in_another_part_is_found_by_content(utkface, tmp_path, capsys):
    root = moved(utkface, tmp_path, lambda i: f"part{1 + i % 2}")
    path = sorted((root / "part2").glob("5_*"))[0]
    (root / "part1" / path.name).write_bytes(path.read_bytes())
    _, table = read_utkface(root, 20)
    assert f"part1/{path.name}" in table.index and f"part2/{path.name}" not in table.index
    assert "2 files left out, each the copy of another" in capsys.readouterr().out


def test_utkface_names_in_the_wild_and_in_capitals(tmp_path):
    for i, name in enumerate(
        ("1_0_0_20170109142408075.jpg", "2_1_0_20170109142408076.JPG", "3_1_2_20170109142408077.jpeg")
    ):
        save(tmp_path / name, i)
    for name in ("61_1_20170109142408075.jpg", ".DS_Store", "Thumbs.db"):
        (tmp_path / name).touch()
    _, table = read_utkface(tmp_path, 20)
    assert sorted(table.index) == sorted(path.name for path in tmp_path.glob("[123]_*"))


def test_real_utkface():
    archive = SHARED / "data" / "utkface.tar.gz"
    if not archive.exists():
        pytest.skip(f"no real faces: {archive} is missing (set AIM_FAIR_SHARED to the folder that holds data/)")
    import tarfile

    with tarfile.open(archive) as tar:
        names = pd.Index([name.rpartition("/")[2] for name in tar.getnames() if name.endswith(".jpg")])
    from datasets.utkface import NAME

    read = names[[NAME.fullmatch(name) is not None for name in names]]
    assert len(read) > 10000 and len(names) - len(read) < 10


def test_own_images(own, tmp_path):
    pair, folder, splits, size = read_real("csv", own, "Cat_Bright")
    assert (pair, folder) == (Pair("Cat", ("Bright",)), own.parent)
    assert {name: len(part) for name, part in splits.items()} == {"train": 8, "val": 8, "test": 8}
    check_evaluation_splits(splits, pair)
    train = training_list(splits["train"], pair, size, "1/9")
    faces = real_faces(folder, train, pair, tmp_path / "cache", decode_size=6)
    assert faces.protected.tolist() == [-1] * 8 and faces.target.tolist() == [0, 1] * 4
    test = real_faces(folder, splits["test"], pair, tmp_path / "cache", decode_size=6)
    assert test.protected.tolist() == [0, 0, 1, 1] * 2
    with pytest.raises(UserError, match="--number-train-data-real"):
        training_list(splits["train"], pair, 8, "1/9")


def edit(path, line, column, value):
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table.loc[line - 2, column] = value
    table.to_csv(path, index=False)


@pytest.mark.parametrize(
    ("line", "column", "value", "fault"),
    [
        (3, "Cat", "2", r"Cat is neither 0 nor 1 in line 3 \(2\)$"),
        (3, "Cat", "", r"Cat is missing in line 3 \(empty\)$"),
        (3, "Cat", "nan", r"Cat is missing in line 3 \(nan\)$"),
        (3, "Cat", "0.5", r"Cat is neither 0 nor 1 in line 3 \(0\.5\)$"),
        (3, "Cat", "-1", r"Cat is neither 0 nor 1 in line 3 \(-1\)$"),
        (20, "Bright", "yes", r"Bright is neither 0 nor 1 in line 20 \(yes\)$"),
        (20, "Bright", "", r"Bright is missing, allowed only in train, in line 20 \(test\)$"),
        (20, "Bright", "NaN", r"Bright is missing, allowed only in train, in line 20 \(test\)$"),
        (5, "split", "valid", r"split is not train, val or test in line 5 \(valid\)$"),
        (4, "image", "faces\\a.png", r"path has \\ in place of / in line 4 \(faces\\a\.png\)$"),
        (4, "image", "gone.png", r"the image is not in .* in line 4 \(gone\.png\)"),
        (4, "image", "", r"the image is not in .* in line 4"),
        (4, "image", "x" * 5000, r"the image is not in .* in line 4 \(x{80}\)$"),
        (12, "image", "train_0.png", r"1 images are listed twice: line 2 \(train, train_0\.png\) and line 12 \(val, "),
    ],
)
def test_own_images_unclear(own, line, column, value, fault):
    edit(own, line, column, value)
    with pytest.raises(UserError, match=fault):
        read_table(own, "Cat_Bright")


@pytest.mark.parametrize("missing", ["", "nan", "NaN", "NA", "<NA>", "None", "null"])
@pytest.mark.parametrize(
    "values",
    [("0", "1"), ("0.00", "1.00"), ("0.000e+00", "1.000e+00"), ("0.0", "1.0"), ("False", "True"), ("FALSE", "TRUE")],
)
def test_values_as_programs_write_them(own, missing, values):
    expected = read_table(own, "Cat_Bright")[1]
    table = pd.read_csv(own, dtype=str, keep_default_na=False)
    codes = dict(zip(("0", "1"), values))
    table["Cat"] = table["Cat"].map(codes)
    table["Bright"] = table["Bright"].map({"": missing, **codes})
    table.to_csv(own, index=False)
    for split, part in read_table(own, "Cat_Bright")[1].items():
        pd.testing.assert_frame_equal(part, expected[split])
    assert expected["train"]["Bright"].isna().all() and set(expected["test"]["Bright"]) == {0, 1}


def test_lines_are_counted_with_the_blank_ones_and_short_ones_are_named(own):
    text = own.read_text().replace("\n", "\n\n", 1)
    own.write_text(text.replace("train_0.png,train,0", "train_0.png,train,7"))
    with pytest.raises(UserError, match=r"Cat is neither 0 nor 1 in line 3 \(7\)$"):
        read_table(own, "Cat_Bright")
    own.write_text(text + "test_99.png,test\n")
    with pytest.raises(UserError, match=r"line 27 has 2 fields, the heading has 4"):
        read_table(own, "Cat_Bright")
    own.write_text(text + "a.png,test,0,1,1\n")
    with pytest.raises(UserError, match="line 27 has 5 fields, the heading has 4"):
        read_table(own, "Cat_Bright")
    own.write_text(text + '"a\nb.png",test,0,1\nc.png,test,0,9\n')  # a field of two lines
    with pytest.raises(UserError, match=r"Bright is neither 0 nor 1 in line 29 \(9\)"):
        read_table(own, "Cat_Bright")


def test_two_columns_of_one_name_are_refused(own):
    own.write_text(
        own.read_text().replace("Cat,Bright", "Cat,Bright,Cat", 1).replace(",0\n", ",0,1\n").replace(",1\n", ",1,1\n")
    )
    with pytest.raises(UserError, match="two columns are called 'Cat'"):
        read_table(own, "Cat_Bright")


def test_decimal_commas_and_a_code_page(own):
    expected = read_table(own, "Cat_Bright")[1]
    pd.read_csv(own).astype({"Cat": float}).to_csv(own, index=False, sep=";", decimal=",")
    assert "1,0" in own.read_text()
    pd.testing.assert_frame_equal(read_table(own, "Cat_Bright")[1]["test"], expected["test"])
    own.write_bytes("image,split,Cat,Br\xfcder\n".encode("cp1252"))
    with pytest.raises(UserError, match="save it as UTF-8"):
        read_table(own, "Cat_Bright")


def test_copies_in_two_splits_are_found_by_content(own):
    (own.parent / "val_9.png").write_bytes((own.parent / "train_3.png").read_bytes())
    with pytest.raises(
        UserError,
        match=r"1 images are in two splits.*line 5 \(train, train_3.png\) and line 11 \(val, val_9.png\).*take one",
    ):
        read_table(own, "Cat_Bright")


def test_own_table_missing_or_of_another_form(own, tmp_path):
    with pytest.raises(UserError, match="no file"):
        read_table(tmp_path / "none.csv", "Cat_Bright")
    with pytest.raises(UserError, match="known: Bright, Cat|nearest"):
        read_table(own, "Dog_Bright")
    for text, fault in (
        ("", "no column image, split"),
        ("image,Cat\n", "no column split"),
        ("image,split,Cat,Bright\n", "no row"),
    ):
        own.write_text(text)
        with pytest.raises(UserError, match=fault):
            read_table(own, "Cat_Bright")


def test_empty_group_of_an_evaluation_split_is_named_before_training(own):
    pair, splits = read_table(own, "Cat_Bright")
    splits["test"] = splits["test"][splits["test"]["Bright"] == 0]
    with pytest.raises(UserError, match="test split has no image of group 0_1, 1_1"):
        check_evaluation_splits(splits, pair)


def test_a_dry_run_reads_some_images(own, tmp_path):
    flags = ["--dataset", "csv", "--real-data-path", own, "--target-sensitive", "Cat_Bright", "--weights", "none"]
    flags += ["--output", tmp_path / "out", "--device", "cpu", "--dry-run", "--no-estimate"]
    assert_one_line_error(run_here(train.main, *flags), "pixels, ", "--decode-size N gives all one size")
    assert run_here(train.main, *flags, "--decode-size", 6).returncode == 0
    (own.parent / "train_5.png").write_text("version https://git-lfs.github.com/spec/v1\n")
    assert_one_line_error(run_here(train.main, *flags, "--decode-size", 6), "train_5.png", "cannot read the image")
    assert not (tmp_path / "out").exists()


def snippets(section):
    """The Python snippets of a section of docs/data.md."""
    text = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    part = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```python\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)


def fairface(root):
    """Label files as they are published (the first columns of their heading), with 40 and 20 images."""
    number = 0
    for name, count in (("train", 40), ("val", 20)):
        rows = []
        for i in range(1, count + 1):
            save(root / name / f"{i}.jpg", number := number + 1)
            gender, race = ("Male", "Female")[i % 2], ("East Asian", "White", "White", "Black")[i % 4]
            rows.append((f"{name}/{i}.jpg", "20-29", gender, race, True))
        table = pd.DataFrame(rows, columns=["file", "age", "gender", "race", "service_test"])
        table.to_csv(root / f"fairface_label_{name}.csv", index=False)


def test_snippet_of_the_docs_for_fairface(tmp_path, monkeypatch):
    [snippet] = [text for text in snippets("Your own images") if "fairface_label" in text]
    fairface(tmp_path)
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, "docs/data.md", "exec"), {})
    _, splits = read_table(tmp_path / "faces.csv", "Female_White")
    assert {name: len(part) for name, part in splits.items()} == {"train": 36, "val": 4, "test": 20}
    assert splits["test"].loc["val/1.jpg"].tolist() == [1, 1] and splits["test"].loc["val/4.jpg"].tolist() == [0, 0]


@pytest.mark.parametrize("nested", [False, True])
def test_snippet_of_the_docs_for_celeba(toy, tmp_path, monkeypatch, nested):
    [snippet] = [text for text in snippets("Your own images") if "read_partition" in text]
    shutil.copytree(toy, tmp_path / "celeba")
    if nested:
        (tmp_path / "celeba" / "img_align_celeba").rename(tmp_path / "inner")
        (tmp_path / "celeba" / "img_align_celeba").mkdir()
        (tmp_path / "inner").rename(tmp_path / "celeba" / "img_align_celeba" / "img_align_celeba")
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, "docs/data.md", "exec"), {})
    _, folder, splits, _ = read_real("csv", tmp_path / "celeba" / "faces.csv", "Smiling_Male")
    _, expected_folder, expected, _ = read_real("celeba", tmp_path / "celeba", "Smiling_Male")
    for split, part in splits.items():
        wanted = expected[split][["Smiling", "Male"]].gt(0)
        assert [folder / name for name in part.index] == [expected_folder / name for name in wanted.index]
        np.testing.assert_array_equal(part.to_numpy(), wanted.to_numpy())


def test_every_snippet_of_the_section_is_run_by_a_test():
    assert len(snippets("Your own images")) == 2
