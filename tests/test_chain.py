"""The real entry points end to end, at a size that takes seconds."""

import csv
import json
import shutil

import pandas as pd
import pytest
from PIL import Image
from safetensors.torch import load_file
from support import ROOT, assert_one_line_error, run_here, run_script, small
from support.small import SMALL, train

import train as train_script
from datasets.celeba import image_folder, read_attributes, read_partition
from datasets.pairs import groups_of
from models import run
from models.options import parse_method
from models.settings import Settings
from results import summary
from stable_diffusion import generate, train_generator
from stable_diffusion.train_generator import read_captioned_folder
from utils.checkpoint import Unfinished
from utils.errors import UserError


@pytest.fixture(scope="module")
def trained(toy, synthetic, tmp_path_factory):
    output = tmp_path_factory.mktemp("trained")
    done = train(toy, synthetic, output, "--seeds", 100, 200)
    assert done.returncode == 0, done.stderr
    return output, done


def test_records(trained, toy):
    output, _ = trained
    for seed in (100, 200):
        erm, fair = output / "erm" / f"seed_{seed}", output / "aim-fair" / f"seed_{seed}"
        for folder in (erm, fair):
            record = json.loads((folder / "metrics.json").read_text())
            assert record["seed"] == seed and {"settings", "versions", "device", "commit", "seconds"} <= record.keys()
            predictions = pd.read_csv(folder / "test_predictions.csv")
            right = (predictions["logit"] > 0) == predictions["target"]
            assert right.mean() == pytest.approx(record["metrics"]["accuracy"])
            assert (predictions["target"].to_numpy() == (read_attributes(toy)["Smiling"][-40:] > 0)).all()
            val = pd.read_csv(folder / "val_predictions.csv")
            assert list(val) == list(predictions) and not set(val["name"]) & set(predictions["name"])
            right = (val["logit"] > 0) == val["target"]
            assert right.mean() == pytest.approx(record["val_metrics"]["accuracy"])
            assert len(pd.read_csv(folder / "curve.csv")) == 1
        sensitivity = pd.read_csv(fair / "sensitivity.csv")
        assert len(sensitivity) == 62
        chosen = (sensitivity["domain_rank"] <= 55) & (sensitivity["bias_rank"] <= 55)
        assert (sensitivity["chosen"] == chosen).all() and 48 <= chosen.sum() <= 55
        assert sensitivity["tied"].dtype == bool and not sensitivity["tied"].all()
        before, after = load_file(erm / "model.safetensors"), load_file(fair / "model.safetensors")
        moved = {name for name in sensitivity["name"] if not before[name].equal(after[name])}
        assert moved == set(sensitivity["name"][chosen])


def test_summary_lists_both_methods(trained):
    output, done = trained
    table = (output / "summary.md").read_text()
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:4]] == ["erm", "aim-fair"]
    assert "EO max" in done.stdout and "AUROC" not in table and not (output / "metrics.csv").exists()


def test_more_metrics_come_from_what_was_recorded(trained, tmp_path):
    runs = shutil.copytree(trained[0], tmp_path / "runs")
    assert run_here(summary.main, "--runs", runs, "--metrics", "all").returncode == 0
    table = pd.read_csv(runs / "metrics.csv").set_index(["method", "seed", "metric"])
    assert len(table) == 2 * 2 * 13 and table["at_chosen_threshold"].notna().all()
    record = json.loads((runs / "erm" / "seed_100" / "metrics.json").read_text())
    for metric, key in (("ACC", "accuracy"), ("WST", "worst_group_accuracy"), ("EO max", "equalized_odds")):
        assert table.loc[("erm", 100, metric), "value"] == pytest.approx(100 * record["metrics"][key], abs=1e-4)


def test_again_changes_nothing_and_more_seeds_are_added(trained, toy, synthetic):
    output, _ = trained
    before = {path: path.stat().st_mtime_ns for path in output.glob("*/seed_*/*")}
    again = train(toy, synthetic, output, "--seeds", 100, 200, 300)
    assert again.returncode == 0 and again.stdout.count("recorded already") == 4
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert (output / "aim-fair" / "seed_300" / "metrics.json").exists()
    for method in ("erm", "aim-fair"):
        shutil.rmtree(output / method / "seed_300")


