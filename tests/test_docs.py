"""The pages hold together: every link, path, script and name in them leads somewhere, and the README is short."""

import importlib
import importlib.util
import re

import pytest
import yaml
from support import ROOT

from models.options import options_of
from train import METHODS

PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("results/records/**/README.md"))]
ROOMS = ("datasets", "docs", "models", "prompts", "results", "stable_diffusion", "tests", "utils")
FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
MADE_BY_A_RUN = re.compile(r"^results/runs/|[<*]|\.\.\.|\bDIR\b|\$")


def links(text):
    """The targets of links and pictures that are not on the web."""
    found = re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text))
    return [target for target in found if not target.startswith(("http:", "https:"))]


def paths(text):
    """What stands in backticks and looks like a file or folder of the repository."""
    spans = re.findall(r"`([^`\n]+)`", FENCE.sub("", text))
    words = [word.rstrip(",:;") for span in spans for word in span.split()]
    looks = [
        word for word in words if word.partition("/")[0] in ROOMS and "/" in word or re.search(r"\.(py|sh)$", word)
    ]
    return [word for word in looks if not MADE_BY_A_RUN.search(word)]


def scripts(text):
    """The scripts and modules that the commands of a page call."""
    commands = "\n".join(FENCE.findall(text)) + "\n".join(re.findall(r"`([^`\n]+)`", FENCE.sub("", text)))
    files = re.findall(r"(?:bash|python) ([\w/]+\.(?:sh|py))\b", commands)
    modules = [name for name in re.findall(r"-m ([\w.]+)", commands) if name.partition(".")[0] in ROOMS]
    return files, modules


def anchors(path):
    """The anchors of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_paths_and_commands_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for link in links(text):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
    for path in paths(text):
        assert any((folder / path).exists() for folder in (ROOT, page.parent, ROOT / "tests")), path
    files, modules = scripts(text)
    for file in files:
        assert (ROOT / file).is_file(), file
    for module in modules:
        assert importlib.util.find_spec(module), module


def test_what_the_checks_find():
    page = "[a](b.md#c) ![d](e.svg) [web](https://x.y)\n`train.py`: `results/table.sh 3 --seeds 1` `results/runs/toy` `x.csv`\n"
    page += "```bash\nbash runner.sh  # [no](link)\npython -m prompts.check prompts/Made_Later.json\n```\n"
    assert links(page) == ["b.md#c", "e.svg"]
    assert paths(page) == ["train.py", "results/table.sh"]
    assert scripts(page) == (["runner.sh"], ["prompts.check"])
    assert anchors(ROOT / "docs" / "data.md") >= {"celeba", "check-first", "your-own-images", "generators"}


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 180


def test_readme_names_the_code_of_each_step():
    steps = re.findall(r"\| `(\w+)\.py`: `(\w+)` \|", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(steps) == 3
    for module, name in steps:
        assert callable(getattr(importlib.import_module(module), name))


def test_readme_names_the_shipped_pairs():
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## A new pair\n")[2].partition("```")[0]
    assert set(re.findall(r"`(\w+_\w+)`", text)) == {path.stem for path in ROOT.glob("prompts/*_*.json")}


def test_tables_page_names_methods_that_there_are():
    text = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    of_methods, of_options = (
        re.findall(r"^\| (`.*?`) \|", part, re.MULTILINE) for part in text.split("Options follow a colon")
    )
    named = set(re.findall(r"`([^`]+)`", " ".join(of_methods[1:])))
    assert len(named) > 15 and named <= {re.sub(r"-block-\w+$", "-block-N", name) for name in METHODS}
    options = set(re.findall(r"`([^`]+)`", " ".join(of_options)))
    assert len(options) >= 8 and options <= {key for train in METHODS.values() for key in options_of(train)}


def test_every_fault_has_a_test_that_is_there():
    text = (ROOT / "docs" / "what_happens_when.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| ...")]
    assert len(rows) >= 27
    for row in rows:
        assert re.search(r"`(\w+/)?test_\w+\.py`", row.split("|")[3]), row


def test_citation():
    paper = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["preferred-citation"]
    names = " and ".join(f"{author['family-names']}, {author['given-names']}" for author in paper["authors"])
    bibtex = (ROOT / "README.md").read_text(encoding="utf-8")
    for value in (names, f"{paper['start']}--{paper['end']}", str(paper["year"]), paper["collection-title"]):
        assert value in bibtex
    assert paper["title"] in bibtex.replace("{AIM-Fair}", "AIM-Fair")
