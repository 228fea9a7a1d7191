"""The arms that need a GPU: their comparisons can fail, and their processes. No GPU is needed."""

import argparse
import json
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from support import ROOT

from results.processes import kill_once, together
from results.studies import Place
from results.studies.gpu import compare, drawing, training
from results.study_tables import findings_tables
from results.toy_runs import FACES, differing
from stable_diffusion.drawing import produce
from utils.errors import UserError
from utils.tasks import with_variables


def test_the_settings_are_those_of_runner_sh():
    said = " ".join((ROOT / "runner.sh").read_text().split())
    flags = " ".join(map(str, training.TRAINING))
    for flag in flags.split("--")[1:]:
        assert f"--{flag.strip()} " in said or flag.startswith(("weights", "width")), flag
    assert "start=(--weights toy --width 0.25)" in said
    assert " ".join(f"--{split} {count}" for split, count in FACES.items()) in said


def record(folder, logits, chosen, ranks, gaps=(1.0, 2.0, 3.0)):
    folder.mkdir(parents=True)
    names = [f"{i}.jpg" for i in range(len(logits))]
    pd.DataFrame({"name": names, "logit": logits}).to_csv(folder / "test_predictions.csv", index=False)
    rows = {"name": ["a", "b", "c"], "chosen": chosen}
    rows |= {f"{key}_rank": ranks for key in ("domain", "bias")} | {f"{key}_gap": gaps for key in ("domain", "bias")}
    pd.DataFrame(rows).to_csv(folder / "sensitivity.csv", index=False)
    return folder


def test_predictions_and_rankings_that_differ_are_found(tmp_path):
    a = record(tmp_path / "a", [-1.0, 2.0, 0.5, -0.1], [True, True, False], [1, 2, 3])
    b = record(tmp_path / "b", [-1.5, 2.0, -0.5, 0.1], [True, False, True], [1, 3, 2], (1.0, 2.0, 4.0))
    same, apart = compare.predictions(a, a), compare.predictions(a, b)
    assert (same["differ"], same["largest gap"]) == (0, 0)
    assert (apart["differ"], apart["of"], apart["largest gap"]) == (2, 4, 1.0) and apart["mean gap"] == pytest.approx(
        0.425
    )
    ranks = compare.sensitivity(a, b)
    assert ranks["chosen in one alone"] == ["b", "c"] and compare.sensitivity(a, a)["chosen in one alone"] == []
    assert ranks["domain, rank correlation"] == 0.5 and compare.sensitivity(a, a)["bias, rank correlation"] == 1
    assert ranks["bias gap, relative difference"] == {"largest": 0.25, "median": 0}
    rows = list(training.at_same_weights("same", a, a, b))
    assert [row.holds for row in rows if row.holds is not None] == [False, False]
    assert [row.holds for row in training.at_same_weights("same", a, a, a) if row.holds is not None] == [True, True]
    with pytest.raises(ValueError, match="different images"):
        compare.predictions(a, record(tmp_path / "c", [1.0], [True] * 3, [1, 2, 3]))


def test_bytes_that_differ_are_found_and_nothing_is_no_agreement(tmp_path):
    for name, content in (("a", "1"), ("b", "1"), ("c", "2")):
        (tmp_path / name / "erm").mkdir(parents=True)
        (tmp_path / name / "erm" / "x.csv").write_text(content)
    (tmp_path / "c" / "erm" / "y.csv").write_text("only here")
    assert differing(tmp_path / "a", tmp_path / "b", ["*/*.csv"]) == []
    assert differing(tmp_path / "a", tmp_path / "c", ["*/*.csv"]) == ["erm/x.csv", "erm/y.csv"]
    with pytest.raises(UserError, match="no "):
        differing(tmp_path / "a", tmp_path / "b", ["*/*.png"])


