"""The table of networks: a row of one that works, of one that fails, and of one whose runs differ."""

import json
import shutil

import pytest
from conftest import run_here

from results import networks
from utils.errors import UserError


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    return folder, networks.draw_faces(folder)


@pytest.mark.slow
def test_a_network_is_run_killed_and_compared_and_its_row_is_kept(faces, tmp_path, monkeypatch):
    shutil.copytree(faces[0], tmp_path / "faces")
    flags = ["--output", tmp_path, "--image-size", 32, "--networks", "mobilenet_v3_small"]
    done = run_here(networks.main, *flags)
    assert done.returncode == 0, done.stderr
    [line] = (tmp_path / "rows.jsonl").read_text().splitlines()
    row = json.loads(line)
    assert (row["tensors"], row["k"], row["differ"]) == (142, 126, []) and 0 < row["chosen"] <= 126
    assert f"| mobilenet_v3_small | 32 | 142 | 126 | {row['chosen']} | {row['seconds']} | yes |" in done.stdout
    assert done.stdout.splitlines()[-2] in (tmp_path / "table.md").read_text() and not list(
        (tmp_path / "work").iterdir()
    )
    monkeypatch.setattr(networks, "measure", lambda *_: {"failed": "measured again"})
    again = run_here(networks.main, *flags)
    assert "its row is there" in again.stdout and (tmp_path / "rows.jsonl").read_text() == f"{line}\n"
    other = run_here(networks.main, *flags, "--image-size", 64)  # other flags: a row of its own time
    assert "| mobilenet_v3_small | 64 |  |  |  |  | failed: measured again |" in other.stdout


def test_a_network_that_fails_is_a_row_and_is_tried_again(faces, tmp_path, monkeypatch):
    shutil.copytree(faces[0], tmp_path / "faces")
    flags = ["--output", tmp_path, "--networks", "mobilnet_v3_small", "alexnet", "--image-size", 32]
    done = run_here(networks.main, *flags)
    assert done.returncode == 0, done.stderr
    rows = [line for line in (tmp_path / "table.md").read_text().splitlines() if line.startswith("| ")][1:]
    assert len(rows) == 2 and "failed: --network mobilnet_v3_small: there is none; did you mean mobilenet_v3" in rows[0]
    assert "failed: --network alexnet: takes no images of --image-size 32" in rows[1]
    works = {"tensors": 62, "k": 55, "chosen": 50, "seconds": 1.0, "differ": ["erm/seed_1/model.safetensors"]}
    monkeypatch.setattr(networks, "measure", lambda *_: works)
    done = run_here(networks.main, *flags)
    assert "| alexnet | 32 | 62 | 55 | 50 | 1.0 | no: erm/seed_1/model.safetensors |" in done.stdout
    (tmp_path / "rows.jsonl").write_text("{cut off")
    assert "rows.jsonl is damaged" in run_here(networks.main, *flags).stderr


def test_files_that_differ_are_named(tmp_path):
    for run in ("unbroken", "broken"):
        for method in networks.METHODS:
            folder = tmp_path / run / method / "seed_1"
            folder.mkdir(parents=True)
            for name in networks.COMPARED:
                (folder / name).write_text(name)
    assert networks.differences(tmp_path) == []
    (tmp_path / "broken" / "aim-fair" / "seed_1" / "test_predictions.csv").write_text("other")
    assert networks.differences(tmp_path) == ["aim-fair/seed_1/test_predictions.csv"]


def test_what_ends_before_it_can_be_killed_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(networks, "training", lambda _: ["true"])
    with pytest.raises(UserError, match="could not be killed in erm: it ended before"):
        networks.kill_in("erm", [], tmp_path)
    monkeypatch.setattr(networks, "training", lambda _: ["bash", "-c", "echo 'train.py: error: no memory' >&2; exit 2"])
    with pytest.raises(UserError, match="could not be killed in erm: no memory"):
        networks.kill_in("erm", [], tmp_path)
    assert networks.reason("", -9) == "it said nothing (status -9)"
