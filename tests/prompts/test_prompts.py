import json
import re

import pytest
from support import ROOT, assert_one_line_error, run_here
from transformers import CLIPTokenizer

from datasets.pairs import GROUPS, groups_of
from prompts import TOKENIZER, check, find_prompt_file, prompts_of_type, read_prompts, shipped_files
from prompts.check import check_prompts, denies, states
from prompts.design import CONTEXTS, neutral_contexts, read_contexts, sentence
from prompts.tokens import count_tokens
from utils.errors import UserError

PAIRS = (
    "Smiling_Male", "Smiling_Young", "Young_Male", "Male_Young", "BlondHair_Male", "BlackHair_Young", "Female_White",
    "Smiling_MaleYoung", "Cat_Bright", "Female_Race", "Age_Female",
)  # fmt: skip


@pytest.fixture
def content():
    return json.loads(find_prompt_file("Smiling_Male").read_text())


def write(tmp_path, content):
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps(content, indent=1))
    return path


def test_every_pair_is_shipped():
    assert set(PAIRS) <= {path.stem for path in shipped_files()}


@pytest.mark.parametrize("path", shipped_files(), ids=lambda path: path.stem)
def test_shipped_prompts(path):
    prompts = check_prompts(path)
    assert prompts.pair == path.stem
    assert list(prompts.prompts) == ["plain", "contextual-without-pose", "contextual"]
    for prompt_type, count in {
        "plain": 1,
        "contextual-without-pose": 50,
        "contextual": 50,
        "contextual-25": 25,
    }.items():
        found = {group: len(texts) for group, texts in prompts_of_type(prompts, prompt_type).items()}
        if path.stem in PAIRS:
            assert found == dict.fromkeys(prompts.groups, count)
    races = ("White", "Black", "Asian", "Indian", "Others")
    groups = {
        "Smiling_MaleYoung": groups_of(2),
        "Female_Race": tuple(f"{female}_{race}" for female in "01" for race in races),
        "Age_Female": tuple(f"{age}_{female}" for age in ("0-17", "18-39", "40+") for female in "01"),
    }
    assert prompts.groups == groups.get(path.stem, GROUPS)


def test_ages_and_ethnic_groups_of_female_white():
    groups = read_prompts(find_prompt_file("Female_White")).prompts["contextual"]
    for texts in groups.values():
        assert [int(text.split("-year-old")[0].split()[-1]) for text in texts] == list(range(1, 100, 2))
    for group in ("Black", "East Asian", "South Asian", "Hispanic", "Middle Eastern"):
        assert sum(f" {group} " in text for text in groups["0_0"]) == 10


@pytest.mark.parametrize(
    ("prompt_type", "fault"), [("contextual-51", "has 50"), ("plain-2", "has 1"), ("contextual-0", "has")]
)
def test_more_prompts_than_there_are(prompt_type, fault):
    with pytest.raises(UserError, match=fault):
        prompts_of_type(read_prompts(find_prompt_file("Smiling_Male")), prompt_type)


def test_the_files_that_the_page_shows_are_read(tmp_path):
    page = (ROOT / "docs" / "prompts.md").read_text(encoding="utf-8")
    for name, text in zip(("prompts", "contexts"), re.findall(r"```json\n(.*?)```", page, re.DOTALL), strict=True):
        (tmp_path / f"{name}.json").write_text(text)
    assert check_prompts(tmp_path / "prompts.json").groups == GROUPS
    contexts, left_out = read_contexts(tmp_path / "contexts.json")
    found = neutral_contexts(contexts, set(left_out["Striped"]), ages=False)
    assert found[0] == ("young", ["on a wooden floor", "a wicker basket behind it"], "facing the camera")


def test_contexts_leave_out_what_tells_the_attribute():
    contexts, left_out = read_contexts(CONTEXTS)
    told = {"Young": "wrinkles", "Eyeglasses": "eyeglasses", "Black_Hair": "black hair", "White": "dark skin"}
    for name, word in told.items():
        assert any(word in details for _, details, _ in contexts) or word in ("black hair", "dark skin")
        neutral = neutral_contexts(contexts, set(left_out[name]), ages=False)
        assert not any(word in detail for _, details, _ in neutral for detail in details)
        assert len({tuple(details) for _, details, _ in neutral}) == 50  # what is left still differs
    assert {age for age, _, _ in neutral_contexts(contexts, {"age"}, ages=False)} == {""}


