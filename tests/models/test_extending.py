"""A method, a data set and a network of one's own: one new file and the lines that name it, in a copy of the project."""

import re
import shutil
import sys
from typing import Literal

import pandas as pd
import pytest
from support import ROOT, assert_one_line_error, run_script, small
from support.small import SMALL, TINY, moved, record, trained, weights

import train
from datasets import celeba
from models.options import parse_method
from utils.arguments import read_option
from utils.errors import UserError

METHOD = '''
from models.options import Count, Positive
from models.run import TrainedModel, Run


def last_tensors(run: Run, biased_model, synthetic, *, count: Count = 2, decay: Positive | None = None) -> TrainedModel:
    """Fine-tune the last tensors."""
    names = [name for name, _ in biased_model.named_parameters()]
    return run.fine_tune(biased_model, synthetic, only=names[-count:], label=f"last {count}")
'''
DATASET = '''
from pathlib import Path

from datasets.celeba import image_folder, split_attributes
from datasets.pairs import parse_pair
from datasets.splits import ALL, Splits


def read(path: Path, target_sensitive: str) -> Splits:
    """Faces in CelebA's layout, all trained on."""
    tables = split_attributes(path)
    return Splits(parse_pair(target_sensitive, tables["train"].columns), image_folder(path), tables, ALL)
'''
NETWORK = '''
from torch import nn

HEAD, PUBLISHED = "4.", None


def build(width: float) -> nn.Module:
    """One convolution."""
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 1))
'''


def test_a_methods_options_are_its_keyword_arguments(toy, synthetic, tmp_path, monkeypatch):
    (tmp_path / "last_tensors.py").write_text(METHOD)
    monkeypatch.syspath_prepend(tmp_path)
    from last_tensors import last_tensors

    monkeypatch.setitem(train.METHODS, "last-tensors", last_tensors)
    flags = {"top-k": 55, "prompt-type": "contextual", "bias-degree": "1/9"}
    method = parse_method("last-tensors:count=3", train.METHODS, flags)
    own = {"count": 3, "decay": None, "prompt-type": "contextual", "ratio": None}
    assert method.options == own | {"step": 1.0, "threshold": "0.5"}
    assert method.recorded() == {"count": 3, "decay": None, "prompt_type": "contextual", "ratio": None}
    assert method.label == "last-tensors:count=3" and method.fine_tunes and method.needs_synthetic
    for wrong, part in (
        ("last-tensors:count=0", "count=0"),
        ("last-tensors:size=1", "it has count, decay, prompt-type"),
    ):
        assert_one_line_error(small.train(toy, synthetic, tmp_path / "out", *TINY, "--methods", wrong), part)
    trained(toy, synthetic, tmp_path / "out", *TINY, "--methods", "last-tensors:count=3")
    settings = record(tmp_path / "out", "last-tensors_count=3")["settings"]
    assert settings["count"] == 3 and "biased_model" in settings
    assert "| last-tensors:count=3 | 1 |" in (tmp_path / "out" / "summary.md").read_text()
    sys.modules.pop("last_tensors")


def test_what_the_page_shows_runs(toy, synthetic, tmp_path, monkeypatch):
    """The two methods and the data set of docs/contributing.md, as they stand there."""
    page = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
    code = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, code)
    monkeypatch.setitem(train.METHODS, "last-tensors", code["last_tensors"])
    monkeypatch.setitem(train.METHODS, "centred", code["centred"])
    monkeypatch.setattr(celeba, "read", code["read"])
    shutil.copytree(celeba.image_folder(toy), tmp_path / "faces")
    for name, table in celeba.split_attributes(toy).items():
        table.gt(0).astype(int).to_csv(tmp_path / "faces" / f"{name}.csv", index_label="image")
    out = tmp_path / "out"
    trained(tmp_path / "faces", synthetic, out, *TINY, "--methods", "last-tensors:count=3", "centred")
    erm, last, centred = (weights(out, name) for name in ("erm", "last-tensors_count=3", "centred"))
    assert {n for n in erm if not erm[n].equal(centred[n])} == {"fc.bias"}
    assert moved(erm, last) == {"layer4.1.bn2.bias", "fc.weight", "fc.bias"}


def put_line(path, after, line):
    text = path.read_text()
    assert after in text
    path.write_text(text.replace(after, f"{after}\n{line}", 1))


