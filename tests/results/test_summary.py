import json
import re
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import ROOT, assert_one_line_error, run_here, run_script

from results import summary
from results.records import NEEDED, PACKED, read_run_set
from results.summary import write_summary
from utils import environment
from utils.errors import UserError
from utils.metrics import GROUPS
from utils.records import read_record, write_record
from utils.same_settings import check_settings


def metrics(groups, odds=(0.2, 0.1)):
    return {
        "accuracy": sum(groups) / 4,
        "group_accuracy": dict(zip(("0_0", "0_1", "1_0", "1_1"), groups)),
        "equalized_odds": odds[0],
        "equalized_odds_mean": odds[1],
    }


def put(runs, method, seed, content, **more):
    folder = runs / method / f"seed_{seed}"
    folder.mkdir(parents=True)
    record = {"method": method, "seed": seed, "metrics": content, **more}
    (folder / "metrics.json").write_text(json.dumps(record))


def test_the_summary_tells_the_worst_of_means_from_the_mean_of_worsts(tmp_path):
    put(tmp_path, "erm", 100, metrics([0.5, 0.9, 0.9, 0.7]))
    put(tmp_path, "erm", 200, metrics([0.7, 0.9, 0.9, 0.5], odds=(0.4, 0.3)))
    put(tmp_path, "aim-fair", 100, metrics([0.8, 0.8, 0.8, 0.8]))
    text = write_summary(tmp_path)
    assert (tmp_path / "summary.md").read_text().splitlines()[2:4] == [
        "| erm | 2 | 75.00 ± 0.00 | 60.00 ± 14.14 | 90.00 ± 0.00 | 90.00 ± 0.00 | 60.00 ± 14.14 "
        "| 60.00 | 50.00 ± 0.00 | 15.00 | 16.58 ± 0.00 | 30.00 ± 14.14 | 20.00 ± 14.14 |",
        "| aim-fair | 1 | 80.00 | 80.00 | 80.00 | 80.00 | 80.00 | 80.00 | 80.00 | 0.00 | 0.00 | 20.00 | 10.00 |",
    ]
    assert text.splitlines()[0].split() == ["Method", "erm", "aim-fair"]


def test_many_methods_get_a_line_each_on_the_terminal(tmp_path):
    for method in ("erm", *"abcdef"):
        put(tmp_path, method, 100, metrics([0.5, 0.9, 0.9, 0.7]))
    lines = write_summary(tmp_path).splitlines()
    assert lines[0].split() == ["Method", "n", "ACC", "WST", "of", "means", "EO", "max", "STD", "of", "means"]
    assert [line.split()[0] for line in lines[1:]] == ["erm", *"abcdef"]
    assert lines[1].split()[2:5] == ["75.00", "50.00", "20.00"]


def test_a_model_that_has_hardly_learned_its_task_is_said(tmp_path):
    put(tmp_path, "erm", 100, metrics([0.5, 0.7, 0.7, 0.6]) | {"group_count": dict.fromkeys(GROUPS, 10)})
    assert "hardly" not in write_summary(tmp_path)  # 62.5 where a coin has 50
    counts = dict(zip(GROUPS, (10, 20, 20, 10)))  # "not male" alone is right in two of three
    (tmp_path / "erm" / "seed_100" / "metrics.json").unlink()
    put(tmp_path, "erm", 200, metrics([0.5, 0.7, 0.7, 0.6]) | {"group_count": counts})
    assert "is right in 66.7 %: it has hardly learned" in write_summary(tmp_path).splitlines()[-1]
    assert "hardly learned" in (tmp_path / "summary.md").read_text()


def test_what_has_to_be_said_of_methods_stands_below_the_table(tmp_path):
    counts = {"group_count": dict.fromkeys(GROUPS, 1000)}
    for seed in (100, 200):
        put(tmp_path, "erm", seed, metrics([0.7, 0.9, 0.9, 0.7]) | counts)
        put(tmp_path, "group-dro:protocol=published", seed, metrics([0.8, 0.8, 0.8, 0.8]) | counts)
        put(tmp_path, "cvar-dro", seed, metrics([1.0, 1.0, 0.0, 0.0] if seed == 200 else [0.7, 0.9, 0.9, 0.7]) | counts)
    said = [
        "cvar-dro: seed 200 answers alike whether the target is there or not.",
        "group-dro:protocol=published: trains on protected labels; chooses its epoch by protected labels of val.",
    ]
    assert write_summary(tmp_path).splitlines()[-2:] == said
    assert all(f"**{text}**" in (tmp_path / "summary.md").read_text().splitlines() for text in said)


def test_an_erm_that_is_hardly_biased_is_said(tmp_path):
    counts = {"group_count": dict.fromkeys(GROUPS, 900)}
    put(tmp_path, "erm", 100, metrics([0.88, 0.9, 0.9, 0.88], odds=(0.02, 0.02)) | counts)
    assert "is 2.0 points; below 5.0" in write_summary(tmp_path).splitlines()[-1]
    assert "next to nothing to repair.**" in (tmp_path / "summary.md").read_text()