@pytest.mark.parametrize(
    ("template", "words", "age", "expected"),
    [
        ("photo of a {A} {age} {B}", {"A": "smiling", "B": "man"}, "elderly", "photo of a smiling elderly man"),
        ("photo of a {age} {B}", {"A": "", "B": "man"}, "elderly", "photo of an elderly man"),
        ("photo of a {age} {B}", {"A": "", "B": "man"}, "", "photo of a man"),
        ("photo of a {age} {B}", {"A": "", "B": "man"}, "85-year-old", "photo of an 85-year-old man"),
        ("photo of a {age} {B}", {"A": "", "B": "man"}, "19-year-old", "photo of a 19-year-old man"),
        ("A {B}", {"B": "East Asian"}, "", "An East Asian"),
    ],
)
def test_sentence(template, words, age, expected):
    assert sentence(template, words, age) == expected


def test_sentence_with_an_unknown_place():
    with pytest.raises(UserError, match=r"--sentence.*\{Smiling\}, \{age\}"):
        sentence("a {Smilin}", {"Smiling": "smiling"}, "")


def test_tokens_are_counted_as_transformers_counts_them():
    tokenizer = CLIPTokenizer.from_pretrained(TOKENIZER)
    types = [prompts for path in shipped_files() for prompts in read_prompts(path).prompts.values()]
    texts = {text for groups in types for prompts in groups.values() for text in prompts}
    texts |= {
        "",
        "  a\n\tb  ",
        "It's 1,024 o'clock!!",
        "Ein Mädchen mit Brille",
        "e\u0301te\u0301",
        "微笑的女人",
        "👩🏽‍🦱 :-)",
        "<b>x</b>",
    }
    assert len(texts) > 100
    assert {t: count_tokens(t) for t in texts} == {t: len(tokenizer(t).input_ids) for t in texts}


def test_tokenizer_is_clips():
    # ids as published with CLIP: <start> a photo of a cat <end>
    assert CLIPTokenizer.from_pretrained(TOKENIZER)("a photo of a cat").input_ids == [
        49406, 320, 1125, 539, 320, 2368, 49407,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "word", "stated", "denied"),
    [
        ("a smiling woman", "man", False, False),
        ("a female person", "male", False, False),
        ("a smiling man, facing left", "man", True, False),
        ("an unsmiling man", "smiling", False, True),
        ("a non-smiling man", "smiling", False, True),
        ("A Smiling man", "smiling", True, False),
        ("a man who is not smiling", "smiling", True, True),
        ("a man without any eyeglasses", "eyeglasses", True, True),
        ("a smiling man, not facing the camera", "smiling", True, False),
    ],
)
def test_words_are_whole_words_and_may_be_denied(text, word, stated, denied):
    assert (states(text, word), denies(text, word)) == (stated, denied)


@pytest.mark.parametrize(
    ("group", "text", "fault"),
    [
        ("1_1", "Portrait face photo of a serious man", "does not say smiling"),
        ("1_1", "Portrait face photo of a smiling woman", "says woman"),
        ("1_1", "Portrait face photo of a smiling man with his lady", "says lady"),
        ("1_1", "Portrait face photo of a man, not smiling, smiling", "denies smiling"),
        ("1_1", "Portrait face photo of an unsmiling man", "does not say smiling"),
        ("0_0", "Portrait face photo of a serious woman who is smiling", "says smiling"),
        ("0_0", "Portrait face photo of a serious woman with a grin", "says grin"),
        ("0_1", "Portrait face photo of a serious female, man", "says female"),
        ("0_0", "Portrait face photo of a serious woman" + ", very long hair" * 30, "tokens, more than 77"),
        ("0_1", "Portrait face photo of a serious woman", "2 times"),
        ("0_1", "Portrait face photo of a serious man on a beach", r"'beach' is in 0% \(0_0\) to 100% \(0_1\)"),
    ],
)
def test_spoiled_prompts_are_named_with_their_line(content, tmp_path, group, text, fault):
    content["prompts"]["plain"][group] = [text]
    path = write(tmp_path, content)
    with pytest.raises(UserError, match=fault) as caught:
        check_prompts(path)
    if "beach" not in text:
        line = next(n for n, line in enumerate(path.read_text().splitlines(), start=1) if json.dumps(text) in line)
        assert f"line {line}" in str(caught.value) and text in str(caught.value)


