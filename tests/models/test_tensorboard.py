"""The curves that TensorBoard shows are those of the record."""

import sys

import pandas as pd
from support import assert_one_line_error, run_here
from support.small import TINY, trained

import train
from models.tensorboard import curve_log


def scalars(folder, key):
    """The points of a curve in a folder of events: (step, value) each."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return [(point.step, point.value) for point in EventAccumulator(str(folder)).Reload().Scalars(key)]


def test_the_curves_are_the_recorded_ones(toy, synthetic, tmp_path):
    flags = [*TINY, "--pre-train-epochs", 3, "--tensorboard", tmp_path / "board"]
    # these two methods call their training the same
    trained(toy, synthetic, tmp_path / "out", *flags, "--methods", "aim-fair", "cosine")
    names = {"erm": "seed-1-pre-train", "aim-fair": "seed-1-fine-tune-k-55", "cosine": "seed-1-fine-tune-k-55"}
    for method, name in names.items():
        curve = pd.read_csv(tmp_path / "out" / method / "seed_1" / "curve.csv")
        for key in ("loss", "lr", "val_accuracy", "val_equalized_odds"):
            points = scalars(tmp_path / "board" / method / name, key)
            assert [step for step, _ in points] == curve["epoch"].tolist()
            assert max(abs(point[1] - value) for point, value in zip(points, curve[key], strict=True)) < 1e-6


def test_an_epoch_that_is_trained_again_takes_the_place_of_the_first(tmp_path):
    for losses in ({1: 4.0, 2: 3.0, 3: 9.0}, {3: 2.0, 4: 1.0}):
        with curve_log(tmp_path, "erm/a") as log:
            for epoch, loss in losses.items():
                log({"epoch": epoch, "loss": loss})
    assert scalars(tmp_path / "erm" / "a", "loss") == [(1, 4.0), (2, 3.0), (3, 2.0), (4, 1.0)]
    with curve_log(tmp_path, "erm/b"):
        pass  # a training that was done already
    assert not (tmp_path / "erm" / "b").exists()


def test_without_the_package_it_is_one_line(toy, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    flags = ["--real-data-path", toy, "--output", tmp_path, "--tensorboard", tmp_path / "board"]
    assert_one_line_error(run_here(train.main, *flags), "--tensorboard", "pip install tensorboard")
