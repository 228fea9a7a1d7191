import numpy as np
from conftest import assert_one_line_error, run_here

from datasets.pairs import CELLS
from stable_diffusion import judge
from stable_diffusion.judge import share_right


def test_share_right_by_cell():
    asked = np.array([[0, 0], [0, 0], [0, 1], [1, 0], [1, 1], [1, 1]])
    found = np.array([[0, 0], [1, 0], [0, 1], [1, 1], [1, 1], [0, 0]])
    table = share_right(found, asked, ("Smiling", "Male"))
    assert list(table.columns) == ["Smiling", "Male", "all", "images"]
    assert table.loc["0_0"].tolist() == [50, 100, 50, 2]
    assert table.loc["1_0"].tolist() == [100, 0, 0, 1]
    assert table.loc["1_1"].tolist() == [50, 50, 50, 2]


def cell_lines(text):
    return [line for line in text.splitlines() if line.startswith(CELLS)]


def test_the_judge_tells_cells_apart_that_differ(toy, tmp_path):
    """Labelled toy faces sorted into cells as if they were generated: both tables of the script agree."""
    from datasets.celeba import cell_names, image_folder, split_attributes

    table = split_attributes(toy)["test"]
    for name, cell in cell_names(table, "Smiling", "Male").items():
        target = tmp_path / "made" / "Smiling_Male" / "plain" / cell / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(image_folder(toy) / name)
    command = ["--data", toy, "--image-size", 32, "--epochs", 1]
    command += ["--cache", tmp_path / "cache", "--judge", tmp_path / "judge.safetensors", "--device", "cpu"]
    first = run_here(judge.main, *command, "--images", tmp_path / "made/Smiling_Male/plain")
    assert first.returncode == 0, first.stderr
    measured = cell_lines(first.stdout)
    assert len(measured) == 8 and measured[:4] == measured[4:]
    again = run_here(judge.main, *command, "--images", tmp_path / "made/Smiling_Male/plain")
    assert cell_lines(again.stdout) == measured and "judge:" not in again.stderr  # the judge kept is used
    assert_one_line_error(run_here(judge.main, *command, "--images", tmp_path / "none"), "--images", "no such folder")
    (tmp_path / "judge.safetensors").write_bytes(b"cut off")
    cut_off = run_here(judge.main, *command, "--images", tmp_path / "made/Smiling_Male/plain")
    assert_one_line_error(cut_off, tmp_path / "judge.safetensors", "is damaged", "remove it")
