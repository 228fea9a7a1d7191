"""The forms in which people keep weights: all give the same backbone, and what is none is one line."""

import argparse
import copy
import io
import json
import tempfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from support import SHARED, assert_one_line_error
from support.small import TINY, record, train
from torch import nn

from models.classifier import new_classifier
from models.training import _Training
from models.weights import content_of, load_backbone
from utils.checkpoint import Unfinished
from utils.errors import UserError

NEVER = Path(tempfile.gettempdir()) / "aim_fair_never"
WIDTH = 0.125  # the names are ResNet-18's, the file is small


@pytest.fixture(scope="module")
def network():
    """A network of other weights than a new one has, its counters moved."""
    torch.manual_seed(5)
    model = new_classifier("none", 1, WIDTH)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(torch.rand(tensor.shape))
    return model


def published(network, classes=1000):
    """What torchvision publishes: 102 tensors, a head of 1000 classes, no counters."""
    state = {name: t for name, t in network.state_dict().items() if "num_batches_tracked" not in name}
    return state | {"fc.weight": torch.ones(classes, network.fc.in_features), "fc.bias": torch.ones(classes)}


def headless(state):
    return {name: t for name, t in state.items() if not name.startswith("fc.")}


def prefixed(prefix, state):
    return {prefix + name: t for name, t in state.items()}


def numbered(network):
    return nn.Sequential(*list(network.children())[:-1]).state_dict()


FORMS = {
    "published": published,
    "with counters": lambda n: n.state_dict(),
    "another head": lambda n: published(n, 2),
    "no head, no counters": lambda n: headless(published(n)),
    "a head of two layers": lambda n: headless(published(n)) | {"fc.0.weight": torch.ones(3, 3), "fc.3.bias": torch.ones(3)},
    "half precision": lambda n: {name: t.half() for name, t in published(n).items()},
    "state_dict": lambda n: {"state_dict": published(n)},
    "torchvision's scripts": lambda n: {"model": published(n), "optimizer": {"state": {0: {"m": torch.ones(2)}}}, "epoch": 3},
    "two of timm": lambda n: {"state_dict": published(n), "state_dict_ema": published(new_classifier("none", 9, WIDTH))},
    "Lightning": lambda n: {
        "epoch": 2, "pytorch-lightning_version": "2.4.0", "callbacks": {}, "hyper_parameters": {"lr": 0.1},
        "state_dict": prefixed("model.", published(n)) | {"loss.pos_weight": torch.ones(1)},
    },
    "DataParallel": lambda n: prefixed("module.", published(n)),
    "compiled, in DistributedDataParallel": lambda n: prefixed("module._orig_mod.", published(n)),
    "a backbone with a projector": lambda n: prefixed("backbone.", headless(published(n))) | {"projector.0.weight": torch.ones(2, 2)},
    "MoCo": lambda n: {
        "arch": "resnet18", "state_dict": prefixed("module.encoder_q.", published(n))
        | prefixed("module.encoder_k.", published(new_classifier("none", 9, WIDTH))) | {"module.queue": torch.ones(2, 4)},
    },
    "masks and averages first": lambda n: {
        "masks": {k: torch.ones_like(t) for k, t in published(n).items()},
        "optimizer": {"exp_avg": published(new_classifier("none", 9, WIDTH))}, "model": published(n),
    },
    "the numbers of nn.Sequential": numbered,
    "the same in a module": lambda n: {"net": prefixed("encoder.", numbered(n))},
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("legacy", [False, True])
def test_every_form_gives_the_backbone_and_leaves_the_head(network, tmp_path, form, legacy):
    torch.save(FORMS[form](network), tmp_path / "w.pth", _use_new_zipfile_serialization=not legacy)
    model = new_classifier(str(tmp_path / "w.pth"), 0, WIDTH)
    for name, tensor in network.state_dict().items():
        if name.startswith("fc."):
            assert torch.equal(model.state_dict()[name], new_classifier("none", 0, WIDTH).state_dict()[name])
        elif tensor.is_floating_point():
            expected = tensor.half().float() if form == "half precision" else tensor
            assert torch.equal(model.state_dict()[name], expected), name


def test_what_is_taken_of_several_is_printed(network, tmp_path, capsys):
    for form, said in (
        ("MoCo", "without 'module.encoder_q.'; it also holds"),
        ("two of timm", "state_dict_ema"),
        ("published", ""),
    ):
        torch.save(FORMS[form](network), tmp_path / "w.pth")
        new_classifier(str(tmp_path / "w.pth"), 0, WIDTH)
        out = capsys.readouterr().out
        assert said in out and bool(out) == bool(said)


def test_the_published_imagenet_file_is_read(network, monkeypatch):
    state = published(new_classifier("none", 3))
    assert len(state) == 102
    monkeypatch.setattr("torchvision.models.ResNet18_Weights.get_state_dict", lambda *_, **__: state)
    model = new_classifier("imagenet", 0)
    assert torch.equal(model.layer4[1].conv2.weight, state["layer4.1.conv2.weight"])
    assert torch.equal(model.fc.weight, new_classifier("none", 0).fc.weight)


def test_a_real_backbone_without_head_and_counters_is_read():
    path = SHARED / "models" / "resnet18-imagenet" / "resnet18.safetensors"
    if not path.exists():
        pytest.skip(f"no ImageNet backbone: {path} is missing (set AIM_FAIR_SHARED to the folder that holds models/)")
    from safetensors.torch import load_file

    state = load_file(path)
    assert len(state) == 100
    model = new_classifier(str(path), 0)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in state.items())


