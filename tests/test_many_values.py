"""Three targets by three protected values, from an own table to the report, as a user runs it."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from support import ROOT, assert_one_line_error, run_here, run_script

import train
from datasets.values import value_name
from models import resnet18
from prompts import write
from results import summary
from results.report import __main__ as report
from stable_diffusion import faithfulness
from stable_diffusion import judge as judge_file

VALUES = {"Mood": ("calm", "glad", "sad"), "Place": ("Paris", "São Paulo", "東京")}
GROUPS = [f"{mood}_{place}" for mood in VALUES["Mood"] for place in ("Paris", "São-Paulo", "東京")]
FEW = [
    "--weights", "none", "--width", 0.125, "--image-size", 32, "--pre-train-epochs", 1, "--fine-tune-epochs", 1,
    "--batch-size", 16, "--number-train-data-real", 60, "--bias-degree", "1/2", "--number-balanced-synthetic", 4,
    "--number-imbalanced-synthetic", 36, "--number-held-out-synthetic", 2, "--seeds", 1, "--device", "cpu",
]  # fmt: skip
METHODS = [
    "aim-fair", "full", "linear-probe", "cosine", "last-layer", "lff", "jtt", "eiil:steps=5", "group-dro", "cvar-dro",
    "supplement", "ffr", "full:select-by=mean", "full:step=0.5",
]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A table of 9 cells x (12 train + 3 val + 3 test) images, and one of 9 x 8 others: brightness says mood, colour place."""
    folder, rng = tmp_path_factory.mktemp("own"), np.random.default_rng(0)
    tables = {"real.csv": [], "drawn.csv": []}
    for m, mood in enumerate(VALUES["Mood"]):
        for p, place in enumerate(VALUES["Place"]):
            for n in range(26):
                pixels = rng.integers(0, 60, (20, 20, 3)) + 60 * m
                pixels[..., p] += 60
                name = f"{m}{p}{n}.png"
                Image.fromarray(pixels.astype(np.uint8)).save(folder / name)
                split = "train" if n < 12 else "val" if n < 15 else "test"
                if n < 18:
                    tables["real.csv"].append((name, split, mood, place))
                else:
                    tables["drawn.csv"].append((name, "", mood, place))
    for name, rows in tables.items():
        pd.DataFrame(rows, columns=["image", "split", "Mood", "Place"]).to_csv(folder / name, index=False)
    return folder


@pytest.fixture(scope="module")
def run(data):
    done = run_here(train.main, *flags(data, "out"), "--methods", *METHODS)
    assert done.returncode == 0, done.stderr
    return data / "out", done.stdout


def flags(data, output, *more):
    where = ["--dataset", "csv", "--real-data-path", data / "real.csv", "--synthetic-data-root", data / "drawn.csv"]
    return [*where, "--target-sensitive", "Mood_Place", "--output", data / output, *FEW, *more]


def test_every_method_is_recorded_with_the_data_s_own_names(run):
    output, printed = run
    assert "Mood: calm (54), glad (54), sad (54)" in printed
    records = [json.loads(path.read_text()) for path in output.glob("*/seed_1/metrics.json")]
    assert len(records) == 1 + len(METHODS)
    for record in records:
        assert list(record["metrics"]["group_accuracy"]) == GROUPS
        settings = record["settings"].get("biased_model", record["settings"])
        assert settings["values"] == [["calm", "glad", "sad"], ["Paris", "São-Paulo", "東京"]]
    assert load_file(output / "erm" / "seed_1" / "model.safetensors")["fc.weight"].shape == (3, 64)
    logits = pd.read_csv(output / "aim-fair" / "seed_1" / "test_predictions.csv")
    assert list(logits.columns) == ["name", "target", "protected", "logit_0", "logit_1", "logit_2"]
    ranked = pd.read_csv(output / "aim-fair" / "seed_1" / "sensitivity.csv")
    assert len(ranked) == 62 and ranked["bias_gap"].gt(0).all()


