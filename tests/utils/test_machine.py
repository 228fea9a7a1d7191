"""What a machine may lack: a package that works, a proxy that can be spoken to, a compiler.

Each is one line with the remedy.
"""

import http.client
import re
import sys

import pytest
import torch
from support import assert_one_line_error, run_here
from support.generation import command
from support.small import SMALL
from torchvision import models

import train
from models.classifier import new_classifier
from stable_diffusion import generate
from stable_diffusion.loading.source import hub_error
from utils.errors import UserError
from utils.machine import check_compile, proxy_remedy

SOCKS = "Using SOCKS proxy, but the 'socksio' package is not installed. Make sure to install httpx using `pip install httpx[socks]`."


@pytest.mark.parametrize(
    ("package", "fault", "flags", "asked"),
    [
        ("timm", "RuntimeError('operator torchvision::nms does not exist')", ["--network", "timm:resnet18"], "--network timm:resnet18"),
        ("timm", "ImportError('cannot import name Mapping')", ["--network", "timm:resnet18"], "--network timm:resnet18"),
        ("tensorboard", "TypeError('Descriptors cannot be created directly.\\nIf this call came from')", ["--tensorboard", "board"], "--tensorboard"),
    ],
)  # fmt: skip
def test_a_package_that_is_there_and_broken(toy, tmp_path, monkeypatch, package, fault, flags, asked):
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text(f"raise {fault}")
    for name in [n for n in sys.modules if package in n.split(".") and not n.startswith("models.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    failed = run_here(train.main, "--real-data-path", toy, "--output", tmp_path / "out", *SMALL, *flags)
    assert_one_line_error(
        failed, asked, f"{package} is installed but can't be imported", f"--force-reinstall {package}"
    )


@pytest.mark.parametrize(
    ("error", "proxy"),
    [
        (ImportError(SOCKS), "socks5"),  # httpx
        (ValueError("Unknown scheme for proxy URL URL('ftp://me:sesame@there:1')"), "ftp"),
        (http.client.BadStatusLine("\x05\xff"), "socks5"),  # what urllib takes for an answer
    ],
)
def test_a_proxy_that_cannot_be_spoken_to(monkeypatch, error, proxy):
    def fetch(*_, **__):
        raise error

    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(models.MobileNet_V3_Small_Weights, "get_state_dict", fetch)
    assert proxy_remedy() == ""
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    assert proxy_remedy() == "; ALL_PROXY is set (http://...): mend or unset it"
    monkeypatch.setenv("ALL_PROXY", f"{proxy}://me:sesame@127.0.0.1:1")
    remedy = f"ALL_PROXY is set ({proxy}://...): mend or unset it, or give an http:// one"
    with pytest.raises(UserError, match=re.escape(remedy)) as raised:
        new_classifier("imagenet", 1, network="mobilenet_v3_small")
    for text in (str(raised.value), str(hub_error("someone/faces", error))):
        assert remedy in text and "\n" not in text and ("pip install socksio pysocks" in text) == (proxy == "socks5")
    assert "sesame" not in proxy_remedy()


def test_compiling_is_tried_before_anything_else(toy, tmp_path, monkeypatch):
    def broken(function):
        def call(*_):
            raise RuntimeError(
                "InvalidCxxCompiler: No working C++ compiler found in cpp.cxx: (None, 'g++')\n\nSet TORCHDYNAMO"
            )

        return call

    monkeypatch.setattr(torch, "compile", broken)
    parts = (
        "--compile: torch can't compile for cpu here (InvalidCxxCompiler: No working C++",
        "(g++)",
        "leave the flag out",
    )
    flags = ["--real-data-path", toy, "--output", tmp_path / "out", *SMALL, "--compile"]
    for more in ([], ["--dry-run"]):
        assert_one_line_error(run_here(train.main, *flags, *more), *parts)
        failed = run_here(generate.main, *command(tmp_path / "set", "--compile", *more, per_group=1))
        assert_one_line_error(failed, *parts)
    assert not (tmp_path / "out").exists() and not (tmp_path / "set").exists()


@pytest.mark.slow
def test_a_missing_compiler_is_found_by_trying(monkeypatch):
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", ("/nowhere/g++",))
    with pytest.raises(UserError, match="No working C\\+\\+ compiler found.*nowhere"):
        check_compile(torch.device("cpu"))
