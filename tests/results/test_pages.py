"""Every committed page is made again from the committed records, and what prose tells of them is held against them."""

import json
import re
import subprocess

import matplotlib.pyplot as plt
import numpy as np
import pytest
from support import ROOT

from results import study, tables
from results.records import read_run_set
from results.studies.selection.methods import RANDOM
from results.studies.selection.tables import sources
from results.study_tables import entries_of, numbers

RECORDS, PAGES = ROOT / "results" / "records", ROOT / "results" / "pages"
STUDIES = {name: study.study_of(name) for name in study.names()}
TABLES = "tables"  # the paper's tables, which are no study: `python -m results.tables`
SLOW = {"real_faces", "settings_rule", TABLES}
# Prose; its numbers are held against the records below.
PROSE = {"records/real_faces/README.md", "records/tables/README.md"}


def committed(folder):
    """The pages below a folder of results/ that git knows, as text; pictures differ between versions of matplotlib."""
    listed = subprocess.run(
        ["git", "ls-files", folder], cwd=ROOT / "results", capture_output=True, text=True, check=True
    )
    of_page = (".md", ".csv", ".tex") if folder.startswith("pages") else (".md",)
    return {name for name in listed.stdout.split() if name.endswith(of_page)} - PROSE


def folders_of(name):
    """Where the pages of a study, or the paper's tables, are."""
    if name == TABLES:
        return [f"pages/{path.name}" for path in (RECORDS / TABLES).iterdir() if path.is_dir()]
    return [f"records/{name}", *([f"pages/{name}"] if STUDIES[name].pages else [])]


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pages(names):
    return [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in names]


@pytest.mark.parametrize("name", pages([*STUDIES, TABLES]))
def test_pages_are_made_from_records(name, tmp_path, monkeypatch):
    monkeypatch.setattr("results.figures.save", lambda figure, *_: plt.close(figure))
    if name == TABLES:
        tables.make_pages(RECORDS / TABLES, tmp_path / "pages")
    else:
        study.write_pages(name, STUDIES[name], RECORDS / name, tmp_path)
    made = {page: content for page, content in files(tmp_path).items() if not page.endswith(".svg")}
    assert made.keys() == {page for folder in folders_of(name) for page in committed(folder)}
    for page, content in made.items():
        assert content == (ROOT / "results" / page).read_bytes(), page


def test_no_page_is_left_out():
    made = {page for name in (*STUDIES, TABLES) for folder in folders_of(name) for page in committed(folder)}
    assert committed("records") | committed("pages") == made


@pytest.mark.parametrize("name", [name for name in STUDIES if STUDIES[name].body])
def test_arms_have_the_flags_that_the_records_were_made_with(name):
    """Less the paths, and for runner.sh, whose defaults have changed since, less what the record has besides."""
    own = STUDIES[name]
    for arm in (arm for arm in own.arms if arm.methods and (RECORDS / name / arm.name).is_dir()):
        runs = read_run_set(RECORDS / name / arm.name)
        # a candidate that diverged in one seed is none, and keeps the records of its others
        candidates = set(runs.choices.get("candidate", ()))
        options = {label.partition(":")[2] for label in candidates} - {""}
        for record in runs.records:
            there = record.method in ("erm", *arm.methods, *candidates) or record.method.partition(":")[2] in options
            assert record.seed in arm.seeds and there, (arm.name, record.method)
            told, used = values_of([*own.common, *arm.flags]), values_of(record.content["command"].split())
            known = told.keys() & used.keys() if record.method == "erm" else told.keys()  # it may be another arm's
            for flag in known - {"--keep-last-batch", "--generation-precision"}:
                assert used.get(flag) == told[flag] or "/" in told[flag] or "{" in told[flag], (arm.name, flag)


def values_of(words):
    """The last values of each flag."""
    found, flag = {}, None
    for word in words:
        if word.startswith("--"):
            flag = word
            found[flag] = ""
        elif flag:
            found[flag] = f"{found[flag]} {word}".strip()
    return found


def table_rows(path, heading):
    """The rows of the first table below a heading of a page, by their first cell."""
    [section] = [part for part in path.read_text(encoding="utf-8").split("\n## ") if part.startswith(heading)]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return {name: cells for name, *cells in rows}


def test_the_toy_table_of_the_readme():
    told = table_rows(ROOT / "README.md", "Two commands")
    entries = entries_of(read_run_set(RECORDS / "toy" / "Smiling_Male"))
    for name, method in (("ERM", "erm"), ("AIM-Fair", "aim-fair")):
        accuracy, wst, _, odds = numbers(entries[method], 2)[1:5]
        assert told[name] == [accuracy, odds, wst]


def test_the_table_of_the_selection_in_the_readme():
    told = table_rows(ROOT / "README.md", "Does the selection matter?")
    both = [entries_of(sources(RECORDS / "selection")[name]) for name in ("t2i", "t2i, val's threshold")]
    rows = {"ERM": "erm", "AIM-Fair": "aim-fair", "full fine-tuning": "full", "random mask of as many tensors": RANDOM}
    for name, row in rows.items():
        found = [numbers(entries[row], 1) for entries in both]
        assert told[name] == [cells[place].partition(" ")[0] for cells in found for place in (1, 4)], name


