"""A study is run, resumed, packed and shown: on arms that call a stub in place of train.py, and on one that measures."""

import json
import os
import shutil
import signal
import sys
import time
from dataclasses import replace
from threading import Thread
from types import SimpleNamespace

import pytest
from PIL import Image
from support import ROOT, assert_one_line_error, run_here
from support.small import SMALL

from results import study as study_script
from results import study_run
from results.records import read_run_set
from results.studies import Arm, Finding, Place, Study, framing
from results.study import pack
from results.study_run import Runner, diverged, measure, read_measured, run
from results.study_tables import methods_table, missing
from utils.errors import UserError
from utils.tasks import Task, run_at_once

STUB = """
import json, pathlib, sys
flags = dict(zip(sys.argv[1:], sys.argv[2:]))
methods = sys.argv[sys.argv.index("--methods") + 1 : sys.argv.index("--cache")]
with open({calls!r}, "a") as file:
    file.write(json.dumps(sys.argv[1:]) + chr(10))
if "full" in methods and "--wild" in sys.argv:
    sys.exit("error: seed 1 full: the loss is nan in epoch 1; lower the learning rate")
if "--broken" in sys.argv:
    sys.exit("error: no such folder")
for method in ("erm", *methods):
    folder = pathlib.Path(flags["--output"], method, "seed_" + flags["--seeds"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(sys.argv[1:]))
"""


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """Every arm calls a stub instead of train.py; returns the calls so far, as flags."""
    (tmp_path / "train.py").write_text(STUB.replace("{calls!r}", repr(str(tmp_path / "calls"))))
    monkeypatch.setattr(study_run, "ROOT", tmp_path)
    path = tmp_path / "calls"
    return lambda: [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "out" / "work", tmp_path / "out", data=tmp_path / "data", weights=tmp_path / "w")


def methods_of(call):
    return call[call.index("--methods") + 1 : call.index("--cache")]


def study_with(*arms, **more):
    return Study("S", (), arms, **more)


WHOLE = Arm("whole", ("--real-data-path", "{data}/celeba"), ("full", "aim-fair"), seeds=(1, 2))


def test_an_arm_is_a_call_for_each_seed_with_the_flags_of_both(calls, place, tmp_path):
    run("s", Study("S", (), (WHOLE,), ("--weights", "{weights}")), place, jobs=2, more=("--device", "cpu"))
    assert sorted(call[:2] for call in calls()) == [["--seeds", "1"], ["--seeds", "2"]]
    for call in calls():
        assert methods_of(call) == ["full", "aim-fair"] and call[-2:] == ["--device", "cpu"]
        assert f"{tmp_path}/data/celeba" in call and str(tmp_path / "w") in call


def test_biased_models_are_shared_once_they_are_there(calls, place):
    follow = Arm("follow", ("--fine-tune-lr", "0.01"), ("full",), (1,), erm_of="whole")
    run("s", study_with(follow, WHOLE), place, jobs=3)  # in the other order, and all at once
    erm = [(place.output / arm / "erm/seed_1/metrics.json").exists() for arm in ("whole", "follow")]
    assert all(erm) and "follow" in calls()[-1][3]
    with pytest.raises(UserError, match="late needs the biased models of never: run --only never first"):
        run("s", study_with(replace(follow, name="late", erm_of="never")), place)


def test_arms_that_follow_from_records_come_after_them(calls, place):
    def then(folder):
        return (Arm("best", ("--lr", "0.03"), ("full",), (1,)),) if (folder / "whole").exists() else ()

    study = Study("S", (), (WHOLE,), then=then)
    run("s", study, place)
    assert calls()[-1][-2:] == ["--lr", "0.03"] and len(calls()) == 3
    run("s", study, place, only=("be*",))
    assert len(calls()) == 4
    with pytest.raises(UserError, match="no such arm; there are whole"):
        run("s", study, place, only=("other",))


def test_what_diverges_is_noted_and_the_others_go_on(calls, place):
    study = study_with(replace(WHOLE, flags=("--wild",), seeds=(1,)))
    for _ in range(2):
        run("s", study, place)
    assert [methods_of(call) for call in calls()] == [["full", "aim-fair"], ["full"], ["aim-fair"], ["aim-fair"]]
    assert diverged(place.output / "whole") == {"full": [1]}


def test_a_failure_costs_its_arm_and_is_named_with_its_log(calls, place):
    broken = Arm("broken", ("--broken",), ("full",), (1,))
    with pytest.raises(UserError, match=r"s broken: no such folder \(log: .*broken_full_1\.log\)"):
        run("s", study_with(broken, WHOLE), place)
    assert len(calls()) == 3


