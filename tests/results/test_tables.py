"""The paper's tables, remade from records that are made up here."""

import csv
import errno
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from support import ROOT, assert_one_line_error, run_here, run_script

from datasets.celeba import read_attributes, split_attributes
from datasets.known import DATASETS
from models.choice import choose
from results import columns, run_table, tables
from results.chosen import with_chosen_settings
from results.columns import pack_column, with_packed
from results.entries import Entry, make_entries, mark
from results.figure_data import family, group_values
from results.figures import accuracy_and_odds, k_sweep, name_points
from results.logits import OF_IMAGE
from results.records import read_run_set
from results.rows import (
    BEST,
    OTHERS,
    PAGES,
    PUBLISHED,
    TABLES,
    columns_of,
    expand_rows,
    read_paper,
    row_of,
    row_runs,
    stands_for,
)
from results.table_text import SHOWN, as_latex, as_markdown, together
from results.tables import write_tables
from results.val_threshold import at_val_threshold
from utils.errors import UserError
from utils.metrics import fairness_metrics

TARGET, PROTECTED = np.repeat([0, 0, 1, 1], 25), np.tile(np.repeat([0, 1], 25), 2)


def put(column, method, seed, errors, val=0.8, held_out=None, **settings):
    """A record of a made-up run that errs on the first `errors[group]` images of each group."""
    right = np.concatenate([np.arange(25) >= n for n in errors])
    prediction = np.where(right, TARGET, 1 - TARGET)
    folder = column / method.replace(":", "_").replace("/", "-") / f"seed_{seed}"
    folder.mkdir(parents=True)
    record = {"method": method, "seed": seed, "metrics": fairness_metrics(TARGET, PROTECTED, prediction)}
    record |= {"val_metrics": {"accuracy": val}, "command": "python train.py", "device": "d"}
    record |= {"settings": ({} if method == "erm" else {"top_k": 55}) | settings}
    record |= {} if held_out is None else {"held_out_metrics": {"equalized_odds": held_out}}
    (folder / "metrics.json").write_text(json.dumps(record))
    names = [f"{i}.jpg" for i in range(100)]
    test = {"name": names, "target": TARGET, "protected": PROTECTED, "logit": prediction - 0.5}
    pd.DataFrame(test).to_csv(folder / "test_predictions.csv", index=False)
    pd.DataFrame({"epoch": [1, 2], "val_accuracy": [0.5, val]}).to_csv(folder / "curve.csv", index=False)
    if method == "aim-fair":
        ranks = {"name": ["conv1.weight", "fc.bias"], "domain_rank": [1, 2], "bias_rank": [2, 1]}
        pd.DataFrame({**ranks, "chosen": [True, False]}).to_csv(folder / "sensitivity.csv", index=False)


def put_all(column, errors, seeds=(100, 200), **settings):
    """Records of each seed of methods that err alike in all, by method."""
    for seed in seeds:
        for method, wrong in errors.items():
            put(column, method, seed, wrong, **settings)


@pytest.fixture
def records(tmp_path):
    """Two seeds of four methods: ERM is unfair, the others are not, and two of these are alike."""
    column = tmp_path / "records" / "toy" / "Smiling_Male"
    for seed, more in ((100, 0), (200, 1)):
        put(column, "erm", seed, [10 + more, 1, 1, 12])
        put(column, "aim-fair", seed, [2, 2 + more, 2, 3], held_out=0.1)
        put(column, "full", seed, [2, 2 + more, 2, 3], held_out=0.2)
        put(column, "random-mask:share=0.4", seed, [8, 1, 1, 8], val=0.8, held_out=0.3 + more)
        put(column, "random-mask:share=0.7", seed, [5, 5, 5, 5], val=0.795, held_out=0.4)
    return tmp_path / "records"


@pytest.fixture
def folder(records):
    """The runs of those records' one column."""
    return records / "toy" / "Smiling_Male"


@pytest.fixture
def packed(folder, tmp_path):
    """The same, packed."""
    out = tmp_path / "packed" / "toy" / "Smiling_Male"
    pack_column(read_run_set(folder), out)
    return out


def marked_entries(folder, rows=None):
    """The entries of a column by row, all methods by default, the best marked."""
    runs = read_run_set(folder)
    return {entry.row: entry for entry in mark(make_entries(rows or runs.methods, runs), runs)}


def change(path, **values):
    """Replace keys of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def turn(path):
    """Turn the answers of a run's predictions round."""
    table = pd.read_csv(path)
    table.assign(logit=-table["logit"]).to_csv(path, index=False)


def remake(records, output):
    return run_here(tables.main, "--records", records, "--output", output)


@pytest.mark.slow
def test_tables_figures_and_page(records, tmp_path):
    done = remake(records, tmp_path / "one")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "one" / "toy"
    names = {path.name for path in folder.iterdir()}
    assert {f"table_{n}.{suffix}" for n in (3, 4, 7) for suffix in ("md", "csv", "tex")} <= names
    assert "table_1.md" not in names  # none of its own rows was run
    for kind in ("accuracy_odds", "groups", "rankings", "curves"):
        assert (folder / f"{kind}_Smiling_Male.png").stat().st_size > 5000
        assert f"{kind}_Smiling_Male.pdf" in names and f"{kind}_Smiling_Male.png" in (folder / "README.md").read_text()
    with open(folder / "table_3.csv", newline="") as file:
        rows = {(row["row"], row["metric"]): row for row in csv.DictReader(file)}
    assert float(rows["erm", "ACC"]["ours"]) == pytest.approx(75.5) and rows["erm", "ACC"]["paper"] == "89.23"
    assert rows["supplement", "EO"]["ours"] == "" and rows["supplement", "EO"]["n"] == "0"  # missing, and shown so

    # the same bytes again, from the same records or packed ones
    for folder in (records / "toy").iterdir():
        pack_column(read_run_set(folder), tmp_path / "packed" / "toy" / folder.name)
    assert remake(tmp_path / "packed", tmp_path / "two").returncode == 0
    for path in (tmp_path / "one" / "toy").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / "toy" / path.name).read_bytes(), path.name