TOLD = {
    "ERM": "erm", "linear probing": "linear-probe", "full fine-tuning": "full", "AIM-Fair": "aim-fair", "JTT": "jtt", "EIIL": "eiil", "LfF": "lff",
    "group DRO, which trains on protected labels": "group-dro", "random mask of 70 %": "random-mask:share=0.7",
    "data supplementation": "supplement", "the synthetic faces alone": "synthetic-only",
    "full fine-tuning, statistics held": "hold_0.01 full", "AIM-Fair, statistics held": "hold_0.01 aim-fair",
}  # fmt: skip
PROSE_OF_FACES = "results/records/real_faces/README.md"


@pytest.mark.parametrize(
    ("path", "heading", "pair", "source", "rows"),
    [
        ("README.md", "Results on real faces", "Smiling_Male", "t2i", 4),
        (PROSE_OF_FACES, "With faces of text-to-image models", "Smiling_Male", "t2i", 5),
        (PROSE_OF_FACES, "Table 1's baselines", "Smiling_Male_64", "t2i", 9),
        (PROSE_OF_FACES, "Smiling/Young", "Smiling_Young", "generated", 9),
    ],
)
def test_the_numbers_that_are_told_of_real_faces(path, heading, pair, source, rows):
    records = RECORDS / "real_faces" / pair
    entries = entries_of(read_run_set(records / "erm_0.03")) | entries_of(read_run_set(records / source / "paper"))
    if (records / source / "hold_0.01").exists():
        held = entries_of(read_run_set(records / source / "hold_0.01"))
        entries |= {f"hold_0.01 {name}": entry for name, entry in held.items()}
    told = {name: cells for name, cells in table_rows(ROOT / path, heading).items() if name in TOLD}
    assert len(told) == rows
    for name, cells in told.items():
        assert [cell.partition(" [")[0] for cell in cells] == numbers(entries[TOLD[name]])[1:5], name


INTERVAL = re.compile(r"([+-]?\d+\.\d)(?: points)?(?:, | \()([+-]?\d+\.\d)\s+to\s+([+-]?\d+\.\d)")


@pytest.mark.parametrize("path", ["README.md", PROSE_OF_FACES])
def test_every_interval_that_is_told_stands_in_a_table(path):
    """Or with the other sign: "lower by 18.7 (3.8 to 33.2)" is -18.7 (-33.2 to -3.8) there."""
    made = [
        *(PAGES / "real_faces").glob("*/*.md"),
        *(RECORDS / name / "README.md" for name in ("framing", "selection")),
    ]
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
    lower, key = [], "equalized_odds"
    for file in [
        *(RECORDS / "real_faces").glob("*/*/*/records.jsonl"),
        *(RECORDS / "framing").glob("*_paper/records.jsonl"),
    ]:
        records = [json.loads(line) for line in file.read_text().splitlines()]
        ours, full = ({r["seed"]: r["metrics"][key] for r in records if r["method"] == m} for m in ("aim-fair", "full"))
        if len(both := ours.keys() & full.keys()) >= 3:
            lower.append(sum(full[seed] for seed in both) < sum(ours[seed] for seed in both))
    text = (ROOT / PROSE_OF_FACES).read_text(encoding="utf-8")
    assert f"In {sum(lower)} of the {len(lower)} settings that have three seeds" in text


def means_of(runs):
    """Accuracy and equalized odds difference of three methods, in percent, as text."""
    return {
        name: [
            f"{100 * np.mean([getattr(record.metrics, key) for record in runs.runs(method).values()]):.1f}"
            for key in ("accuracy", "equalized_odds")
        ]
        for name, method in (("auto", "auto"), ("erm", "erm"), ("fair", "aim-fair"))
    }


def test_the_page_on_new_pairs_tells_what_the_study_of_the_rule_found():
    rows = {}
    for line in (RECORDS / "settings_rule" / "README.md").read_text(encoding="utf-8").splitlines():
        name, *cells = [cell.strip(" *") for cell in line.strip("| ").split(" | ")]
        rows.setdefault(name, cells)
    (_, _, change, worst, *_), (_, _, papers, papers_worst, *_) = (
        rows[name] for name in ("within 1 point", "AIM-Fair with the paper's settings")
    )
    told = re.sub(r"\s+", " ", (ROOT / "docs" / "new_pair.md").read_text(encoding="utf-8"))
    (gain, odds), (loss, other) = ([value.strip("+-") for value in text.split(" / ")] for text in (change, papers))
    assert f"raised accuracy by {gain} points and lowered the equalized odds difference by {odds}" in told
    assert f"settings lowered accuracy by {loss} and the difference by {other}" in told
    lost = [text.split(" / ")[0].strip("-") for text in (worst, papers_worst)]
    assert f"it lost {lost[0]} points of accuracy, the paper's settings {lost[1]}" in told
    t2i, generated = (
        means_of(read_run_set(RECORDS / "choosing" / "Smiling_Male" / name)) for name in ("t2i", "generated")
    )
    assert (
        "an accuracy of {auto[0]} % and an equalized odds difference of {auto[1]}, ERM at {erm[0]} and {erm[1]}, AIM-Fair "
        "with the paper's settings at {fair[0]} and {fair[1]}."
    ).format(**t2i) in told
    said = "`auto` ended at {auto[0]} and {auto[1]}, ERM at {erm[0]} and {erm[1]}, AIM-Fair at {fair[0]} and {fair[1]}:"
    assert said.format(**generated) in told
    each, once = (float(rows[name][3]) for name in ("for each seed", "once for all seeds"))
    assert f"each seed ended {each - once:.1f} points of equalized odds difference further from the best" in told
