"""The report, from records made up here: what it says, what it refuses, and how it looks in a real browser."""

import base64
import io
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from support import ROOT, assert_one_line_error, run_here, run_script
from support.browser import Browser, chromium
from support.report_records import put, put_four, put_synthetic

from datasets.pairs import Pair
from datasets.real import read_real
from results.columns import pack_column
from results.records import read_run_set
from results.report import __main__ as report
from results.report import asked, faces, meaning
from results.report.charts import Axes, place_labels
from results.report.page import changes, main_method, row_entries, summary_table
from results.summary import headings

RECORDS = ROOT / "results" / "records" / "tables"


@pytest.fixture(scope="module")
def runs(toy, tmp_path_factory):
    return put_four(tmp_path_factory.mktemp("runs"), toy)


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    return put_synthetic(tmp_path_factory.mktemp("synthetic"))


def make(runs, output, *more):
    done = run_here(report.main, "--runs", runs, "--output", output, *more)
    assert done.returncode == 0, done.stderr
    return output.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(runs, synthetic, toy, tmp_path_factory):
    output = tmp_path_factory.mktemp("page") / "report.html"
    make(runs, output, "--synthetic", synthetic, "--real", toy)
    return output


def put_all(runs, toy, seeds=(100, 200), **errors):
    """Records of each seed of the methods that are named; _ stands for -."""
    for seed in seeds:
        for method, wrong in errors.items():
            put(runs, toy, method.replace("_", "-"), seed, wrong)


def sentences(runs):
    column = read_run_set(runs)
    return meaning.sentences(column, {e.row: e for e in row_entries(column)}, main_method(column.methods))


def test_the_page_holds_every_part(page):
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"<h2>(.*?)</h2>", text)
    assert headings == [
        "In short", "What was asked", "The faces", "Training", "Which tensors were fine-tuned", "The choice of k",
        "The groups, before and after", "Accuracy against equalized odds", "The table", "Limits", "Versions and command",
    ]  # fmt: skip
    assert text.count("data:image/jpeg;base64,") == 8  # real and synthetic, four groups
    assert "66.7 % of 3 scored images show what they should, by a &lt;judge&gt;" in text
    rows = [re.sub("<.*?>", " ", row).split() for row in re.findall(r"<tr>.*?</tr>", text)]
    assert ["real,", "train", "5", "15", "15", "5", "40"] in rows
    assert ["synthetic,", "biased", "2", "6", "6", "2", "16"] in rows
    assert ["50", "81.0", "3.0", "chosen"] in rows and ["40", "70.0", "1.0", "not", "accurate", "enough"] in rows
    assert ["layer1", "1", "1", "0", "0"] in rows and ["conv1", "1", "1", "1", "1"] in rows  # chosen, by seed
    assert "python train.py --dataset toy" in text and "toy faces are drawn by code" in text
    assert "<script" not in text and "http" not in re.sub(r'http-equiv="', "", text)
    assert len(text) < 3_000_000


def test_the_same_records_give_the_same_bytes_packed_or_not(runs, synthetic, toy, page, tmp_path):
    more = ["--synthetic", synthetic, "--real", toy]
    moved = shutil.copytree(runs, tmp_path / "another name")
    assert make(moved, tmp_path / "again.html", *more) == page.read_text(encoding="utf-8")
    for path in moved.glob("*/*/top_k.csv"):
        path.unlink()  # stays behind when records are packed
    pack_column(read_run_set(moved), tmp_path / "packed")
    text = make(tmp_path / "packed", tmp_path / "packed.html", *more)
    assert text == make(moved, tmp_path / "raw.html", *more)
    assert "The candidates' numbers are not among these records" in text


def test_numbers_are_those_of_the_records(runs, page):
    found = [json.loads(path.read_text())["metrics"] for path in runs.glob("aim-fair/*/metrics.json")]
    accuracy = 100 * sum(m["accuracy"] for m in found) / 3
    odds = 100 * sum(m["equalized_odds"] for m in found) / 3
    text = page.read_text(encoding="utf-8")
    assert f"AIM-Fair: accuracy {accuracy:.1f} %, equalized odds {odds:.1f} %" in text  # the tip of its mark
    assert re.search(rf"Equalized odds.*?<strong>{odds:.1f}</strong>", text, re.DOTALL)