def test_packing_keeps_every_record_and_no_weights(folder, tmp_path):
    (folder / "erm" / "seed_100" / "model.safetensors").write_bytes(b"weights")
    done = run_here(columns.main, "--runs", folder.parent, "--output", tmp_path / "out")
    assert done.returncode == 0 and "10 records of 5 methods" in done.stdout
    names = sorted(path.name for path in (tmp_path / "out" / "Smiling_Male").iterdir())
    assert names == ["curves.csv", "predictions.csv", "records.jsonl", "sensitivity.csv"]
    raw, packed = read_run_set(folder), read_run_set(tmp_path / "out" / "Smiling_Male")
    assert raw.records == packed.records
    for name in ("predictions", "curves", "sensitivity"):
        pd.testing.assert_frame_equal(getattr(raw, name), getattr(packed, name))


def put_val(folder, method, seed, logits):
    """Logits of val images, which a run has, and made-up ones of test, beside a made-up run."""
    place, n = folder / method / f"seed_{seed}", len(logits)
    val = {"name": [f"v{i}.jpg" for i in range(n)], "target": np.arange(n) % 2, "protected": 0, "logit": logits}
    pd.DataFrame(val).to_csv(place / "val_predictions.csv", index=False)
    test = pd.read_csv(place / "test_predictions.csv")
    noise = np.random.default_rng(seed).normal(0, 2, len(test))
    test.assign(logit=np.abs(noise) * np.sign(test["logit"])).to_csv(place / "test_predictions.csv", index=False)


