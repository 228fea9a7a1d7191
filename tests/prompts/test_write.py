"""The prompt writer against a tiny local model and a local HTTP endpoint."""

import json
import shlex

import pytest
import torch
from support import ROOT, assert_one_line_error, run_here, run_script
from support.chat_stub import EYEGLASSES, ask
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from datasets.pairs import Pair
from prompts import TOKENIZER, read_prompts, write
from prompts.backends import LocalModel
from prompts.check import check_prompts
from prompts.decoding import Decoding
from prompts.write import name_pair, split_words
from utils.errors import UserError


def test_endpoint_writes_a_file_that_passes_the_check(stub, tmp_path):
    server, output = stub(), tmp_path / "Eyeglasses_Young.json"
    done = ask(server, output)
    assert done.returncode == 0, done.stderr
    prompts = check_prompts(output)
    assert {kind: [len(texts) for texts in groups.values()] for kind, groups in prompts.prompts.items()} == {
        "plain": [1] * 4, "contextual-without-pose": [6] * 4, "contextual": [6] * 4,
    }  # fmt: skip
    assert prompts.prompts["plain"]["1_1"] == ["Portrait face photo of a young person wearing eyeglasses"]
    details = [text.split("eyeglasses, ", 1)[1] for text in prompts.prompts["contextual"]["0_0"]]
    assert details == [text.split("eyeglasses, ", 1)[1] for text in prompts.prompts["contextual"]["1_1"]]
    assert not any("eyeglasses" in text or "wrinkles" in text for text in details)  # they would tell the group
    assert prompts.origin["model"] == "stub" and prompts.origin["sampling"]["temperature"] == 0.7
    assert prompts.origin["date"] and "caption" in prompts.origin["instruction"]
    path, authorization, body = server.requests[0]
    assert path == "/v1/chat/completions" and authorization == "Bearer sesame-of-the-test"
    assert "sesame" not in output.read_text() + done.stdout + done.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == [output.name]
    before = output.read_bytes()
    assert_one_line_error(ask(server, output), output, "is there already", "--output")
    assert output.read_bytes() == before


DENIED = "Portrait face photo of a young person not wearing eyeglasses, wearing eyeglasses"
BAD_ANSWERS = [
    "", "Sure! Here is one:\nA portrait", "Portrait face photo of a person", "<script>alert(1)</script>", "x" * 4000, None,
    {"a": 1}, DENIED,
]  # fmt: skip


def test_bad_answers_are_asked_for_again(stub, tmp_path):
    def mischief(number, right):
        if number in (1, 2):
            return 503, "busy"
        if number == 3:
            return 200, {"choices": []}
        return 200, BAD_ANSWERS[number % len(BAD_ANSWERS)] if number < 30 and number % 2 else right

    server, output = stub(mischief), tmp_path / "prompts.json"
    done = ask(server, output)
    assert done.returncode == 0, done.stderr
    check_prompts(output)
    assert len(server.requests) > 24 + 2


def test_a_word_that_goes_with_one_group_is_asked_away(stub, tmp_path):
    def mischief(number, right):
        return 200, right + ", a sunny beach" if number <= 24 and "young person wearing" in right else right

    output = tmp_path / "prompts.json"
    done = ask(stub(mischief), output)
    assert done.returncode == 0, done.stderr
    assert "beach" not in json.dumps(read_prompts(output).prompts)


def test_what_cannot_be_had_is_reported_and_goes_on_later(stub, tmp_path):
    output = tmp_path / "prompts.json"

    def stubborn(number, right):
        return 200, "I cannot help with that" if "aged person wearing" in right else right

    failed = ask(stub(stubborn), output, "--attempts", 2)
    assert_one_line_error(failed, "6 of 24 sentences", "2 attempts", "prompts.partial")
    assert "1_0 1:" in failed.stderr and not output.exists()
    server = stub()
    done = ask(server, output)
    assert done.returncode == 0, done.stderr
    assert len(server.requests) == 6  # only what was missing
    assert [entry.name for entry in tmp_path.iterdir()] == [output.name]


def test_endpoint_that_refuses_or_is_not_there(stub, tmp_path):
    output = tmp_path / "prompts.json"
    refused = ask(stub(lambda number, right: (401, "no")), output)
    assert_one_line_error(refused, "HTTP 401", "OPENAI_API_KEY")
    assert "sesame" not in refused.stderr
    server = stub()
    server.shutdown()
    server.server_close()
    assert_one_line_error(ask(server, output, "--retries", 1, "--timeout", 2), "no answer", "2 attempts")
    assert not output.exists()


