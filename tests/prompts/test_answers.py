"""The caption in what a model said."""

import pytest

from prompts.answers import captions, without_thoughts

START = "Portrait face photo of a young person wearing eyeglasses"
CAPTION = f"{START}, round face, a man's hat, mid-length hair"
FORMS = [
    "{}", "{}.", " {} \n", "**{}**", "*{}*", "***{}***", "_{}_", "__{}__", "`{}`", '"{}"', '"{}."', "'{}'", "“{}”",
    "‘{}’", "«{}»", '**"{}"**', '"**{}**"', "1. {}", "1) {}", "(1) {}", "- {}", "* {}", "• {}", "> {}", "# {}",
    "1. **{}**", "Caption: {}", "caption:{}", "**Caption:** {}", "**Caption**: {}", 'Caption: "{}"', "Prompt: {}",
    "Answer:\n{}", "Sure, here is the caption:\n{}", "Sure! Here's a caption for you:\n\n**{}**", "Here you go: {}",
    "Option 1: {}", "Title: {}", "Sure: {}", "Here is your photo's caption: {}", "```\n{}\n```", "```text\n{}\n```", '```json\n{{"caption": "{}"}}\n```',
    "{}\n\nThis caption mentions every detail.", '"{}"\n(32 words)', "{} (32 words)", '"{}" (32 words)',
    "Caption: {}\n\nNote: I kept to 45 words.", "<answer>\n{}\n</answer>", "\ufeff{}\u200b",
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_the_caption_is_found_in(form):
    assert captions(form.format(CAPTION), START) == [CAPTION]


def test_typography_and_emphasis_within_a_caption_become_plain():
    assert captions(CAPTION.replace("'", "’").replace("-", "‑").replace(" ", "\u00a0"), START) == [CAPTION]
    assert captions(CAPTION.replace("-", "–"), START) == [CAPTION]
    assert captions(CAPTION.replace("young", "**young**").replace("round face", "*round face*"), START) == [CAPTION]
    assert captions(CAPTION.replace(START, f"**{START}**"), START) == [CAPTION]


@pytest.mark.parametrize(
    "text",
    [
        "", "I cannot help with that.", f"I would never write {CAPTION}", f"A {CAPTION}", CAPTION.lower(),
        f"Not this: {CAPTION}", CAPTION.replace("young", "aged"), CAPTION.replace(", ", ",\n").replace("face photo", "photo"),
        f"<b>{CAPTION}</b>", "x" * 5000, "*" * 5000 + CAPTION, "a " * 400 + ": " + CAPTION,
    ],
)  # fmt: skip
def test_what_does_not_begin_as_told_is_no_caption(text):
    assert captions(text, START) == []


def test_of_several_lines_each_that_begins_as_told_is_a_caption_once():
    text = f"1. {CAPTION}\n2. {START}, a scarf\n3. **{CAPTION}**\n{START} and"
    assert captions(text, START) == [CAPTION, f"{START}, a scarf", f"{START} and"]


def test_what_follows_a_closed_mark_is_no_part_of_the_caption():
    assert captions(f'"{CAPTION}" is my caption', START) == [CAPTION]
    assert captions(f"**{CAPTION}** is my caption", START) == [CAPTION]


def test_thoughts():
    assert without_thoughts("plain") == "plain"
    assert without_thoughts("<think>a</think>b") == "b"
    assert without_thoughts("a</think>b<think>c</think>d") == "d"
    assert without_thoughts("<think>never ends") is None
    assert without_thoughts("a</think><think>b") is None
    assert without_thoughts("") == ""