def test_logits_are_packed_in_hundredths_on_their_side_of_the_threshold(folder, tmp_path):
    put_val(folder, "full", 100, np.array([-0.001, 0.001, -7.129, 3.456, 0.0]))
    put_val(folder, "aim-fair", 200, np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    pack_column(with_packed(read_run_set(folder), tmp_path / "out"), tmp_path / "out")
    packed = read_run_set(tmp_path / "out")
    val, test = (packed.logits[packed.logits["split"] == split] for split in ("val", "test"))
    assert val["full/seed_100"].tolist() == [-1, 0, -713, 345, 0]
    assert packed.logits.columns.tolist() == [*OF_IMAGE, "aim-fair/seed_200", "full/seed_100"]
    assert (test["full/seed_100"] >= 0).astype(int).tolist() == packed.predictions["full/seed_100"].tolist()
    # what was packed stays when another machine adds its runs, and goes with the run itself
    shutil.rmtree(folder / "full" / "seed_100")
    put_val(folder, "full", 200, np.arange(5.0))
    pack_column(with_packed(read_run_set(folder), tmp_path / "out"), tmp_path / "out")
    more = read_run_set(tmp_path / "out").logits
    assert more.columns.tolist() == [*OF_IMAGE, "aim-fair/seed_200", "full/seed_100", "full/seed_200"]
    assert more["full/seed_100"].tolist() == packed.logits["full/seed_100"].tolist()
    put_val(folder, "full", 200, np.arange(6.0))
    put_val(folder, "aim-fair", 200, np.arange(6.0))
    with pytest.raises(UserError, match="other val images"):
        with_packed(read_run_set(folder), tmp_path / "out")


def test_another_threshold_can_be_asked_of_logits(tmp_path):
    put(tmp_path, "full", 100, [2, 2, 2, 3])
    put_val(tmp_path, "full", 100, np.array([0.5, 3.0, 0.5, 3.0]))  # positive are those above 1.75
    test = pd.read_csv(tmp_path / "full" / "seed_100" / "test_predictions.csv")
    found = at_val_threshold(read_run_set(tmp_path)).runs("full")[100].content["metrics"]
    assert found == fairness_metrics(test["target"], test["protected"], test["logit"] >= 1.75)


def test_a_curve_may_have_val_after_the_last_epoch_alone(folder, tmp_path):
    put(folder, "full:select-by=mean", 100, [1, 1, 1, 1])
    curve = folder / "full_select-by=mean" / "seed_100" / "curve.csv"
    curve.write_text("epoch,val_accuracy\n1,\n2,0.75\n")
    assert run_here(columns.main, "--runs", folder.parent, "--output", tmp_path / "out").returncode == 0
    curves = read_run_set(tmp_path / "out" / "Smiling_Male").curves
    assert curves[curves["method"] == "full:select-by=mean"]["val_accuracy"].tolist() == [
        pytest.approx(np.nan, nan_ok=True),
        0.75,
    ]
    curve.write_text("epoch,val_accuracy\n1,0.5\n2,\n")
    with pytest.raises(UserError, match="curve.csv is damaged or incomplete"):
        read_run_set(folder)


def test_choices_are_packed(folder, tmp_path):
    choice = {"candidate": ["erm", "full"], "step": [1.0, 0.5], "val_accuracy": [0.8, 0.9]}
    choice = pd.DataFrame(choice | {"held_out_equalized_odds": [0.3, 0.1], "chosen": [False, True]})
    choice.to_csv(folder / "full" / "seed_200" / "choice.csv", index=False)
    pack_column(read_run_set(folder), tmp_path / "out")
    shutil.rmtree(folder / "full")
    pack_column(with_packed(read_run_set(folder), tmp_path / "out"), tmp_path / "out")
    kept = read_run_set(tmp_path / "out").choices
    assert kept.drop(columns=["method", "seed"]).equals(choice) and set(kept["seed"]) == {200}


def test_packing_adds_to_what_was_packed(folder, packed, tmp_path):
    """Two machines, each with some methods: the packed column holds all, as if one had run them."""

    def pack():
        return run_here(columns.main, "--runs", folder.parent, "--output", packed.parent)

    whole = {path: path.read_bytes() for path in packed.iterdir()}
    for method in ("aim-fair", "full"):
        shutil.rmtree(folder / method)
    done = pack()
    assert done.returncode == 0 and "10 records of 5 methods; 4 of them were packed before" in done.stdout
    assert whole == {path: path.read_bytes() for path in packed.iterdir()}

    (packed / "records.jsonl").rename(tmp_path / "kept")
    assert_one_line_error(pack(), "without records.jsonl", "git checkout")
    (tmp_path / "kept").rename(packed / "records.jsonl")

    turn(folder / "erm" / "seed_100" / "test_predictions.csv")
    assert_one_line_error(pack(), "began with another erm/seed_100", "another folder", "copy the folder erm")
    for path in folder.glob("*/*/test_predictions.csv"):
        pd.read_csv(path).assign(name=lambda table: "x" + table["name"]).to_csv(path, index=False)
    assert_one_line_error(pack(), "tested on other images")
    assert whole == {path: path.read_bytes() for path in packed.iterdir()}


def test_runs_of_other_settings_are_not_packed_together(folder, packed):
    """Of a method whose code or settings changed, one seed of the new and nine of the old would make one row."""
    shutil.rmtree(folder / "full" / "seed_200")
    change(folder / "full" / "seed_100" / "metrics.json", settings={"lr": 99})
    with pytest.raises(UserError, match=r"full/seed_200\) was made with other settings.*lr: .* 99 asked"):
        with_packed(read_run_set(folder), packed)
    shutil.rmtree(folder / "full")
    change(folder / "erm" / "seed_100" / "metrics.json", settings={"image_size": 999})  # nothing of erm is kept
    with pytest.raises(UserError, match="erm/.*image_size"):
        with_packed(read_run_set(folder), packed)


def test_seeds_of_other_settings_are_refused_before_they_are_packed_or_shown(folder, packed, tmp_path):
    lines = [json.loads(line) for line in (packed / "records.jsonl").read_text().splitlines()]
    (found,) = (line for line in lines if (line["method"], line["seed"]) == ("full", 200))
    found["settings"]["lr"] = 0.5
    (packed / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "full" / "seed_200" / "metrics.json").write_text(json.dumps(found))
    for runs in (folder, packed):
        said = f"{runs}/full/seed_200 and {runs}/full/seed_100 were made with different settings (lr: 0.5 and None)"
        assert_one_line_error(remake(runs.parents[1], tmp_path / "out"), said, "a folder of its own")


@pytest.mark.parametrize("place", ["to be packed", "packed"])
def test_methods_do_not_join_the_biased_model_of_another_place(folder, packed, tmp_path, place):
    """What lost its own erm would be compared with one that it may not have begun with, though their settings agree."""
    runs = shutil.copytree(folder, tmp_path / "whole")
    shutil.rmtree(folder / "erm" / "seed_100")
    if place == "to be packed":
        runs = folder
    else:
        pack_column(read_run_set(folder), packed)
        shutil.rmtree(runs / "full")
    with pytest.raises(UserError, match=rf"seed_100 is {place} without the erm/seed_100 .*put that erm/seed_100 back"):
        with_packed(read_run_set(runs), packed)


def test_only_the_biased_models_of_the_runs_that_stay_have_to_be_the_same(folder, packed):
    for place in folder.glob("*/seed_200"):
        shutil.rmtree(place)
    turn(folder / "erm" / "seed_100" / "test_predictions.csv")
    assert len(with_packed(read_run_set(folder), packed).records) == len(read_run_set(packed).records)


def test_an_interrupted_packing_loses_nothing(folder, packed, monkeypatch):
    """What another machine packed may be in no other place."""
    before = {path.name: path.read_bytes() for path in packed.iterdir()}
    shutil.rmtree(folder / "full")
    written = []

    def full_disk(path, *arguments, **options):
        written.append(path)
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, *arguments, **options)

    write = Path.write_text
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full_disk)
        with pytest.raises(OSError, match="No space"):
            pack_column(with_packed(read_run_set(folder), packed), packed)
    assert before == {path.name: path.read_bytes() for path in packed.iterdir()}


def test_names_in_a_figure_cover_nothing_and_crowded_points_have_theirs_too():
    figure, axes = plt.subplots(figsize=(7, 4.2))
    points = {"erm": (30, 84), "linear-probe": (29, 84), "full": (28, 84.1), "jtt": (5, 80), "lff": (31.9, 88)}
    axes.scatter(*zip(*points.values()))
    axes.set(xlim=(0, 32), ylim=(78, 90))
    name_points(axes, [name for name in points if name != "erm"], points)
    figure.canvas.draw()
    boxes = {text.get_text(): text.get_window_extent() for text in axes.texts}
    assert set(boxes) == {"linear-probe", "full", "jtt", "lff"}
    places = axes.transData.transform(list(points.values()))
    for name, box in boxes.items():
        assert not any(box.overlaps(other) for other_name, other in boxes.items() if other_name != name)
        assert not any(box.contains(*place) for place in places) and axes.get_window_extent().fully_containsx(box.x1)
    plt.close(figure)