def test_the_tables_begin_with_what_matters(runs):
    column = read_run_set(runs)
    entries = row_entries(column)
    heads, *rows = summary_table(column, [entry.row for entry in entries])
    assert heads[:6] == ["Method", "n", "EO max", "WST of means", "mean of WST", "ACC"]
    metrics = [record.content["metrics"] for record in column.runs("erm").values()]
    assert rows[0][:2] == ["ERM", "3"] and sorted(heads) == sorted(headings(list(metrics[0]["group_accuracy"])))
    for place, key in ((2, "equalized_odds"), (4, "worst_group_accuracy"), (5, "accuracy")):
        assert rows[0][place].startswith(f"{100 * np.mean([m[key] for m in metrics]):.2f} ±\N{NO-BREAK SPACE}")
    assert changes(entries)[0][2:6] == ["equalized odds", "worst group", "accuracy", "equalized odds, to ERM"]


def test_the_command_is_shown_as_it_was_typed(runs, tmp_path):
    text = make(runs, tmp_path / "report.html", "--command", "bash runner.sh --output 'a <b>'")
    assert "<dt>Command, as typed</dt><dd><code>bash runner.sh --output &#39;a &lt;b&gt;&#39;</code>" in text
    assert "<dt>Command of the training</dt><dd><code>python train.py --dataset toy</code>" in text


def test_three_sentences_say_what_happened(runs, toy, tmp_path):
    assert len(sentences(runs)) == 3
    assert sentences(runs)[0].startswith("AIM-Fair lowered equalized odds")
    assert sentences(runs)[1].startswith("Accuracy rose from")
    assert "repairs compared over 3 seeds and 400 test images" in sentences(runs)[2]
    put_all(tmp_path, toy, (100, 200, 300), erm=[0.1] * 4, aim_fair=[0.6, 0.05, 0.05, 0.6])
    said = sentences(tmp_path)
    assert "did not help: it raised equalized odds" in said[0] and said[1].startswith("Accuracy fell")
    assert "no other method beside it" in said[2]


def test_no_difference_one_seed_and_nothing_to_compare_with_are_said(toy, tmp_path):
    same = tmp_path / "same"
    put_all(same, toy, erm=[0.2, 0.1, 0.1, 0.2], full=[0.2, 0.1, 0.1, 0.2])
    assert "but the interval holds 0" in sentences(same)[0] and "no clear change" in sentences(same)[1]
    put(tmp_path / "one", toy, "erm", 100, [0.2, 0.1, 0.1, 0.2])
    assert "nothing here to compare it with" in sentences(tmp_path / "one")[2]
    text = make(tmp_path / "one", tmp_path / "one.html")
    assert "The groups, before" not in text and "tensors were fine-tuned" not in text and "choice of k" not in text
    assert "Synthetic faces: none shown" in text and "Real faces: none shown" in text
    put(tmp_path / "one", toy, "aim-fair", 100, [0.1, 0.1, 0.1, 0.2])
    assert "one training (one seed)" in sentences(tmp_path / "one")[2]


def test_levels_and_changes_are_of_the_seeds_that_both_have(toy, tmp_path):
    """ERM of the third seed is far more biased: with it the levels would not differ by the change beside them."""
    for seed, errors in ((100, [0.3, 0.05, 0.05, 0.3]), (200, [0.35, 0.05, 0.05, 0.3]), (300, [0.9, 0, 0, 0.9])):
        put(tmp_path, toy, "erm", seed, errors)
        if seed != 300:
            put(tmp_path, toy, "aim-fair", seed, [0.1, 0.05, 0.1, 0.1])
            put(tmp_path, toy, "full", seed, [0.2, 0.05, 0.1, 0.2])
    text = make(tmp_path, tmp_path / "report.html")
    assert "What follows is from seeds 100, 200, which both ERM and AIM-Fair have." in text
    before, after, change = map(float, re.search(r"from ([\d.]+) % to ([\d.]+) % \(−([\d.]+) points", text).groups())
    assert before == pytest.approx(27.5) and before - after == pytest.approx(change, abs=0.15)
    assert re.search(rf"Equalized odds.*?{before}</span>.*?<strong>{after}</strong>", text, re.DOTALL)
    assert text.count("that both have (100, 200)") == 2  # under the tiles, and under the groups
    assert "over 2 seeds and 400 test images" in text
    shutil.rmtree(tmp_path / "erm" / "seed_300")
    assert "both have (" not in make(tmp_path, tmp_path / "report.html")