class Evil:
    def __reduce__(self):
        import os

        return os.system, (f"touch {NEVER}",)


def deeper(network):
    return published(network) | {"layer1.2.conv1.weight": torch.ones(1)}


def torch_bytes(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


REFUSED = {
    "a whole model": (lambda n: n, "holds Python objects"),
    "hyperparameters that are objects": (lambda n: {"state_dict": published(n), "args": argparse.Namespace(lr=1)}, "holds Python objects"),
    "code": (lambda n: {"state_dict": published(n), "x": Evil()}, "holds Python objects"),
    "a list": (lambda n: [1, 2], "not a state dict"),
    "another network's names": (lambda n: {"a": torch.zeros(1)}, "no tensor is called conv1.weight"),
    "a deeper network": (deeper, "layer1.2.conv1.weight is of a deeper network"),
    "another width": (lambda n: published(new_classifier("none", 0, 2 * WIDTH)), "conv1.weight is (16, 3, 7, 7) there and (8, 3, 7, 7) here"),
    "a layer short": (lambda n: {k: t for k, t in published(n).items() if k != "layer3.0.bn1.bias"}, "layer3.0.bn1.bias is missing"),
    "integers": (lambda n: {k: (t * 127).to(torch.int8) for k, t in published(n).items()}, "conv1.weight is int8; save it as float32"),
    "eight bits": (lambda n: published(n) | {"conv1.weight": n.conv1.weight.detach().to(torch.float8_e4m3fn)}, "float8_e4m3fn; save it as"),
    "sparse": (lambda n: published(n) | {"conv1.weight": n.conv1.weight.detach().to_sparse()}, "sparse_coo; save it as"),
    "complex": (lambda n: published(n) | {"conv1.weight": n.conv1.weight.detach() + 0j}, "complex64; save it as"),
    "without values": (lambda n: published(n) | {"conv1.weight": n.conv1.weight.detach().to("meta")}, "without values"),
    "all zero": (lambda n: {k: torch.zeros_like(t) for k, t in published(n).items()}, "conv1.weight is one value throughout"),
    "not finite": (lambda n: published(n) | {"bn1.bias": torch.full((8,), float("nan"))}, "not finite"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_used_is_one_line_with_the_remedy(network, tmp_path, kind):
    make, said = REFUSED[kind]
    torch.save(make(network), tmp_path / "w.pth")
    with pytest.raises(UserError) as caught:
        new_classifier(str(tmp_path / "w.pth"), 0, WIDTH)
    text = str(caught.value)
    assert said in text and "w.pth" in text and "\n" not in text and "weights_only" not in text and len(text) < 400
    assert not NEVER.exists()


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        (b"junk", "w.pth", "neither safetensors nor written by torch.save"),
        (b"", "w.ckpt", "neither safetensors nor written by torch.save"),
        (b"junk", "w.safetensors", "cannot be read as safetensors"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "w.safetensors", "git lfs pull"),
        (b"<!DOCTYPE html><html>404</html>", "w.pth", "web page"),
        (torch_bytes({"conv1.weight": torch.ones(999)})[:1500], "w.pth", "or is cut off"),
    ],
)
def test_what_is_no_file_of_weights_says_what_it_is(tmp_path, content, name, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=said) as caught:
        new_classifier(str(tmp_path / name), 0, WIDTH)
    assert "\n" not in str(caught.value)


def test_safetensors_are_known_by_their_content(network, tmp_path):
    save_file(published(network), tmp_path / "pytorch_model.bin")
    assert torch.equal(new_classifier(str(tmp_path / "pytorch_model.bin"), 0, WIDTH).conv1.weight, network.conv1.weight)


def test_any_module_and_any_name_of_the_head():
    torch.manual_seed(0)
    model, other = (nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1)) for _ in range(2))
    load_backbone(model, prefixed("encoder.", other.state_dict()), "x", head="2.")
    assert torch.equal(model[0].weight, other[0].weight) and not torch.equal(model[2].weight, other[2].weight)


