"""A file of more than 500 lines or a function of more than 80 holds two ideas."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for folder in ("src", "examples", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
FILE_LINES = 500
FUNCTION_LINES = 80


def too_long(source: str) -> list[tuple[str, int]]:
    """Name and length of the functions of a module that are too long, and of the module ("") if it is."""
    found = [("", len(source.splitlines()))] if len(source.splitlines()) > FILE_LINES else []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES:
                found.append((node.name, length))
    return found


def test_the_measure_measures() -> None:
    function = "def long():\n" + "    pass\n" * FUNCTION_LINES
    assert too_long(function) == [("long", FUNCTION_LINES + 1)]
    assert too_long("def short():\n" + "    pass\n" * (FUNCTION_LINES - 1)) == []
    assert too_long("pass\n" * (FILE_LINES + 1)) == [("", FILE_LINES + 1)]


def test_nothing_is_too_long() -> None:
    assert SOURCES
    lengths = {str(path.relative_to(ROOT)): too_long(path.read_text("utf-8")) for path in SOURCES}
    assert {name: found for name, found in lengths.items() if found} == {}
