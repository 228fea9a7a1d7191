"""CelebA and FairFace in the hub's parquet files, with the names, columns and notes that are seen there."""

import errno
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support import assert_one_line_error, run_here, run_script
from support.small import SMALL, TINY, trained, weights

import train
from datasets import celeba, parquet, shards
from datasets.real import read_real
from utils.errors import UserError

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def save(path, images, labels, classes=None):
    """A file as the hub's library writes it: it notes each column's kind in the schema."""
    features = {"image": {"_type": "Image"}}
    features |= {name: {"names": list(names), "_type": "ClassLabel"} for name, names in (classes or {}).items()}
    table = pa.table({"image": pa.array([{"bytes": image, "path": None} for image in images], IMAGE), **labels})
    note = {"huggingface": json.dumps({"info": {"features": features}})}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata(note), path, row_group_size=20)


@pytest.fixture
def hub_celeba(toy, tmp_path):
    """The toy faces as `flwrlabs/celeba` has CelebA; train in three files."""
    folder = tmp_path / "DIR" / "img_align+identity+attr"
    for split, name, count in (("train", "train", 3), ("val", "valid", 1), ("test", "test", 1)):
        table = celeba.split_attributes(toy)[split]
        for number, rows in enumerate(np.array_split(np.arange(len(table)), count)):
            part = table.iloc[rows]
            images = [(celeba.image_folder(toy) / image).read_bytes() for image in part.index]
            labels = {"celeb_id": np.arange(len(part)), **{c: part[c].gt(0).to_numpy() for c in part}}
            save(folder / f"{name}-{number:05}-of-{count:05}.parquet", images, labels)
    return tmp_path / "DIR"


def gender(row):
    return row // 10 % 2


def race(row):
    return 3 if row // 20 % 2 else row % 7


def fairface_part(path, rows, classes=parquet.FAIRFACE_CLASSES, **changed):
    images = []
    for row in rows:
        content = io.BytesIO()
        Image.new("RGB", (8, 8), (row, 0, 0)).save(content, "JPEG")
        images.append(content.getvalue())
    labels = {"age": [r % 9 for r in rows], "gender": [gender(r) for r in rows], "race": [race(r) for r in rows]}
    save(path, images, labels | {"service_test": [r % 3 == 0 for r in rows]} | changed, classes)


@pytest.fixture
def hub_fairface(tmp_path):
    """63 images to train on and 63 to validate, as `HuggingFaceM4/FairFace` names its files."""
    folder = tmp_path / "DIR" / "0.25"
    fairface_part(folder / "train-00000-of-00002-d405faba4f4b9b85.parquet", range(0, 40))
    fairface_part(folder / "train-00001-of-00002-dd3cb68164727418.parquet", range(40, 63))
    fairface_part(folder / "validation-00000-of-00001-951dbd63c8724ee1.parquet", range(100, 163))
    return tmp_path / "DIR"


def only_shard(root, pattern):
    (path,) = root.glob(f"*/{pattern}")
    return path


def dry(root, *more):
    base = ["--dataset", "parquet", "--real-data-path", root, "--output", root.parent / "out", "--methods", "erm"]
    return run_here(train.main, *base, *SMALL, "--dry-run", *more)


def assert_same_images(found, original):
    for split, table in original.tables.items():
        rows = found.tables[split]
        assert rows.to_numpy().tolist() == table.gt(0).astype(int)[list(rows)].to_numpy().tolist()
        pairs = zip(rows.index, table.index, strict=True)
        assert all((found.folder / a).read_bytes() == (original.folder / b).read_bytes() for a, b in pairs)
        assert list(rows.index) == sorted(rows.index) and rows.index.is_unique


def test_celeba_is_what_the_original_files_give(hub_celeba, toy, capsys):
    found, original = read_real("parquet", hub_celeba, "Smiling_Male"), celeba.read(toy, "Smiling_Male")
    assert (
        found.pair == original.pair and found.default_size == 20000 and list(found.tables) == ["train", "val", "test"]
    )
    assert_same_images(found, original)
    said = capsys.readouterr().out
    assert "240 images take about" in said and "GB are free" in said
    again = read_real("parquet", hub_celeba / "img_align+identity+attr", "Smiling_Male")
    assert again.tables["train"].equals(found.tables["train"]) and not capsys.readouterr().out  # unpacked once