@pytest.mark.slow
def test_one_file_and_one_line_in_a_copy_of_the_project(toy, synthetic, tmp_path):
    copy = tmp_path / "project"
    left_out = shutil.ignore_patterns(".*", "runs", "records", "pages", "data", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=left_out)
    (copy / "models" / "methods" / "last_tensors.py").write_text(METHOD)
    put_line(
        copy / "models" / "methods" / "__init__.py",
        "from models.methods.jtt import jtt",
        "from models.methods.last_tensors import last_tensors",
    )
    put_line(copy / "models" / "methods" / "__init__.py", "COMPARISONS = {", '    "last-tensors": last_tensors,')
    (copy / "datasets" / "mine.py").write_text(DATASET)
    known = copy / "datasets" / "known.py"
    known.write_text(known.read_text().replace("DATASETS = {", 'DATASETS = {"mine": "mine", ', 1))
    (copy / "models" / "small.py").write_text(NETWORK)
    networks = copy / "models" / "classifier.py"
    networks.write_text(networks.read_text().replace('NETWORKS = ("resnet18",', 'NETWORKS = ("resnet18", "small",', 1))
    flags = [*SMALL, "--seeds", 1, "--network", "small", "--top-k", 6, "--methods", "last-tensors", "aim-fair"]
    flags += ["--cache", tmp_path / "cache"]
    flags.pop(flags.index("--number-train-data-real") + 1)
    flags.remove("--number-train-data-real")
    csv = tmp_path / "synthetic.csv"
    images = sorted((synthetic / "Smiling_Male" / "contextual").glob("*/*.png"))
    for image in images:
        (tmp_path / image.parent.name).mkdir(exist_ok=True)
        shutil.copy(image, tmp_path / image.parent.name)
    rows = [f"{i.parent.name}/{i.name},{i.parent.name[0]},{i.parent.name[2]}" for i in images]
    csv.write_text("\n".join(["image,Smiling,Male", *rows]) + "\n")
    done = run_script(
        "bash", "runner.sh", "--dataset", "mine", "--real-data-path", toy, "--synthetic-data-root", csv, "--output",
        tmp_path / "out", *flags, cwd=copy,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    biased = record(tmp_path / "out", "last-tensors")["settings"]["biased_model"]
    assert (biased["dataset"], biased["number_train_data_real"], biased["network"]) == ("mine", 160, "small")
    assert len((tmp_path / "out" / "aim-fair" / "seed_1" / "sensitivity.csv").read_text().splitlines()) == 1 + 6


def call(main_method, toy, synthetic, tmp_path, monkeypatch, name="mine", *more):
    monkeypatch.setitem(train.METHODS, "mine", main_method)
    return small.train(toy, synthetic, tmp_path, *TINY, "--methods", name, *more)


def untyped(run, *, k=3):
    pass


def unknown_flag(run, *, no_such_flag: float):
    pass


def named_like_a_setting(run, biased_model, synthetic, *, lr: float = 0.1):
    pass


def misspelled(run, biased_model, synthetic):
    return run.fine_tune(biased_model, synthetic, only=["bn1.wait"], label="m")


def nothing_to_train(run, biased_model, synthetic):
    return run.fine_tune(biased_model, synthetic, only=[], label="m")


@pytest.mark.parametrize(
    ("method", "part"),
    [
        (untyped, "write a type beside its option k"),
        (unknown_flag, "no flag --no-such-flag"),
        (named_like_a_setting, "its option lr has the name of a setting"),
        (misspelled, "no tensor bn1.wait in the network; it has bn1.weight"),
        (nothing_to_train, "no tensor to train"),
    ],
)
def test_a_slip_in_a_method_is_one_line(toy, synthetic, tmp_path, monkeypatch, method, part):
    assert_one_line_error(call(method, toy, synthetic, tmp_path, monkeypatch), part)


def test_two_trainings_of_one_label_keep_two_checkpoints(toy, synthetic, tmp_path, monkeypatch):
    def twice(run, biased_model, synthetic):
        run.fine_tune(biased_model, synthetic, only=["conv1.weight"], label="m")
        return run.fine_tune(run.biased_model(), synthetic, only=["bn1.weight", "bn1.bias"], label="m")

    done = call(twice, toy, synthetic, tmp_path, monkeypatch, "mine", "--checkpoint-seconds", 0)
    assert done.returncode == 0, done.stderr
    assert moved(weights(tmp_path, "erm"), weights(tmp_path, "mine")) == {"bn1.weight", "bn1.bias"}


def test_options_of_every_type():
    kinds = {"true": (bool, True), "False": (bool, False), "2": (Literal[1, 2], 2), "0.5": (float | None, 0.5)}
    assert {text: read_option(kind, text) for text, (kind, _) in kinds.items()} == {t: v for t, (_, v) in kinds.items()}
    with pytest.raises(ValueError, match="none of true, false"):
        read_option(bool, "yes")


def test_an_option_given_twice_is_one_line():
    with pytest.raises(UserError, match="top-k is given twice"):
        parse_method(
            "aim-fair:top-k=50,top-k=60", train.METHODS, {"bias-degree": "1/9", "prompt-type": "plain", "top-k": 55}
        )


def spoil(tables, how):
    train_table = tables["train"]
    if how == "a label is missing":
        train_table["Smiling"] = float("nan")
    if how == "a split is missing":
        del tables["val"]
    if how == "an image is in two splits":
        tables["test"] = pd.concat([tables["test"], train_table[:1]])
    if how == "other labels":
        train_table["Male"] = 7
    if how == "a column is missing":
        tables["val"] = tables["val"].drop(columns="Male")
    return tables


@pytest.mark.parametrize(
    ("how", "part"),
    [
        ("a label is missing", "train has other labels"),
        ("a split is missing", "the splits are train, test"),
        ("an image is in two splits", "an image is listed twice"),
        ("other labels", "train has other labels"),
        ("a column is missing", "val has no column Male"),
    ],
)
def test_a_slip_in_a_reader_is_one_line(toy, synthetic, tmp_path, monkeypatch, how, part):
    read = celeba.read
    monkeypatch.setattr(celeba, "read", lambda *args: read(*args)._replace(tables=spoil(dict(read(*args).tables), how)))
    assert_one_line_error(small.train(toy, synthetic, tmp_path, "--dry-run"), "--dataset celeba", part)
