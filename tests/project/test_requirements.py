"""What the project depends on: lower bounds in pyproject.toml, exact versions in requirements.lock."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import skysense

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]


def locked() -> dict[str, str]:
    """Version of every package in the lock."""
    pairs = [line.split("==") for line in (ROOT / "requirements.lock").read_text("utf-8").splitlines()]
    return {canonicalize_name(name): version for name, version in pairs}


def requirements(group: str) -> list[Requirement]:
    """Requirements of an extra or, for "core", of the package, without references to its own extras."""
    lines = PROJECT["dependencies"] if group == "core" else EXTRAS[group]
    return [requirement for requirement in map(Requirement, lines) if requirement.name != "skysense"]


@pytest.mark.parametrize("group", ["core", *sorted(EXTRAS)])
def test_bounds_are_lower_bounds(group: str) -> None:
    bounds = {
        str(requirement): [bound.operator for bound in requirement.specifier] for requirement in requirements(group)
    }
    assert {name: operators for name, operators in bounds.items() if operators != [">="]} == {}


def test_all_takes_every_extra_but_dev() -> None:
    (everything,) = map(Requirement, EXTRAS["all"])
    assert everything.extras == set(EXTRAS) - {"all", "dev"}


def test_the_lock_is_pins_only() -> None:
    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line)] == []
    assert len(locked()) == len(lines)


def test_the_lock_leaves_what_one_platform_needs_to_torch() -> None:
    assert [name for name in locked() if name.startswith(("nvidia", "cuda", "triton"))] == []


@pytest.mark.parametrize("group", ["core", "train", "dev"])
def test_the_lock_meets_the_bounds(group: str) -> None:
    pins = locked()
    missed = [
        str(requirement)
        for requirement in requirements(group)
        if pins.get(canonicalize_name(requirement.name)) not in requirement.specifier
    ]
    assert missed == []


def test_every_place_names_the_same_version() -> None:
    citation = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text("utf-8"), re.M)
    changes = re.findall(r"^## \[(\d[^]]*)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert citation is not None
    assert (citation.group(1), changes[0]) == (skysense.__version__, skysense.__version__)
