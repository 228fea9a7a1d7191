"""The notebook runs from top to bottom, on fewer and smaller images than its reader's."""

import shutil

import nbformat
import pytest
from support import ROOT, run_script

NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"
SMALL = (
    "--images-per-cell 40 --steps 2 --number-train-data-real 200 --number-balanced-synthetic 30 --number-imbalanced-synthetic 60 "
    "--pre-train-epochs 1 --fine-tune-epochs 1 --batch-size 32 --seeds 100 --image-size 32 --device cpu"
)


def test_it_was_committed_without_outputs():
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)


@pytest.mark.slow
def test_it_runs_from_top_to_bottom(tmp_path):
    from nbclient import NotebookClient

    clone = tmp_path / "clone"
    assert run_script("git", "clone", "-q", ROOT, clone).returncode == 0
    shutil.copy(NOTEBOOK, clone / "docs")  # as it is here, committed or not
    drawn = ["--output", clone / "results/runs/toy/real", "--train", 500, "--val", 60, "--test", 60]
    assert run_script("python", "-m", "datasets.toy", *drawn, cwd=clone).returncode == 0
    notebook = nbformat.read(clone / "docs" / "quickstart.ipynb", as_version=4)
    [setting] = [cell for cell in notebook.cells if 'FLAGS = ""' in cell.source]
    setting.source = setting.source.replace('FLAGS = ""', f'FLAGS = "{SMALL} --real-data-path results/runs/toy/real"')
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": clone / "docs"}}).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    pictures = [output for output in shown if "image/png" in output.get("data", {})]
    tables = [output["data"]["text/markdown"] for output in shown if "text/markdown" in output.get("data", {})]
    assert len(pictures) == 5 and len(tables) == 2  # four sheets and the ranking; a table for each pair
    assert all("aim-fair" in table for table in tables)
