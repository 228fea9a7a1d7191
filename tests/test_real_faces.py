"""The evidence on real faces, on toy ones: each step, what it skips, and its page."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from threading import Thread

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
import pytest
from conftest import ROOT, run_here

import train
from datasets.celeba import biased_subset, image_folder, split_attributes
from results.columns import read_column
from results.real_faces import __main__ as command
from results.real_faces import evidence as evidence_of
from results.real_faces import page, picture, studies, tables
from results.real_faces.__main__ import work
from results.real_faces.evidence import Evidence, diverged
from results.real_faces.figures import rank_correlations
from results.real_faces.jobs import Jobs
from results.real_faces.studies import REST, Source, Study
from utils.errors import UserError

SMALL = [
    "--weights",
    "none",
    "--width",
    "0.125",
    "--image-size",
    "32",
    "--device",
    "cpu",
    "--number-train-data-real",
    "40",
    "--bias-degree",
    "1/3",
    "--number-balanced-synthetic",
    "4",
    "--number-imbalanced-synthetic",
    "8",
    "--number-held-out-synthetic",
    "2",
    "--pre-train-epochs",
    "1",
    "--fine-tune-epochs",
    "1",
    "--batch-size",
    "16",
    "--fine-tune-batch-size",
    "8",
]


@pytest.fixture
def data(toy, tmp_path, monkeypatch):
    """CelebA's place holds toy faces, and a table of others that of generated ones."""
    root = tmp_path / "data"
    shutil.copytree(toy, root / "celeba")
    labels = split_attributes(toy)["val"][["Smiling", "Male"]].gt(0).astype(int)
    labels.index = [(image_folder(root / "celeba") / name).relative_to(root) for name in labels.index]
    labels.to_csv(root / "faces.csv", index_label="image")
    sources = {"t2i": Source("faces.csv", 4, 8, 2, batch=8), REST: Source(None, 2, 8, 1)}
    less = {
        "STUDIES": {"Smiling_Male": Study("Smiling_Male", "toy", "celeba", 40, sources)},
        "TUNED": ("full", "aim-fair"),
        "LIKE_AIM_FAIR": ("aim-fair:top-k=50", "aim-fair:top-k=60"),
        "REAL_ALONE": ("jtt",),
        "FROM_START": ("synthetic-only",),
    }
    less["GRID"] = {"paper": (), "hold_0.01": ("--batch-norm", "hold", "--fine-tune-lr", "0.01")}
    for module in (studies, evidence_of, command, page, tables):
        for name, value in less.items():
            monkeypatch.setattr(module, name, value, raising=False)
    return root


@pytest.fixture
def evidence(data, tmp_path, monkeypatch):
    """Its calls run here, one after another, and are counted."""
    calls = []

    def run(command, log):
        calls.append(command)
        done = run_here(train.main, *command[2:])
        assert done.returncode == 0, done.stderr
        return 0, 1.0

    jobs = Jobs(1)
    monkeypatch.setattr(jobs, "run", run)
    monkeypatch.setattr(jobs, "at_once", lambda calls: [call() for call in calls])  # `run_here` wants the main thread
    made = Evidence("Smiling_Male", data, Path("none"), tmp_path / "out", SMALL, jobs)
    made.calls = calls
    return made


