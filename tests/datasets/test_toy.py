import numpy as np
import pandas as pd
import pytest

from datasets.celeba import check_images, image_folder, read_attributes
from datasets.toy import ATTRIBUTES, sample_face, write_toy_celeba
from datasets.toy_captions import describe
from utils.errors import UserError


def test_same_seed_same_images(toy, tmp_path):
    write_toy_celeba(tmp_path, {"train": 6, "val": 1, "test": 1}, seed=3, size=32)
    for name in ("000001.jpg", "000006.jpg"):
        assert (image_folder(tmp_path) / name).read_bytes() == (image_folder(toy) / name).read_bytes()


def test_attributes_have_celebas_names_and_values(toy):
    table = read_attributes(toy)
    assert list(table.columns) == list(ATTRIBUTES)
    assert set(np.unique(table)) == {-1, 1}


def test_attributes_are_independent():
    rng = np.random.default_rng(0)
    faces = pd.DataFrame([sample_face(rng).attributes() for _ in range(4000)])
    correlation = faces.drop(columns="Black_Hair").corr().to_numpy()  # black and blond exclude each other
    assert np.abs(correlation - np.eye(len(correlation))).max() < 0.06
    assert faces[["Smiling", "Male", "Young"]].gt(0).mean().between(0.47, 0.53).all()


def test_captions_never_contradict_the_face():
    rng = np.random.default_rng(0)
    for _ in range(500):
        face = sample_face(rng)
        words = f" {describe(face, rng)} ".replace(",", " ").lower()
        assert (" woman " in words or " female " in words) != face.male
        assert (" man " in words or " male " in words) == face.male
        assert not (
            face.smiling and any(w in words for w in (" serious ", " not smiling ", " unsmiling ", " neutral "))
        )
        assert not (face.young and any(w in words for w in (" old ", " aged ", " elderly ", " senior ")))


def test_finished_set_is_left_alone_and_other_settings_refused(toy, capsys):
    counts = {"train": 160, "val": 40, "test": 40}
    write_toy_celeba(toy, counts, seed=3, size=32, captions=True)
    assert "complete" in capsys.readouterr().out
    with pytest.raises(UserError, match="other settings"):
        write_toy_celeba(toy, counts, seed=4, size=32, captions=True)


def test_a_folder_of_the_users_own_is_not_touched(tmp_path):
    (tmp_path / "img_align_celeba").mkdir()
    (tmp_path / "img_align_celeba" / "000001.jpg").write_text("mine")
    with pytest.raises(UserError, match="not written by this program"):
        write_toy_celeba(tmp_path, {"train": 2, "val": 0, "test": 0}, seed=3, size=32)
    assert (tmp_path / "img_align_celeba" / "000001.jpg").read_text() == "mine"


def test_a_few_faces_stand_for_all_of_the_same_lists(tmp_path):
    counts = {"train": 6, "val": 1, "test": 2}
    for name, drawn in (("whole", None), ("few", 2)):
        write_toy_celeba(tmp_path / name, counts, seed=3, size=32, drawn=drawn)
    for name in ("list_attr_celeba.txt", "list_eval_partition.txt"):
        assert (tmp_path / "few" / name).read_text() == (tmp_path / "whole" / name).read_text()
    few, whole = (sorted((tmp_path / name / "img_align_celeba").iterdir()) for name in ("few", "whole"))
    assert [path.name for path in few] == [path.name for path in whole]
    assert [path.read_bytes() for path in few[:4]] == 2 * [path.read_bytes() for path in whole[:2]]
    check_images(few[0].parent, [path.name for path in few])  # as a dry run does, which refuses links to one file
    with pytest.raises(UserError, match="other settings"):  # a run never takes them for the whole set
        write_toy_celeba(tmp_path / "few", counts, seed=3, size=32)
