"""Networks by the registries of torchvision and timm, from one end to the other at small sizes; and the program of own_model.md."""

import contextlib
import copy
import io
import re
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from support import ROOT, assert_one_line_error
from support.small import record, train
from support.training import assert_same_results
from torchvision import models
from torchvision.models._api import BUILTIN_MODELS
from torchvision.models.convnext import CNBlockConfig

from models import training
from models.classifier import head_names, new_classifier, outline
from models.methods.fine_tuning import blocks_of, names_of
from models.network_names import network_name
from models.settings import Settings
from models.top_k import auto_top_k, count_of, counted
from models.weights import as_safetensors, load_tensors
from utils.errors import UserError
from utils.same_settings import check_settings
from utils.settings import parse


def vit_mini(*, weights=None, image_size=224, **options):
    """A relative of vit_b_16 with two layers."""
    sizes = {"patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32}
    return models.VisionTransformer(image_size, **sizes, **options)


def convnext_mini(*, weights=None, **options):
    """A relative of convnext_tiny, with its stochastic depth."""
    blocks = [CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 2)]
    return models.ConvNeXt(blocks, stochastic_depth_prob=0.5, **options)


@pytest.fixture(autouse=True)
def relatives(monkeypatch):
    for build in (vit_mini, convnext_mini):
        monkeypatch.setattr(build, "__module__", "torchvision.models.mini")
        monkeypatch.setitem(BUILTIN_MODELS, build.__name__, build)


@pytest.fixture
def values_left_out(monkeypatch):
    """Networks are built without drawing their values, which don't matter and cost seconds."""
    for name in ("trunc_normal_", "kaiming_normal_", "kaiming_uniform_", "normal_", "uniform_"):
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, *_, **__: tensor)


def start(toy, synthetic, output, network, *more):
    return train(toy, synthetic, output, "--seeds", 1, "--network", network, *more)


def broken_off(monkeypatch, at):
    """Ctrl-C in the validation of one epoch."""
    left, predict = [at], training.predict

    def pulled(*arguments):
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return predict(*arguments)

    monkeypatch.setattr(training, "predict", pulled)


CASES = {
    "mnasnet0_5": (None, 158),  # whose weights load only beside a version number
    "vit_mini": ("encoder", 32),
    "convnext_mini": ("features", 39),
    "timm:test_vit": ("blocks.0", None),
    "timm:test_efficientnet": ("blocks", None),
}


@pytest.mark.parametrize(
    "network", [pytest.param(n, marks=pytest.mark.slow if n == "mnasnet0_5" else ()) for n in CASES]
)
def test_from_one_end_to_the_other_and_resumed(toy, synthetic, tmp_path, monkeypatch, network):
    if network.startswith("timm:"):
        pytest.importorskip("timm")
    block, tensors = CASES[network]
    flags = ["--pre-train-epochs", 2, "--fine-tune-epochs", 2, "--checkpoint-seconds", 0]
    flags += ["--methods", "aim-fair", *([f"update-block-{block}", "linear-probe"] if block else [])]
    whole = start(toy, synthetic, tmp_path / "whole", network, *flags)
    assert whole.returncode == 0, whole.stderr
    with monkeypatch.context() as patch:
        broken_off(patch, 4)  # in the second epoch of aim-fair, after two of erm
        assert start(toy, synthetic, tmp_path / "again", network, *flags).returncode == 130
    assert start(toy, synthetic, tmp_path / "again", network, *flags).returncode == 0
    assert_same_results(tmp_path / "again", tmp_path / "whole")
    for name in ("curve.csv", "sensitivity.csv"):  # dropout's draws too
        of_both = [(tmp_path / run / "aim-fair" / "seed_1" / name).read_bytes() for run in ("whole", "again")]
        assert of_both[0] == of_both[1]
    settings = record(tmp_path / "whole", "aim-fair")["settings"]
    assert settings["biased_model"]["network"] == network
    rows = (tmp_path / "whole" / "aim-fair" / "seed_1" / "sensitivity.csv").read_text().splitlines()[1:]
    assert tensors in (None, len(rows)) and settings["top_k"] == round(55 / 62 * len(rows))
    assert f"--top-k {settings['top_k']} of {len(rows)} tensors" in whole.stdout