@pytest.mark.parametrize(("accuracy", "holds"), [(0.82, True), (0.76, False)])
def test_bf16_is_near_or_it_is_not(tmp_path, monkeypatch, accuracy, holds):
    values = {"fp32": 0.8, "bf16": accuracy}

    def read(folder):
        return {"metrics": {"accuracy": values[folder.parts[-3]], "equalized_odds": 0.1}}

    monkeypatch.setattr(training, "read_record", read)
    rows = list(training.near("erm", tmp_path / "fp32", tmp_path / "bf16", "bf16"))
    assert rows[0].holds is holds and rows[0].value["bf16"] == pytest.approx(100 * accuracy)


def test_commands_run_side_by_side_and_one_that_fails_is_named(tmp_path):
    meet = "import sys, time; open(sys.argv[1], 'w'); \nwhile not __import__('os').path.exists(sys.argv[2]): time.sleep(0.01)"
    a, b = tmp_path / "a.mark", tmp_path / "b.mark"
    python = [sys.executable, "-c", meet]
    assert together({"a": [*python, a, b], "b": [*python, b, a]}, tmp_path).keys() == {"a", "b"}
    with pytest.raises(UserError, match=r"^bad: no \$GREETING$"):
        together({"fine": ["true"], "bad": ["bash", "-c", "echo 'x.py: error: no $GREETING'; exit 2"]}, tmp_path)
    together({"said": [*with_variables({"GREETING": "hello"}), "bash", "-c", "echo $GREETING"]}, tmp_path)
    assert (tmp_path / "said.log").read_text() == "hello\n"


def test_a_command_is_killed_in_time_or_that_is_said(tmp_path):
    script = f"mkdir -p {tmp_path}/set/0_0; touch {tmp_path}/set/0_0/0.png; sleep 60"
    assert drawing.kill_drawing(["bash", "-c", script], tmp_path / "set", tmp_path / "log") == 1
    with pytest.raises(UserError, match="it ended before, with: oh"):
        kill_once(lambda: False, ["bash", "-c", "echo oh"], tmp_path / "log")


def test_a_batch_that_the_limit_forbids_is_halved_and_the_set_is_drawn(tmp_path, monkeypatch):
    """A stub stands for a GPU's memory: rendering needs as much as there are images."""
    limit, peaks = [], iter([{"allocated": 16, "reserved": 20}, {"allocated": 256, "reserved": 300}])

    def render_batch(_, batch, sampling):
        if limit and len(batch) > limit[0]:
            raise torch.OutOfMemoryError
        return np.stack([np.full((64, 64, 3), i, np.uint8) for i in range(len(batch))])

    monkeypatch.setattr(drawing, "peak", lambda work, device: (work(), next(peaks))[1])
    monkeypatch.setattr(drawing, "load_pipeline", lambda *_: None)
    for module in (produce, drawing):
        monkeypatch.setattr(module, "render_batch", render_batch)
    monkeypatch.setattr(produce, "check_lengths", lambda *_: 0)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: argparse.Namespace(total_memory=1000))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda part, _: limit.append(1000 * part))
    usual = tmp_path / "generation" / "short"  # compared with itself here
    rows = list(drawing.short_of_memory(Place(tmp_path, tmp_path, "cpu"), usual))
    assert limit == [138] and rows[3].value["largest"] == 0
    assert [(row.value, row.holds) for row in rows[1:3]] == [(["256"], True), ("256 of 256", True)]


def test_findings_are_rows_and_claims_are_marked(tmp_path):
    rows = [{"what": "a|b", "value": {"CPU": 1.23456, "GPU": []}}, {"what": "c", "value": True, "holds": False}]
    record = {"status": "stopped", "seconds": 1.2, "rows": rows, "said": ["no memory"]}
    (tmp_path / "agree.json").write_text(json.dumps(record))
    text = "\n".join(findings_tables("machine", "agree")(tmp_path))
    assert text.startswith("### agree: stopped, 1 s\n\n|") and text.endswith("```\nno memory\n```")
    assert "| a\\|b | CPU 1.235; GPU none |  |" in text and "| c | True | **no** |" in text
