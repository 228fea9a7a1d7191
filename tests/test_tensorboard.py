"""The curves that TensorBoard shows are those of the record."""

import sys

import pandas as pd
from conftest import assert_one_line_error, run_here
from test_chain import SMALL, synthetic  # noqa: F401

import train


def test_the_curves_are_the_recorded_ones(toy, synthetic, tmp_path):  # noqa: F811
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    flags = ["--real-data-path", toy, "--synthetic-data-root", synthetic, *SMALL, "--seeds", 1, "--pre-train-epochs", 3]
    done = run_here(train.main, *flags, "--output", tmp_path / "out", "--tensorboard", tmp_path / "board")
    assert done.returncode == 0, done.stderr
    for method, name in (("erm", "seed 1 pre-train"), ("aim-fair", "seed 1 fine-tune, k 55")):
        curve = pd.read_csv(tmp_path / "out" / method / "seed_1" / "curve.csv")
        shown = EventAccumulator(str(tmp_path / "board" / name)).Reload()
        for key in ("loss", "lr", "val_accuracy", "val_equalized_odds"):
            points = shown.Scalars(key)
            assert [point.step for point in points] == curve["epoch"].tolist()
            assert max(abs(point.value - value) for point, value in zip(points, curve[key], strict=True)) < 1e-6


def test_without_the_package_it_is_one_line(toy, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    flags = ["--real-data-path", toy, "--output", tmp_path, "--tensorboard", tmp_path / "board"]
    assert_one_line_error(run_here(train.main, *flags), "--tensorboard", "pip install tensorboard")