def test_summary_report_and_cards_name_groups_and_the_widest_gap(run, data):
    output, _ = run
    done = run_here(summary.main, "--runs", output, "--metrics", "all")
    assert done.returncode == 0, done.stderr
    text = (output / "summary.md").read_text()
    assert "acc sad_東京" in text and "AUROC São-Paulo" in text and "AUROC is the mean of each target" in text
    assert "threshold from val |" not in text
    where = ["--real", data / "real.csv", "--synthetic", data / "drawn.csv"]
    done = run_here(report.main, "--runs", output, *where, "--cards")
    assert done.returncode == 0, done.stderr
    page = (output / "report.html").read_text()
    assert re.search(r"the widest gap is that between Mood (calm|glad|sad), \S.* \([\d.]+ %\) and Mood \1, ", page)
    assert page.count("data:image/jpeg") >= 18 and "Mood calm, Place São-Paulo" in page
    card = (output / "full" / "seed_1" / "README.md").read_text()
    assert "its Mood: calm or glad or sad" in card and "resnet18(num_classes=3)" in card
    assert re.search(r"\| equalized odds difference \|.*\((calm|glad|sad)\\_\S+ to \1\\_\S+\)", card)


def test_texts_speak_of_three_targets(run, data):
    output, _ = run
    text = (output / "summary.md").read_text() + (output / "full" / "seed_1" / "README.md").read_text()
    text += (output / "report.html").read_text()
    for of_two in ("0 or 1 because", "second row", "the mean of both gaps", "whether the target is there or not"):
        assert of_two not in text


@pytest.mark.slow
def test_the_card_s_code_runs(run):
    output, _ = run
    folder = output / "full" / "seed_1"
    blocks = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    Image.new("RGB", (40, 40), "white").save(folder / "face.jpg")
    done = run_script("python", "-c", "\n".join(blocks), cwd=folder)
    assert done.returncode == 0, done.stderr
    shares = json.loads(done.stdout)
    assert len(shares) == 3 and sum(shares) == pytest.approx(1, abs=1e-5)


def test_packed_records_give_the_same_table(run, tmp_path):
    from results.columns import pack_column
    from results.records import read_run_set
    from results.report.page import row_entries

    output, _ = run
    runs = read_run_set(output)
    pack_column(runs, tmp_path / "packed")
    packed = read_run_set(tmp_path / "packed")
    assert packed.logits.empty and packed.predictions.equals(runs.predictions)
    assert row_entries(packed) == row_entries(runs)
    for record in runs.records:
        accuracy = (runs.predictions[f"{record.method}/seed_1"] == runs.predictions["target"]).mean()
        assert accuracy == pytest.approx(record.metrics.accuracy)


def test_other_values_in_the_same_output_are_refused(run, data):
    other = ["--values", "Place=Paris,東京", "--number-train-data-real", 40]
    assert_one_line_error(run_here(train.main, *flags(data, "out", *other)), "values", "--output")


@pytest.mark.parametrize(
    "more, part",
    [
        (("--methods", "full:threshold=val"), "full:threshold=val: 3 targets have no threshold between them"),
        (("--select-by", "best-threshold"), "--select-by best-threshold: 3 targets have no threshold"),
        (("--values", "Mood=calm,bored"), "no image has bored; the data have calm, glad, sad"),
    ],
)
def test_what_cannot_be_is_one_line(data, more, part):
    assert_one_line_error(run_here(train.main, *flags(data, "other", *more)), part)


def test_settings_are_chosen_for_three_targets(data):
    asked = flags(data, "auto", "--methods", "linear-probe:settings=auto")
    done = run_here(train.main, *asked)
    assert done.returncode == 0, done.stderr
    assert json.loads((data / "auto/linear-probe_settings=auto/seed_1/metrics.json").read_text())["chosen"]["step"] > 0