@pytest.mark.slow
def test_runs_are_repeatable(trained, toy, synthetic, tmp_path):
    output, _ = trained
    assert train(toy, synthetic, tmp_path, "--seeds", 200, "--deterministic").returncode == 0
    for method in ("erm", "aim-fair"):
        name = f"{method}/seed_200/test_predictions.csv"
        assert (tmp_path / name).read_text() == (output / name).read_text()


@pytest.mark.slow
def test_bf16_repeats_itself_too(toy, synthetic, tmp_path):
    results = []
    for name in "ab":
        flags = ["--seeds", 200, "--precision", "bf16", "--width", 0.125]
        assert train(toy, synthetic, tmp_path / name, *flags).returncode == 0
        results.append((tmp_path / name / "aim-fair" / "seed_200" / "test_predictions.csv").read_text())
    assert results[0] == results[1]


COMPARISONS = [
    "cvar-dro", "lff", "jtt", "jtt:protocol=published", "eiil:steps=20", "group-dro", "synthetic-only", "supplement", "repair", "linear-probe", "full",
    "update-block-2", "freeze-block-stem", "random-mask:share=0.4,draw=2", "cosine", "aim-fair:bias-degree=1/1",
    "blocks:update=stem+fc", "full:repeat=2", "criterion:by=ratio,share=0.1", "criterion:share=0.3,unit=weight",
    "aim-fair:ratio=0.5", "aim-fair:top-k=auto",
]  # fmt: skip


@pytest.fixture(scope="module")
def compared(toy, synthetic, tmp_path_factory):
    output = tmp_path_factory.mktemp("compared")
    few = ["--number-train-data-real", 24, "--number-held-out-synthetic", 2, "--seeds", 100, "--width", 0.125]
    done = train(toy, synthetic, output, *few, "--methods", *COMPARISONS)
    assert done.returncode == 0, done.stderr
    return output


@pytest.mark.slow
def test_every_comparison_is_recorded(compared):
    records = [json.loads(path.read_text()) for path in compared.glob("*/seed_100/metrics.json")]
    candidates = {f"aim-fair:top-k={k}" for k in (40, 45, 50, 60)} | {"aim-fair"}
    assert {record["method"] for record in records} == {"erm", *COMPARISONS} | candidates
    table = (compared / "summary.md").read_text()
    assert all(f"| {method} | 1 |" in table for method in COMPARISONS)
    by_method = {record["method"]: record for record in records}
    assert by_method["repair"]["settings"]["number_balanced_synthetic"] == {"0_0": 6, "0_1": 0, "1_0": 0, "1_1": 6}
    assert by_method["aim-fair:ratio=0.5"]["settings"]["number_balanced_synthetic"] == 3


@pytest.mark.slow
def test_only_the_tensors_of_a_method_move(compared):
    def moved(method):
        return small.moved(small.weights(compared, "erm", 100), small.weights(compared, method, 100))

    everything = moved("full")
    assert len(everything) == 62
    assert moved("linear-probe") == {"fc.weight", "fc.bias"}
    assert moved("update-block-2") == {name for name in everything if name.startswith("layer2.")}
    assert moved("freeze-block-stem") == {name for name in everything if not name.startswith(("conv1.", "bn1."))}
    assert moved("blocks_update=stem+fc") == {name for name in everything if name.startswith(("conv1.", "bn1.", "fc."))}
    assert len(moved("random-mask_share=0.4,draw=2")) == 25
    chosen = pd.read_csv(compared / "criterion_by=ratio,share=0.1" / "seed_100" / "criterion.csv").query("chosen")[
        "name"
    ]
    assert moved("criterion_by=ratio,share=0.1") == set(chosen) and len(chosen) == 6
    before, after = (small.weights(compared, name, 100) for name in ("erm", "criterion_share=0.3,unit=weight"))
    table = pd.read_csv(compared / "criterion_share=0.3,unit=weight" / "seed_100" / "criterion.csv")
    assert table["chosen"].sum() == round(0.3 * table["weights"].sum())
    for name, number in zip(table["name"], table["chosen"], strict=True):
        assert (before[name] != after[name]).sum() <= number
    assert (before["fc.weight"] != after["fc.weight"]).any()