def test_records_of_other_images_or_no_records_are_named(folder, tmp_path):
    assert_one_line_error(remake(tmp_path / "nowhere", tmp_path / "out"), "nowhere", "results/table.sh 3")
    path = folder / "full" / "seed_200" / "test_predictions.csv"
    path.write_text(path.read_text().replace("5.jpg", "other.jpg"))
    with pytest.raises(UserError, match=r"full.*seed_200.*images of the other runs"):
        read_run_set(folder)


def cut(path, fraction=0.6):
    path.write_bytes(path.read_bytes()[: int(fraction * path.stat().st_size)])


def cut_at_a_line(path):
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[: len(lines) // 2]))


def without(key):
    """Damage that takes a key out of every JSON object in a file."""

    def damage(path):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for record in lines:
            del (record["metrics"] if key in record["metrics"] else record)[key]
        path.write_text("".join(json.dumps(record) + "\n" for record in lines))

    return damage


def blank(path):
    path.write_bytes(b"")


def zeros(path):
    path.write_bytes(bytes(path.stat().st_size))


RAW = [
    *(("metrics.json", damage) for damage in (cut, blank, zeros, without("group_count"), without("settings"))),
    *(("metrics.json", damage) for damage in (without("val_metrics"), without("seed"), without("equalized_odds"))),
    *(("test_predictions.csv", damage) for damage in (cut, cut_at_a_line, blank, zeros, Path.unlink)),
    *(("curve.csv", damage) for damage in (cut, blank, zeros, Path.unlink)),
    *(("sensitivity.csv", damage) for damage in (cut, blank, zeros)),
]


@pytest.mark.parametrize(("name", "damage"), RAW)
def test_a_damaged_run_is_named_by_tables_and_packing(folder, tmp_path, name, damage):
    run, out = folder / "aim-fair" / "seed_100", tmp_path / "out"
    damage(run / name)
    for done in (remake(folder.parents[1], out), run_here(columns.main, "--runs", folder.parent, "--output", out)):
        assert_one_line_error(done, run / name, f"remove {run} and run it again")
    assert not list(out.glob("*/*.*"))


PACKED = [
    *(("records.jsonl", damage) for damage in (cut, blank, zeros, cut_at_a_line, without("group_count"))),
    *(("predictions.csv", damage) for damage in (cut, cut_at_a_line, blank, zeros, Path.unlink)),
    *(("curves.csv", damage) for damage in (cut, cut_at_a_line, blank, zeros, Path.unlink)),
    *(("sensitivity.csv", damage) for damage in (cut, zeros, Path.unlink)),
]


@pytest.mark.parametrize(("name", "damage"), PACKED)
def test_a_damaged_packed_column_is_named(packed, tmp_path, name, damage):
    damage(packed / name)
    done = remake(packed.parents[1], tmp_path / "out")
    assert_one_line_error(done, packed / name, "pack all runs again (python -m results.columns)")


def test_a_record_of_other_groups_or_without_its_k_is_named(folder):
    path = folder / "aim-fair" / "seed_100" / "metrics.json"
    whole = path.read_text()
    for old, new, said in (
        ('"top_k": 55', '"other": 55', r"aim-fair/seed_100 is damaged \(its settings have no top_k\)"),
        ("0_0", "9_9", "different groups"),
    ):
        path.write_text(whole.replace(old, new))
        with pytest.raises(UserError, match=said):
            read_run_set(folder)


def test_a_packed_column_is_whole_or_none(folder, packed, tmp_path, monkeypatch):
    runs = read_run_set(folder)
    table = pd.read_csv(packed / "predictions.csv")
    table.drop(columns="full/seed_100").to_csv(packed / "predictions.csv", index=False)
    done = remake(packed.parents[1], tmp_path / "out")
    assert_one_line_error(done, "predictions.csv", "full/seed_100", "pack all runs again")
    (packed / "notes.md").write_text("kept")

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pack_column(runs, packed)
    assert not (packed / "records.jsonl").exists()  # so nobody takes it for a packed column
    pack_column(runs, packed)
    assert read_run_set(packed).records == runs.records and (packed / "notes.md").read_text() == "kept"


def test_only_what_the_intervals_tell_apart_is_marked(folder):
    assert not any(
        entry.marked for entry in marked_entries(folder, ["erm", "aim-fair", "full"]).values()
    )  # two are alike
    assert marked_entries(folder, ["erm", "aim-fair"])["aim-fair"].marked >= {"ACC", "WST", "EO"}


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("group-dro:protocol=published", "trains on protected labels; chooses its epoch by protected labels of val"),
        ("group-dro:step-size=0.1", "trains on protected labels"),
        ("jtt:protocol=published", "chooses its epoch by protected labels of val"),
        ("repair", "counts protected labels of train"),
        ("jtt", ""),
    ],
)
def test_a_method_that_takes_protected_labels_is_called_so_and_never_marked(tmp_path, method, said):
    put_all(tmp_path, {"erm": [10, 1, 1, 12], "aim-fair": [6, 6, 6, 6], method: [1, 1, 1, 1]})
    entries = marked_entries(tmp_path)
    text = as_markdown("table_1", {"Smiling_Male": list(entries.values())}, {})
    assert (f"| {method} ({said}) |" if said else f"| {method} |") in text
    assert bool(entries[method].marked) == (not said)


def test_rows_of_one_kind_of_choice_are_marked_among_themselves(tmp_path):
    """With --select-by worst-group ERM takes val's labels too: what takes no others is compared with its like."""
    by_groups = {"select_by": "worst-group"}
    errors = {"erm": [10, 1, 1, 12], "jtt:protocol=published": [1, 1, 1, 1], "group-dro": [0, 0, 0, 0]}
    put_all(tmp_path, errors, **by_groups)
    put_all(tmp_path, {"full": [6, 2, 2, 6]}, biased_model=by_groups)
    assert {row for row, entry in marked_entries(tmp_path).items() if entry.marked} == {"jtt:protocol=published"}