@pytest.mark.parametrize("method", ["group-dro", "group-dro:protocol=published", "repair"])
def test_what_takes_protected_labels_is_not_called_the_best_repair(toy, tmp_path, method):
    put_all(tmp_path, toy, erm=[0.3, 0.05, 0.05, 0.3], jtt=[0.2, 0.1, 0.1, 0.2], lff=[0.25, 0.1, 0.1, 0.25])
    put_all(tmp_path, toy, **{method: [0.1] * 4})
    said = sentences(tmp_path)  # of group-dro, which is the first by its name, or of jtt
    if method == "repair":
        assert "Of the 2 repairs compared" in said[2] and "it has the lowest equalized odds in the mean" in said[2]
    else:
        assert "isn't ranked among other repairs: trains on protected labels" in said[2]
    text = make(tmp_path, tmp_path / "report.html")
    words = "counts protected labels of train" if method == "repair" else "trains on protected labels"
    assert text.count(f"{method} ({words}") == 2  # in the table of changes and in the summary
    assert "Lowest equalized odds: jtt" in text


def test_a_classifier_that_answers_alike_is_not_called_fair(toy, tmp_path):
    put_all(tmp_path, toy, erm=[0.3, 0.05, 0.05, 0.3], cvar_dro=[0, 0, 1, 1])
    put_all(tmp_path, toy, full=[0.2, 0.1, 0.1, 0.2], jtt=[0.2, 0.1, 0.1, 0.25])
    text = make(tmp_path, tmp_path / "report.html")
    assert "which says nothing: answers alike whether the target is there or not." in text and "lowered" not in text
    assert '<b class="verdict">says nothing</b>' in text and "Lowest equalized odds: full" in text
    assert "ranked among other repairs: answers alike" in text
    shutil.rmtree(tmp_path / "cvar-dro")
    put_all(tmp_path, toy, aim_fair=[0.2, 0.1, 0.1, 0.2])
    put(tmp_path, toy, "random-mask:share=0.4", 100, [1, 1, 0, 0])
    assert "Of the 3 repairs compared" in sentences(tmp_path)[2]


def test_an_erm_that_is_hardly_biased_is_said(toy, tmp_path):
    put_all(tmp_path, toy, erm=[0.1, 0.12, 0.1, 0.1], aim_fair=[0.1] * 4)
    text = make(tmp_path, tmp_path / "report.html")
    assert re.search(r"Careful.*equalized odds difference is \d+\.\d points; below .*next to nothing to repair", text)
    assert "software runs" not in text


def test_an_erm_that_has_not_learned_is_said_before_everything(toy, tmp_path):
    put_all(tmp_path, toy, erm=[0.6, 0.3, 0.3, 0.7], aim_fair=[0.4] * 4)
    assert "it has hardly learned its task. So the numbers below" in make(tmp_path, tmp_path / "report.html")
    said = sentences(tmp_path)
    assert "say anything" not in said[0] and "Neither says anything of the method" in said[2]


def test_what_a_user_named_is_escaped(toy, tmp_path):
    evil = "<script>alert(1)</script>"
    real = {"protected": [f'Ma"le{evil}'], "evil": evil}
    put(tmp_path, toy, "erm", 100, [0.4, 0.1, 0.1, 0.4], real=real, command=f"{evil} \udcff", device=evil)
    put(tmp_path, toy, f"mine:x={evil.replace('/', '-')}", 100, [0.1] * 4, real=real, commit=evil)
    text = make(tmp_path, tmp_path / "report.html")
    assert "<script" not in text and "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert r"\udcff" in text  # of a file name that is not UTF-8


def test_real_faces_are_shown_only_where_their_terms_allow_it(toy, tmp_path):
    put(tmp_path, toy, "erm", 100, [0.4, 0.1, 0.1, 0.4], real={"dataset": "celeba"})
    text = make(tmp_path, tmp_path / "report.html", "--real", toy)
    assert "data:image" not in text and "left out, since the terms of CelebA" in text
    text = make(tmp_path, tmp_path / "report.html", "--real", toy, "--show-real")
    assert text.count("data:image/jpeg") == 4 and "may not allow passing this page on" in text


def test_real_faces_are_shown_as_they_were_cropped(toy, tmp_path):
    sheets = []
    for name, real in (("whole", {}), ("part", {"real_crop": [0.25, 0.25, 0.75, 0.75]})):
        put(tmp_path / name, toy, "erm", 100, [0.4, 0.1, 0.1, 0.4], real=real)
        text = make(tmp_path / name, tmp_path / f"{name}.html", "--real", toy)
        sheets.append(re.findall('data:image/jpeg;base64,[^"]*', text))
    assert len(sheets[0]) == len(sheets[1]) == 4 and not set(sheets[0]) & set(sheets[1])