@pytest.mark.slow
def test_a_repetition_draws_other_batches_from_the_same_biased_model(compared):
    first, again = (compared / name / "seed_100" for name in ("full", "full_repeat=2"))
    assert (first / "model.safetensors").read_bytes() != (again / "model.safetensors").read_bytes()
    settings = [json.loads((folder / "metrics.json").read_text())["settings"] for folder in (first, again)]
    assert settings[1] == settings[0] | {"repeat": 2}


@pytest.mark.slow
def test_auto_top_k_is_the_choice_without_the_test_set(compared):
    folder = compared / "aim-fair_top-k=auto" / "seed_100"
    record, table = json.loads((folder / "metrics.json").read_text()), pd.read_csv(folder / "top_k.csv")
    good = table[table["val_accuracy"] >= table["val_accuracy"].max() - 0.01 - 1e-9]
    best = good.sort_values(["held_out_equalized_odds", "val_accuracy"], ascending=[True, False], kind="stable").iloc[0]
    assert record["chosen_top_k"] == best["top_k"]
    source = "aim-fair" if best["top_k"] == 55 else f"aim-fair_top-k={best['top_k']:.0f}"
    for name in ("test_predictions.csv", "model.safetensors"):
        assert (folder / name).read_bytes() == (compared / source / "seed_100" / name).read_bytes()
    assert set(record["held_out_metrics"]["group_count"].values()) == {2}


def test_auto_top_k_says_what_it_lacks(toy, synthetic, tmp_path):
    failed = train(toy, synthetic, tmp_path, "--seeds", 1, "--top-k", "auto")
    assert_one_line_error(failed, "has 6 of 504", "--number-held-out-synthetic")


def test_records_from_before_a_setting_came_match_where_it_is_as_it_was():
    later = {"drop_last", "crop_scale", "select_by"}
    before = Settings(real_data_path=None, keep_last_batch=True).of_pre_training()
    assert not later & before.keys()
    now = Settings(real_data_path=None, crop_scale=(0.6, 1.0), select_by="worst-group").of_pre_training()
    assert {key: now[key] for key in later} == {"drop_last": True, "crop_scale": [0.6, 1.0], "select_by": "worst-group"}
    flags = {"top-k": 55, "prompt-type": "contextual", "bias-degree": "1/9"}
    methods = [parse_method(text, train_script.METHODS, flags) for text in ("lff", "lff:protocol=published")]
    assert methods[0].recorded() == {"q": 0.7, "momentum": 0.7}
    assert methods[1].recorded() == {"q": 0.7, "momentum": 0.7, "protocol": "published"}


def test_flags_of_training_reach_both_stages(toy, synthetic, tmp_path, monkeypatch):
    seen, fit = [], run.fit

    def spy(model, data, val, schedule, compute, *more, **options):
        seen.append((options["label"], schedule.select_by, compute.crop_scale, compute.keep_last_batch))
        return fit(model, data, val, schedule, compute, *more, **options)

    monkeypatch.setattr(run, "fit", spy)
    gradients, batches = [], run.train_batches
    monkeypatch.setattr(
        run, "train_batches", lambda data, compute, *r: gradients.append(compute) or batches(data, compute, *r)
    )
    flags = ["--crop-scale", 0.6, 1, "--select-by", "worst-group", "--keep-last-batch", "--width", 0.125]
    assert train(toy, synthetic, tmp_path, "--seeds", 1, *flags).returncode == 0
    asked = "val_worst_group_accuracy", (0.6, 1.0), True
    assert seen == [("seed 1 pre-train", *asked), ("seed 1 fine-tune, k 55", *asked)]
    # a short batch would weigh as much as a whole one in a mean over batches
    assert [(c.crop_scale, c.keep_last_batch) for c in gradients] == 3 * [((0.6, 1.0), False)]


