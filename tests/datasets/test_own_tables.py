"""Tables of one's own images as disks, spreadsheets and other systems make them: each image once, under its own name."""

import io
import os
import re
import shutil
import unicodedata
from pathlib import Path

import pandas as pd
import pytest
from support.noise import save

from datasets.celeba import check_images
from datasets.custom import read_table
from datasets.faithful import faithful_files, is_listing
from datasets.lists import table_lines
from datasets.pairs import Pair
from datasets.real import read_real, training_list
from datasets.synthetic import synthetic_pool
from datasets.synthetic_files import group_files
from utils import files
from utils.errors import UserError

PAIR = Pair("Cat", ("Bright",))
SPELLINGS = {
    "./": lambda folder, name: f"./{name}",
    "//": lambda folder, name: f".//{name}",
    "inner/..": lambda folder, name: f"inner/../{name}",
    "absolute": lambda folder, name: str(folder / name),
    "symbolic link": lambda folder, name: os.symlink(name, folder / "link.png") or "link.png",
    "hard link": lambda folder, name: os.link(folder / name, folder / "link.png") or "link.png",
    "linked folder": lambda folder, name: os.symlink(".", folder / "linked") or f"linked/{name}",
}


def add(path, line):
    path.write_text(path.read_text().rstrip("\n") + "\n" + line + "\n")


def replace(path, old, new):
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_one_file_under_two_names_is_refused_with_both_lines(own, spelling, split):
    (own.parent / "inner").mkdir()
    add(own, f"{SPELLINGS[spelling](own.parent, 'train_3.png')},{split},1,1")
    with pytest.raises(UserError, match=rf"listed twice: line 5 \(train, train_3\.png\) and line 26 \({split}, .*take"):
        read_table(own, "Cat_Bright")


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_one_file_under_two_names_of_other_readers(own, spelling):
    """In a table in place of generated images (no splits), and in the lists of CelebA's layout."""
    (own.parent / "inner").mkdir()
    other = SPELLINGS[spelling](own.parent, "val_9.png")
    table = own.parent / "faces.csv"
    table.write_text(f"image,Cat,Bright\nval_9.png,1,0\ntest_16.png,0,1\n{other},1,0\n")
    with pytest.raises(UserError, match=r"listed twice: line 2 \(val_9\.png\) and line 4 \("):
        group_files(table, PAIR, "contextual")
    with pytest.raises(UserError, match=r"1 images are listed twice, the first as val_9\.png and "):
        check_images(own.parent, ["test_16.png", "val_9.png", other])


def test_two_files_that_a_file_system_lists_under_one_number_stay_two(own, monkeypatch):
    monkeypatch.setattr(files, "_listed", lambda folder: dict.fromkeys(os.listdir(folder), (1, 1)))
    assert len(read_table(own, "Cat_Bright")[1]["train"]) == 8


def test_copies_within_a_split_are_counted_aloud(own, capsys):
    shutil.copy(own.parent / "train_3.png", own.parent / "again.png")
    add(own, "again.png,train,1,")
    assert len(read_table(own, "Cat_Bright")[1]["train"]) == 9
    assert "1 images are copies of others in their split, each counts: line 5 (train, train_3.png) and line 26" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize("how", ["absolute", "by a link to the folder", "inner/.."])
def test_paths_that_end_in_the_tables_folder_are_made_relative(own, tmp_path_factory, how):
    expected = read_table(own, "Cat_Bright")[1]
    (own.parent / "inner").mkdir()
    folder = own.parent
    if how == "by a link to the folder":
        folder = tmp_path_factory.mktemp("elsewhere") / "link"
        folder.symlink_to(own.parent)
    table = pd.read_csv(own)
    table["image"] = [f"inner/../{name}" if how == "inner/.." else str(folder / name) for name in table["image"]]
    table.to_csv(own, index=False)
    for split, part in read_table(own, "Cat_Bright")[1].items():
        pd.testing.assert_frame_equal(part, expected[split])


@pytest.mark.parametrize("name", ["{outside}/a.png", "../outside/a.png"])
def test_paths_that_lead_out_are_refused_with_the_remedy(own, name):
    inside = own.parent / "inside"
    inside.mkdir()
    save(own.parent / "outside" / "a.png", 1)
    (inside / "faces.csv").write_text(
        f"image,split,Cat,Bright\n{name.format(outside=own.parent / 'outside')},val,1,1\n"
    )
    with pytest.raises(UserError, match=r"leads out of .*inside, .* move the table to a folder above .* in line 2 \("):
        read_table(inside / "faces.csv", "Cat_Bright")