def mean_faces(text):
    return re.findall(
        r'<img src="(data:image/jpeg;base64,[^"]*)" alt="the mean of (\d+) (real|synthetic) faces">', text
    )


def test_mean_faces_show_the_framing_also_where_single_faces_are_left_out(toy, tmp_path, monkeypatch):
    put_synthetic(tmp_path / "synthetic")
    pages = []
    for least, real in ((2, {}), (2, {"real_crop": [0.25, 0.25, 0.75, 0.75]}), (50, {})):
        monkeypatch.setattr(faces, "MEAN_LEAST", least)
        runs = tmp_path / f"runs_{len(pages)}"
        put(runs, toy, "erm", 100, [0.4, 0.1, 0.1, 0.4], real={"dataset": "celeba", **real})
        options = ("--real", toy, "--synthetic", tmp_path / "synthetic")
        pages.append(mean_faces(make(runs, tmp_path / "report.html", *options)))
    assert [kind for *_, kind in pages[0]] == ["real", "synthetic"] and not pages[2]
    assert pages[0][0] != pages[1][0] and pages[0][1] == pages[1][1]  # the crop is of the real ones
    picture = Image.open(io.BytesIO(base64.b64decode(pages[0][0][0].partition(",")[2])))
    lists = read_real("toy", toy, "Smiling_Male")
    paths = [lists.folder / name for name in lists.tables["test"].index]
    read = [np.asarray(Image.open(path).resize((96, 96), Image.Resampling.BILINEAR), float) for path in paths]
    assert np.abs(np.asarray(picture, float) - np.mean(read, axis=0)).mean() < 3  # but for the JPEG


def test_other_synthetic_images_are_a_line_and_no_folder_an_error(runs, tmp_path):
    (tmp_path / "Young_Male").mkdir()
    text = make(runs, tmp_path / "report.html", "--synthetic", tmp_path)
    assert "none found of Smiling_Male, contextual" in text
    done = run_here(report.main, "--runs", runs, "--output", tmp_path / "x.html", "--synthetic", tmp_path / "gone")
    assert_one_line_error(done, "--synthetic", "gone", "no such folder")


def test_faces_of_other_data_are_refused(runs, toy, tmp_path):
    from datasets.toy import write_toy_celeba

    write_toy_celeba(tmp_path / "other", {"train": 8, "val": 4, "test": 8}, seed=4, size=32)
    done = run_here(report.main, "--runs", runs, "--output", tmp_path / "x.html", "--real", tmp_path / "other")
    assert_one_line_error(done, "no test image", "give the data that the runs were tested on")


def test_a_choice_of_settings_is_shown_as_the_rule_saw_it_and_on_the_test_set(toy, tmp_path):
    put(tmp_path, toy, "erm", 100, [0.3, 0.05, 0.05, 0.3])
    put(tmp_path, toy, "full", 100, [0.1, 0.1, 0.1, 0.1])
    auto = put(tmp_path, toy, "auto", 100, [0.1, 0.05, 0.1, 0.1], chosen={"candidate": "full", "step": 0.75})
    table = {"candidate": ["erm", "full", "full"], "step": [1, 0.75, 1], "val_accuracy": [0.8, 0.875, 0.88]}
    table |= {"held_out_equalized_odds": [0.3, 0.031, 0.062], "chosen": [False, True, False]}
    pd.DataFrame(table).to_csv(auto / "choice.csv", index=False)
    text = make(tmp_path, tmp_path / "report.html")
    rows = [re.sub("<.*?>", " ", row).split() for row in re.findall(r"<tr>.*?</tr>", text)]
    assert ["auto,", "seed", "100", "full", "0.75"] in rows and [
        "full,",
        "step",
        "0.75",
        "87.5",
        "3.1",
        "chosen",
    ] in rows
    assert "auto, seed 100: what came of it" in text and "ERM: accuracy" in text
    (auto / "choice.csv").write_text("candidate,step\nerm,1\n")
    assert_one_line_error(run_here(report.main, "--runs", tmp_path), "choice.csv is damaged", "run it again")


