"""Bad input by the hundred: whatever a file or a flag holds, the answer is a result or one line, never a traceback."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import assert_one_line_error, small

import train
from datasets.bias import biased_group_sizes, parse_bias_degree
from datasets.celeba import read_attributes, read_partition, split_attributes
from datasets.custom import read_table
from datasets.pairs import parse_pair
from models.options import parse_method
from prompts import read_prompts
from stable_diffusion import generate
from stable_diffusion.manifest import check_manifest, noted_batch_size
from utils.errors import UserError
from utils.records import read_record
from utils.seeds import derived_seed

FLAGS = {"top-k": 55, "prompt-type": "contextual", "bias-degree": "1/9", "ratio": None}
TRIED = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
ENTRIES = st.sampled_from(
    ["", "0", "1", "2", "train", "val", "test", "a.png", "../a.png", "/etc/passwd", '"', "é", "x\0y", " 1 "]
)
LINES = st.lists(st.lists(ENTRIES, min_size=1, max_size=5).map(",".join), max_size=6).map("\n".join)
CONTENT = st.one_of(
    st.binary(max_size=80),
    st.text(max_size=80).map(lambda t: t.encode("utf-8", "surrogatepass")),
    LINES.map(lambda t: ("image,split,Smiling,Male\n" + t).encode()),
    LINES.map(lambda t: ("\ufeffimage,split,Smiling,Male\r\n" + t).encode()),
)


def answers(function, *arguments):
    """Call it; a `UserError` of one line that is not empty is an answer too."""
    try:
        return function(*arguments)
    except UserError as error:
        assert str(error).strip()
        return None


@TRIED
@given(content=CONTENT)
def test_any_file_in_place_of_a_csv(tmp_path, content):
    (tmp_path / "faces.csv").write_bytes(content)
    answers(read_table, tmp_path / "faces.csv", "Smiling_Male")


@TRIED
@given(attributes=CONTENT, partition=CONTENT, suffix=st.sampled_from([".txt", ".csv"]))
def test_any_files_in_place_of_celebas_lists(tmp_path, attributes, partition, suffix):
    for old in tmp_path.glob("list_*"):
        old.unlink()
    (tmp_path / f"list_attr_celeba{suffix}").write_bytes(attributes)
    (tmp_path / f"list_eval_partition{suffix}").write_bytes(partition)
    for read in (read_attributes, read_partition, split_attributes):
        answers(read, tmp_path)


@TRIED
@given(
    content=st.one_of(
        st.binary(max_size=60), st.sampled_from([b"{}", b"[]", b'{"pair": 3}', b'{"pair": "A_B"}', b"null"])
    )
)
def test_any_file_in_place_of_prompts_manifest_and_record(tmp_path, content):
    group = tmp_path / "0_0"
    group.mkdir(exist_ok=True)
    (group / "0.png").touch()
    for name in ("prompts.json", "manifest.jsonl", "metrics.json"):
        (tmp_path / name).write_bytes(content)
    answers(read_prompts, tmp_path / "prompts.json")
    answers(check_manifest, tmp_path, {"a": 1})
    answers(noted_batch_size, tmp_path, {"a": 1})
    answers(read_record, tmp_path)


@TRIED
@given(
    text=st.one_of(
        st.text(max_size=30), st.from_regex(r"(aim-fair|jtt|erm):[a-z-]{1,8}=[0-9a-z./,-]{0,8}", fullmatch=True)
    )
)
def test_any_text_in_place_of_a_method_a_pair_and_a_degree(text):
    answers(parse_method, text, train.METHODS, FLAGS)
    answers(parse_pair, text, ["Smiling", "Male", "Young"])
    answers(parse_bias_degree, text)
    answers(biased_group_sizes, 20, text)


@TRIED
@given(seed=st.integers(min_value=0, max_value=2**70))
def test_any_seed_gives_a_stream(seed):
    assert 0 <= derived_seed(seed, "a") < 2**63


NUMBERS = ["", "x", "-1", "0", "1e400", "nan", "inf", "9" * 30, "1.5.2", "\x00"]
TRAINING = {
    "--seeds": ["", "x", "-1", "1.5", "9" * 30],
    "--dataset": ["", "imagenet"],
    "--target-sensitive": ["", "_", "Smiling", "Smiling_Smiling", "Smiling_Nobody", "A_B_C", "é_ü", "a\nb"],
    "--bias-degree": ["", "1", "0/9", "1/0", "9/-1", "a/b", "1e9/1e-9"],
    "--methods": ["", "x", "jtt:", "jtt:=", "jtt:epochs=x", "aim-fair:top-k=0", "aim-fair:top-k=999", "erm:a=b", "é"],
    "--number-train-data-real": NUMBERS,
    "--top-k": ["", "x", "-1", "0", "999"],
    "--weights": ["", "nowhere.pth", ".", "a\nb"],
    "--device": ["", "cuda:99", "tpu", "cpu:x"],
    "--real-data-path": ["", "nowhere", "a\nb", "/dev/null"],
    **dict.fromkeys(("--batch-size", "--pre-train-epochs", "--fine-tune-epochs", "--milestones", "--age-limit", "--number-balanced-synthetic", "--number-imbalanced-synthetic", "--number-held-out-synthetic"), NUMBERS),
    **{flag: ["", "x", "-1", "nan", "inf"] for flag in ("--pre-train-lr", "--fine-tune-lr", "--weight-decay")},
    "--width": ["", "x", "-1", "nan", "inf", "1e9"],
    **{flag: [*NUMBERS, "1000000"] for flag in ("--image-size", "--decode-size")},  # more than any memory holds
}  # fmt: skip
GENERATION = {
    "--target-sensitive": TRAINING["--target-sensitive"],
    "--prompt-type": ["", "x", "contextual-0", "contextual-99999", "../plain"],
    "--prompts": ["", "nowhere.json", ".", "/dev/null"],
    "--scheduler": ["", "x"],
    "--precision": ["", "fp8"],
    "--device": TRAINING["--device"],
    "--guidance-scale": ["", "x", "-1", "nan", "inf"],
    **dict.fromkeys(("--images-per-cell", "--batch-size", "--steps", "--size", "--save-size"), NUMBERS),
}
HARMLESS = "9" * 30  # a number that is large, but a number


def cases(table):
    return [(flag, value) for flag, values in table.items() for value in values]


def refused(monkeypatch, capsys, main, *arguments):
    """The command line ends with status 2 and a message, by argparse or as a `UserError`; returns whether it did."""
    monkeypatch.setattr(sys, "argv", ["script", *map(str, arguments)])
    try:
        main()
    except SystemExit as end:
        assert end.code == 2 and "error:" in capsys.readouterr().err
        return True
    except UserError as error:
        assert str(error).strip()
        return True
    return False


@pytest.mark.parametrize(("flag", "value"), cases(TRAINING))
def test_any_value_of_a_training_flag(toy, monkeypatch, capsys, tmp_path, flag, value):
    base = ["--real-data-path", toy, "--weights", "none", "--image-size", 32, "--number-train-data-real", 40]
    base += ["--output", tmp_path, "--device", "cpu", "--bias-degree", "1/3", "--dry-run", "--no-estimate"]
    done = refused(monkeypatch, capsys, train.main, *base, f"{flag}={value}")
    assert done or value in (HARMLESS, "0", "-1", "a\nb", "", "1", "jtt:", "1e9/1e-9"), (flag, value)
    assert not list(Path(tmp_path).iterdir())


@pytest.mark.parametrize(("flag", "value"), cases(GENERATION))
def test_any_value_of_a_generation_flag(monkeypatch, capsys, tmp_path, flag, value):
    base = ["--outdir", tmp_path / "out", "--images-per-cell", 2, "--device", "cpu", "--dry-run"]
    done = refused(monkeypatch, capsys, generate.main, *base, f"{flag}={value}")
    assert done or value in (HARMLESS, ""), (flag, value)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def odd(toy, synthetic, tmp_path):
    """Copies to be spoiled of real and synthetic images, in a folder of any name, and what trains on them."""

    def make(name=b"odd"):
        folder = tmp_path / os.fsdecode(name)
        shutil.copytree(toy, folder / "real")
        shutil.copytree(synthetic, folder / "synthetic")

        def run(*more):
            return small.train(folder / "real", folder / "synthetic", folder / "out", *small.TINY, *more)

        return folder, folder / "synthetic" / "Smiling_Male" / "contextual" / "0_0", run

    return make


@pytest.mark.parametrize("name", [b"two words", b"two\nlines", b"\xff", b"'\"$(touch x)`;", b"-x"])
def test_any_name_of_folders_and_images(odd, name):
    folder, group, run = odd(name)
    (group / "0.png").rename(group / os.fsdecode(name + b".png"))
    (group / "1.png").rename(folder / "elsewhere.png")
    (group / "1.png").symlink_to(folder / "elsewhere.png")
    done = run()
    assert done.returncode == 0, done.stderr
    assert (folder / "out" / "aim-fair" / "seed_1" / "metrics.json").exists()


def no_image(path):
    path.write_bytes(b"\x89PNG")


@pytest.mark.parametrize("spoil", [no_image, Path.touch, Path.mkdir, lambda path: path.symlink_to("nowhere")])
def test_what_is_no_image_is_named(odd, spoil):
    folder, group, run = odd()
    spoil(group / "9.png")
    assert_one_line_error(run(), group / "9.png")
    assert not list((folder / "out").glob("*/seed_*"))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("\n", "\r\n", None),
        (" 1 ", " 2 ", "attribute values -1 and 1"),
        (" 1 ", " ", "list_attr_celeba.txt"),
        ("000002.jpg", "000001.jpg", "000001.jpg is listed twice"),
        ("000001.jpg", "../1.jpg", "'../1.jpg' is not the name of a file"),
        ("000001.jpg", "/etc/passwd", "'/etc/passwd' is not the name of a file"),
        ("000240.jpg", "000241.jpg", "no line for 000241.jpg"),
    ],
)
def test_any_change_of_celebas_list(odd, old, new, said):
    folder, _, run = odd()
    path = folder / "real" / "list_attr_celeba.txt"
    count = -1 if old == "\n" else 1
    path.write_bytes(path.read_text().replace(old, new, count).encode())
    done = run("--dry-run")
    assert done.returncode == 0 if said is None else not assert_one_line_error(done, said), done.stderr


def test_a_run_goes_on_from_a_damaged_record_only_once_it_is_removed(odd):
    folder, _, run = odd()
    assert run().returncode == 0
    erm, fair = (folder / "out" / method / "seed_1" for method in ("erm", "aim-fair"))
    weights, record = (erm / "model.safetensors").read_bytes(), (fair / "metrics.json").read_bytes()
    (fair / "metrics.json").write_bytes(record[: len(record) // 2])
    assert_one_line_error(run(), fair / "metrics.json", "is damaged", f"remove {fair} and run it again")
    (fair / "metrics.json").write_text('{"method": "aim-fair"}')
    assert_one_line_error(run(), fair / "metrics.json", "it has no seed", f"remove {fair} and run it again")
    shutil.rmtree(fair)
    for content in (weights[: len(weights) // 2], b"", bytes(len(weights)), None):
        (erm / "model.safetensors").unlink()
        if content is not None:
            (erm / "model.safetensors").write_bytes(content)
        else:
            (erm / "model.safetensors").symlink_to("nowhere")
        assert_one_line_error(run(), erm / "model.safetensors", "is damaged", f"remove {erm} and run it again")
    shutil.rmtree(erm)
    assert run().returncode == 0
    assert (erm / "model.safetensors").read_bytes() == weights
    again, first = (json.loads(text)["metrics"] for text in ((fair / "metrics.json").read_bytes(), record))
    assert again == first