@pytest.mark.parametrize(("errors", "blind"), [([0, 0, 25, 25], True), ([24, 24, 1, 1], True), ([2, 2, 18, 18], False)])
def test_a_classifier_that_answers_alike_is_called_so_and_never_marked(tmp_path, errors, blind):
    """One seed is enough: the mean of the odds is small for nothing."""
    put_all(tmp_path, {"erm": [10, 1, 1, 12], "full": [1, 8, 8, 1]})
    put(tmp_path, "cvar-dro", 100, [5, 5, 5, 5])
    put(tmp_path, "cvar-dro", 200, errors)
    entries = marked_entries(tmp_path)
    assert entries["cvar-dro"].ours["EO"][0] < 10 and ("EO" in entries["cvar-dro"].marked) == (not blind)
    text = as_markdown("table_1", {"Smiling_Male": list(entries.values())}, {})
    assert ("| cvar-dro (seed 200 answers alike whether the target is there or not) |" in text) == blind


def test_the_best_of_its_own_seeds_is_not_marked_if_shared_seeds_say_otherwise(tmp_path):
    put_all(tmp_path, {"aim-fair": [4, 4, 4, 4], "full": [11, 11, 11, 11]})
    put_all(tmp_path, {"full": [0, 0, 0, 0]}, range(300, 900, 100))  # only these make full the better one
    entries = marked_entries(tmp_path)
    assert entries["full"].ours["ACC"] > entries["aim-fair"].ours["ACC"]
    assert not any(entry.marked for entry in entries.values())


def test_draws_of_a_mask_fraction_a_row_in_which_a_seed_counts_once(tmp_path):
    errors = {(1, 100): [0, 0, 0, 5], (2, 100): [5, 0, 0, 0], (1, 200): [5, 5, 5, 5]}
    for (draw, seed), errs in errors.items():
        put(tmp_path, "random-mask:share=0.4" + (f",draw={draw}" if draw > 1 else ""), seed, errs)
    put_all(tmp_path, {"erm": [10, 0, 0, 10]})
    runs = read_run_set(tmp_path)
    rows = [row for row in expand_rows(TABLES["table_4"], runs) if row.startswith("random-mask")]
    assert rows == ["random-mask:share=0.4"]
    [entry] = make_entries(rows, runs)
    assert (entry.n, entry.runs) == (2, 3)
    assert entry.ours["ACC"][0] == pytest.approx((95 + 80) / 2)
    assert entry.ours["EO"][0] == pytest.approx((20 + 0) / 2)  # of runs first: the two draws do not cancel out
    assert entry.ours["WST"][0] == pytest.approx((90 + 80) / 2)  # of mean group accuracies, where they do
    assert entry.ours["ACC"][1] == pytest.approx(np.std([95, 95, 80], ddof=1))
    assert entry.change["EO"][0] == pytest.approx(10 - 40)
    assert "| 2 (3 runs) |" in as_markdown("table_4", {"Smiling_Male": [entry]}, {})


def test_repetitions_of_a_fine_tuning_share_a_row(tmp_path):
    for method in ("full", "full:repeat=2", "full:lr=0.01,repeat=2", "random-mask:share=0.4,draw=2,repeat=2"):
        put(tmp_path, method, 100, [0, 0, 0, 10 if method == "full:repeat=2" else 5])
    runs = read_run_set(tmp_path)
    assert {row_of(method) for method in runs.methods} == {"full", "full:lr=0.01", "random-mask:share=0.4"}
    assert make_entries(["full"], runs)[0].runs == 2
    np.testing.assert_allclose(group_values(runs, "full"), [[100, 100, 100, 70]])  # of both, a seed in a row
    put(tmp_path, "full:repeat=3", 100, [0, 0, 0, 5], lr=0.5)
    with pytest.raises(UserError, match="different settings .*lr"):
        read_run_set(tmp_path)


def test_every_k_has_a_row_and_a_chosen_one_does_not_stop_the_figure(tmp_path):
    for k in (40, 45, 52):
        put(tmp_path / "Smiling_Male", f"aim-fair:top-k={k}", 100, [2, 2, 2, 2], top_k=k)
    put(tmp_path / "Smiling_Male", "aim-fair", 100, [2, 2, 2, 2], top_k="auto")  # as with the flag --top-k auto
    column = read_run_set(tmp_path / "Smiling_Male")
    assert expand_rows(TABLES["table_k"], column)[-2:] == ["aim-fair:top-k=52", "aim-fair:top-k=auto"]
    assert len(k_sweep(column).axes[0].get_xticks()) == 3  # auto is a line, no k of its own
    shutil.move(tmp_path / "Smiling_Male" / "aim-fair", tmp_path / "moved")
    put(tmp_path / "Smiling_Male", "aim-fair", 100, [2, 2, 2, 2])
    put(tmp_path / "Smiling_Male", "aim-fair:top-k=auto", 100, [5, 5, 5, 5])  # its settings say 55 here
    assert list(k_sweep(read_run_set(tmp_path / "Smiling_Male")).axes[0].get_xticks()) == [40, 45, 52, 55]
    write_tables({"Smiling_Male": column}, tmp_path)
    assert "measured off a figure" in (tmp_path / "table_k.md").read_text()


