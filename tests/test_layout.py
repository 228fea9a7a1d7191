"""The house's rules: no import runs upwards, none in a circle."""

import ast

from conftest import ROOT

FLOORS = {"utils": 0, "datasets": 1, "models": 2, "prompts": 2, "stable_diffusion": 3, "results": 4, "train": 5}


def imports():
    """The project's modules, and which of them each imports anywhere in it."""
    files = [ROOT / "train.py", *(path for room in FLOORS for path in (ROOT / room).rglob("*.py"))]
    names = {
        ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in files if p.is_file()
    }
    found = {}
    for name, path in names.items():
        asked, tree = set(), ast.parse(path.read_text())
        for node in ast.walk(tree):  # what is imported for type hints alone is never imported
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                node.body = []
        for node in ast.walk(tree):
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