def test_no_record_is_an_error(tmp_path):
    with pytest.raises(UserError, match="no record"):
        write_summary(tmp_path)


def test_record_is_whole_or_absent(tmp_path):
    folder = tmp_path / "erm" / "seed_1"

    def fail(path):
        raise OSError("disk full")

    with pytest.raises(OSError):
        write_record(folder, {"seed": 1}, {}, fail)
    assert read_record(folder) is None
    content = {"method": "erm", "seed": 1, "metrics": metrics([0.5, 0.9, 0.9, 0.7])}
    write_record(folder, content, {}, lambda path: save_file({"a": torch.ones(2)}, path))
    assert read_record(folder).content == content
    assert load_file(folder / "model.safetensors")["a"].tolist() == [1, 1]


def test_weights_are_compared_by_content_where_both_have_it_and_by_name_otherwise(tmp_path):
    """Of erm at the top, of what was fine-tuned inside; a method's own option of that name is no file of weights."""

    def differ(found, asked):
        with pytest.raises(UserError, match="made with other settings") as caught:
            check_settings(found, asked, tmp_path)
        return str(caught.value)

    def kinds(weights):
        return weights, {"biased_model": {"lr": 1, **weights}, "lr": 2}

    a, moved, replaced = ({"weights": w, "weights_content": c} for w, c in (("a", "1"), ("b", "1"), ("a", "2")))
    for found, same, other in zip(kinds(a), kinds(moved), kinds(replaced), strict=True):
        check_settings(found, same, tmp_path)
        assert "weights_content: '1' there, '2' asked" in differ(found, other)
    for old, new, other in zip(kinds({"weights": "a"}), kinds(a), kinds(moved), strict=True):
        check_settings(old, new, tmp_path)
        check_settings(new, old, tmp_path)
        assert "weights: 'a' there, 'b' asked" in differ(old, other)
    assert "biased_model.lr: 1 there, 3 asked" in differ({"biased_model": {"lr": 1}}, {"biased_model": {"lr": 3}})
    own = [{"biased_model": a, "weights": strength} for strength in (1, 2)]
    assert "(weights: 1 there, 2 asked)" in differ(*own)


A, B = {"lr": 0.01, "epochs": 15}, {"lr": 0.5, "epochs": 15}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("erm", 100, A), ("erm", 200, B)),
        (("full", 100, {"biased_model": A, "lr": 1}), ("full", 200, {"biased_model": B, "lr": 1})),
        (("erm", 100, A), ("full", 100, {"biased_model": B, "lr": 0.01})),  # erm was trained anew
        (("erm", 100, A), ("jtt", 100, B | {"jtt": {"weight": 51}})),
        (("erm", 100, A | {"weights_content": "1"}), ("erm", 200, A | {"weights_content": "2"})),
    ],
)
def test_what_was_made_with_other_settings_is_not_averaged(tmp_path, first, second):
    for method, seed, settings in (first, second):
        put(tmp_path, method, seed, metrics([0.5, 0.9, 0.9, 0.7]), settings=settings)
    with pytest.raises(UserError, match="keep each kind in a folder of its own") as caught:
        write_summary(tmp_path)
    assert all(str(tmp_path / method / f"seed_{seed}") in str(caught.value) for method, seed, _ in (first, second))
    assert re.search(r"lr: 0\.01 and 0\.5|weights_content: '1' and '2'", str(caught.value))
    assert not (tmp_path / "summary.md").exists()


@pytest.mark.parametrize("copy", ["erm/seed_100_old", "erm/seed_300", "erm_backup/seed_100"])
def test_a_copy_of_a_record_does_not_count_twice(tmp_path, copy):
    put(tmp_path, "erm", 100, metrics([0.5, 0.9, 0.9, 0.7]))
    shutil.copytree(tmp_path / "erm" / "seed_100", tmp_path / copy)
    with pytest.raises(UserError, match="both hold erm of seed 100") as caught:
        write_summary(tmp_path)
    assert str(tmp_path / "erm" / "seed_100") in str(caught.value) and str(tmp_path / copy) in str(caught.value)


def test_an_older_record_lacks_what_is_as_it_was_and_still_stands_beside_a_new_one(tmp_path):
    """Its weights are known by name alone, and settings of an early version by nothing."""
    new = A | {"weights": "imagenet", "weights_content": "1"}
    put(tmp_path, "erm", 100, metrics([0.5, 0.9, 0.9, 0.7]), settings=A | {"weights": "imagenet"})
    put(tmp_path, "erm", 200, metrics([0.5, 0.9, 0.9, 0.7]), settings=new)
    put(tmp_path, "erm", 300, metrics([0.5, 0.9, 0.9, 0.7]))
    put(tmp_path, "jtt", 100, metrics([0.5, 0.9, 0.9, 0.7]), settings=new | {"jtt": {"weight": 51}})
    put(tmp_path, "full", 100, metrics([0.5, 0.9, 0.9, 0.7]), settings={"biased_model": new, "lr": 2})
    assert "| erm | 3 |" in (write_summary(tmp_path) and (tmp_path / "summary.md").read_text())
    put(tmp_path, "erm", 400, metrics([0.5, 0.9, 0.9, 0.7]), settings=new | {"weights_content": "2"})
    with pytest.raises(UserError, match="weights_content: '1' and '2'"):  # also where an older one comes first
        write_summary(tmp_path)