def test_a_detail_that_goes_with_one_group_is_refused_unless_marked_and_rare(content, tmp_path):
    texts = content["prompts"]["contextual"]["1_1"]
    texts[:5] = [f"{text}, a short beard" for text in texts[:5]]
    check_prompts(write(tmp_path, content))  # 10 %: the limit
    texts[5:7] = [f"{text}, a short beard" for text in texts[5:7]]
    with pytest.raises(UserError, match=r"contextual: 'beard' is in 0% \(0_0\) to 14% \(1_1\)"):
        check_prompts(write(tmp_path, content))
    check_prompts(write(tmp_path, content), limit=0.2)
    content["group_details"] = ["a short beard"]
    with pytest.raises(UserError, match="14% of the prompts have a group detail"):
        check_prompts(write(tmp_path, content))
    texts[5:7] = [text.removesuffix(", a short beard") for text in texts[5:7]]
    check_prompts(write(tmp_path, content), limit=0.05)


def test_check_prints_its_table_and_names_the_faults_of_every_file(content, tmp_path):
    good = write(tmp_path, content)
    done = run_here(check.main, good, "--words")
    assert done.returncode == 0, done.stderr
    assert "contextual: 0_0 50 x 23" in done.stdout and "eyeglasses" in done.stdout
    content["prompts"]["plain"]["0_0"] = ["Portrait of a woman"]
    spoiled = tmp_path / "spoiled.json"
    spoiled.write_text(json.dumps(content, indent=1))
    failed = run_here(check.main, good, spoiled)
    assert_one_line_error(failed, "spoiled.json")
    assert "does not say serious" in failed.stderr and "prompts.json" in failed.stdout


def test_own_phrase_may_hold_the_opposite_word(content, tmp_path):
    content["words"]["Smiling"]["0"] = ["not smiling"]
    for group in ("0_0", "0_1"):
        for texts in content["prompts"].values():
            texts[group] = [text.replace("serious", "not smiling") for text in texts[group]]
    check_prompts(write(tmp_path, content))


def test_incomplete_files(content, tmp_path):
    for missing in ("pair", "words", "origin", "prompts", "group_details"):
        with pytest.raises(UserError, match=missing):
            read_prompts(write(tmp_path, {key: value for key, value in content.items() if key != missing}))
    content["prompts"]["plain"]["0_1"] = []
    with pytest.raises(UserError, match=r"prompts\.plain\.0_1"):
        read_prompts(write(tmp_path, content))


def test_unknown_pair_and_type(content, tmp_path):
    with pytest.raises(UserError, match=r"Smiling_Male.*--prompts"):
        find_prompt_file("Smiling_Mail")
    with pytest.raises(UserError, match="plain, contextual"):
        prompts_of_type(read_prompts(write(tmp_path, content)), "fancy")


def test_a_file_that_an_editor_began_with_a_mark_is_read(content, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(content), encoding="utf-8-sig")
    assert read_prompts(path).pair == content["pair"]


@pytest.mark.parametrize("text", ["", "[]", "{", '"x"', "[" * 100_000, "\ufeff\ufeff{}"], ids=lambda text: text[:5])
def test_json_that_cannot_be_read_is_named(text, tmp_path):
    (tmp_path / "mine.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="not a prompt file"):
        read_prompts(tmp_path / "mine.json")


@pytest.mark.parametrize("name", ["../plain", "a/b", "", ".."])
def test_a_prompt_type_that_is_no_name_of_a_folder_is_refused(content, tmp_path, name):
    content["prompts"][name] = content["prompts"]["plain"]
    (tmp_path / "mine.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="can't be the name of a folder"):
        read_prompts(tmp_path / "mine.json")


def test_a_prompt_in_two_groups_is_refused_where_images_are_made_of_it(content, tmp_path):
    """Else the same faces get two labels."""
    content["prompts"]["plain"]["1_0"] = content["prompts"]["plain"]["0_0"]
    (tmp_path / "mine.json").write_text(json.dumps(content))
    prompts = read_prompts(tmp_path / "mine.json")
    assert prompts_of_type(prompts, "contextual")
    with pytest.raises(UserError, match="stands in 0_0 and in 1_0, which must differ"):
        prompts_of_type(prompts, "plain")