def test_training_from_parquet_gives_the_same_model(hub_celeba, toy, synthetic, tmp_path):
    for dataset, root in (("parquet", hub_celeba), ("celeba", toy)):
        trained(root, synthetic, tmp_path / dataset, *TINY, "--dataset", dataset)
    one, other = (weights(tmp_path / dataset, "aim-fair") for dataset in ("parquet", "celeba"))
    assert all(one[name].equal(other[name]) for name in other)


def test_fairface(hub_fairface):
    found = read_real("parquet", hub_fairface, "Female_White", age_limit=30)
    sizes = {split: len(table) for split, table in found.tables.items()}
    assert sizes == {"train": 56, "val": 7, "test": 63} and found.default_size == "largest"
    rows = {split: [r for r in range(63) if (r % 10 == 0) == (split == "val")] for split in ("train", "val")}
    for split, expected in (rows | {"test": range(100, 163)}).items():
        table = found.tables[split]
        assert table["Female"].tolist() == [gender(r) for r in expected]
        assert table["White"].tolist() == [int(race(r) == 3) for r in expected]
        assert table["Latino_Hispanic"].tolist() == [int(race(r) == 5) for r in expected]
        assert table["Young"].tolist() == [int(r % 9 <= 3) for r in expected]  # 0-2, 3-9, 10-19, 20-29
        red = [Image.open(found.folder / name).getpixel((0, 0))[0] for name in table.index]
        assert np.abs(np.subtract(red, expected)).max() <= 2
    done = dry(hub_fairface, "--target-sensitive", "Female_White", "--number-train-data-real", 8)
    assert done.returncode == 0, done.stderr
    assert_one_line_error(
        dry(hub_fairface, "--target-sensitive", "Female_White", "--age-limit", 35), "take one of 3, 10"
    )


def test_fairface_has_seven_races_and_nine_ages(hub_fairface):
    found = read_real("parquet", hub_fairface, "Female_Race")
    assert found.pair.values[1] == (
        "East-Asian", "Indian", "Black", "White", "Middle-Eastern", "Latino-Hispanic", "Southeast-Asian",
    )  # fmt: skip
    assert found.tables["test"]["Race"].tolist() == [race(r) for r in range(100, 163)]
    ages = ("Age=0-2/3-9/10-19,20-29/30-39/40-49,50-59/60-69/more than 70",)
    found = read_real("parquet", hub_fairface, "Age_Female", values=ages)
    assert found.pair.values[0][0] == "0-2~3-9~10-19"
    assert found.tables["test"]["Age"].tolist() == [r % 9 // 3 for r in range(100, 163)]
    chosen = read_real("parquet", hub_fairface, "Female_Race", values=("Race=White,Black",))
    assert all(len(table) and set(table["Race"]) <= {0, 1} for table in chosen.tables.values())


def test_a_stopped_unpacking_goes_on(hub_celeba, monkeypatch):
    contents, seen = shards._contents, []

    def stop_in_the_second(path, remedy):
        seen.append(path.name)
        for row, content in enumerate(contents(path, remedy)):
            if len(seen) == 2 and row == 5:
                raise KeyboardInterrupt
            yield content

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shards, "_contents", stop_in_the_second)
        parquet.read(hub_celeba, "Smiling_Male")
    folder = hub_celeba / "img_align+identity+attr" / "images"
    assert [path.name[:20] for path in folder.iterdir() if path.is_dir()] == ["train-00000-of-00003"]
    before = {path: path.stat().st_mtime_ns for path in folder.glob("train*/*")}
    found = parquet.read(hub_celeba, "Smiling_Male")
    assert len(found.tables["train"]) == 160 and {path: path.stat().st_mtime_ns for path in before} == before
    removed = found.folder / found.tables["train"].index[7]
    removed.unlink()
    with pytest.raises(UserError, match=r"holds 53 images, 54 were unpacked; remove the folder"):
        parquet.read(hub_celeba, "Smiling_Male")


def test_another_file_of_the_same_name_is_unpacked_anew(hub_fairface):
    before = parquet.read(hub_fairface, "Female_White").tables["test"]
    fairface_part(only_shard(hub_fairface, "validation*"), range(100, 163)[::-1])
    found = parquet.read(hub_fairface, "Female_White")
    assert set(found.tables["test"].index).isdisjoint(before.index)
    assert Image.open(found.folder / found.tables["test"].index[0]).getpixel((0, 0))[0] > 155


