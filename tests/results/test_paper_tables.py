"""The study of the paper's tables: each column under its own table, and answers that the tables bear out."""

import re

from support import ROOT

from results.studies.paper_tables import COLUMNS, FRACTIONS, OTHER, PAIR, POINTS, STUDY

PAGE = (ROOT / "results" / "records" / "paper_tables" / "README.md").read_text(encoding="utf-8")
INTERVAL = r"[+-][\d.]+ \([^)]*\)"


def test_each_column_stands_under_its_own_table():
    _, *tables = re.split(r"\n## Table ", PAGE)
    assert len(tables) >= 4
    for text in tables:
        text = text.split("\n## ")[0]
        allowed = COLUMNS.get(f"table_{text[0]}", (PAIR,))
        found = re.findall(r"\n### (\S+)", text)
        assert found and set(found) <= set(allowed)


def test_the_differences_in_the_answers_are_those_of_the_tables():
    [line] = re.findall(r"\*\*AIM-Fair minus full fine-tuning\*\*: (.*)\n", PAGE)
    rows = [row for row in PAGE.splitlines() if row.startswith("| aim-fair | full |")]
    said = [re.findall(INTERVAL, part) for part in line.split(";")]
    assert len(said) >= 1 and all(any(odds in row and accuracy in row for row in rows) for odds, accuracy in said)


def test_every_column_that_is_named_has_an_arm():
    arms = {arm.name: arm for arm in STUDY.arms}
    assert {PAIR, OTHER, *FRACTIONS} == set(arms)
    for column, methods in POINTS.values():
        assert set(methods) - {"erm"} <= {*arms[column].methods}


def test_a_column_whose_biased_model_learned_nothing_gives_no_answer():
    head, *_ = PAGE.split("\n## Table ")
    weak = {name for name, text in re.findall(r"\n### (\S+)\n(.*?)\n\|", PAGE, re.DOTALL) if "hardly learned" in text}
    assert weak == set(re.findall(r"- \*\*(\S+)\*\* says nothing", head)) == {OTHER}
    assert not re.search(rf"{OTHER} EO|Young/Male, with", head)