def test_choice_needs_neither_test_set_nor_protected_labels_of_real_images(folder):
    assert choose([0.90, 0.895, 0.80], [0.3, 0.2, 0.0]) == 1  # the fairest within a point of the most accurate
    assert choose([0.90, 0.89], [0.3, 0.3]) == 0 and choose([0.9, 0.9], [0.1, 0.1]) == 0
    assert choose([0.90, 0.89], [0.3, 0.2]) == 1  # just a point less
    for accuracies, odds in (([], []), ([0.9], []), ([0.9, 0.8], [0.1])):
        with pytest.raises(ValueError, match="choose from"):
            choose(accuracies, odds)
    column = read_run_set(folder)
    chosen = row_runs("best random mask", column)
    assert {seed: [record.method for record in found] for seed, found in chosen.items()} == {
        100: ["random-mask:share=0.4"],
        200: ["random-mask:share=0.7"],
    }
    assert row_runs("best frozen block", column) == {}


@pytest.mark.parametrize("other", ["share=0.4,repeat=2", "share=0.32,of=weights", "share=0.4,lr=0.2"])
def test_the_best_mask_is_not_chosen_among_other_settings(tmp_path, other):
    """The more settings compete, the luckier is the best of them."""
    for method, wrong in (("random-mask:share=0.4", 0.3), (f"random-mask:{other}", 0.1)):
        put(tmp_path, method, 100, [2] * 4, held_out=wrong)
    [found] = row_runs("best random mask", read_run_set(tmp_path))[100]
    assert found.method == "random-mask:share=0.4"
    put(tmp_path, "random-mask:share=0.4,draw=2", 100, [2] * 4, held_out=0.2)  # another mask does compete
    [found] = row_runs("best random mask", read_run_set(tmp_path))[100]
    assert found.method == "random-mask:share=0.4,draw=2"


def test_markdown_and_latex():
    values = dict.fromkeys(SHOWN, (70.0, 1.0)) | {"WST": (60.0, None), "STD": (9.0, None)}
    change = {"ACC": (10.5, -1, 20), "EO": (-9, -10, -8)}
    one = replace(
        Entry("aim-fair:top-k=50", 3, dict.fromkeys(SHOWN, (80.5, None)), {}, change, frozenset({"ACC"})),
        p={"ACC": 0.2, "EO": 0.001}, n_compared=3,
    )  # fmt: skip
    entries = [
        Entry("erm", 2, values, {"ACC": 89.23, "WST": 71.46}, {}), one, Entry("diga", 0, {}, {"ACC": 88.4}, {})
    ]  # fmt: skip
    lines = as_markdown("table_1", {"Smiling_Male": entries}, {}).splitlines()
    assert lines[:3] == [f"# Table 1: {TABLES['table_1'].title}", "", "## Smiling_Male"]
    assert lines[4] == (
        "| method | n | ACC [paper] | WST of means [paper] | mean of WST | EO [paper] | STD of means [paper] | mean of STD | "
        "ACC to ERM | EO to ERM |"
    )
    seven = "70.00 ± 1.00"
    assert lines[6:9] == [
        f"| erm | 2 | {seven} [89.23] | 60.00 [71.46] | {seven} | {seven} | 9.00 | {seven} | – | – |",
        "| aim-fair:top-k=50 | 3 | **80.50** | 80.50 | 80.50 | 80.50 | 80.50 | 80.50 | +10.50 (-1.00 to +20.00) | "
        "-9.00 (-10.00 to -8.00)* |",
        "| DiGA (published number) | – | – [88.40] | – | – | – | – | – | – | – |",
    ]
    assert lines[10].startswith("Of 2 differences, the intervals of 1 exclude 0 (about 0.1 would by chance")
    warned = as_markdown("table_1", {"Smiling_Male": entries}, {"Smiling_Male": "**Look out.**"})
    assert "## Smiling_Male\n\n**Look out.**\n\n|" in warned
    assert "% Look out." in as_latex({"Smiling_Male": entries}, {"Smiling_Male": "**Look out.**"})
    latex = as_latex({"Smiling_Male": entries}, {})
    assert r"\multicolumn{5}{l}{Smiling\_Male}" in latex and r"70.00 $\pm$ 1.00 [89.23]" in latex
    odd = as_latex({"a_b": [Entry("x:type={50%}^~\\", 0, {}, {}, {})]}, {})
    assert r"x:type=\{50\%\}\textasciicircum{}\textasciitilde{}\textbackslash{} &" in odd
    assert r"\textbf{80.50}" in latex and "–" not in latex and latex.count(r"\\") == 5


def test_differences_of_one_seed_are_not_counted_together_with_those_of_several():
    told, said = together([(1, 1e-9), (3, 0.001), (3, 0.04), (3, 0.5)])
    assert told == [False, True, False, False]
    assert said == (
        "Of 3 differences, the intervals of 2 exclude 0 (about 0.2 would by chance if no method differed), and 1 after Holm's "
        "correction. 1 of one seed, for other images alone, are not counted."
    )
    assert together([]) == ([], "")
    assert together([(3, 0.5), (3, 0.6)])[1].startswith("Of 2 differences, no interval excludes 0 (about 0.1 would")


def test_a_mean_stands_beside_the_deviation_of_what_it_is_the_mean_of(tmp_path):
    """The lowest of the mean groups is 90, the lowest of each seed is 80."""
    for seed, errors in ((100, [5, 0, 0, 0]), (200, [0, 0, 0, 5])):
        put(tmp_path / "Smiling_Male", "full", seed, errors)
    entry = marked_entries(tmp_path / "Smiling_Male")["full"]
    assert entry.ours["WST"] == (pytest.approx(90), None) and entry.ours["WST by seed"] == (pytest.approx(80), 0)
    assert entry.ours["STD"][1] is None and entry.ours["STD by seed"][0] == pytest.approx(100 * np.std([0.8, 1, 1, 1]))