@pytest.mark.slow
def test_steps_choose_without_the_test_set_and_are_not_run_again(evidence, tmp_path):
    out = tmp_path / "out" / "Smiling_Male"
    steps = ["paper", "choose", "runs", "settings", "start", "alone"]
    work(evidence, ["t2i", REST], steps, [1, 2], studies.PRE_TRAIN_LRS)
    lr = json.loads((out / "erm.json").read_text())["chosen"]
    assert lr in studies.PRE_TRAIN_LRS
    table = json.loads((out / "t2i" / "chosen.json").read_text())
    chosen = {method: row["chosen"] for method, row in table.items()}
    records = {str(path.parent.relative_to(out)) for path in out.rglob("metrics.json")}
    for place in (
        "t2i/paper/aim-fair_top-k=50/seed_2",
        "t2i/hold_0.01/full/seed_2",
        "rest/paper/synthetic-only/seed_1",
    ):
        assert place in records
    assert f"t2i/{chosen['aim-fair']}/aim-fair_top-k=60/seed_1" in records and f"erm_{lr:g}/jtt/seed_2" in records
    own = (out / f"erm_{lr:g}/erm/seed_1/metrics.json").read_text()
    assert {(out / f"{s}/paper/erm/seed_1/metrics.json").read_text() for s in ("t2i", REST)} == {own}
    listed = pd.read_csv(out / REST / "rest.csv", index_col="image")
    biased = {
        line.split(",")[0] for line in (out / f"erm_{lr:g}/erm/seed_1/test_predictions.csv").read_text().splitlines()
    }
    assert len(listed) and not {Path(name).name for name in listed.index} & biased  # none of the test images

    before = {path: path.stat().st_mtime_ns for path in out.rglob("metrics.json")}
    work(evidence, ["t2i", REST], steps, [1, 2], studies.PRE_TRAIN_LRS)
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("metrics.json")}

    made = ["--records", tmp_path / "records"]
    for _ in range(2):
        done = run_here(page.main, "--runs", tmp_path / "out", *made, "--output", tmp_path / "pages")
        assert done.returncode == 0, done.stderr
    pages = files(tmp_path / "pages")
    text = pages["Smiling_Male/README.md"].decode()
    assert "chosen" in text and "| erm | – | 2 |" in text and "## t2i" in text and "jtt" not in text.split("## t2i")[1]
    assert {"table_1.md", "table_3.csv", "rank_stability_Smiling_Male.png"} <= {name.split("/")[1] for name in pages}
    shutil.rmtree(tmp_path / "out")
    again = run_here(page.main, *made, "--output", tmp_path / "again")
    assert again.returncode == 0 and files(tmp_path / "again") == pages


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_rest_is_what_no_list_holds(evidence):
    path = evidence.rest()
    rest = {Path(name).name for name in pd.read_csv(path)["image"]}
    tables = split_attributes(evidence.data / "celeba")
    biased = biased_subset(tables["train"], "Smiling", "Male", 40)
    assert rest == set(tables["train"].index) - set(biased.index) and rest
    assert all((path.parent / name).is_file() for name in pd.read_csv(path)["image"])
    assert evidence.rest() == path


def test_a_failure_is_named_with_its_log_once_the_others_have_ended(evidence, monkeypatch):
    def run(command, log):
        log.write("reading\nerror: no such folder\n")
        return int("0.03" in command), 1.0

    monkeypatch.undo()
    evidence.jobs = Jobs(1)
    monkeypatch.setattr(evidence.jobs, "run", run)
    with pytest.raises(UserError, match=r"status 1: no such folder .*erm_0\.03_erm_1\.log"):
        evidence.biased_models([1])


def test_what_diverges_is_noted_and_the_others_go_on(evidence, monkeypatch):
    asked = []

    def run(command, log):
        methods = command[command.index("--methods") + 1 : command.index("--seeds")]
        asked.append(methods)
        if "full" in methods:
            log.write("error: seed 1 full: the loss is nan in epoch 1; lower the learning rate (now 0.06)\n")
        return 2 * ("full" in methods), 1.0

    monkeypatch.setattr(evidence.jobs, "run", run)
    for _ in range(2):
        evidence.train("t2i/paper", ("full", "aim-fair"), [1], [])
    assert asked == [["full", "aim-fair"], ["full"], ["aim-fair"], ["aim-fair"]]
    assert diverged(evidence.output / "t2i/paper") == {"full": [1]}


def test_another_learning_rate_is_not_chosen_in_silence(evidence):
    path = evidence.output / "erm.json"
    evidence.biased_models([1], [0.03])
    assert json.loads(path.read_text())["chosen"] == 0.03
    with pytest.raises(UserError, match=r"0\.03 was chosen.*it would be 0\.01"):
        evidence.biased_models([1], [0.01])
    assert json.loads(path.read_text())["chosen"] == 0.03


def write_runs(column, root):
    """A column as runs on disk, of which a test may remove some; each is packed again by itself."""
    for record in column.records:
        folder = root / record["method"].replace(":", "_") / f"seed_{record['seed']}"
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text(json.dumps(record))
        decided = column.predictions[f"{record['method']}/seed_{record['seed']}"]
        table = column.predictions[["name", "target", "protected"]].assign(logit=2 * decided - 1)
        table.to_csv(folder / "test_predictions.csv", index=False)
        tables = {"curve": column.curves, "sensitivity": column.sensitivity}
        for name, frame in tables.items() if record["method"] == "aim-fair" else [("curve", column.curves)]:
            mine = frame[(frame["method"] == record["method"]) & (frame["seed"] == record["seed"])]
            mine.drop(columns=["method", "seed"]).dropna(axis=1).to_csv(folder / f"{name}.csv", index=False)