def test_what_was_not_given_is_asked_for(calls, place):
    with pytest.raises(UserError, match="--data is needed: an arm has the flags"):
        run("s", study_with(WHOLE), replace(place, data=None))
    assert not calls()


def findings(place):
    yield Finding("same bytes", True, True)
    yield Finding("seconds", 1.5)
    if not place.small:
        raise UserError("no GPU here")


MEASURED = study_with(Arm("agree", measure=findings, limit=30))


def measured(place, code):
    """The record of an arm whose process runs `code`, and what failed."""
    runner = Runner("s", MEASURED, place, (), {})
    tasks = runner.tasks(MEASURED.arms[0])
    run_at_once([replace(task, command=(sys.executable, "-c", code)) for task in tasks], 1)
    return read_measured(place.output / "agree.json"), runner.failed


def test_a_measure_writes_each_finding_as_it_comes(place):
    with pytest.raises(UserError):
        measure(MEASURED, place, "agree")
    rows = [json.loads(line) for line in (place.output / "agree.rows").read_text().splitlines()]
    assert rows == [{"what": "same bytes", "value": True, "holds": True}, {"what": "seconds", "value": 1.5}]


def test_a_measure_is_recorded_with_what_it_found_until_it_failed(place):
    begun = f'import pathlib, sys; pathlib.Path({str(place.output / "agree.rows")!r}).write_text(\'{{"what": 1}}\\n{{"wh\'); '
    record, failed = measured(place, begun + "sys.exit('error: no GPU here')")
    assert (record["status"], record["rows"], record["said"]) == ("failed", [{"what": 1}], ["error: no GPU here"])
    assert failed["agree"].startswith("s agree: no GPU here")
    with pytest.raises(UserError, match="choose another --output"):
        measured(replace(place, small=True), begun)
    record, failed = measured(place, begun)  # what failed is tried again
    assert record["status"] == "finished" and not failed and "said" not in record
    assert measured(place, "raise SystemExit(1)") == (record, {})  # and what finished is not


def task(name, code, ended=lambda *_: [], **more):
    return lambda folder: Task(name, (sys.executable, "-c", code), folder / f"{name}.log", ended, **more)


def test_tasks_wait_for_others_and_end_at_their_limit(tmp_path):
    seen = []

    def note(name):
        return lambda status, seconds, said: seen.append((name, status, said.strip())) or []

    tasks = [
        task("last", "print(3)", note("last"), after=("slow", "first"))(tmp_path),
        task("slow", "import time; print(1, flush=True); time.sleep(60)", note("slow"), limit=0.5)(tmp_path),
        task("first", "import sys; print(2); sys.exit(4)", note("first"))(tmp_path),
    ]
    run_at_once(tasks, 2)
    assert sorted(seen[:2]) == [("first", 4, "2"), ("slow", None, "1")] and seen[2] == ("last", 0, "3")
    with pytest.raises(UserError, match="a, b wait for each other"):
        run_at_once([task("a", "", after=("b",))(tmp_path), task("b", "", after=("a",))(tmp_path)], 1)


def test_an_interrupt_ends_what_runs_and_starts_nothing_else(tmp_path):
    wait = "import pathlib, time; pathlib.Path({!r}).touch(); time.sleep(60)"
    begun = [tmp_path / "a", tmp_path / "b"]

    def interrupt():
        while not any(path.exists() for path in begun):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    Thread(target=interrupt).start()
    start = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        run_at_once([task(path.name, wait.format(str(path)))(tmp_path) for path in begun], 1)
    assert time.perf_counter() - start < 30 and sum(path.exists() for path in begun) == 1


def write_runs(column, root):
    """A column as runs on disk, less the rankings."""
    for record in column.records:
        method, seed = record.method, record.seed
        folder = root / method / f"seed_{seed}"
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text(json.dumps(record.content))
        decided = column.predictions[f"{method}/seed_{seed}"]
        table = column.predictions[["name", "target", "protected"]].assign(logit=2 * decided - 1)
        table.to_csv(folder / "test_predictions.csv", index=False)
        curve = column.curves[(column.curves["method"] == method) & (column.curves["seed"] == seed)]
        curve.drop(columns=["method", "seed"]).to_csv(folder / "curve.csv", index=False)