def test_every_number_of_the_paper_has_its_row():
    paper = read_paper()
    assert paper.keys() - {"about"} == TABLES.keys()
    for name, table in TABLES.items():
        rows = {row for row in table.rows if not row.endswith("*")}
        for column, numbers in paper[name].items():
            assert column in table.columns and numbers.keys() <= rows, (name, column, numbers.keys() - rows)
    assert PUBLISHED.keys() <= paper["table_1"]["Smiling_Male"].keys()
    known = {row for table in TABLES.values() for row in table.rows if not row.endswith("*")}
    assert known - PUBLISHED.keys() - BEST.keys() <= methods_that_parse(known)


def methods_that_parse(rows):
    """Those of the rows that train.py takes as --methods and labels the same."""
    from models.options import parse_method
    from train import METHODS

    flags = {"top-k": 55, "prompt-type": "contextual", "bias-degree": "1/9", "ratio": None}
    return {row for row in rows if row.partition(":")[0] in METHODS and parse_method(row, METHODS, flags).label == row}


def test_rows_stand_for_what_was_run(folder):
    present = ["Young_Male", "Smiling_Male_real-10", "Smiling_Male", "Smiling_Male_real-5"]
    assert columns_of(TABLES["table_3"], present) == ["Smiling_Male", "Young_Male"]  # the paper's first
    assert columns_of(TABLES["table_2"], present) == ["Smiling_Male_real-10", "Smiling_Male_real-5"]
    rows = expand_rows(TABLES["table_4"], read_run_set(folder))
    assert rows[1:4] == ["random-mask:share=0.4", "random-mask:share=0.7", "best random mask"]


def calls(*arguments):
    """What results/table.sh would have runner.sh do: the flags of each call, each with its last values."""
    found = []
    for call in run_table.runner_calls([*arguments])[0]:
        values, key = {}, None
        for word in call:
            if word.startswith("--"):
                key, values[word] = word, []
            else:
                values[key].append(word)
        found.append({key: " ".join(value) for key, value in values.items()})
    return found


@pytest.mark.parametrize("name", TABLES)
def test_every_row_of_a_table_that_can_be_run_is_run(name):
    asked = " ".join(call["--methods"] for call in calls(run_table.short(name))).split()
    asked = methods_that_parse({"erm", *asked})
    for row in {*TABLES[name].rows} - PUBLISHED.keys() - BEST.keys() - {"aim-fair:top-k=*"}:
        assert any(stands_for(row, method) for method in asked), row


def test_columns_are_the_papers_pairs_that_the_data_set_has():
    def columns(*arguments):
        return [Path(call["--output"]).name for call in calls(*arguments)]

    celeba = ["Smiling_Male", "Smiling_Young", "Young_Male"]
    assert columns("1", "--dataset", "celeba") == celeba and columns("3", "--dataset", "celeba") == celeba[:2]
    assert columns("7", "--dataset", "celeba") == columns("1") == ["Smiling_Male"]
    assert columns("3", "7", "--dataset", "utkface") == ["Female_White"] * 2
    assert columns("3", "--dataset", "csv", "--pairs", "A_B C_D", "--seeds", "1") == ["A_B", "C_D"]
    assert len(columns("all")) == 9 + 2 + 3  # table 2 has three fractions, table 5 three more prompt types
    with pytest.raises(UserError, match="--dataset csv has no pairs of its own: name them with --pairs"):
        calls("3", "--dataset", "csv")


def test_fractions_and_prompt_types_are_calls_of_their_own():
    fractions = calls("2", "--dataset", "celeba")
    assert [call["--number-train-data-real"] for call in fractions] == ["10000", "5000", "2000"]
    assert [Path(call["--output"]).name for call in fractions] == [f"Smiling_Male_real-{n}" for n in (50, 25, 10)]
    fractions = calls("2", "--dataset", "utkface", "--number-train-data-real", "1000")
    assert [call["--number-train-data-real"] for call in fractions] == ["500", "250", "100"]
    with pytest.raises(UserError, match="--dataset utkface: say with --number-train-data-real"):  # 20000 are CelebA's
        calls("2", "--dataset", "utkface")
    *types, last = calls("5")
    assert [call["--generation-prompt-type"] for call in types] == [
        *("plain", "contextual-without-pose-25", "contextual-without-pose"),
    ]
    assert {call["--images-per-cell"] for call in types} == {"400"} and last["--images-per-cell"] == "800"
    assert all("--images-per-cell" not in call for call in calls("5", "--dataset", "celeba"))
    assert calls("3", "--seeds", "7", "--methods", "mine")[0].items() >= {"--seeds": "7", "--methods": "mine"}.items()


def test_chosen_settings_have_records_of_their_own():
    [call] = calls("3", "--settings", "auto")
    assert call["--settings"] == "auto" and Path(call["--output"]).parent.name == "toy_auto"
    assert "--settings" not in calls("3")[0] and Path(calls("3")[0]["--output"]).parent.name == "toy"


