"""The choice of settings: what it tries, what it sees, and that what it takes is what it says; and results changed without training."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from support import assert_one_line_error
from support.small import train

from datasets.images import LabelledImages
from models.after import between
from models.auto import SEEN
from models.candidates import finalists, made_from, settings_to_try, trial_epochs, with_auto, with_candidates
from models.choice import Choice, choose
from models.options import parse_method
from train import METHODS
from utils.errors import UserError
from utils.metrics import best_threshold

ONE_EACH = LabelledImages(np.empty((0, 1, 1, 3), np.uint8), np.arange(4), [0, 0, 1, 1], [0, 1, 0, 1], tuple("abcd"))
FLAGS = {"top-k": 55, "prompt-type": "contextual", "bias-degree": "1/9", "fine-tune-lr": 0.06, "has-batch-norm": True}
FLAGS |= {
    "fine-tune-epochs": 10,
    "number-balanced-synthetic": 600,
    "train-labels": ONE_EACH,
    "images-of-biased-model": 216000,
    "batch-size": 128,
    "fine-tune-batch-size": None,
}
THREE = ["full", "full:lr=0.01,batch-norm=hold", "full:lr=0.002"]


def labels(*texts, flags=FLAGS):
    return [m.label for m in with_candidates([parse_method(text, METHODS, flags) for text in texts], METHODS, flags)]


def test_what_is_tried_comes_before_it_and_once():
    assert labels("full:settings=auto", "full") == [*THREE, "full:settings=auto"]
    assert labels("full:settings=auto", flags=FLAGS | {"has-batch-norm": False})[1] == "full:lr=0.01"
    each = [[name + label[4:] for label in THREE] for name in ("aim-fair", "full", "linear-probe")]
    assert labels("auto") == [*sum(each, []), "auto"]
    assert (
        labels("full:ratio=2,settings=auto,threshold=val")[1] == "full:ratio=2.0,lr=0.01,batch-norm=hold,batch-size=32"
    )
    assert labels("aim-fair:top-k=auto,step=0.5")[-2:] == ["aim-fair:top-k=auto", "aim-fair:top-k=auto,step=0.5"]
    assert labels("erm:threshold=held-out") == ["erm", "erm:threshold=held-out"]
    again = labels("full:settings=auto,repeat=2")  # of a repetition the candidates are repetitions, too
    assert again[0] == "full:repeat=2" and all("repeat=2" in label for label in again)


def test_an_epoch_of_few_steps_is_tried_with_smaller_batches():
    assert all("batch-size" not in each for each in settings_to_try(FLAGS, 16 * 128))
    assert [each.get("batch-size") for each in settings_to_try(FLAGS, 16 * 128 - 1)] == [None, 32, 32]


def test_trials_are_short_if_they_would_cost_more_than_the_biased_model():
    flags = FLAGS | {"images-of-biased-model": 8 * 21600}  # eight epochs of nine candidates with 2400 images
    assert labels("auto", flags=flags)[0] == "aim-fair:epochs=8"
    assert labels("full:settings=auto", flags=flags) == labels("full:settings=auto")
    assert (
        labels("full:settings=auto,ratio=3000", flags=flags)[1] == "full:ratio=3000.0,lr=0.01,batch-norm=hold,epochs=4"
    )
    assert trial_epochs(10, 9, images=20_000, most=15 * 20_000) == 1  # the paper's size
    assert trial_epochs(2, 2, images=1, most=2) == 2  # short trials and the best in full would take as long
    assert trial_epochs(10, 3, images=20_000, most=15 * 20_000) == 5
    assert trial_epochs(10, 9, images=20_000, most=15 * 800) == 1  # never none
    assert trial_epochs(5, 3, images=600, most=7 * 1200) == 5  # four epochs of three and five of the best are no less
    auto = parse_method("auto", METHODS, flags)
    final = {label: method.label for label, method in finalists(auto, METHODS, flags).items()}
    assert final["full:lr=0.01,batch-norm=hold,epochs=8"] == "full:lr=0.01,batch-norm=hold" and len(final) == 9
    assert not finalists(auto, METHODS, FLAGS)
    both = parse_method("aim-fair:top-k=auto,settings=auto", METHODS, FLAGS)  # each of three tries five values of k
    assert made_from(both, METHODS, FLAGS)[0].label == "aim-fair:top-k=auto,epochs=6"
    [final, *_] = finalists(both, METHODS, FLAGS).values()
    needed = [method.label for method in with_candidates([final], METHODS, FLAGS)]
    assert needed == [
        *(f"aim-fair:top-k={k}" for k in (40, 45, 50)),
        "aim-fair",
        "aim-fair:top-k=60",
        "aim-fair:top-k=auto",
    ]


def test_the_flag_is_for_methods_that_have_the_option_and_set_nothing_themselves():
    texts = ("erm", "jtt", "last-layer", "auto", "full", "full:lr=0.1", "aim-fair:top-k=50")
    found = [with_auto(parse_method(text, METHODS, FLAGS), METHODS, FLAGS).label for text in texts]
    assert found == [*texts[:4], "full:settings=auto", "full:lr=0.1", "aim-fair:top-k=50,settings=auto"]


def test_records_from_before_these_options_still_match():
    method = parse_method("aim-fair", METHODS, FLAGS)
    assert method.recorded() == {"top_k": 55, "bias_degree": "1/9", "prompt_type": "contextual", "ratio": None}
    assert method.trains and not made_from(method, METHODS, FLAGS)


@pytest.mark.parametrize("other", ["lr=0.1", "batch-norm=hold", "step=0.5", "select-by=mean"])
def test_what_is_chosen_can_not_be_set(other):
    with pytest.raises(UserError, match=f"settings=auto chooses {other.partition('=')[0]} itself"):
        parse_method(f"full:settings=auto,{other}", METHODS, FLAGS)


SMALLER = [THREE[0], *(f"{label},batch-size=4" for label in THREE[1:])]  # an epoch has one step
METHODS_OF_RUN = (
    "full:settings=auto",
    "full:step=0.5",
    "erm:threshold=val",
    "erm:threshold=held-out",
    "full:select-by=mean",
)
RUN = (
    "--seeds",
    100,
    "--number-held-out-synthetic",
    2,
    "--fine-tune-epochs",
    2,
    "--width",
    0.125,
    "--pre-train-epochs",
    3,
    "--methods",
)


@pytest.fixture(scope="module")
def output(toy, synthetic, tmp_path_factory):
    output = tmp_path_factory.mktemp("auto")
    done = train(toy, synthetic, output, *RUN, *METHODS_OF_RUN)
    assert done.returncode == 0, done.stderr
    return output


def of(output, label, name="metrics.json"):
    folder = output / label.replace(":", "_").replace("/", "-") / "seed_100"
    read = {"json": lambda path: json.loads(path.read_text()), "csv": pd.read_csv, "safetensors": load_file}
    return read[name.rpartition(".")[2]](folder / name)


@pytest.mark.slow
def test_the_record_holds_what_was_chosen_and_its_weights_are_those(output):
    record, choice = of(output, "full:settings=auto"), of(output, "full:settings=auto", "choice.csv")
    assert len(choice) == 13 and choice["chosen"].sum() == 1
    row = choice[choice["chosen"]].iloc[0]
    assert record["chosen"] == {"candidate": row["candidate"], "step": row["step"], "seeds": [100]}
    assert record["val_metrics"]["accuracy"] == pytest.approx(row["val_accuracy"])
    assert record["held_out_metrics"]["equalized_odds"] == pytest.approx(row["held_out_equalized_odds"])
    weights = [of(output, label, "model.safetensors") for label in ("erm", row["candidate"], "full:settings=auto")]
    expected = between(weights[0], weights[1], row["step"])
    assert all(torch.equal(weights[2][name], value) for name, value in expected.items())


@pytest.mark.slow
def test_changed_results_are_those_of_the_plain_computation(output):
    half, full, erm = (of(output, label, "model.safetensors") for label in ("full:step=0.5", "full", "erm"))
    assert all(torch.equal(half[name], value) for name, value in between(erm, full, 0.5).items())
    val = of(output, "erm", "val_predictions.csv")
    moved = of(output, "erm:threshold=val", "model.safetensors")
    threshold = best_threshold(val["logit"].to_numpy(), val["target"].to_numpy())
    assert moved["fc.bias"].item() == pytest.approx(erm["fc.bias"].item() - threshold, abs=1e-6)
    assert of(output, "erm:threshold=val")["val_metrics"]["accuracy"] == np.mean(
        (val["logit"] >= threshold) == val["target"]
    )
    assert of(output, "erm:threshold=held-out")["settings"]["synthetic_data"]


@pytest.mark.slow
def test_neither_the_test_set_nor_a_protected_label_decides(output, toy, synthetic, tmp_path):
    """With both scrambled the same is chosen, from the same numbers."""
    scrambled = shutil.copytree(toy, tmp_path / "toy")
    lines = (scrambled / "list_attr_celeba.txt").read_text().splitlines()
    names, rng = lines[1].split(), np.random.default_rng(0)
    split = dict(line.split() for line in (scrambled / "list_eval_partition.txt").read_text().splitlines())
    rows = [line.split() for line in lines[2:]]
    male, smiling = 1 + names.index("Male"), 1 + names.index("Smiling")
    for row in rows:
        if split[row[0]] == "2":  # test
            row[smiling] = rng.choice(["1", "-1"])
        if split[row[0]] != "0":  # in train protected labels make the biased list
            row[male] = rng.choice(["1", "-1"])
    (scrambled / "list_attr_celeba.txt").write_text("\n".join([*lines[:2], *map(" ".join, rows)]) + "\n")
    done = train(scrambled, synthetic, tmp_path / "out", *RUN, "full:settings=auto")
    assert done.returncode == 0, done.stderr
    assert of(tmp_path / "out", "full:settings=auto", "choice.csv").equals(
        of(output, "full:settings=auto", "choice.csv")
    )
    tested = [of(folder, "full:settings=auto")["metrics"] for folder in (output, tmp_path / "out")]
    assert tested[0] != tested[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "gone",
    [
        ("full_settings=auto",),
        ("full_settings=auto", SMALLER[2].replace(":", "_")),
        ("full_settings=auto", *(label.replace(":", "_") for label in SMALLER)),
    ],
    ids=len,
)
def test_what_is_lost_is_made_again_the_same(output, toy, synthetic, tmp_path, gone):
    copy = shutil.copytree(output, tmp_path / "out")
    for folder in gone:
        shutil.rmtree(copy / folder)
    assert train(toy, synthetic, copy, *RUN, *METHODS_OF_RUN).returncode == 0
    for name in ("model.safetensors", "choice.csv", "curve.csv", "test_predictions.csv"):
        path = f"full_settings=auto/seed_100/{name}"
        assert (copy / path).read_bytes() == (output / path).read_bytes(), name


@pytest.mark.slow
def test_the_best_short_trial_is_trained_in_full_and_judged_too(toy, synthetic, tmp_path):
    short = [*RUN[:-3], "--pre-train-epochs", 1, "--methods", "full:settings=auto", "--seeds", 100, 200]
    done = train(toy, synthetic, tmp_path, *short)
    assert done.returncode == 0, done.stderr
    choice = of(tmp_path, "full:settings=auto", "choice.csv")
    other = pd.read_csv(tmp_path / "full_settings=auto" / "seed_200" / "choice.csv")
    trials = [f"{label},epochs=1".replace("full,", "full:") for label in SMALLER]
    tried = list(dict.fromkeys(choice["candidate"]))
    assert tried[:4] == ["erm", *trials]
    means = (choice[SEEN[2:]] + other[SEEN[2:]]) / 2  # one choice for both seeds
    assert choice["chosen"].equals(other["chosen"])
    assert choice["chosen"].idxmax() == choose(*(means[key].tolist() for key in SEEN[2:]))
    first = means[choice["candidate"].isin(tried[:4])]
    best = choice["candidate"][choose(*(first[key].tolist() for key in SEEN[2:]))]
    assert tried[4:] == ([] if best == "erm" else [best.replace(",epochs=1", "").replace(":epochs=1", "")])
    for label in tried[4:]:
        assert len(of(tmp_path, label, "curve.csv")) == 2
        first_epoch = of(tmp_path, best, "curve.csv")
        assert (
            of(tmp_path, label, "curve.csv").iloc[0, :3].equals(first_epoch.iloc[0, :3])
        )  # it begins as its trial did
    said = train(toy, synthetic, tmp_path, *short)
    assert said.returncode == 0 and "trained in full" not in said.stdout
    shutil.rmtree(tmp_path / "full_settings=auto")
    before = choice.to_csv()
    assert train(toy, synthetic, tmp_path, *short).returncode == 0
    assert of(tmp_path, "full:settings=auto", "choice.csv").to_csv() == before
    more = train(
        toy, synthetic, tmp_path, *short, 300
    )  # recorded choices stay, and it is said if three seeds would choose otherwise
    chosen = [
        json.loads((tmp_path / "full_settings=auto" / f"seed_{s}" / "metrics.json").read_text())["chosen"]
        for s in (100, 300)
    ]
    taken = [(each["candidate"], each["step"]) for each in chosen]
    assert more.returncode == 0 and ("note: over the seeds of this call" in more.stdout) == (taken[0] != taken[1])


@pytest.mark.slow
def test_the_flag_and_a_dry_run_say_what_is_tried(toy, synthetic, tmp_path):
    done = train(toy, synthetic, tmp_path, *RUN[:-1], "--settings", "auto", "--dry-run")
    assert (
        "erm, aim-fair, aim-fair:lr=0.01,batch-norm=hold,batch-size=4, aim-fair:lr=0.002,batch-size=4, aim-fair:settings=auto;"
        in done.stdout
    )
    done = train(toy, synthetic, tmp_path, *RUN[:-1], "--number-balanced-synthetic", 6, "--settings", "auto")
    assert_one_line_error(done, "0_0 has 6 of 8", "--number-held-out-synthetic")


@pytest.mark.slow
def test_a_candidate_that_diverges_is_none_and_costs_nothing_else(toy, synthetic, tmp_path):
    flags = [*RUN[:-1], "--fine-tune-lr", 1e30, "--methods"]  # a thirtieth of it diverges, too
    done = train(toy, synthetic, tmp_path, *flags, "full:settings=auto")
    assert done.returncode == 0, done.stderr
    assert "full: in epoch 1 the" in done.stdout and "without it the others go on" in done.stdout
    assert of(tmp_path, "full:settings=auto")["chosen"]["candidate"] == "erm"
    assert set(of(tmp_path, "full:settings=auto", "choice.csv")["candidate"]) == {"erm"}
    asked = train(toy, synthetic, tmp_path, *flags, "full", "full:step=0.5", "linear-probe:lr=0.01")
    assert_one_line_error(asked, "full: in epoch 1 the", "(and 1 more diverged)")
    assert of(tmp_path, "linear-probe:lr=0.01")["metrics"]["accuracy"] > 0


def test_a_record_of_another_candidate_or_step_was_chosen_otherwise():
    choice = Choice("full", 0.5, None)
    assert not choice.differs({"candidate": "full", "step": 0.5})
    assert choice.differs({"candidate": "full", "step": 1}) and choice.differs({"candidate": "aim-fair", "step": 0.5})