def test_the_content_is_that_of_the_backbone_whatever_the_form(network, tmp_path):
    contents = {content_of(network, ("fc.",))}
    for form in ("published", "Lightning", "half precision"):
        path = tmp_path / f"{form}.pth"
        torch.save(FORMS[form](network), path)
        contents.add(content_of(new_classifier(str(path), 7, WIDTH), ("fc.",)))
    assert len(contents) == 2  # rounded to half precision they are others
    changed = copy.deepcopy(network).requires_grad_(False)
    changed.bn1.bias[0] += 1e-6
    assert content_of(changed, ("fc.",)) not in contents


@pytest.fixture
def erm(toy, network, tmp_path):
    """Train a small erm from a file of weights."""
    flags = [*TINY, "--cache", tmp_path / "cache", "--methods", "erm", "--weights"]
    return lambda path, *more: train(toy, tmp_path, tmp_path / "out", *flags, path, *more)


def test_a_moved_file_of_weights_is_known_and_another_in_its_place_is_not(erm, network, tmp_path):
    """Of a record that names the content; an older one has the path alone, which has to be the same."""
    path, moved = tmp_path / "weights.safetensors", tmp_path / "moved.safetensors"
    save_file(published(network), path)
    assert erm(path).returncode == 0
    file = tmp_path / "out" / "erm" / "seed_1" / "metrics.json"
    settings = json.loads(file.read_text())["settings"]
    assert settings["weights_content"] == content_of(network, ("fc.",)) and settings["weights"] == str(path)

    path.rename(moved)
    assert "recorded already" in erm(moved).stdout
    other = published(network) | {"conv1.weight": network.conv1.weight.detach() + 1}
    save_file(other, path)
    assert_one_line_error(erm(path), "was made with other settings (weights_content: ", "choose another --output")

    older = json.loads(file.read_text())
    del older["settings"]["weights_content"]
    file.write_text(json.dumps(older))
    assert "recorded already" in erm(path).stdout
    assert_one_line_error(erm(moved), f"weights: '{path}' there, '{moved}' asked")
    assert erm(path, "--seeds", 1, 2).returncode == 0  # what was not noted then is not claimed beside it
    assert "weights_content" not in record(tmp_path / "out", "erm", 2)["settings"]


def test_the_commit_is_that_of_the_start(erm, network, monkeypatch, tmp_path):
    """Whoever pulls, edits or upgrades while a long training runs changes the files, not the code that runs."""
    save_file(published(network), tmp_path / "w.safetensors")
    known = iter(["that of the start", "a later one", "a later one"])
    monkeypatch.setattr("utils.environment.commit", lambda: next(known))
    assert erm(tmp_path / "w.safetensors", "--seeds", 1, 2).returncode == 0
    for seed in (1, 2):
        found = record(tmp_path / "out", "erm", seed)
        assert found["commit"] == "that of the start" and "begun" not in found


def test_a_training_that_goes_on_says_where_it_began(erm, network, monkeypatch, tmp_path):
    save_file(published(network), tmp_path / "w.safetensors")
    longer = ["--pre-train-epochs", 3, "--checkpoint-seconds", 0]
    end_epoch, ended = _Training.end_epoch, []

    def interrupted(training, *arguments):
        ended.append(1)
        if len(ended) == 3:
            raise KeyboardInterrupt
        return end_epoch(training, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(_Training, "end_epoch", interrupted)
        patch.setattr("utils.environment.commit", lambda: "the first")
        assert erm(tmp_path / "w.safetensors", *longer).returncode == 130
    monkeypatch.setattr("utils.environment.commit", lambda: "the second")
    monkeypatch.setattr(Unfinished, "spent", 1000.0)
    assert erm(tmp_path / "w.safetensors", *longer).returncode == 0
    found = record(tmp_path / "out", "erm")
    assert found["commit"] == "the second" and found["begun"] == {"commit": "the first"}
    assert found["seconds"]["train"] > 1000