@pytest.fixture(scope="module")
def babbler(tmp_path_factory):
    """A chat model of random weights: it runs, and says nothing that makes sense."""
    folder = tmp_path_factory.mktemp("babbler")
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    tokenizer.save_pretrained(folder)
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=512, **size)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def test_local_model_is_asked_and_its_babble_refused(babbler, tmp_path):
    output = tmp_path / "prompts.json"
    flags = ["--output", output, "--model", babbler, "--attempts", 1, "--max-new-tokens", 8, "--device", "cpu"]
    assert_one_line_error(run_here(write.main, *EYEGLASSES, *flags), "24 of 24 sentences")
    assert not output.exists()


def test_local_model_answers_every_question_and_by_seed(babbler):
    model = LocalModel(str(babbler), torch.device("cpu"), None, Decoding(0.7, 0.9, 8))
    first, again, other = (model.answer(["one", "a longer question"], ["A", "Two words"], seed) for seed in (0, 0, 1))
    assert first == again != other and len(first) == 2
    assert [number for number, _ in first] == [0, 1]
    texts = [reply.text for _, reply in first]
    assert not any("question" in text for text in texts)  # the question is no part of the answer
    assert texts[0].startswith("A, ") and texts[1].startswith("Two words, ")
    assert all(len(text) > len("Two words, ") for text in texts)
    assert all(reply.cut_off for _, reply in first)  # it never ends of its own accord


@pytest.mark.parametrize(
    ("end", "chat"),
    [
        ("", "q"),
        ("{{ '<think>\n' }}", "q<think>\n\n</think>\n\n"),  # it always thinks; the opening must not become a thought
        ("{% if enable_thinking is not defined or enable_thinking %}<think>{% endif %}", "q"),
        ("{% if thinking is not defined or thinking %}<think>{% else %}</think>{% endif %}", "q</think>"),
    ],
)
def test_a_local_model_is_asked_not_to_think(babbler, end, chat):
    model = LocalModel(str(babbler), torch.device("cpu"), None, Decoding(0, 1, 4))
    model.tokenizer.chat_template += end
    assert model._chat("q") == chat


def test_missing_model_and_bad_words(tmp_path):
    output = ["--output", tmp_path / "prompts.json"]
    missing = run_here(write.main, *EYEGLASSES, *output, "--model", tmp_path / "none.gguf")
    assert_one_line_error(missing, "none.gguf", "cannot be loaded")
    words = [*EYEGLASSES[:3], "wearing eyeglasses", *EYEGLASSES[4:]]
    assert_one_line_error(run_here(write.main, *words, *output, "--template"), "PRESENT|ABSENT")
    assert_one_line_error(run_here(write.main, *EYEGLASSES, *output, "--base-url", "ftp://x"), "--base-url")


def test_template_needs_no_model(tmp_path):
    output = tmp_path / "prompts.json"
    done = run_here(write.main, *EYEGLASSES, "--output", output, "--template")
    assert done.returncode == 0, done.stderr
    assert "--template" in check_prompts(output).origin


@pytest.mark.slow
def test_shipped_files_are_what_their_command_writes(tmp_path):
    prompts = read_prompts(ROOT / "prompts" / "Female_White.json")
    command = shlex.split(prompts.origin.split("`")[1])
    done = run_script(*command, "--output", tmp_path / "again.json")
    assert done.returncode == 0, done.stderr
    assert read_prompts(tmp_path / "again.json").prompts == prompts.prompts


def test_names_and_words():
    assert name_pair("Blond_Hair_Male", 1) == Pair("Blond_Hair", ("Male",))
    assert name_pair("Smiling_MaleYoung", 2) == name_pair("Smiling_Male_Young", 2) == Pair("Smiling", ("Male", "Young"))
    for text, count in (("Smiling", 1), ("Smiling_Male", 2)):
        with pytest.raises(UserError, match="--target-sensitive"):
            name_pair(text, count)
    assert split_words("a, b |c") == {"1": ["a", "b"], "0": ["c"]}
    assert split_words("White=white, pale|East Asian=Asian") == {"White": ["white", "pale"], "East-Asian": ["Asian"]}
    assert list(split_words("A~B c=x|D=y")) == ["A~B-c", "D"]  # a value that joins two
    for text in ("a", "a|", "a|b|c", "", "A=a", "A=a|A=b", "A=a|B="):
        with pytest.raises(UserError, match=r"PRESENT\|ABSENT"):
            split_words(text)