def test_a_row_with_chosen_settings_is_the_methods_and_its_candidates_are_none(records, folder):
    """A candidate's name begins as that of a row does, and would stand in it."""
    put_all(folder, {"full:settings=auto": [1, 2, 1, 3], "random-mask:share=0.4,settings=auto": [1, 1, 1, 1]})
    put_all(folder, {"random-mask:share=0.4,lr=0.002": [9, 9, 9, 9]})
    for method, name in (("full", "full"), ("random-mask", "random-mask:share=0.4,lr=0.002")):
        choice = {"candidate": ["erm", name], "step": 1.0, "val_accuracy": 0.8, "held_out_equalized_odds": 0.1}
        for place in folder.glob(f"{method}*settings=auto/seed_*"):
            pd.DataFrame({**choice, "chosen": [False, True]}).to_csv(place / "choice.csv", index=False)
    runs = with_chosen_settings(read_run_set(folder))
    assert runs.methods == ["aim-fair", "erm", "full", "random-mask:share=0.4", "random-mask:share=0.7"]
    assert [min(r.metrics.group_accuracy.values()) for r in runs.runs("full").values()] == [0.88, 0.88]
    assert runs.accuracies.observed.shape == (10, 4) and set(runs.choices["method"]) == {
        "full",
        "random-mask:share=0.4",
    }
    (records / "toy").rename(records / "toy_auto")
    assert remake(records, records.parent / "out").returncode == 0
    made = records.parent / "out" / "toy_auto"
    assert (
        "lr=0.002" not in (made / "table_4.md").read_text(encoding="utf-8")
        and "chosen" in (made / "README.md").read_text()
    )


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["3", "--pairs"], "--pairs: expected"),
        (["9"], "no table 9: 1, 2, 3, 4, 5, 6, 7, k, blocks or all"),
        (["--seeds", "1"], "name a table before the flags"),
        (["3", "--dataset", "mnist"], "invalid choice: 'mnist'"),
        (
            ["3", "--settings", "auto", "--output", "mine"],
            "--output mine: its name must end in _auto with --settings auto",
        ),
    ],
)
def test_a_wrong_call_of_the_table_script_is_one_line(arguments, part):
    assert_one_line_error(run_here(run_table.main, *arguments), part)


def test_help_names_each_table_flag_and_data_set_without_an_environment(tmp_path):
    done = subprocess.run(
        ["bash", ROOT / "results" / "table.sh", "3", "--help"],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and not done.stderr and "estimate" in done.stdout
    assert all(f"  {run_table.short(name):7} {table.title}:" in done.stdout for name, table in TABLES.items())
    flags = re.findall("--[a-z-]+", run_here(run_table.main, "--help").stdout)
    assert all(name in done.stdout for name in {*DATASETS, *flags} - {"--help"})


@pytest.mark.slow
def test_the_table_script_trains_and_makes_the_pages(toy, tmp_path):
    """One method in place of the table's own; which methods those are, the tests above say."""
    shutil.copytree(toy, tmp_path / "real")
    images = read_attributes(toy).loc[split_attributes(toy)["train"].index].gt(0).astype(int)  # tested ones are refused
    images.index = "img_align_celeba/" + images.index
    images.to_csv(tmp_path / "real" / "others.csv", index_label="image")
    done = run_script(
        *("bash", ROOT / "results" / "table.sh", "3", "--real-data-path", tmp_path / "real"),
        *("--synthetic-data-root", tmp_path / "real" / "others.csv", "--output", tmp_path / "tables" / "toy"),
        *("--cache", tmp_path / "cache", "--methods", "full", "--seeds", 100, "--number-train-data-real", 40),
        *("--bias-degree", "1/3", "--number-balanced-synthetic", 4, "--number-imbalanced-synthetic", 16),
        *("--image-size", 32, "--pre-train-epochs", 1, "--fine-tune-epochs", 1, "--batch-size", 16, "--device", "cpu"),
    )
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "tables_made" / "toy" / "table_3.csv", newline="") as file:
        found = {row["row"]: row["n"] for row in csv.DictReader(file)}
    assert found == dict.fromkeys(TABLES["table_3"].rows, "0") | {"erm": "1", "full": "1"}


def test_the_table_script_leaves_with_the_status_of_what_failed(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(run_table, "ROOT", Path("nowhere"))  # so bash finds no runner.sh
        done = run_here(run_table.main, "3")
    assert done.returncode == 127 and not done.stdout


def test_a_dry_run_of_the_table_script_makes_no_pages(monkeypatch):
    seen = []
    monkeypatch.setattr(run_table, "run", seen.append)
    done = run_here(run_table.main, "3", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert len(seen) == 1 and seen[0][-3:-1] == ["--dry-run", "--cost-rows"]


def test_a_method_that_stands_in_no_table_gets_a_page_and_a_place_in_the_figure(folder, tmp_path):
    assert OTHERS not in write_tables({"Smiling_Male": read_run_set(folder)}, tmp_path)
    for seed in (100, 200):
        put(folder, "mine:strength=2", seed, [2, 2, 2, 2], biased_model={}, synthetic_data="")
        put(folder, "mixture", seed, [3, 3, 3, 3], synthetic_data="")
        put(folder, "plain", seed, [4, 4, 4, 4])
    column = read_run_set(folder)
    assert OTHERS in write_tables({"Smiling_Male": column}, tmp_path)
    with open(tmp_path / f"{OTHERS}.csv", newline="") as file:
        found = {row["row"]: row["n"] for row in csv.DictReader(file)}
    assert found == dict.fromkeys(["erm", "aim-fair", "mine:strength=2", "mixture", "plain"], "2")
    assert "Methods that stand in no table of the paper" in (tmp_path / f"{OTHERS}.md").read_text()
    assert [family(column, method) for method in ("mine:strength=2", "mixture", "plain", "erm")] == [
        *("fine-tuned on synthetic images", "with synthetic images", "on real images alone", "ERM"),
    ]
    figure = accuracy_and_odds(column)
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert {"fine-tuned on synthetic images", "with synthetic images", "on real images alone"} <= {*legend}
    assert sum(len(points.get_offsets()) for points in figure.axes[0].collections) == len(column.methods)


def test_a_method_of_another_table_is_on_the_page_of_others_if_its_column_lacks_it(tmp_path):
    folder = tmp_path / "Smiling_Male_real-10"
    # full is in table 3, but not in table 2, which has the fractions
    put_all(folder, dict.fromkeys(("erm", "jtt", "full"), [1, 1, 1, 1]), [100])
    assert expand_rows(PAGES[OTHERS], read_run_set(folder)) == ["erm", "aim-fair", "full"]
