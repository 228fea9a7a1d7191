"""The model card: what it says, that its lines run, and that nobody's own words are written over."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.torch import save_file
from support import ROOT, assert_one_line_error, run_here
from support.report_records import REAL, labels, put

from datasets.decoding import decode_images
from datasets.images import LabelledImages
from datasets.known import WHOLE
from datasets.real import read_real
from models.batches import Compute, predict
from models.classifier import new_classifier
from results import card
from results.card import data_of, interval, make_card
from results.records import PACKED, read_run_set
from utils.records import Record, adopt_record, read_record

FRACTIONS = [0.2, 0.1, 0.1, 0.3]


@pytest.fixture
def run(toy, tmp_path):
    """A made-up record beside something that stands for weights."""
    folder = put(tmp_path, toy, "aim-fair", 100, FRACTIONS)
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


@pytest.fixture
def content(run):
    return json.loads((run / "metrics.json").read_text())


def front(text):
    return ModelCard(text).data


def test_the_card_has_the_groups_with_intervals_and_the_hub_reads_it(run, content):
    done = run_here(card.main, "--run", run)
    assert done.returncode == 0 and str(run / "README.md") in done.stdout
    text = (run / "README.md").read_text()
    metrics = content["metrics"]
    for group, accuracy in metrics["group_accuracy"].items():
        count = metrics["group_count"][group]
        fraction, low, high = interval(accuracy, count)
        assert low < fraction < high and f"| {count} | {fraction:.1f} ({low:.1f} to {high:.1f}) |" in text
    data = front(text)
    values = {result.metric_type: result.metric_value for result in data.eval_results}
    assert values["equalized_odds"] == round(metrics["equalized_odds"], 4)
    assert values["worst_group_accuracy"] == round(min(metrics["group_accuracy"].values()), 4)
    assert data.license == "mit" and data.model_name == "aim-fair Smiling_Male, seed 100"
    assert "`top_k` 55" in text and "`lr` 0.06" in text and "`lr` 0.01" in text and "not trained on" in text
    assert run_here(card.main, "--run", run).stdout.endswith("as it was\n")


def test_the_biased_model_of_the_seed_stands_beside_the_method(run, toy):
    put(run.parent.parent, toy, "erm", 100, [0.4, 0.1, 0.1, 0.3])
    erm, own = (read_record(run.parent.parent / name / "seed_100") for name in ("erm", "aim-fair"))
    run_here(card.main, "--run", run)
    rows = [
        line.strip("| ").split(" | ") for line in (run / "README.md").read_text().splitlines() if line.startswith("| ")
    ]
    assert rows[0][3:] == ["ERM, the biased model", "this model"]
    both = [record.content["metrics"] for record in (erm, own)]
    assert rows[-1][-2:] == [f"{100 * metrics['equalized_odds']:.1f}" for metrics in both]
    assert rows[-2][-2:] == [f"{100 * min(metrics['group_accuracy'].values()):.1f}" for metrics in both]
    assert rows[1][3:] == [
        card.with_interval(metrics["group_accuracy"]["0_0"], metrics["group_count"]["0_0"]) for metrics in both
    ]
    assert make_card(own, erm) == (run / "README.md").read_text() != make_card(own)
    other = replace(erm, metrics=replace(erm.metrics, group_count=dict.fromkeys(erm.metrics.group_count, 7)))
    assert make_card(own, other) == make_card(own)  # tested on other images


def test_wilson():
    assert interval(0.8, 10) == pytest.approx((80, 49.02, 94.33), abs=0.01)  # Newcombe, Statistics in Medicine 17, 857
    assert interval(1.0, 20)[1:] == pytest.approx((83.89, 100), abs=0.01)


@pytest.mark.parametrize(("width", "crop"), [(0.125, {}), (1, {}), (0.125, {"real_crop": [0.1, 0.2, 0.9, 1.0]})])
def test_its_lines_load_the_weights_and_give_what_the_run_gave(toy, tmp_path, monkeypatch, width, crop, capsys):
    folder = put(tmp_path, toy, "erm", 1, FRACTIONS, real={"width": width, **crop})
    model = new_classifier("none", 3, width)
    save_file(model.state_dict(), folder / "model.safetensors")
    lists, names = read_real("toy", toy, "Smiling_Male"), labels(toy)["name"]
    file = lists.folder / names[0]
    pixels = decode_images([file], tmp_path / "cache", REAL["image_size"], tuple(crop.get("real_crop", WHOLE)))
    faces = LabelledImages(pixels, np.arange(1), np.zeros(1, int), np.zeros(1, int), (names[0],), lists.pair.groups)
    [logit] = predict(model, faces, Compute(torch.device("cpu"), False, REAL["image_size"], 8, False))
    Image.open(file).convert("RGB").save(folder / "face.png")
    text = make_card(read_record(folder)).replace("face.jpg", "face.png")
    load, use = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len([line for line in load.splitlines() if line]) == (5 if width == 1 else 8)
    assert "models." not in load.replace("torchvision.models", "")
    monkeypatch.chdir(folder)
    exec(load + use, {})
    assert float(capsys.readouterr().out.split()[-1]) == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-5)


@pytest.mark.parametrize(
    ("settings", "licence", "said"),
    [
        ({"dataset": "celeba"}, "celeba-non-commercial-research", "**non-commercial research only**"),
        ({"dataset": "parquet"}, "celeba-non-commercial-research", "**non-commercial research only**"),
        ({"dataset": "parquet", "target": "Female", "protected": ["East_Asian"]}, "fairface-terms", "FairFace apply"),
        ({"dataset": "utkface"}, "utkface-non-commercial-research", "**non-commercial research only**"),
        ({"dataset": "csv"}, "to-be-stated", "To be stated by whoever publishes"),
        ({"dataset": "mine"}, "to-be-stated", "To be stated by whoever publishes"),
    ],
)
def test_the_licence_is_that_of_the_data(content, settings, licence, said):
    content["settings"]["biased_model"] |= settings
    text = make_card(Record.of(content))
    data = front(text)
    assert (data.license, data.license_name) == ("other", licence) and said in text.partition("## Licence")[2]
    assert "toy" not in text.lower().partition("```bash")[0]


def test_every_pair_of_the_hubs_files_is_of_one_of_the_two():
    from datasets.pairs import Pair

    assert data_of({"dataset": "parquet"}, Pair("Young", ("White",))) == "fairface"
    assert data_of({"dataset": "parquet"}, Pair("Young", ("Male",))) == "celeba"


def test_a_biased_or_blind_model_is_called_so(toy, tmp_path):
    text = make_card(read_record(put(tmp_path, toy, "erm", 1, FRACTIONS)))
    assert "This is the model before any repair, kept to compare with" in text and "hardly" not in text
    text = make_card(read_record(put(tmp_path, toy, "aim-fair", 1, [0.5] * 4)))
    assert "**This model is right in" in text and "hardly learned its task" in text and "This is a biased" not in text


@pytest.mark.parametrize(
    ("method", "real", "said"),
    [
        ("group-dro", (), "the method trains on protected labels."),
        ("repair", (), "the method counts protected labels of train."),
        ("aim-fair", {"select_by": "worst-group"}, "the method chooses its epoch by protected labels of val."),
        ("full", (), "not trained on, as far as the method says."),
    ],
)
def test_the_card_says_which_protected_labels_were_taken(toy, tmp_path, method, real, said):
    text = make_card(read_record(put(tmp_path, toy, method, 1, FRACTIONS, real=real)))
    assert f"- Protected labels of real images: {said}\n" in text and "answers alike" not in text
    text = make_card(read_record(put(tmp_path, toy, method, 2, [0, 0, 1, 1], real=real)))
    assert "**It answers alike whether the target is there or not, so its equalized odds say nothing.**" in text


def test_an_edited_card_is_kept(run):
    run_here(card.main, "--run", run)
    mine = (run / "README.md").read_text() + "\nMy own words.\n"
    (run / "README.md").write_text(mine)
    assert_one_line_error(run_here(card.main, "--run", run), run / "README.md", "kept", "--overwrite")
    done = run_here(card.main, "--runs", run.parent.parent)
    assert done.returncode == 0 and f"{run / 'README.md'} is not what its record gives, and kept" in done.stdout
    assert (run / "README.md").read_text() == mine
    assert run_here(card.main, "--run", run, "--overwrite").returncode == 0
    assert "My own words" not in (run / "README.md").read_text()


def test_only_runs_with_weights_get_cards(run, toy):
    runs = run.parent.parent
    other = put(runs, toy, "erm", 100, FRACTIONS)
    done = run_here(card.main, "--runs", runs)
    assert "ERM, the biased model" in (run / "README.md").read_text()
    assert "model cards: 1 in" in done.stdout and not (other / "README.md").exists()
    (run / "model.safetensors").unlink()
    assert_one_line_error(run_here(card.main, "--runs", runs), "--runs", "no */seed_*/model.safetensors")


def test_what_a_user_named_is_escaped(content):
    content |= {"method": "mine:x=`|<b>\n# no", "device": "[a](b) | c", "command": "python train.py ```"}
    content["settings"]["biased_model"] |= {"target": "A|B_<i>", "protected": ["---\nlicense: mit"]}
    text = make_card(Record.of(content))
    assert front(text).license == "mit" and front(text).model_name.startswith("mine:x=`|<b> # no A|B<i>")
    body = text.partition("\n---\n\n")[2]
    assert r"A\|B\_\<i\>" in body and r"\[a\](b) \| c" in body
    assert "<b>" not in body.replace("`mine:x='|<b> # no`", "") and "\n# no" not in body and "\nlicense" not in body
    assert body.count("```") == 8  # two blocks of Python, the command and the citation


def test_a_file_name_that_is_not_utf8_is_written_in_ascii(run, content):
    (run / "metrics.json").write_text(json.dumps(content | {"command": "python train.py --output \udcff"}))
    for said in ("model card", "as it was"):
        assert said in run_here(card.main, "--run", run).stdout
    assert r"--output \udcff" in (run / card.NAME).read_text()


@pytest.mark.parametrize(
    ("change", "said"), [({"settings": 3}, "settings"), ({"metrics": {}}, "metrics.accuracy"), (None, "damaged")]
)
def test_a_damaged_record_is_one_line(run, content, change, said):
    (run / "metrics.json").write_text(json.dumps(content | change) if change else "{")
    assert_one_line_error(run_here(card.main, "--run", run), run / "metrics.json", "is damaged", said, "run it again")
    assert not (run / "README.md").exists()


@pytest.mark.parametrize(("key", "said"), [("target", "does not name the pair"), ("image_size", "has no image_size")])
def test_a_record_without_its_pair_or_size_or_no_record_is_one_line(run, content, tmp_path, key, said):
    del content["settings"]["biased_model"][key]
    (run / "metrics.json").write_text(json.dumps(content))
    assert_one_line_error(run_here(card.main, "--run", run), "aim-fair, seed 100", said, "run it again")
    assert_one_line_error(run_here(card.main, "--run", tmp_path), "no metrics.json")


def test_the_card_of_a_candidate_is_not_taken_over_by_the_choice(run, tmp_path):
    run_here(card.main, "--run", run)
    adopt_record(run, tmp_path / "auto" / "seed_100", {"method": "aim-fair:top-k=auto"}, {})
    names = {path.name for path in (tmp_path / "auto" / "seed_100").iterdir()}
    assert "README.md" not in names and "model.safetensors" in names


def test_committed_records_have_a_card():
    """Every one in a file of its own, and the first one of each packed set."""
    records = ROOT / "results" / "records"
    loose = [read_record(path.parent) for path in records.rglob("seed_*/metrics.json")]
    packed = [read_run_set(path.parent).records[0] for path in records.rglob(PACKED)]
    assert loose + packed
    for record in loose + packed:
        text = make_card(record)
        assert front(text).eval_results and "## Results by group" in text