def test_packing_a_study_adds_to_it(tmp_path):
    """The seeds of a second machine: the learning rates' accuracies are over all seeds, notes go where a run succeeded."""
    study, places = "Female_White", [tmp_path / "one", tmp_path / "two"]
    packed = ROOT / page.RECORDS / study
    for place, seeds in zip(places, ((100, 200), (300,)), strict=True):
        for folder in ("erm_0.01", "erm_0.03", "rest/paper"):
            column = read_column(packed / folder)
            mine = [r for r in column.records if r["seed"] in seeds and r["method"] in ("erm", "full")]
            write_runs(replace(column, records=mine), place / study / folder)
        (place / study / "erm.json").write_text(json.dumps({"chosen": 0.03, "val_accuracy": {"0.03": 0.5}}))
    notes = places[0] / study / "rest/paper/diverged.json"
    notes.write_text(json.dumps({"full": [300], "surgical": [100]}))
    (places[1] / study / "rest/paper/diverged.json").write_text(json.dumps({"surgical": [300]}))
    out = tmp_path / "records"
    for place in (*places, places[0]):
        page.pack(place, out)
    column = read_column(out / study / "rest/paper")
    assert list(column.runs("full")) == [100, 200, 300] and diverged(out / study / "rest/paper") == {
        "surgical": [100, 300]
    }
    assert json.loads((out / study / "erm.json").read_text()) == json.loads((packed / "erm.json").read_text())

    (places[1] / study / "erm.json").write_text(json.dumps({"chosen": 0.01, "val_accuracy": {}}))
    with pytest.raises(UserError, match="0.03 was chosen, in .* it is 0.01"):
        page.pack(places[1], out)


def test_biased_models_that_differ_make_no_page(tmp_path):
    column = read_column(ROOT / page.RECORDS / "Female_White" / "rest" / "paper")
    page.check_alike("Female_White", [column], 0.03)
    with pytest.raises(UserError, match="differ in pixels"):
        page.check_alike("Female_White", [column], 0.01)
    other = json.loads(json.dumps(column.records))
    other[0]["settings"].get("biased_model", other[0]["settings"])["image_size"] = 112
    with pytest.raises(UserError, match=r"\(64, 2400, 0\.03\).*\(112, 2400, 0\.03\)"):
        page.check_alike("Female_White", [column, replace(column, records=other)], 0.03)


def test_an_interrupt_ends_what_runs_and_starts_nothing_else(tmp_path):
    jobs, begun = Jobs(1), [tmp_path / "a", tmp_path / "b"]
    wait = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).touch(); time.sleep(60)"

    def interrupt():
        while not any(path.exists() for path in begun):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    Thread(target=interrupt).start()
    calls = [lambda path=path: jobs.run([sys.executable, "-c", wait, path], subprocess.DEVNULL) for path in begun]
    start = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        jobs.at_once(calls)
    assert time.perf_counter() - start < 30 and sum(path.exists() for path in begun) == 1


def test_rank_correlations_are_those_of_ranks():
    ranks = pd.DataFrame({"a": [1, 2, 3, 4], "b": [1, 2, 4, 3], "c": [4, 3, 2, 1]})
    found = rank_correlations(ranks)
    assert found[0, 1] == pytest.approx(0.8) and found[0, 2] == pytest.approx(-1) and found[2, 2] == 1


def test_without_records_the_page_says_what_to_run(tmp_path):
    done = run_here(page.main, "--records", tmp_path, "--output", tmp_path / "pages")
    assert done.returncode == 2 and "results.real_faces" in done.stderr


@pytest.mark.slow
def test_the_committed_pages_are_made_from_the_committed_records(tmp_path):
    for name in studies.STUDIES:
        if (ROOT / page.RECORDS / name).is_dir():
            page.make_pages(name, ROOT / page.RECORDS / name, tmp_path / name)
            for path in sorted((tmp_path / name).glob("*.md")):
                assert path.read_bytes() == (ROOT / page.PAGES / name / path.name).read_bytes()


def test_what_was_tried_alone_is_not_called_chosen():
    text = (ROOT / page.PAGES / "Smiling_Young" / "README.md").read_text(encoding="utf-8").split("## generated")[1]
    rows = {tuple(line.strip("| ").split(" | ")[:2]) for line in text.splitlines() if line.startswith("| ")}
    assert {("full", "hold 0.01, chosen"), ("full", "paper"), ("linear-probe", "paper")} <= rows