def test_accents_meet_however_unicode_writes_them(own):
    """The table as most programs write it (NFC), folder and file as macOS archives bring them (NFD)."""
    composed, apart = (unicodedata.normalize(form, "Zoë/été.png") for form in ("NFC", "NFD"))
    save(own.parent / apart, 77)
    replace(own, "val_9.png", composed)
    assert apart in read_table(own, "Cat_Bright")[1]["val"].index
    shutil.copy(own.parent / apart, own.parent / "plain.png")  # the disk may hold both: then a name means its own file
    if not (own.parent / composed).exists():
        save(own.parent / composed, 78)
        assert composed in read_table(own, "Cat_Bright")[1]["val"].index


def test_accents_meet_in_a_table_with_scores_too(tmp_path):
    composed, apart = (unicodedata.normalize(form, "été.png") for form in ("NFC", "NFD"))
    save(tmp_path / apart, 1)
    (tmp_path / "faces.CSV").write_text(f"image,Cat,Bright,faithfulness\n{composed},1,0,0.9\n")

    _, found = group_files(tmp_path / "faces.CSV", PAIR, "contextual")
    assert faithful_files(tmp_path / "faces.CSV", found, 0.5)["1_0"] == [tmp_path / apart]


@pytest.mark.parametrize(
    "change",
    {
        "sep=;": lambda text: "sep=;\r\n" + text.replace(",", ";").replace("\n", "\r\n"),
        '"sep=,"': lambda text: '\ufeff"sep=,"\n' + text,
        "SEP=|": lambda text: "SEP=|\n" + text.replace(",", "|"),
        "blank lines first": lambda text: "\n\n" + text,
        "an old Mac's line ends": lambda text: text.replace("\n", "\r"),
        "semicolons": lambda text: text.replace(",", ";"),
        "tabs": lambda text: text.replace(",", "\t"),
        "empty lines": lambda text: text.replace("\n", "\n\n", 3) + "\n,,,\n , ,\n\n",
        "Windows": lambda text: "\ufeff" + text.replace("\n", "\r\n"),
        "UTF-16": lambda text: text.encode("utf-16"),
        "UTF-16 without a mark": lambda text: text.encode("utf-16-le"),
        "UTF-16 from its other end": lambda text: text.encode("utf-16-be"),
        "quotes": lambda text: "\n".join("; ".join(f'"{f}"' for f in line.split(",")) for line in text.splitlines()),
        "floats": lambda text: pd.read_csv(io.StringIO(text)).to_csv(index=False),  # one empty field makes them
        "booleans": lambda text: pd.read_csv(io.StringIO(text)).astype({"Cat": bool}).to_csv(index=False),
        "pandas' own missing values": lambda text: pd.read_csv(io.StringIO(text)).convert_dtypes().to_csv(index=False),
    }.items(),
    ids=lambda item: item[0],
)
def test_tables_as_programs_write_them(own, change):
    expected = read_table(own, "Cat_Bright")[1]["test"]
    content = change[1](own.read_text())
    own.write_bytes(content if isinstance(content, bytes) else content.encode())
    pd.testing.assert_frame_equal(read_table(own, "Cat_Bright")[1]["test"], expected)


def test_lines_are_counted_with_those_above_the_heading(own):
    own.write_text("sep=,\n\n" + own.read_text().replace("train_0.png,train,0", "train_0.png,train,7"))
    with pytest.raises(UserError, match=r"Cat is neither 0 nor 1 in line 4 \(7\)$"):
        read_table(own, "Cat_Bright")


def test_a_workbook_is_refused(own):
    own.write_bytes(b"PK\3\4\x14\0\6\0")
    with pytest.raises(UserError, match="is a workbook or an archive, no text; save its table as CSV in UTF-8"):
        read_table(own, "Cat_Bright")


@pytest.mark.parametrize("splits", [["val"], ["train", "test"]])
def test_a_split_without_lines_is_named(own, splits):
    table = pd.read_csv(own)
    table[~table["split"].isin(splits)].to_csv(own, index=False)
    with pytest.raises(UserError, match=f"no line has the split {' or '.join(splits)}; give it some of the images"):
        read_table(own, "Cat_Bright")


def test_two_columns_that_differ_in_capitals_alone_are_no_guess(own):
    table = pd.read_csv(own)
    table.assign(bright=1 - table["Bright"].fillna(0), CAT=1).to_csv(own, index=False)
    with pytest.raises(
        UserError, match=r"Cat_Bright: the data have Cat and CAT, which differ only in capitals .*rename"
    ):
        read_table(own, "Cat_Bright")
    table.assign(cat=1).to_csv(own, index=False)
    with pytest.raises(UserError, match="have Cat and cat"):
        read_table(own, "Cat_Bright")