def test_packing_adds_seeds_and_keeps_notes_until_a_run_succeeds(tmp_path):
    column = read_run_set(ROOT / "results/records/framing/whole_paper")
    study, places = study_with(WHOLE, *MEASURED.arms), [tmp_path / "one", tmp_path / "two"]
    for place, seeds in zip(places, ((100, 200), (300,)), strict=True):
        mine = [r for r in column.records if r.seed in seeds and r.method in ("erm", "full")]
        write_runs(replace(column, records=mine), place / "whole")
    (places[0] / "whole/diverged.json").write_text(json.dumps({"full": [300], "surgical": [100]}))
    (places[1] / "whole/diverged.json").write_text(json.dumps({"surgical": [300]}))
    (places[0] / "agree.json").write_text("{}")
    for place in (*places, places[0]):
        pack(study, place, tmp_path / "records")
    packed = tmp_path / "records/whole"
    assert list(read_run_set(packed).runs("full")) == [100, 200, 300] and (packed / "../agree.json").exists()
    assert diverged(packed) == {"surgical": [100, 300]}
    with pytest.raises(UserError, match="not packed; pack into other --records"):
        pack(study, *places)
    with pytest.raises(UserError, match="no arm has a record"):
        pack(study, tmp_path / "none", tmp_path / "records")


@pytest.mark.slow
def test_one_real_arm_from_the_command_to_its_page(toy, synthetic, tmp_path, monkeypatch):
    flags = ("--real-data-path", "{data}", "--synthetic-data-root", str(synthetic), *map(str, SMALL))
    tiny = Study("Tiny", (methods_table("paper"),), (Arm("paper", flags, ("linear-probe",), (1,)),))
    monkeypatch.setattr(study_script, "study_of", lambda name: tiny)
    monkeypatch.chdir(tmp_path)
    for what in (["run", "--data", toy], ["pack"], ["page"]):
        done = run_here(study_script.main, "tiny", *what)
        assert done.returncode == 0, done.stderr
    text = (tmp_path / "results/records/tiny/README.md").read_text()
    assert "| linear-probe | 1 |" in text and "--fine-tune-epochs 1" in text
    failed = run_here(study_script.main, "tiny", "run")
    assert_one_line_error(failed, "--data is needed")


def test_pages_of_other_records_leave_the_committed_ones_alone(tmp_path):
    page = ROOT / "results" / "records" / "bf16" / "README.md"
    before, other = page.stat().st_mtime_ns, tmp_path / "other"
    shutil.copytree(page.parent, other)
    assert run_here(study_script.main, "bf16", "page", "--records", other).returncode == 0
    assert (other / "made" / "records" / "bf16" / "README.md").read_bytes() == page.read_bytes()
    assert page.stat().st_mtime_ns == before
    empty = run_here(study_script.main, "bf16", "page", "--records", tmp_path / "none")
    assert_one_line_error(empty, "holds no records", "python -m results.study bf16 run")


def test_the_control_of_the_framing_cuts_the_faces(tmp_path):
    images = tmp_path / "data" / "t2i_faces" / "images"
    images.mkdir(parents=True)
    face = Image.effect_noise((128, 128), 90).convert("RGB")
    face.save(images / "a.png")
    (images.parent / "faces.csv").write_text("image,Smiling,Male\nimages/a.png,1,0\n")
    [found] = framing.cut(Place(tmp_path / "work", tmp_path, data=tmp_path / "data"))
    assert found.value == 1
    with pytest.raises(UserError, match="--data is needed: it holds the faces to cut"):
        next(framing.cut(Place(tmp_path, tmp_path)))
    with Image.open(tmp_path / "work" / "t2i_cut" / "images" / "a.png") as part:
        assert part.tobytes() == face.crop((31, 29, 96, 106)).tobytes()
    with Image.open(tmp_path / "work" / "t2i_small" / "images" / "a.png") as small:
        assert small.size == (65, 77)
    assert {path.parent.name for path in (tmp_path / "work").glob("*/faces.csv")} == {"t2i_cut", "t2i_small"}


def test_what_diverged_is_not_missing(tmp_path, monkeypatch):
    (tmp_path / "arm").mkdir()
    there = {"full": {100: None}, "lff": {100: None, 200: None}}
    runs = SimpleNamespace(runs=lambda method: there.get(method, {}))
    monkeypatch.setattr("results.study_tables.read_run_set", lambda folder: runs)
    (tmp_path / "arm" / "diverged.json").write_text('{"jtt": [100], "full": [200]}')
    arms = Arm("arm", (), ("jtt", "full", "lff", "eiil"), (100, 200, 300)), Arm("other", (), ("erm",))
    gone = ["- arm: `jtt` diverged, seeds 100", "- arm: `full` diverged, seeds 200"]
    assert missing(arms)(tmp_path)[2:] == [*gone, "- arm: `eiil`; seed 300", "- other"]
    there["lff"][300] = None
    assert missing(arms)(tmp_path)[2:] == [*gone, "- arm: `eiil`; seed 300 of `full`", "- other"]
