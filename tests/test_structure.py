"""What holds of the code as a whole: no import cycles, one short list of names, kinds said and not asked."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "bayeskit").rglob("*.py"))
}


def runs(body):
    """Statements that run when a module is imported or its functions are called, but not those for types alone."""
    for node in body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from runs(child for child in ast.iter_child_nodes(node))


def imports_of(name):
    found = set()
    for node in runs(ast.parse(FILES[name].read_text()).body):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & FILES.keys() or {node.module}
    return (found & FILES.keys()) - {name, "bayeskit"}


def test_no_import_cycles():
    graph, done = {name: imports_of(name) for name in FILES}, set()
    assert sum(map(len, graph.values())) > 500
    while free := {name for name in graph if name not in done and graph[name] <= done}:
        done |= free
    assert sorted(graph.keys() - done) == []


def test_public_names_stand_in_a_short_list():
    assert len((ROOT / "bayeskit" / "__init__.py").read_text().splitlines()) <= 80
    rows = (ROOT / "bayeskit" / "__init__.pyi").read_text().splitlines()
    assert len(rows) <= 80
    assert all(re.fullmatch(r"from \.[\w.]* import (\w+) as \1|#.*|__version__: str|", row) for row in rows)


def test_no_kind_of_a_part_is_asked_from_afar():
    """`isinstance` on estimators, guides and objectives only where each room checks what it is given."""
    rooms = {"guides": "Guide", "objectives": "Objective", "estimators": "Estimator"}
    asked = []
    for name, path in FILES.items():
        for found in re.finditer(r"isinstance\([^()]*(?:\([^()]*\)[^()]*)*\)", path.read_text()):
            for room, base in rooms.items():
                if re.search(rf"\b{base}\b", found[0].rpartition(",")[2]) and f".{room}." not in f"{name}.":
                    asked.append((name, found[0]))
    # a program refuses what is not an estimator at all, and an expectation one that says nothing of gradients
    assert {name for name, _ in asked} <= {"bayeskit.program.draw"}, asked