def test_a_record_from_before_the_last_batch_was_left_out_says_what_goes_on_with_it(toy, synthetic, tmp_path):
    assert train(toy, synthetic, tmp_path, "--seeds", 1, "--keep-last-batch", "--width", 0.125).returncode == 0
    refused = train(toy, synthetic, tmp_path, "--seeds", 1, "--width", 0.125)
    assert_one_line_error(refused, "drop_last: None there, True asked", "add --keep-last-batch")


def test_other_settings_in_the_same_output_are_refused(trained, toy, synthetic):
    output, _ = trained
    assert_one_line_error(train(toy, synthetic, output, "--seeds", 100, "--top-k", 50), "top_k: 55 there, 50 asked")


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (["--seeds", 100, "--network", "mobilenet_v3_small"], "network: None there, 'mobilenet_v3_small' asked"),
        (["--seeds", 100, "--fine-tune-lr", 0.5], "aim-fair/seed_100 was made with other settings (lr: 0.06 there"),
        (["--seeds", 300, "--pre-train-lr", 0.5], "erm/seed_100 was made with other settings (lr: 0.01 there"),
        (["--seeds", 300, "--methods", "full", "--pre-train-lr", 0.5], "erm/seed_100 was made with other"),
        (["--seeds", 300, "--real-crop", 0, 0, 1, 0.5], "real_crop"),
        (["--seeds", 300, "--decode-size", 16], "data: {'train': '40 images"),  # known by the pixels alone
        (["--seeds", 300, "--number-train-data-real", 24], "number_train_data_real: 40 there, 24 asked"),
    ],
)
def test_a_dry_run_refuses_what_clashes_with_what_is_recorded(trained, toy, tmp_path, flags, part):
    """Also with records of other seeds, which the tables average; the synthetic images are drawn after this."""
    refused = train(toy, tmp_path / "nothing drawn yet", trained[0], *flags, "--dry-run", "--no-estimate")
    assert_one_line_error(refused, part, "choose another --output")


def test_a_dry_run_accepts_what_fits_what_is_recorded(trained, toy, tmp_path):
    flags = ["--seeds", 100, 300, "--methods", "aim-fair", "full", "group-dro", "--dry-run", "--no-estimate"]
    assert train(toy, tmp_path / "nothing drawn yet", trained[0], *flags).returncode == 0


def test_a_copied_record_is_refused_before_anything_begins_with_it(trained, toy, synthetic, tmp_path):
    output = shutil.copytree(trained[0], tmp_path / "out")
    shutil.copytree(output / "erm" / "seed_100", output / "erm" / "seed_300")
    refused = train(toy, synthetic, output, "--seeds", 300, "--dry-run", "--no-estimate")
    assert_one_line_error(refused, "erm/seed_100 and", "erm/seed_300 both hold erm of seed 100")


def test_a_dry_run_refuses_another_biased_model_than_that_of_recorded_methods(trained, toy, synthetic, tmp_path):
    """The methods of a seed whose erm was removed would stand beside one that they did not begin with."""
    output = shutil.copytree(trained[0], tmp_path / "out")
    shutil.rmtree(output / "erm")
    flags = ["--seeds", 300, "--methods", "full", "--pre-train-lr", 0.5, "--dry-run", "--no-estimate"]
    refused = train(toy, synthetic, output, *flags)
    assert_one_line_error(refused, f"the biased model of {output}/aim-fair/seed_100 was made with other settings (lr:")


def test_a_dry_run_refuses_other_settings_than_those_of_an_unfinished_training(trained, toy, synthetic, tmp_path):
    output = shutil.copytree(trained[0], tmp_path / "out")
    for method in ("erm", "aim-fair"):
        settings = json.loads((output / method / "seed_100" / "metrics.json").read_text())["settings"]
        Unfinished(output / method / "seed_100", settings)
        for folder in (output / method).glob("seed_*"):
            shutil.rmtree(folder)
    flags = ["--seeds", 100, "--dry-run", "--no-estimate"]
    assert train(toy, synthetic, output, *flags).returncode == 0
    refused = train(toy, synthetic, output, *flags, "--pre-train-lr", 0.5)
    assert_one_line_error(refused, "the unfinished run in", "which may be removed, was made with other settings (lr:")
    assert train(toy, synthetic, output, *flags[2:], "--seeds", 300, "--pre-train-lr", 0.5).returncode == 0