def test_a_curve_with_val_after_the_last_epoch_alone_is_drawn(runs, toy, tmp_path):
    shutil.copytree(runs, tmp_path / "runs")
    folder = put(tmp_path / "runs", toy, "full:select-by=mean", 100, [0.1, 0.1, 0.1, 0.1])
    (folder / "curve.csv").write_text("epoch,val_accuracy\n1,\n2,0.8125\n")
    text = make(tmp_path / "runs", tmp_path / "report.html")
    assert "Mean over 1 seeds: 81.2 % after the last epoch." in text
    assert all("nan" not in part.partition("</svg>")[0].lower() for part in text.split("<svg")[1:])


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("erm/seed_100/metrics.json", "{", "run it again"),
        ("erm/seed_100/test_predictions.csv", "name,target,protected,logit\n", "run it again"),
        ("erm/seed_100/curve.csv", "epoch\n1\n", "no column val_accuracy"),
        ("aim-fair/seed_100/sensitivity.csv", "name,domain_rank\n", "run it again"),
        ("aim-fair_top-k=auto/seed_100/top_k.csv", "top_k,val_accuracy\n1,1\n", "no column held_out_equalized_odds"),
    ],
)
def test_a_damaged_record_is_one_line(runs, tmp_path, name, text, said):
    shutil.copytree(runs, tmp_path / "runs")
    (tmp_path / "runs" / name).write_text(text)
    done = run_here(report.main, "--runs", tmp_path / "runs")
    assert_one_line_error(done, tmp_path / "runs" / name, "is damaged", said)
    assert not (tmp_path / "runs" / "report.html").exists()


def test_a_record_without_its_pair_and_a_folder_without_records_are_one_line(toy, tmp_path):
    put(tmp_path, toy, "erm", 100, [0.4, 0.1, 0.1, 0.4], real={"protected": ["Male", "Young"]})
    assert_one_line_error(run_here(report.main, "--runs", tmp_path), "does not name the pair")
    assert_one_line_error(run_here(report.main, "--runs", tmp_path / "gone"), "no such folder")
    assert_one_line_error(run_here(report.main, "--runs", tmp_path / "erm"), "no record")


def test_only_a_report_is_written_over(runs, tmp_path):
    mine = tmp_path / "thesis.html"
    mine.write_text("<html>my own</html>")
    assert_one_line_error(run_here(report.main, "--runs", runs, "--output", mine), "--output", "name another file")
    assert mine.read_text() == "<html>my own</html>"
    first = make(runs, tmp_path / "report.html")
    assert make(runs, tmp_path / "report.html") == first


def test_counts_of_a_biased_list_come_from_its_number():
    pair = Pair("Smiling", ("Male",))
    assert asked.biased_list(48, "1/9", pair) == {"0_0": 2, "0_1": 22, "1_0": 22, "1_1": 2}  # 50 were asked for
    assert asked.biased_list(20000, "1/9", pair) == {"0_0": 1000, "0_1": 9000, "1_0": 9000, "1_1": 1000}
    assert asked.biased_list(41, "1/9", pair) is None  # such lists hold 40 or 42


def test_labels_of_points_cover_nothing():
    axes = Axes(0, 0, 400, 300, (0, 1), (0, 1))
    points = [(100, 100), (112, 100), (100, 108), (390, 100), (300, 200)]
    places = place_labels(points, ["first", "second", "third", "long name at the edge", "alone"], axes)
    assert places[4] == (309, 204, "start") and places[3][2] == "end"
    assert len({place for place in places if place}) == len([place for place in places if place])
    assert not any(place == (109, 104, "start") for place in places)  # there the second point lies


@pytest.mark.parametrize("column", ["toy/Smiling_Male", "toy/Smiling_Male_real-10"])
def test_the_committed_records_have_a_report(column, tmp_path):
    assert "it has hardly learned its task" not in make(RECORDS / column, tmp_path / "report.html")


def test_a_report_without_faces_does_not_wait_for_torch():
    command = "import sys, results.report.page; sys.exit('torch' in sys.modules)"
    assert run_script("python", "-c", command).returncode == 0


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not chromium():
        pytest.skip("no browser: install Debian's package chromium to look at the report in one")
    with Browser(chromium(), tmp_path_factory.mktemp("profile")) as found:
        yield found