def test_one_target_value_in_train_is_refused(own):
    table = pd.read_csv(own)
    table.loc[table["split"] == "train", "Cat"] = 1
    table.to_csv(own, index=False)
    pair, _, splits, size = read_real("csv", own, "Cat_Bright")
    with pytest.raises(UserError, match="train has no image with Cat 0: add some"):
        training_list(splits["train"], pair, size, "1/9")


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (lambda path: path.with_suffix(".JPG").touch(), "in place of the first there is 'gone.JPG'"),
        (lambda path: path.with_name("GONE.png ").touch(), "in place of the first there is 'GONE.png '"),
        (lambda path: path.symlink_to("nowhere"), "the first is a link to nowhere, which does not exist"),
        (lambda path: path.mkdir(), "the first is no file"),
    ],
)
def test_what_there_is_in_place_of_an_image_is_told(own, make, hint):
    make(own.parent / "gone.png")
    add(own, "gone.png,train,1,")
    with pytest.raises(UserError, match=rf"the image is not in .* in line 26 \(gone\.png\); {hint}$"):
        read_table(own, "Cat_Bright")


@pytest.mark.parametrize("copy", [shutil.copy, os.link, lambda one, other: os.symlink(one, other)])
def test_a_test_image_among_the_synthetic_ones_is_refused(own, tmp_path, capsys, copy):
    """A copy of a val image is not: a method may train on val, and says so."""
    folder = tmp_path / "set" / "Cat_Bright" / "contextual"
    for i, group in enumerate(("0_0", "0_1", "1_0", "1_1")):
        save(folder / group / "a.png", 100 + i)
        save(folder / group / "b.png", 200 + i)
    copy(own.parent / "val_8.png", folder / "1_1" / "c.png")
    shutil.copy(folder / "0_0" / "a.png", folder / "0_1" / "again.png")
    options = {"tested": [own.parent / f"test_{i}.png" for i in range(16, 24)], "decode_size": 6}
    needed = dict.fromkeys(("0_0", "0_1", "1_0", "1_1"), 2)
    assert len(synthetic_pool(tmp_path / "set", PAIR, "contextual", needed, tmp_path / "cache", **options)) == 10
    said = capsys.readouterr().out
    assert f"1 images are copies of others, each counts: {folder / '0_0' / 'a.png'} and " in said
    copy(own.parent / "test_20.png", folder / "1_1" / "d.png")
    with pytest.raises(
        UserError, match=r"1 of its images are test images too, the first is .*d\.png, a copy of .*test_20\.png; take"
    ):
        synthetic_pool(tmp_path / "set", PAIR, "contextual", needed, tmp_path / "cache", **options)


def test_an_image_in_two_formats_is_told_and_a_pair_in_two_folders_refused(tmp_path, capsys):
    groups = ("0_0", "0_1", "1_0", "1_1")
    for i, group in enumerate(groups):
        save(tmp_path / "Cat_Bright" / "contextual" / group / "a.png", 100 + i)
        save(tmp_path / "Cat_Bright" / "contextual" / group / "a.b.png", 200 + i)
    save(tmp_path / "Cat_Bright" / "contextual" / "1_0" / "a.bmp", 102)
    pool = [tmp_path, PAIR, "contextual", dict.fromkeys(groups, 2), tmp_path / "cache"]
    assert len(synthetic_pool(*pool)) == 9
    assert re.search(
        r"1 images are there in two formats, each counts: .*1_0/a\.bmp and .*1_0/a\.png", capsys.readouterr().out
    )
    (tmp_path / "cat_bright").mkdir()
    with pytest.raises(UserError, match=r"Cat_Bright and .*cat_bright are both of Cat_Bright; move one"):
        synthetic_pool(*pool)


@pytest.mark.parametrize("name", ["faces.csv", "FACES.CSV", "faces.tsv"])
def test_a_file_is_a_listing_whatever_its_name(tmp_path, name):
    save(tmp_path / "a.png", 1)
    (tmp_path / name).write_text("image,Cat,Bright\na.png,1,0\n")
    assert group_files(tmp_path / name, PAIR, "contextual")[1]["1_0"] == [tmp_path / "a.png"]
    assert is_listing(Path("gone.CSV")) and not is_listing(tmp_path)


def test_the_heading_alone_decides_the_separator():
    assert table_lines("image;Smiling\nsmith, ann.png;1\n")[2] == ";"