@pytest.mark.parametrize(
    ("network", "head", "tensors"),
    [
        ("resnet50", "fc.", 161),
        ("convnext_tiny", "classifier.2.", 182),
        ("vit_b_16", "heads.head.", 152),
        ("regnet_y_400mf", "fc.", 225),
        ("squeezenet1_1", "classifier.1.", 52),
        ("inception_v3", "fc.", 284),
    ],
)
def test_any_network_has_one_logit_and_blocks_that_part_it(network, head, tensors, values_left_out):
    model = outline(network, 1, 96)
    names = names_of(model)
    assert head_names(model, network) == (head,) and len(names) == tensors
    blocks = blocks_of(model)
    assert len(blocks) > 4
    assert sorted(name for begin in blocks.values() for name in names if name.startswith(begin)) == sorted(names)


@pytest.mark.parametrize(
    ("network", "layer", "black", "white"),
    [
        ("resnet18", "conv1", [-1.0] * 3, [1.0] * 3),
        ("googlenet", "conv1.conv", [-1.0] * 3, [1.0] * 3),
        ("inception_v3", "Conv2d_1a_3x3.conv", [-1.0] * 3, [1.0] * 3),
        # from ImageNet's mean and deviation it makes 0 to 255 again
        ("timm:csatv2", "stem_dct", [-2.1179, -2.0357, -1.8044], [2.2489, 2.4286, 2.6400]),
    ],
)
def test_the_first_layer_sees_the_range_that_it_was_made_for(network, layer, black, white, values_left_out):
    if network.startswith("timm:"):
        pytest.importorskip("timm")
    model, seen = copy.deepcopy(new_classifier("none", 1, network=network, image_size=96)).eval(), []
    model.get_submodule(layer).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        model(torch.tensor([-1.0, 1.0])[:, None, None, None].expand(2, 3, 96, 96))
    torch.testing.assert_close(seen[0][:, :, 5, 5], torch.tensor([black, white]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("network", ["googlenet", "inception_v3", "timm:csatv2", "resnet50", "timm:inception_v3"])
def test_a_record_with_inputs_scaled_twice_is_not_taken_up(network):
    asked = parse(Settings, "", ["--real-data-path", "x", "--network", network]).of_pre_training()
    older = {key: value for key, value in asked.items() if key != "inputs"}
    changed = network in ("googlenet", "inception_v3", "timm:csatv2")
    with pytest.raises(UserError, match=r"inputs were scaled once, not twice.*--output") if changed else nullcontext():
        check_settings({"biased_model": older}, {"biased_model": asked}, Path("there"))


KEPT = ("mnasnet0_5", "squeezenet1_1", "vit_mini", "convnext_mini")
KEPT += ("timm:test_vit", "timm:test_mambaout", "timm:coat_lite_tiny")


@pytest.mark.parametrize("network", KEPT)
def test_weights_are_kept_in_a_file_and_give_the_same_logits(network, tmp_path):
    """mnasnet0_5 loads its state only beside a version number; two stages of coat_lite_tiny share tensors."""
    if network.startswith("timm:"):
        pytest.importorskip("timm")
    size = 224 if "coat" in network else 64
    trained, read = (new_classifier("none", seed, network=network, image_size=size).eval() for seed in (1, 2))
    images, file = torch.randn(2, 3, size, size), tmp_path / "model.safetensors"
    file.write_bytes(as_safetensors(trained))
    with torch.inference_mode():
        before = trained(images)
        assert not torch.equal(read(images), before)
        load_tensors(read, file, "")
        assert torch.equal(read(images), before)


def test_a_network_that_cannot_be_kept_is_refused_before_it_is_trained(toy, synthetic, tmp_path, monkeypatch):
    monkeypatch.setattr(models.VisionTransformer, "get_extra_state", lambda self: {"calls": 3}, raising=False)
    monkeypatch.setattr(models.VisionTransformer, "set_extra_state", lambda self, state: None, raising=False)
    failed = start(toy, synthetic, tmp_path / "out", "vit_mini")
    assert_one_line_error(failed, "--network vit_mini: its weights can't be kept in a file", "name another network")
    assert not (tmp_path / "out").exists()


def test_the_hubs_own_names_are_understood_and_unknown_weights_are_named(toy, synthetic, tmp_path):
    pytest.importorskip("timm")
    for prefix in ("timm/", "hf_hub:timm/", "hf-hub:timm/", "timm:timm/", "timm:hf_hub:timm/", "timm:"):
        assert network_name(f"{prefix}x.a1") == "timm:x.a1"
    assert [network_name(text) for text in ("resnet18", "hf_hub:someone/net")] == ["resnet18", "hf_hub:someone/net"]
    done = start(toy, synthetic, tmp_path, "hf_hub:timm/test_vit.r160_in1k", "--dry-run", "--no-estimate")
    assert done.returncode == 0 and "timm:test_vit.r160_in1k: --top-k" in done.stdout, done.stderr
    for name, *parts in (
        ("timm:test_vit.r161_in1k", "none in timm 1.", "did you mean timm:test_vit.r160_in1k"),
        ("hf_hub:timm/test_vit.none", "--network timm:test_vit.none: none in timm"),
        ("hf_hub:someone/net", "write timm:NAME"),
        ("timm:crossvit_9_240", "--image-size 32", "pass another, such as 240"),
    ):
        assert_one_line_error(start(toy, synthetic, tmp_path / "out", name), *parts)


def test_a_logit_of_squeezenet_can_be_negative():
    logits = new_classifier("none", 1, network="squeezenet1_1").eval()(torch.randn(16, 3, 32, 32))
    model = new_classifier("none", 1, network="squeezenet1_1")
    torch.nn.init.constant_(model.classifier[1].bias, -5.0)
    assert logits.shape == (16, 1) and (model.eval()(torch.zeros(1, 3, 32, 32)) < 0).all()


@pytest.mark.parametrize("network", ["mobilenet_v3_small", "swin_t", "vit_mini"])
def test_the_registrys_imagenet_weights_are_read_but_for_the_head(network, monkeypatch):
    """swin_t keeps tables of places among its tensors; vit_mini's positions are of 32 pixels, and 64 asked."""
    options = {"image_size": 32} if network == "vit_mini" else {}
    model = models.get_model(network, weights=None, **options)
    state = {n: torch.randn_like(t) if t.is_floating_point() else t for n, t in model.state_dict().items()}
    published = SimpleNamespace(DEFAULT=SimpleNamespace(get_state_dict=lambda **_: dict(state)))
    monkeypatch.setattr(models, "get_model_weights", lambda name: published)
    new = new_classifier("imagenet", 1, network=network, image_size=64)
    [head] = head_names(new, network)
    for name, tensor in new.state_dict().items():
        if not name.startswith(head) and name != "encoder.pos_embedding":
            assert torch.equal(tensor, state[name]), name
    assert new.state_dict()[f"{head}weight"].shape[0] == 1


def test_weights_out_of_reach_say_where_they_are(monkeypatch):
    def unreachable(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(models.MobileNet_V3_Small_Weights, "get_state_dict", unreachable)
    with pytest.raises(UserError, match=r"mobilenet_v3_small \(no route to host\); fetch https://.*--weights FILE"):
        new_classifier("imagenet", 1, network="mobilenet_v3_small")


def test_top_k_as_a_fraction_is_the_same_as_its_count():
    assert [count_of(k, 62) for k in (None, "89%", 50, "auto")] == [55, 55, 50, "auto"]
    assert [count_of(k, 142) for k in (None, "89%", "100%")] == [126, 126, 142]
    assert counted("aim-fair:ratio=0.5,top-k=89%", 62) == "aim-fair:ratio=0.5,top-k=55"
    assert auto_top_k(62) == [40, 45, 50, 55, 60] and auto_top_k(6) == [4, 5, 6]


def test_auto_tries_the_same_fractions_of_another_network(toy, synthetic, tmp_path):
    flags = ["--methods", "aim-fair:top-k=auto", "--number-held-out-synthetic", 2]
    done = start(toy, synthetic, tmp_path, "vit_mini", *flags)
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "aim-fair_top-k=auto" / "seed_1" / "top_k.csv").read_text()
    tried = [int(row.split(",")[0]) for row in table.splitlines()[1:]]
    assert tried == [21, 23, 26, 28, 31] == [round(32 * k / 62) for k in (40, 45, 50, 55, 60)]
    assert record(tmp_path, "aim-fair_top-k=auto")["chosen_top_k"] in tried


def test_a_fraction_for_resnet18_leaves_the_record_as_it_is(toy, synthetic, tmp_path):
    flags = ["--width", 0.125, "--methods", "aim-fair:top-k=89%"]
    done = start(toy, synthetic, tmp_path, "resnet18", *flags)
    assert done.returncode == 0 and "of 62 tensors" not in done.stdout
    settings = record(tmp_path, "aim-fair")["settings"]
    assert settings["top_k"] == 55 and "network" not in settings["biased_model"]
    assert "recorded already" in start(toy, synthetic, tmp_path, "resnet18", "--width", 0.125, "--top-k", "89%").stdout


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (["--network", "mobilnet_v3_smal"], ["no", "did you mean mobilenet_v3_small"]),
        (["--network", "fasterrcnn_resnet50_fpn"], ["resnet50"]),
        (["--network", ""], ["torchvision"]),
        (["--network", "timm:x"], ["timm is not installed", "pip install timm"]),
        (["--width", 0.5], ["--width 0.5"]),
        (["--network", "vit_mini", "--image-size", 33], ["--image-size 33", "pass another"]),
        (["--network", "alexnet"], ["--image-size 32"]),
        (["--top-k", 143], ["--top-k 143", "1 to 142", "89%"]),
        (["--methods", "aim-fair:top-k=0.1%"], ["--top-k 0", "1 to 142"]),
        (["--top-k", "0%"], ["--top-k"]),
        (["--methods", "aim-fair:top-k=x%"], ["top-k=x%"]),
        (["--methods", "update-block-3"], ["update-block-features.0", "update-block-classifier"]),
        (["--network", "squeezenet1_1", "--methods", "last-layer"], ["classifier.1, is no nn.Linear"]),
        (["--weights", "OTHER"], ["not weights of this network", "--network"]),
    ],
)
def test_bad_input_is_one_line_before_anything_is_trained(toy, synthetic, tmp_path, monkeypatch, flags, parts):
    monkeypatch.setitem(sys.modules, "timm", None)
    other = tmp_path / "other.safetensors"
    save_file(convnext_mini().state_dict(), other)
    flags = [other if flag == "OTHER" else flag for flag in flags]
    failed = start(toy, synthetic, tmp_path / "out", "mobilenet_v3_small", *flags)
    assert_one_line_error(failed, *parts)
    assert not (tmp_path / "out").exists()


def test_the_program_of_the_page_runs():
    [program] = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "own_model.md").read_text(encoding="utf-8"), re.DOTALL
    )
    assert len([line for line in program.splitlines() if line.strip()]) <= 20
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(program, "own_model.md", "exec"), found := {})
    assert len(found["table"]) == 6 and 0 < len(found["chosen"]) < 6
    assert [n for n, p in found["model"].named_parameters() if p.requires_grad] == found["chosen"]
    assert out.getvalue().count("weight") >= 3


def test_two_last_layers_are_one_head_that_is_not_fitted_alone(toy, synthetic, tmp_path):
    pytest.importorskip("timm")
    flags = ["--image-size", 224, "--methods", "last-layer"]
    failed = start(toy, synthetic, tmp_path / "out", "timm:deit_tiny_distilled_patch16_224", *flags)
    assert_one_line_error(failed, "has 2 last layers, head and head_dist; last-layer takes one")
    assert not (tmp_path / "out").exists()