def test_a_prompt_file_of_other_groups_is_refused_before_anything_is_drawn(data, tmp_path):
    words = ["--target", "calm=calm|glad=happy|sad=sad", "--protected", "Paris=in Paris|Rome=in Rome", "--count", 3]
    sentence = ["--sentence", "Photo of a {Mood} {age} face {Place}", "--output", tmp_path / "prompts.json"]
    done = run_here(write.main, "--template", "--target-sensitive", "Mood_Place", *words, *sentence)
    assert done.returncode == 0, done.stderr
    assert list(json.loads((tmp_path / "prompts.json").read_text())["prompts"]["plain"])[:2] == [
        "calm_Paris",
        "calm_Rome",
    ]
    asked = ["--dry-run", "--no-estimate", "--synthetic-data-root", tmp_path, "--images-to-come", "contextual=90"]
    done = run_here(train.main, *flags(data, "dry", *asked, "--prompts", tmp_path / "prompts.json"))
    assert_one_line_error(done, "no prompts for group calm_São-Paulo, calm_東京, glad_São-Paulo", "--values")
    fits = ["--values", "Place=Paris,東京", "--number-train-data-real", 40]
    renamed = (tmp_path / "prompts.json").read_text().replace("Rome", "東京")
    (tmp_path / "prompts.json").write_text(renamed)
    done = run_here(train.main, *flags(data, "dry", *asked, *fits, "--prompts", tmp_path / "prompts.json"))
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def narrow(num_classes):
    network = resnet18.build(0.125)
    network.fc = torch.nn.Linear(network.fc.in_features, num_classes)
    return network


def test_a_judge_of_many_values_finds_the_wrong_image(data, tmp_path, monkeypatch):
    monkeypatch.setattr(judge_file, "resnet18", narrow)
    made, judge = tmp_path / "Mood_Place" / "plain", tmp_path / "judge.safetensors"
    drawn = pd.read_csv(data / "drawn.csv")
    for name, mood, place in drawn[["image", "Mood", "Place"]].itertuples(index=False):
        group = made / f"{mood}_{value_name(place)}"
        group.mkdir(parents=True, exist_ok=True)
        shutil.copy(data / name, group / name)
    right = made / "sad_東京" / drawn["image"].iloc[-1]
    wrong = made / "calm_Paris" / right.name
    right.rename(wrong)
    flags = ["--images", made, "--judge", judge, "--device", "cpu", "--cache", tmp_path / "cache"]
    learned = ["--data", data / "real.csv", "--dataset", "csv", "--image-size", 20, "--epochs", 40, "--lr", 0.05]
    done = run_here(faithfulness.main, *flags, *learned)
    assert done.returncode == 0, done.stderr
    scores = pd.read_csv(made / "faithfulness.csv", index_col="image")
    assert list(scores)[:3] == ["Mood", "Place", "faithfulness"] and len(scores) == 72
    wrong = wrong.relative_to(made).as_posix()
    assert scores["faithfulness"].idxmin() == wrong and scores.loc[wrong, ["Mood", "Place"]].lt(0.5).all()
    assert (scores["faithfulness"] >= 0.5).mean() > 0.9
    of_labelled, of_drawn = (done.stdout.partition("images of ")[place] for place in (0, 2))
    assert all(group in text for group in GROUPS for text in (of_labelled, of_drawn))
    first = (made / "faithfulness.csv").read_bytes()
    (made / "faithfulness.csv").unlink()
    assert run_here(faithfulness.main, *flags).returncode == 0  # the file knows the values
    assert (made / "faithfulness.csv").read_bytes() == first
    others = ["--values", "Mood=sad,glad,calm"]
    assert_one_line_error(
        run_here(faithfulness.main, *flags, *learned, *others), "judge.safetensors", "sad, glad, calm"
    )
    assert_one_line_error(run_here(faithfulness.main, *flags, *others), "--values goes with --data")
    judge.unlink()
    few = ["--values", "Mood=calm,glad"]
    assert_one_line_error(run_here(faithfulness.main, *flags, *learned, *few), "sad_Paris", "calm_東京", "--values")


def test_a_judge_leaves_out_images_without_all_labels(data, tmp_path):
    table = pd.read_csv(data / "real.csv")
    table.loc[table.index[:5], "Place"] = None  # of the train split
    table.to_csv(data / "partly.csv", index=False)
    labelled = judge_file.Labelled("csv", data / "partly.csv", "Mood_Place", tmp_path)
    pixels, labels = labelled.read("train")
    assert len(pixels) == len(labels) == 9 * 12 - 5
    assert judge_file.value_numbers(labels, labelled.pair).tolist()[:8] == [[0, 0]] * 7 + [[0, 1]]


@pytest.mark.slow
def test_runner_chains_the_stages(data):
    done = run_script("bash", ROOT / "runner.sh", *flags(data, "chain"), "--methods", "aim-fair")
    assert done.returncode == 0, done.stderr
    assert (data / "chain" / "report.html").exists()