def test_images_drawn_anew_between_two_seeds_are_refused_before_anything_is_trained(trained, toy, synthetic, tmp_path):
    output, other = shutil.copytree(trained[0], tmp_path / "out"), shutil.copytree(synthetic, tmp_path / "synthetic")
    for path in other.glob("*/*/*/*.png"):
        Image.effect_noise((32, 32), 90).convert("RGB").save(path)
    refused = train(toy, other, output, "--seeds", 300)
    assert_one_line_error(refused, "aim-fair/seed_100 was made with other settings (synthetic_data:")
    assert not (output / "erm" / "seed_300").exists()


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (["--target-sensitive", "Smilng_Male"], ["Smiling"]),
        (["--target-sensitive", "Smiling_Young"], ["generation.sh"]),
        (["--number-train-data-real", 4000], ["largest size that works", "--number-train-data-real"]),
        (["--number-balanced-synthetic", 7], ["0_0 has 6 of 7", "--images-per-cell 7"]),
        (["--bias-degree", "9"], ["--bias-degree"]),
        (["--images-to-come", "contextual=200"], ["--images-to-come is for a dry run"]),
        (
            ["--dry-run", "--number-balanced-synthetic", 7, "--images-to-come", "contextual=6"],
            ["0_0 has 6 of 7", "--images-per-cell 7"],
        ),
        (
            ["--dry-run", "--methods", "auto", "--images-to-come", "contextual=6"],
            ["0_0 has 6 of 504", "--number-held-out-synthetic"],
        ),
        (["--dry-run", "--images-to-come", "6"], ["--images-to-come", "TYPE=N"]),
        (["--top-k", 63], ["1 to 62"]),
        (["--top-k", 1], ["smallest value that does"]),
        (["--device", "cuda"], ["no usable GPU"]),
        (["--weights", "nowhere.pth"], ["nowhere.pth"]),
        (["--real-data-path", "nowhere"], ["nowhere", "--real-data-path"]),
        (["--methods", "magic"], ["no method magic"]),
        (["--methods", "synthetic-only:ratio=0.001"], ["leaves no synthetic image"]),
        (["--methods", "aim-fair:k=3"], ["no option 'k'", "top-k"]),
        (["--top-k", "some"], ["--top-k"]),
        (["--crop-scale", 0.8, 0.6], ["--crop-scale 0.8 0.6", "smaller one first"]),
        (["--device", "mps"], ["--device mps", "doesn't have it"]),
        (["--device", "meta"], ["--device meta", "doesn't have it"]),
    ],
)
def test_bad_input_is_one_line(toy, synthetic, tmp_path, flags, parts):
    assert_one_line_error(train(toy, synthetic, tmp_path / "out", "--seeds", 1, *flags), *parts)


def runner(results, *more):
    return run_script(
        "bash", "runner.sh", "--real-data-path", results / "real", "--synthetic-data-root", results / "synthetic", "--output",
        results / "train", "--images-per-cell", 6, "--steps", 2, "--generation-batch-size", 8, "--guidance-until", 0.5,
        "--fuse-projections", *SMALL, "--width", 0.125, "--seeds", 100, *more,
    )  # fmt: skip