def spoil(root, how):
    folder = root / "img_align+identity+attr"
    second = folder / "train-00001-of-00003.parquet"
    if how == "no parquet":
        for path in folder.iterdir():
            path.unlink()
    if how == "a file of three":
        second.unlink()
    if how == "no test":
        (folder / "test-00000-of-00001.parquet").unlink()
    if how == "cut off":
        second.write_bytes(second.read_bytes()[:-100])
    if how == "damaged inside":
        content = second.read_bytes()
        second.write_bytes(content[:4] + bytes(len(content) // 2) + content[4 + len(content) // 2 :])
    if how == "git lfs":
        second.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 498000000\n")
    if how == "two downloads":
        (folder / "train-00001-of-00003-0123456789abcdef.parquet").write_bytes(second.read_bytes())
    if how == "two folders":
        (root / "1.25").mkdir()
        (root / "1.25" / second.name).write_bytes(second.read_bytes())
    if how == "an odd name":
        second.rename(folder / "0001.parquet")
    if how in ("other columns", "one without Male", "paths only", "a text", "a missing label"):
        table = pq.read_table(second)
        if how == "other columns":
            table = pa.table({"text": ["a"], "label": [1]})
        if how == "one without Male":
            table = table.drop_columns(["Young"])
        if how in ("paths only", "a text"):
            images = [{"bytes": None if how == "paths only" else b"<html>", "path": "1.jpg"}] * table.num_rows
            table = table.set_column(0, "image", pa.array(images, IMAGE))
        if how == "a missing label":
            place = table.column_names.index("Male")
            table = table.set_column(place, "Male", pa.array([True, None] + [False] * (table.num_rows - 2)))
        pq.write_table(table, second)


@pytest.mark.parametrize(
    ("how", "parts"),
    [
        ("no parquet", ["no parquet file in"]),
        ("a file of three", ["1 of 3 files of train are missing", "train-00001-of-00003"]),
        ("no test", ["files of train, valid, not of train, valid, test"]),
        ("cut off", ["train-00001-of-00003.parquet: cannot be read", "remove it and download it again"]),
        ("damaged inside", ["train-00001-of-00003.parquet", "download it again"]),
        ("git lfs", ["train-00001-of-00003.parquet: cannot be read", "remove it"]),
        ("two downloads", ["files of two downloads, train-*"]),
        ("two folders", ["must name one of these"]),
        ("an odd name", ["0001.parquet: not named as"]),
        (
            "other columns",
            ["train-00001-of-00003.parquet: has the columns text, label, not image.bytes, Male, Smiling"],
        ),
        ("one without Male", ["has other columns than"]),
        ("paths only", ["train-00001-of-00003.parquet: row 0 has no bytes, at most a path"]),
        ("a text", ["row 0 has something else than JPEG"]),
        ("a missing label", ["Male: row 1 has None, expected 0 to 1"]),
    ],
)
def test_bad_files_are_one_line_with_the_command(hub_celeba, how, parts):
    spoil(hub_celeba, how)
    command = "must name" if how == "two folders" else "hf download flwrlabs/celeba --repo-type dataset"
    assert_one_line_error(dry(hub_celeba), *parts, command)
    assert not list(hub_celeba.glob("*/images/.*partial"))


def test_labels_that_mean_something_else_are_refused(hub_fairface):
    path = only_shard(hub_fairface, "validation*")
    turned = parquet.FAIRFACE_CLASSES | {"gender": ("Female", "Male")}
    fairface_part(path, range(100, 163), turned)
    with pytest.raises(UserError, match=r"gender: its classes are Female, Male, expected 0 to 1 for Male, Female"):
        parquet.read(hub_fairface, "Female_White")
    fairface_part(path, range(100, 163), race=[7] * 63)
    with pytest.raises(UserError, match=r"race: row 0 has 7, expected 0 to 6"):
        parquet.read(hub_fairface, "Female_White")
    assert not (path.parent / "images").exists()  # nothing is unpacked before


def test_too_small_a_disk_and_a_wrong_pair_are_said_before_unpacking(hub_celeba, monkeypatch):
    assert_one_line_error(dry(hub_celeba, "--target-sensitive", "Smiling_Mael"), "nearest: Male")
    monkeypatch.setattr(shards.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10}))
    assert_one_line_error(dry(hub_celeba), "0.0 GB are free: make room")
    assert not [path for path in hub_celeba.glob("*/images/*") if path.is_dir()]


def convert(root, partial=(), number="{:04}"):
    """The layout of the hub's branch refs/convert/parquet: a folder a split, files that are numbered alone."""
    folder = root / "img_align+identity+attr"
    for path in list(folder.glob("*.parquet")):
        split, place = path.name.split("-")[:2]
        target = folder / (f"partial-{split}" if split in partial else split) / f"{number.format(int(place))}.parquet"
        target.parent.mkdir(exist_ok=True)
        path.rename(target)
    return folder


