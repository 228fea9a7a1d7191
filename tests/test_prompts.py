import copy
import json

import pytest
from transformers import CLIPTokenizer

from datasets.pairs import CELLS
from prompts import find_prompt_file, prompts_of_type, read_prompts
from prompts.check import TOKENIZER, check_prompts, states
from utils.errors import UserError


@pytest.fixture
def content():
    return json.loads(find_prompt_file("Smiling_Male").read_text())


def write(tmp_path, content):
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps(content))
    return path


def test_shipped_prompts():
    prompts = read_prompts(find_prompt_file("smiling_male"))
    check_prompts(prompts)
    assert {cell: len(texts) for cell, texts in prompts_of_type(prompts, "plain").items()} == dict.fromkeys(CELLS, 1)
    contextual = prompts_of_type(prompts, "contextual")
    assert {cell: len(texts) for cell, texts in contextual.items()} == dict.fromkeys(CELLS, 50)
    details = {cell: [text.split(",", 1)[1] for text in texts] for cell, texts in contextual.items()}
    assert all(details[cell] == details["0_0"] for cell in CELLS)  # no detail goes with one cell


def test_tokenizer_is_clips():
    # ids as published with CLIP: <start> a photo of a cat <end>
    assert CLIPTokenizer.from_pretrained(TOKENIZER)("a photo of a cat").input_ids == [
        49406, 320, 1125, 539, 320, 2368, 49407,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "word", "expected"),
    [
        ("a smiling woman", "man", False),
        ("a smiling man, facing left", "man", True),
        ("an unsmiling man", "smiling", False),
        ("A Smiling man", "smiling", True),
    ],
)
def test_words_are_whole_words(text, word, expected):
    assert states(text, word) is expected


@pytest.mark.parametrize(
    ("cell", "text", "fault"),
    [
        ("1_1", "Portrait face photo of a serious man", "does not say smiling"),
        ("1_1", "Portrait face photo of a smiling woman", "says woman"),
        ("0_0", "Portrait face photo of a serious woman who is smiling", "says smiling"),
        ("0_0", "Portrait face photo of a serious woman" + ", very long hair" * 30, "tokens, more than 77"),
        ("0_1", "Portrait face photo of a serious woman", "twice"),
    ],
)
def test_spoiled_prompts_are_named(content, tmp_path, cell, text, fault):
    content["prompts"]["plain"][cell] = [text]
    with pytest.raises(UserError, match=fault) as caught:
        check_prompts(read_prompts(write(tmp_path, content)))
    assert text in str(caught.value)


def test_own_phrase_may_hold_the_opposite_word(content, tmp_path):
    content["words"]["target"]["0"] = ["not smiling"]
    for cell in ("0_0", "0_1"):
        for texts in content["prompts"].values():
            texts[cell] = [text.replace("serious", "not smiling") for text in texts[cell]]
    check_prompts(read_prompts(write(tmp_path, content)))


@pytest.mark.parametrize("missing", ["pair", "words", "origin", "prompts"])
def test_incomplete_file(content, tmp_path, missing):
    del content[missing]
    with pytest.raises(UserError, match=missing):
        read_prompts(write(tmp_path, content))


def test_damaged_files(content, tmp_path):
    path = tmp_path / "prompts.json"
    for text in ("", "[]", "{", '"x"'):
        path.write_text(text)
        with pytest.raises(UserError, match="not a prompt file"):
            read_prompts(path)
    spoiled = copy.deepcopy(content)
    spoiled["prompts"]["plain"]["0_1"] = []
    with pytest.raises(UserError, match=r"prompts\.plain\.0_1"):
        read_prompts(write(tmp_path, spoiled))


def test_unknown_pair_and_type(content, tmp_path):
    with pytest.raises(UserError, match=r"Smiling_Male.*--prompts"):
        find_prompt_file("Smiling_Mail")
    with pytest.raises(UserError, match="plain, contextual"):
        prompts_of_type(read_prompts(write(tmp_path, content)), "fancy")
