"""What docs/paper.md points at is there."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def formulas() -> list[list[str]]:
    text = (ROOT / "docs" / "paper.md").read_text("utf-8")
    table = text.split("## Formulas")[1].split("## ")[0]
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines() if line.startswith("|")
    ][2:]


def test_every_formula_names_a_file_a_function_and_a_test_that_exist() -> None:
    rows = formulas()
    assert len(rows) > 12
    for what, files, functions, tests in rows:
        modules = [
            importlib.import_module(f"skysense.{name.removesuffix('.py').replace('/', '.')}")
            for name in re.findall(r"`([^`]+)`", files)
        ]
        assert modules, what
        for function in re.findall(r"`([^`]+)`", functions):
            first, _, rest = function.partition(".")
            owners = [getattr(module, first) for module in modules if hasattr(module, first)]
            assert owners, f"{what}: {function}"
            assert not rest or any(hasattr(owner, rest) for owner in owners), f"{what}: {function}"
        for test in re.findall(r"`([^`]+\.py)`", tests):
            assert list(ROOT.glob(test if "/" in test else f"tests/**/{test}")), f"{what}: {test}"