@pytest.mark.slow
def test_runner_chains_the_stages_and_skips_them_the_second_time(toy, tmp_path):
    shutil.copytree(toy, tmp_path / "real")
    first = runner(tmp_path)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "AIM-Fair on toy" in first.stdout and str(tmp_path / "train" / "summary.md") in first.stdout
    made = tmp_path / "synthetic" / "Smiling_Male" / "contextual"
    assert len(list(made.glob("*/*.png"))) == 24
    settings = json.loads((made / "manifest.jsonl").read_text().splitlines()[0])["settings"]
    assert settings["guidance_until"] == 0.5 and settings["fuse_projections"] is True
    report, card = tmp_path / "train" / "report.html", tmp_path / "train" / "aim-fair" / "seed_100" / "README.md"
    page = report.read_text()
    assert page.count("data:image/jpeg") == 8 and "AIM-Fair" in page and "seed 100" in page and card.exists()
    assert f"Command, as typed</dt><dd><code>bash runner.sh --real-data-path {tmp_path / 'real'} " in page
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*/seed_*/*")}
    second = runner(tmp_path)
    assert report.read_text() == page
    assert second.returncode == 0 and second.stdout.count("recorded already") == 2
    assert files and all(path.stat().st_mtime_ns == time for path, time in files.items())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (["--dataset", "celeba"], ["required: --real-data-path"]),
        (["--dataset", "mnist"], ["invalid choice: 'mnist'", "csv"]),
        (["--seeds"], ["--seeds needs a value"]),
        (["oops"], ["unexpected argument oops"]),
    ],
)
def test_runner_refuses_bad_input_before_it_starts(flags, parts):
    assert_one_line_error(run_script("bash", ROOT / "runner.sh", *flags), *parts)


@pytest.mark.slow
def test_runner_finds_a_bad_training_flag_before_it_generates(toy, tmp_path):
    shutil.copytree(toy, tmp_path / "real")
    failed = runner(tmp_path, "--top-k", "0")
    assert_one_line_error(failed, "--top-k 0")
    assert not (tmp_path / "synthetic").exists()


@pytest.mark.slow
def test_own_images_in_eight_groups(toy, tmp_path):
    shutil.copytree(image_folder(toy), tmp_path / "images")
    table = read_attributes(toy).gt(0).astype(int)
    table.insert(0, "split", read_partition(toy)[table.index])
    table.index = "images/" + table.index
    train = table["split"] == "train"
    table[train].to_csv(tmp_path / "other.csv", index_label="image")
    table["Young"] = table["Young"].astype(str).where(~train, "")  # unknown where the method does not need it
    table.to_csv(tmp_path / "faces.csv", index_label="image")
    done = run_script(
        "bash", ROOT / "runner.sh", "--dataset", "csv", "--real-data-path", tmp_path / "faces.csv", "--target-sensitive",
        "Smiling_MaleYoung", "--synthetic-data-root", tmp_path / "other.csv", "--output", tmp_path / "out", "--cache",
        tmp_path / "cache", "--weights", "none", "--image-size", 32, "--number-balanced-synthetic", 4,
        "--number-imbalanced-synthetic", 32, "--bias-degree", "1/2", "--pre-train-epochs", 1, "--fine-tune-epochs", 1,
        "--batch-size", 32, "--seeds", 100, "--device", "cpu",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out" / "aim-fair" / "seed_100" / "metrics.json").read_text())
    assert list(record["metrics"]["group_accuracy"]) == list(groups_of(2))
    assert record["settings"]["biased_model"]["number_train_data_real"] == 160
    assert "acc 1_11" in (tmp_path / "out" / "summary.md").read_text()
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("data:image/jpeg") == 16 and "not Smiling, Male, not Young" in page and "your own images" in page
    assert '<th scope="row">real, train</th>' + 8 * "<td>–</td>" + "<td>160</td>" in page  # Young is unknown there


@pytest.mark.slow
def test_generator_is_trained_from_a_captioned_folder(toy, tmp_path):
    done = run_here(
        train_generator.main, "--data", toy, "--output", tmp_path / "model", "--size", 32,
        "--autoencoder-steps", 2, "--steps", 2, "--autoencoder-batch-size", 2, "--batch-size", 2, "--precision", "fp32",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = run_here(
        generate.main, "--model", tmp_path / "model", "--outdir", tmp_path / "out",
        "--images-per-cell", 1, "--steps", 1, "--size", 32, "--save-size", 32, "--prompt-type", "plain",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert len(list((tmp_path / "out").rglob("[01]_[01]/*.png"))) == 4


def test_captioned_folder_names_what_is_missing(tmp_path):
    with pytest.raises(UserError, match=r"captions\.csv"):
        read_captioned_folder(tmp_path, 32)
    with open(tmp_path / "captions.csv", "w", newline="") as file:
        csv.writer(file).writerows([("image", "caption"), ("a.png", "a face")])
    with pytest.raises(UserError, match=r"line 2.*a\.png"):
        read_captioned_folder(tmp_path, 32)