def test_environment_names_versions_device_and_commit():
    found = environment.environment(torch.device("cpu"))
    # a build's own tag ("2.14.1+cu130") may be in one of the two names and not in the other
    assert found["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert found["device"] and found["commit"]


def test_the_commit_is_that_of_the_repository_that_holds_the_code(tmp_path, monkeypatch):
    def git(*command):
        who = ["-c", "user.name=x", "-c", "user.email=x@y"]
        subprocess.run(["git", *who, *command], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    git("commit", "--allow-empty", "-m", "another project")
    unpacked = tmp_path / "aim-fair" / "utils" / "environment.py"
    unpacked.parent.mkdir(parents=True)
    shutil.copy(environment.__file__, unpacked)
    own = environment.commit()
    with monkeypatch.context() as patch:
        patch.setattr(environment, "ROOT", unpacked.parent.parent)
        patch.setattr(environment, "__file__", str(unpacked))
        assert environment.commit() == "unknown"
        git("add", ".")
        git("commit", "-m", "with this one in it")
        assert len(environment.commit()) == 10
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
    assert environment.commit() == own


WHOLE = {"method": "erm", "seed": 1, "metrics": metrics([0.5, 0.9, 0.9, 0.7])}


def with_metrics(**values):
    return json.dumps({**WHOLE, "metrics": {**WHOLE["metrics"], **values}})


DAMAGE = {
    "cut off": (json.dumps(WHOLE)[:60], "Unterminated|Expecting"),
    "empty": ("", "Expecting value"),
    "zeros": ("\0" * 40, "Expecting value"),
    "another kind": ("[]", "it has no method"),
    "nothing": ("{}", "it has no method"),
    "deep": ("[" * 100_000, "recursion|Expecting"),
    "no metrics": (json.dumps({**WHOLE, "metrics": None}), "it has no metrics.accuracy"),
    "no groups": (json.dumps({**WHOLE, "metrics": {"accuracy": 0.5}}), "it has no metrics.group_accuracy"),
    "three groups": (with_metrics(group_accuracy={"0_0": 1, "0_1": 1, "1_0": 1}), "metrics.group_accuracy is"),
    "no count": (with_metrics(group_count=None), "it has no metrics.group_count"),
    "a count of nothing": (with_metrics(group_count={"0_0": None}), "metrics.group_count is"),
    "a count in words": (with_metrics(group_count=dict.fromkeys(GROUPS, "a")), "metrics.group_count is"),
    "text": (with_metrics(accuracy="0.5"), "metrics.accuracy is '0.5'"),
    "not a number": (with_metrics(equalized_odds=float("nan")), "is nan"),
    "huge": (with_metrics(accuracy=10**400), "too large"),
    "held out": (json.dumps({**WHOLE, "held_out_metrics": {}}), "it has no held_out_metrics.equalized_odds"),
    "settings": (json.dumps({**WHOLE, "settings": 3}), "settings is 3"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_record_is_one_line_with_file_and_remedy(tmp_path, kind):
    put(tmp_path, "aim-fair", 1, WHOLE["metrics"])
    put(tmp_path, "erm", 1, WHOLE["metrics"])
    assert run_here(summary.main, "--runs", tmp_path).returncode == 0
    before = (tmp_path / "summary.md").read_text()
    folder, (text, said) = tmp_path / "erm" / "seed_1", DAMAGE[kind]
    (folder / "metrics.json").write_text(text)
    done = run_here(summary.main, "--runs", tmp_path)
    assert_one_line_error(done, folder / "metrics.json", "is damaged", f"remove {folder} and run it again")
    assert re.search(said, done.stderr)
    assert (tmp_path / "summary.md").read_text() == before


def test_keys_beyond_those_of_every_record_are_asked_for_by_name(tmp_path):
    put(tmp_path, "erm", 1, WHOLE["metrics"])
    for key in ("settings", "val_metrics.accuracy"):
        with pytest.raises(UserError, match=f"it has no {key}"):
            read_record(tmp_path / "erm" / "seed_1", key)


def test_every_committed_record_is_whole():
    """What earlier commits wrote can still be read."""
    records = ROOT / "results" / "records"
    loose = [read_record(path.parent, *NEEDED) for path in records.rglob("seed_*/metrics.json")]
    packed = [record for path in records.rglob(PACKED) for record in read_run_set(path.parent).records]
    assert loose + packed


def test_summary_and_pages_do_not_wait_for_what_they_do_not_use():
    command = (
        "import sys, results.summary, results.tables; sys.exit(any(m in sys.modules for m in ('torch', 'fairlearn')))"
    )
    assert run_script(sys.executable, "-c", command).returncode == 0
