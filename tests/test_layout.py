"""The house's rules: no import runs upwards, none in a circle; a study is a value, not a program."""

import ast
import re
import subprocess
import sys

import pytest
from support import ROOT

FLOORS = {"utils": 0, "datasets": 1, "models": 2, "prompts": 2, "stable_diffusion": 3, "results": 4, "train": 5}


def imports():
    """The project's modules, and which of them each imports anywhere in it."""
    files = [ROOT / "train.py", *(path for room in FLOORS for path in (ROOT / room).rglob("*.py"))]
    names = {
        ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in files if p.is_file()
    }
    found = {}
    for name, path in names.items():
        asked = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                asked |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
            elif isinstance(node, ast.Import):
                asked |= {alias.name for alias in node.names}
        # a package's own __init__ is not counted where one of its modules is meant
        found[name] = {
            other
            for other in asked & names.keys()
            if not any(more.startswith(f"{other}.") for more in asked & names.keys())
        }
    return found


def test_no_import_runs_upwards():
    upward = [
        (name, other)
        for name, others in imports().items()
        for other in others
        if FLOORS[name.split(".")[0]] < FLOORS[other.split(".")[0]]
    ]
    assert not upward


def test_no_imports_in_a_circle():
    graph = imports()

    def reached(name):
        seen, waiting = set(), list(graph[name])
        while waiting:
            other = waiting.pop()
            if other not in seen:
                seen.add(other)
                waiting += graph.get(other, ())
        return seen

    assert not [name for name in graph if name in reached(name)]


def test_modules_of_one_system_are_imported_where_they_are_used():
    """Else a traceback comes before `command_line` can say which systems are meant."""
    found = set()
    for path in [ROOT / "train.py", *(path for room in FLOORS for path in (ROOT / room).rglob("*.py"))]:
        for node in ast.parse(path.read_text()).body if path.is_file() else ():
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            found |= {
                (path.name, name) for name in names if name in {"fcntl", "grp", "pty", "pwd", "resource", "termios"}
            }
    assert not found


STUDIES = ROOT / "results" / "studies"


def study_files():
    """The modules of each study, by the study's name."""
    found = {}
    for path in sorted(STUDIES.rglob("*.py")):
        if path != STUDIES / "__init__.py":
            found.setdefault(path.relative_to(STUDIES).parts[0].removesuffix(".py"), []).append(path)
    return found


def test_a_study_has_no_command_line_process_or_table_syntax_of_its_own():
    for path in (path for paths in study_files().values() for path in paths):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"argparse|subprocess|Popen|[\"']\| ", text), path


def test_a_study_imports_no_study():
    for name, others in imports().items():
        own = name.split(".")[2] if name.startswith("results.studies.") else None
        assert not own or all(other.split(".")[2:3] in ([], [own]) for other in others if "results.studies" in other), (
            name
        )


def test_studies_stay_small():
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in STUDIES.rglob("*.py")}
    assert sum(lines.values()) <= 4810 and max(lines.values()) <= 250


def test_every_study_is_cited():
    """One that no page links to is deleted, with its records."""
    pages = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("results/records/*/README.md")]
    text = {page: page.read_text(encoding="utf-8") for page in pages}
    for name in study_files():
        own = ROOT / "results" / "records" / name / "README.md"
        assert any(f"{name}/README.md" in content for page, content in text.items() if page != own), name


@pytest.mark.slow
def test_studies_are_read_without_torch():
    """Else each remade page would wait for it."""
    read = "import sys; from results import study; [study.study_of(n) for n in study.names()]; sys.exit('torch' in sys.modules)"
    assert not subprocess.run([sys.executable, "-c", read], cwd=ROOT).returncode


@pytest.mark.parametrize("room", ["datasets", "models", "stable_diffusion"])
def test_files_and_functions_are_short_and_functions_take_values(room):
    """A file has at most 250 lines, a function 40, and none takes the parsed command line."""
    broken = []
    for path in (ROOT / room).rglob("*.py"):
        text = path.read_text()
        broken += [path.name] if len(text.splitlines()) > 250 else []
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                long = node.end_lineno - node.lineno + 1 > 40
                whole = any(argument.arg == "args" for argument in node.args.args)
                broken += [f"{path.name}: {node.name}"] if long or whole else []
    assert not broken