@pytest.mark.parametrize("below", ["", "img_align+identity+attr", "img_align+identity+attr/train"])
@pytest.mark.parametrize("number", ["{:04}", "{}"])
def test_the_hubs_conversion_is_read_as_the_original(hub_celeba, toy, capsys, below, number):
    convert(hub_celeba, number=number)
    assert_same_images(read_real("parquet", hub_celeba / below, "Smiling_Male"), celeba.read(toy, "Smiling_Male"))
    said = capsys.readouterr().out
    assert "160 images of train (3 files), 40 images of valid (1 files)" in said and "only the first" not in said


def test_of_a_conversion_what_is_partial_or_missing_is_told(hub_celeba, capsys):
    folder = convert(hub_celeba, partial=["train"])
    assert len(parquet.read(hub_celeba, "Smiling_Male").tables["train"]) == 160
    assert "partial-train: the hub converted only the first gigabytes; all images: hf download" in (
        capsys.readouterr().out
    )
    (folder / "partial-train" / "0001.parquet").unlink()
    assert_one_line_error(dry(hub_celeba), "1 of 3 files of train are missing, the first is train/0001", "hf download")
    (folder / "train").mkdir()
    (folder / "partial-train" / "0000.parquet").rename(folder / "train" / "0002.parquet")
    assert_one_line_error(dry(hub_celeba), "files of two downloads, train-*")


def relabel(root, change, features=None):
    """Change the labels of each file, a table of pandas, and the note of their classes."""
    for path in root.glob("*/*.parquet"):
        labels = pq.read_table(path).drop_columns(["image"]).to_pandas()
        images = [image["bytes"] for image in pq.read_table(path)["image"].to_pylist()]
        save(path, images, change(labels).to_dict("list"), features)


@pytest.mark.parametrize("values", [(0, 1), (-1, 1)])
@pytest.mark.parametrize("named", [None, ("0", "1"), ("no", "yes")])
def test_celebas_labels_may_be_whole_numbers(hub_celeba, values, named):
    expected = {split: t.to_numpy().tolist() for split, t in parquet.read(hub_celeba, "Smiling_Male").tables.items()}

    def numbers(labels):
        ones = labels.drop(columns="celeb_id").replace({False: values[0], True: values[1]}).astype(int)
        return ones.assign(lefteye_x=range(50, 50 + len(ones)), caption="a face")

    relabel(hub_celeba, numbers, {"Male": named} if named else None)
    found = parquet.read(hub_celeba, "Smiling_Male")
    assert {split: table.to_numpy().tolist() for split, table in found.tables.items()} == expected
    assert "lefteye_x" not in found.tables["train"]


@pytest.mark.parametrize(
    ("change", "classes", "said"),
    [
        (lambda t: t.assign(Young=[7, *t["Young"].astype(int)[1:]]), None, "Young: row 0 has 7, expected 0 to 1"),
        (lambda t: t.assign(Young=[0, -1] + [1] * (len(t) - 2)), None, "Young: row 0 has 0, expected -1 and 1"),
        (lambda t: t, ("yes", "no"), "Young: its classes are yes, no, expected 0 to 1 for False, True"),
    ],
)
def test_numbers_that_may_mean_something_else_are_refused(hub_celeba, change, classes, said):
    relabel(hub_celeba, change, {"Young": classes} if classes else None)
    assert_one_line_error(dry(hub_celeba), said, "get: hf download flwrlabs/celeba")


def test_a_folder_that_cannot_be_written_is_linked_into_another(hub_celeba, tmp_path, monkeypatch):
    real_touch, folder = Path.touch, hub_celeba / "img_align+identity+attr"

    def touch(path, *arguments, **options):
        if path.parent == folder / "images":
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        real_touch(path, *arguments, **options)

    monkeypatch.setattr(Path, "touch", touch)
    assert_one_line_error(dry(hub_celeba), "Read-only file system", f"cp -rs {folder} DIR")
    run_script("cp", "-rs", folder, tmp_path / "mine")
    found = parquet.read(tmp_path / "mine", "Smiling_Male")
    assert len(found.tables["train"]) == 160 and found.folder == tmp_path / "mine" / "images"


def test_what_macos_puts_beside_files_is_no_parquet(hub_celeba):
    for path in list(hub_celeba.glob("*/*.parquet")):
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")
    assert len(parquet.read(hub_celeba, "Smiling_Male").tables["train"]) == 160