FAULTS = """(() => {
  const faults = [], wide = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > wide) faults.push('the page is wider than its window');
  for (const e of document.querySelectorAll('svg, img, h1, h2, p, figure, .wide, details, dl, li')) {
    const box = e.getBoundingClientRect();
    if (e.closest('details:not([open])') && e.tagName != 'DETAILS') continue;
    if (!box.width || !box.height) faults.push(e.outerHTML.slice(0, 80) + ' has no size');
    if (wide >= 1400 && e.matches('.wide') && e.scrollWidth > e.clientWidth) faults.push('a table scrolls');
    if (!e.closest('.wide') && (box.left < -0.5 || box.right > wide + 0.5)) faults.push(e.outerHTML.slice(0, 80) + ' sticks out');
  }
  for (const e of document.images) if (!e.naturalWidth || !e.alt) faults.push('an image is not shown or has no text');
  for (const e of document.querySelectorAll('svg')) {
    const outer = e.getBoundingClientRect();
    if (e.getAttribute('role') != 'img' || !document.getElementById(e.getAttribute('aria-labelledby').split(' ')[0]))
      faults.push('a chart without a title');
    for (const t of e.querySelectorAll('text')) {
      const box = t.getBoundingClientRect();
      if (box.left < outer.left - 1 || box.right > outer.right + 1 || box.top < outer.top - 1 || box.bottom > outer.bottom + 1)
        faults.push('cut off in a chart: ' + t.textContent);
    }
  }
  return faults;
})()"""
CONTRAST = """(() => {
  const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
                       return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (!/, 0\\)$/.test(c)) return c; } };
  let least = 99;
  for (const e of document.querySelectorAll('p, b, strong, td, th, li, dt, dd, code, summary, figcaption, h1, h2, h3, em, .quiet, svg text')) {
    const colour = getComputedStyle(e)[e.closest('svg') ? 'fill' : 'color'], [a, b] = [light(colour), light(behind(e))];
    least = Math.min(least, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
  }
  return least;
})()"""


@pytest.mark.slow
@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_in_a_browser(browser, page, width, dark):
    browser.open(page, width, dark)
    assert browser.value(FAULTS) == []
    asked_for = [event["params"]["request"]["url"] for event in browser.seen("Network.requestWillBeSent")]
    assert asked_for and all(url == page.as_uri() or url.startswith("data:") for url in asked_for)
    assert not browser.seen("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
    assert browser.value(CONTRAST) >= 4.5  # WCAG's AA
    background = browser.value("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") != dark
    assert browser.value("document.querySelectorAll('svg .mark > title').length") == 20  # hovering shows these
    browser.value("document.querySelectorAll('details').forEach(e => e.open = true)")
    assert browser.value(FAULTS) == []


@pytest.mark.slow
def test_many_methods_without_scripts_and_on_paper(browser, tmp_path):
    output = tmp_path / "report.html"
    make(RECORDS / "toy" / "Smiling_Male", output)
    for width in (400, 1400):
        browser.open(output, width)
        assert browser.value(FAULTS) == []
    make(RECORDS.parent / "many_values" / "Age_Female" / "runs", tmp_path / "six_groups.html")
    browser.open(tmp_path / "six_groups.html", 1400)
    assert browser.value(FAULTS) == []
    browser.open(output, 400, scripts=False)
    assert not browser.seen("Log.entryAdded", "Runtime.exceptionThrown")
    pdf = browser.call("Page.printToPDF")["data"]
    assert len(pdf) > 50_000


@pytest.mark.slow
def test_the_checks_find_what_they_look_for(browser, tmp_path):
    page = tmp_path / "bad.html"
    page.write_text(
        '<body style="background:#fff"><p style="width:1900px;color:#aaa">wide</p><img src="http://0.0.0.0/x.png">'
        '<div class="wide" style="overflow-x:auto"><p style="width:1900px">table</p></div>'
        '<svg role="img" aria-labelledby="none" width="50" height="20"><text x="30" y="10">cut off here</text></svg>'
        "<script>console.error('no')</script>"
    )
    browser.open(page, 1400)
    faults = " ".join(browser.value(FAULTS))
    parts = (
        "wider than its window",
        "sticks out",
        "not shown",
        "without a title",
        "cut off in a chart",
        "a table scrolls",
    )
    assert all(part in faults for part in parts)
    assert browser.value(CONTRAST) < 4.5 and browser.seen("Runtime.consoleAPICalled")
    urls = [event["params"]["request"]["url"] for event in browser.seen("Network.requestWillBeSent")]
    assert "http://0.0.0.0/x.png" in urls
