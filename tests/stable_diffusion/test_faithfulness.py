"""Scores of generated images, and training without those that score low."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from support import assert_one_line_error, run_here
from support.scores import score
from support.small import SMALL

import train
from datasets.celeba import group_names, image_folder, split_attributes
from datasets.pairs import GROUPS, Pair
from prompts import TOKENIZER, find_prompt_file, read_prompts
from stable_diffusion import faithfulness
from stable_diffusion.fractions import as_asked, differences, fraction_right

WHERE = Path("made", "Smiling_Male", "contextual")


def read(folder):
    return pd.read_csv(folder / "faithfulness.csv", index_col="image")


def plain_clip(folder, path, words):
    """The probability of `words["1"]` against `words["0"]`, one text and one image at a time."""
    from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

    model, tokenizer = CLIPModel.from_pretrained(folder).eval(), CLIPTokenizer.from_pretrained(folder)
    pixels = CLIPImageProcessor.from_pretrained(folder)(Image.open(path).convert("RGB"), return_tensors="pt")
    logits = []
    for value in "01":
        with torch.no_grad():
            texts = [f"a photo, {word}" for word in words[value]]
            found = [model(**tokenizer(text, return_tensors="pt"), **pixels) for text in texts]
        mean = sum(each.text_embeds[0].double() for each in found) / len(found)
        cosine = found[0].image_embeds[0].double() @ mean / mean.norm()
        logits.append(float(model.logit_scale.detach().exp() * cosine))
    return 1 / (1 + np.exp(logits[0] - logits[1]))


def test_clip_scores_are_those_of_a_plain_computation(clip, made):
    """Also where a value has several words, as the hair that is not blond."""
    blond = made.parent.parent / "BlondHair_Male" / "plain"
    shutil.copytree(made, blond)
    done = score(blond, "--clip", clip)
    assert done.returncode == 0, done.stderr
    table, prompts = read(blond), read_prompts(find_prompt_file("BlondHair_Male"))
    assert len(table) == 24 and list(table)[:3] == ["BlondHair", "Male", "faithfulness"]
    for image in (table.index[0], table.index[-1]):  # 0_0 and 1_1
        asked = image[0] == "1"
        for name in ("BlondHair", "Male"):
            present = plain_clip(clip, blond / image, prompts.words[name])
            assert table.loc[image, name] == pytest.approx(present if asked else 1 - present, abs=1e-5)
    assert (table["faithfulness"] == table[["BlondHair", "Male"]].min(axis=1)).all()
    assert table["BlondHair"].nunique() > 12


def test_what_is_scored_is_kept_and_what_is_new_or_changed_is_added(clip, made):
    assert score(made, "--clip", clip).returncode == 0
    first, table = (made / "faithfulness.csv").read_bytes(), read(made)
    assert "24 of 24 images are scored" in score(made, "--clip", clip).stdout
    assert (made / "faithfulness.csv").read_bytes() == first
    gone, changed, same = table.index[[0, 1, 2]]
    marked = table.assign(Smiling=0.123456)
    marked.to_csv(made / "faithfulness.csv")
    (made / gone).unlink()
    Image.new("RGB", (32, 32), "red").save(made / changed)
    Image.new("RGB", (32, 32), "blue").save(made / "0_0" / "new.png")
    assert "22 of 24 images are scored" in score(made, "--clip", clip).stdout
    again = read(made)
    assert gone not in again.index and "0_0/new.png" in again.index
    assert again.loc[same, "Smiling"] == 0.123456 != again.loc[changed, "Smiling"]
    other = score(made, "--clip", clip, "--template", "a face, {}", "--precision", "bf16")
    assert "0 of 24 images are scored" in other.stdout
    [aside] = made.glob("faithfulness_*.csv")
    assert pd.read_csv(aside, index_col="image").equals(again) and aside.name in other.stdout


def test_a_group_that_is_spoiled_is_found(toy, made, monkeypatch):
    """Faces of another group lie in one: the table, the sentence, the sheet and the scores say so."""
    shutil.rmtree(made / "1_1")
    shutil.copytree(made / "0_1", made / "1_1")
    labels = split_attributes(toy)["train"][["Smiling", "Male"]].gt(0)

    def knows_all(paths):
        present = labels.loc[[path.name for path in paths]].to_numpy() * 0.9 + 0.05
        return [np.stack([1 - each, each], axis=1) for each in present.T]

    monkeypatch.setattr(faithfulness, "by_clip", lambda *_: (Pair("Smiling", ("Male",)), knows_all, "labels"))
    assert_one_line_error(score(made.parent), "no image in 0_0, 0_1, 1_0, 1_1")
    done = score(made)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[1:] for line in lines if line.startswith("1_1")] == [["0.0", "100.0", "0.0", "6"]]
    said = [line.partition(":")[0] for line in lines if "0.0 % of 1_1 are as asked" in line and "is a bias" in line]
    assert said == ["Smiling", "all"]
    table = read(made)
    spoiled = table.index.str.startswith("1_1")
    assert (table["faithfulness"] == np.where(spoiled, 0.05, 0.95)).all()
    with Image.open(made / "faithfulness_worst.png") as sheet:
        assert np.asarray(sheet)[30:, : 6 * 98].std() > 10
    assert "6 images do not show what they should" in done.stdout
    shutil.rmtree(made / "1_1")
    assert "no more than by chance" in score(made).stdout
    assert not (made / "faithfulness_worst.png").exists() and len(read(made)) == 18


def test_of_many_values_the_likeliest_counts():
    """0.4 of five values is right if no other is likelier, and its score compares with that of two values."""
    five = np.array([[0.4, 0.3, 0.1, 0.1, 0.1], [0.3, 0.4, 0.1, 0.1, 0.1]])
    two = np.array([[0.25, 0.75], [0.25, 0.75]])
    found = as_asked([five, two], np.array([[0, 1], [0, 0]]))
    assert found == pytest.approx(np.array([[0.4 / 0.7, 0.75], [0.3 / 0.7, 0.25]]))


def test_what_a_kill_leaves_is_gone_on_with(made, monkeypatch):
    calls = []

    def scores(paths):
        calls.append(len(paths))
        if len(calls) == 3:
            raise KeyboardInterrupt
        present = np.full(len(paths), np.nan if len(calls) == 4 else 0.25)
        return [np.stack([1 - present, present], axis=1)] * 2

    monkeypatch.setattr(faithfulness, "CHUNK", 5)
    monkeypatch.setattr(faithfulness, "by_clip", lambda *_: (Pair("Smiling", ("Male",)), scores, "a scorer"))
    assert score(made).returncode == 130 and len(read(made)) == 10
    assert_one_line_error(score(made), "a scorer: its probabilities are not finite")
    assert "10 of 24 images are scored" in score(made).stdout and calls[4:] == [5, 5, 4]
    assert read(made)["faithfulness"].tolist() == [0.75] * 6 + [0.25] * 18


def test_a_judge_learns_from_labelled_faces_and_is_kept(toy, made, tmp_path):
    flags = ["--image-size", 32, "--cache", tmp_path / "cache", "--judge", tmp_path / "judge.safetensors"]
    assert_one_line_error(score(made, *flags), "judge.safetensors", "--data DIR")
    shutil.rmtree(made)
    for name, group in group_names(split_attributes(toy)["test"], Pair("Smiling", ("Male",))).items():
        (made / group).mkdir(parents=True, exist_ok=True)
        (made / group / name).symlink_to(image_folder(toy) / name)
    done = score(made, *flags, "--data", toy, "--epochs", 1)
    assert done.returncode == 0, done.stderr
    measured = [line for line in done.stdout.splitlines() if line.startswith(GROUPS)]
    assert len(measured) == 8 and measured[:4] == measured[4:]  # the labelled test faces, and the same as if generated
    first = (made / "faithfulness.csv").read_bytes()
    (made / "faithfulness.csv").unlink()
    again = run_here(faithfulness.main, "--images", made, "--device", "cpu", "--data", toy, *flags, "--image-size", 64)
    assert "judge:" not in again.stderr and (made / "faithfulness.csv").read_bytes() == first
    alone = score(made, *flags)  # the file knows its attributes
    assert alone.returncode == 0 and "40 of 40 images are scored" in alone.stdout and "labelled" not in alone.stdout
    other = tmp_path / "made" / "Smiling_Young" / "plain"
    shutil.copytree(made, other)
    assert_one_line_error(score(other, *flags), "it judges Smiling, Male", "Smiling_Young")
    (tmp_path / "judge.safetensors").write_bytes(b"cut off")
    assert_one_line_error(score(made, *flags), "judge.safetensors is damaged", "remove it")


def test_fractions_and_what_they_differ_by():
    table = pd.DataFrame({"group": np.repeat(GROUPS, 200), "Smiling": 1.0, "Male": 0.5})
    table.loc[:29, "Smiling"] = 0.4  # 30 of 200 in 0_0
    table.loc[200:201, "Male"] = 0.49  # 2 of 200 in 0_1
    fractions = fraction_right(table, ("Smiling", "Male"))
    assert fractions.loc["0_0"].tolist() == [85, 100, 85, 200] and fractions.loc["0_1"].tolist() == [100, 99, 99, 200]
    assert len(differences(fractions.loc[["0_0", "0_1"]])) == 2  # two groups are enough
    smiling, every = differences(fractions)
    assert smiling.startswith(
        "Smiling: 100.0 % of 0_1 but 85.0 % of 0_0 are as asked, 15.0 points apart (standard error 2.6"
    )
    assert every.startswith("all: 100.0 % of 1_0 but 85.0 % of 0_0")
    assert (
        "no more than by chance" in differences(fraction_right(table[table["group"] > "0_0"], ("Smiling", "Male")))[0]
    )


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (["--clip", "openai/clip-vit-large-patch14"], ["--clip openai", "can't be had", "hf download", "--data DIR"]),
        (["--clip", "no/such/folder"], ["no such folder", "hf download"]),
        (["--clip", TOKENIZER.parent / "text_encoder"], ["clip_text_model, not a whole CLIP"]),
        (["--clip", TOKENIZER.parent], ["can't be had"]),
        (["--data", "faces"], ["both given"]),
        (["--template", "a photo"], ["--template a photo", "{}"]),
        (["--template", "a photo of a face, " * 20 + "{}"], ["tokens, CLIP reads 77", "shorten --template"]),
        (["--prompts", find_prompt_file("Smiling_Young")], ["is for Smiling_Young"]),
    ],
)
def test_a_clip_that_cannot_be_had_is_one_line(clip, made, flags, parts, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))
    assert_one_line_error(score(made, "--clip", clip, *flags), *parts)


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("Serious", ["reads ['Serious'] and ['serious'] of Smiling alike"]),
        ("serious " * 80, ["82 tokens, CLIP reads 77"]),
    ],
)
def test_words_that_tell_a_clip_nothing_are_refused(clip, made, tmp_path, word, parts):
    content = json.loads(find_prompt_file("Smiling_Male").read_text())
    content["words"]["Smiling"] = {"0": [word], "1": ["serious"]}
    (tmp_path / "words.json").write_text(json.dumps(content))
    flags = ["--prompts", tmp_path / "words.json", "--template", "{}"]
    assert_one_line_error(score(made, "--clip", clip, *flags), *parts)
    assert not (made / "faithfulness.csv").exists()


def test_a_scorer_that_gives_every_image_one_half_is_refused(made, monkeypatch):
    def blind(paths):
        present = np.linspace(0, 1, len(paths))
        return [np.full((len(paths), 2), 0.5), np.stack([1 - present, present], axis=1)]

    monkeypatch.setattr(faithfulness, "by_clip", lambda *_: (Pair("Smiling", ("Male",)), blind, "a scorer"))
    assert_one_line_error(score(made), "a scorer: it gives each image exactly 0.5 for Smiling:", "take another")
    assert not (made / "faithfulness.csv").exists()


def test_a_clip_without_all_its_weights_is_refused(clip, made, tmp_path):
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "clip"
    shutil.copytree(clip, broken)
    tensors = load_file(broken / "model.safetensors")
    tensors.pop("visual_projection.weight")
    save_file(tensors, broken / "model.safetensors", {"format": "pt"})
    assert_one_line_error(score(made, "--clip", broken), "1 tensors are missing")
    (broken / "model.safetensors").write_bytes(b"version https://git-lfs")
    assert_one_line_error(score(made, "--clip", broken), "can't be had")


def run_train(toy, root, output, *flags):
    base = ["--real-data-path", toy, "--synthetic-data-root", root, "--output", output, "--seeds", 1, *SMALL]
    return run_here(train.main, *base, "--width", 0.125, "--number-imbalanced-synthetic", 8, *flags)


def trained(toy, root, output, *flags):
    """The recorded settings of a training that must succeed."""
    done = run_train(toy, root, output, *flags)
    assert done.returncode == 0, done.stderr
    return json.loads((output / "aim-fair/seed_1/metrics.json").read_text())["settings"]


def noted(made, low):
    """Scores of 0.9, of 0.2 for `low` images of group 1_0."""
    images = [f"{group}/{path.name}" for group in GROUPS for path in sorted((made / group).iterdir())]
    table = pd.DataFrame({"image": images, "faithfulness": 0.9}).set_index("image")
    table.loc[[image for image in images if image.startswith("1_0")][:low], "faithfulness"] = 0.2
    table.to_csv(made / "faithfulness.csv")
    return table


def test_training_leaves_out_what_is_not_faithful(toy, made, tmp_path):
    root, out, few = tmp_path / "made", tmp_path / "out", tmp_path / "few"
    remedy = f"python -m stable_diffusion.faithfulness --images {made}"
    lacking = run_train(toy, root, out, "--min-faithfulness", 0.5)
    assert_one_line_error(lacking, "no file", "faithfulness.csv", remedy)
    table = noted(made, 2)
    settings = trained(toy, root, out, "--min-faithfulness", 0.5)
    assert settings["min_faithfulness"] == 0.5 and settings["synthetic_data"].startswith("22 images")
    assert settings["unfaithful_left_out"] == {"0_0": 0, "0_1": 0, "1_0": 2, "1_1": 0}
    other = run_train(toy, root, out, "--min-faithfulness", 0.1)
    assert_one_line_error(other, "min_faithfulness: 0.5 there, 0.1 asked")
    assert_one_line_error(run_train(toy, root, out), "min_faithfulness: 0.5 there, None asked")
    noted(made, 3)
    too_few = run_train(toy, root, few, "--min-faithfulness", 0.5)
    assert_one_line_error(too_few, "that --min-faithfulness 0.5 leaves", "1_0 has 3 of 4")
    for spoiled, parts in (
        (table.iloc[:-1], ["lacks 1 images", remedy]),
        (table.assign(content="0" * 12), ["24 images have changed", remedy]),
        (table.assign(faithfulness=1.2), ["line 2", "0 to 1 (1.2)"]),
    ):
        spoiled.to_csv(made / "faithfulness.csv")
        assert_one_line_error(run_train(toy, root, few, "--min-faithfulness", 0), *parts)


def test_a_record_without_the_flag_is_as_before(toy, made, tmp_path):
    assert not [key for key in trained(toy, tmp_path / "made", tmp_path / "out") if "faithful" in key]


def test_listed_images_are_left_out_by_their_column(toy, made, tmp_path):
    table = noted(made, 1).reset_index()
    table["Smiling"], table["Male"] = table["image"].str[0], table["image"].str[2]
    table.to_csv(made / "other.csv", index=False)
    settings = trained(toy, made / "other.csv", tmp_path / "out", "--min-faithfulness", 0.9)
    assert settings["unfaithful_left_out"] == {"0_0": 0, "0_1": 0, "1_0": 1, "1_1": 0}
    table.drop(columns="faithfulness").to_csv(made / "other.csv", index=False)
    failed = run_train(toy, made / "other.csv", tmp_path / "two", "--min-faithfulness", 0.5)
    assert_one_line_error(failed, "other.csv", "a column faithfulness")