TOLD = {
    "ERM": "erm", "linear probing": "linear-probe", "full fine-tuning": "full", "AIM-Fair": "aim-fair", "JTT": "jtt", "EIIL": "eiil", "LfF": "lff",
    "group DRO, which trains on protected labels": "group-dro", "random mask of 70 %": "random-mask:share=0.7",
    "data supplementation": "supplement", "the synthetic faces alone": "synthetic-only",
    "full fine-tuning, statistics held": "hold_0.01 full", "AIM-Fair, statistics held": "hold_0.01 aim-fair",
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "heading", "study", "source", "rows"),
    [
        ("README.md", "What came out on real faces", "Smiling_Male", "t2i", 4),
        ("results/records/real_faces/README.md", "With faces of text-to-image models", "Smiling_Male", "t2i", 5),
        ("results/records/real_faces/README.md", "Table 1's baselines", "Smiling_Male_64", "t2i", 9),
        ("results/records/real_faces/README.md", "Smiling/Young", "Smiling_Young", "generated", 9),
    ],
)
def test_the_numbers_that_are_told_are_those_of_the_records(path, heading, study, source, rows):
    records = ROOT / page.RECORDS / study
    held = records / source / "hold_0.01"
    entries = {
        **tables.entries_of(read_column(records / "erm_0.03")),
        **tables.entries_of(read_column(records / source / "paper")),
        **(
            {f"hold_0.01 {name}": entry for name, entry in tables.entries_of(read_column(held)).items()}
            if held.exists()
            else {}
        ),
    }
    text = (ROOT / path).read_text(encoding="utf-8")
    [section] = [part for part in text.split("\n## ") if part.startswith(heading)]
    told = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    told = {name: cells for name, *cells in told if name in TOLD}
    assert len(told) == rows
    for name, cells in told.items():
        assert [cell.partition(" [")[0] for cell in cells] == tables.numbers(entries[TOLD[name]])[1:5], name


def test_the_table_of_framing_is_made_from_its_records():
    text = (ROOT / "results/records/framing/README.md").read_text(encoding="utf-8")
    told = [line for line in text.splitlines() if line.startswith("| ")][2:]
    rows = [line.strip("| ").split(" | ") for line in told]
    assert len(rows) == 12
    for column, method, *cells in rows:
        entries = tables.entries_of(read_column(ROOT / "results/records/framing" / column))
        assert cells == tables.numbers(entries[method]), (column, method)


def test_the_picture_of_the_readme_is_made_from_the_records(tmp_path):
    committed = (ROOT / picture.PICTURE).read_text(encoding="utf-8")
    values = {study: picture.entries(ROOT / page.RECORDS / study) for study in picture.PANELS}
    assert picture.described(values) in committed
    if f"Matplotlib v{matplotlib.__version__}" in committed:  # another version draws the same in other bytes
        picture.write_picture(values, tmp_path / "again.svg")
        assert (tmp_path / "again.svg").read_text(encoding="utf-8") == committed
    drawn = picture.draw(values)
    eo = {name: entry.ours["EO"] for name, entry in values["Smiling_Male"].items()}
    points = {each.get_label(): each.lines[0].get_xdata()[0] for each in drawn.axes[0].containers}
    assert points == {picture.MARKS[name][0]: mean for name, (mean, _) in eo.items()}
    plt.close(drawn)


INTERVAL = re.compile(r"([+-]?\d+\.\d)(?: points)?(?:, | \()([+-]?\d+\.\d)\s+to\s+([+-]?\d+\.\d)")


@pytest.mark.parametrize("path", ["README.md", "results/records/real_faces/README.md"])
def test_every_interval_that_is_told_stands_in_a_table(path):
    """Or with the other sign: "lower by 18.7 (3.8 to 33.2)" is -18.7 (-33.2 to -3.8) there."""
    made = [*(ROOT / page.PAGES).glob("*/*.md"), ROOT / "results/records/framing/README.md"]
    known = {
        tuple(round(float(number), 1) for number in found)
        for file in made
        for found in re.findall(r"([+-][\d.]+) \(([+-][\d.]+) to ([+-][\d.]+)\)", file.read_text(encoding="utf-8"))
    }
    prose = [line for line in (ROOT / path).read_text(encoding="utf-8").splitlines() if not line.startswith("|")]
    told = [tuple(map(float, found)) for found in INTERVAL.findall("\n".join(prose))]
    lost = [(v, low, high) for v, low, high in told if not {(v, low, high), (-v, -high, -low)} & known]
    assert not lost and (told or path == "README.md")


def test_full_fine_tuning_has_the_lower_odds_as_often_as_is_told():
    """Of all settings on real faces that have three seeds of both."""
    lower = []
    for file in [
        *(ROOT / page.RECORDS).glob("*/*/*/records.jsonl"),
        *(ROOT / "results/records/framing").glob("*/records.jsonl"),
    ]:
        column = read_column(file.parent)
        ours, full = (column.runs(method) for method in ("aim-fair", "full"))
        if len(ours.keys() & full.keys()) >= 3:
            mean = [
                sum(runs[s]["metrics"]["equalized_odds"] for s in ours.keys() & full.keys()) for runs in (ours, full)
            ]
            lower.append(mean[1] < mean[0])
    text = (ROOT / "results/records/real_faces/README.md").read_text(encoding="utf-8")
    assert f"In {sum(lower)} of the {len(lower)} settings that have three seeds" in text
