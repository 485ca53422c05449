# SPDX-License-Identifier: MIT
"""docs/ARCHITECTURE.md speaks of folders, tests and files that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "ARCHITECTURE.md"
TEXT = PAGE.read_text()
TEST_NAME = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
PROMISES = TEXT.split("## What is promised")[1].split("\n## ")[0]


def rows(section: str) -> list[list[str]]:
    """The cells of a section's table rows, without its head."""
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@cache
def names_in(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def missing_tests(text: str) -> list[str]:
    found = []
    for path, name in TEST_NAME.findall(text):
        file = ROOT / path
        if not file.is_file() or name not in names_in(file):
            found.append(f"{path}::{name}")
    return found


def test_promised_tests_exist() -> None:
    assert not missing_tests(TEXT)


def test_every_promise_names_a_test_or_says_why_not() -> None:
    table = rows(PROMISES)
    assert table
    bare = [
        promise
        for promise, shown in table
        if not (TEST_NAME.search(shown) or "not a test" in shown)
    ]
    assert not bare


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("`tests/test_architecture.py::test_promised_tests_exist`", []),
        ("`tests/test_architecture.py::test_gone`", ["tests/test_architecture.py::test_gone"]),
        ("`tests/test_gone.py::test_a`", ["tests/test_gone.py::test_a"]),
    ],
)
def test_missing_test_is_noticed(text: str, expected: list[str]) -> None:
    assert missing_tests(text) == expected


def test_every_folder_of_the_core_is_a_room() -> None:
    rooms = {row[0].strip("`") for row in rows(TEXT.split("## The rooms")[1].split("\n## ")[0])}
    folders = {f"cpp/{path.name}/" for path in (ROOT / "cpp").iterdir() if path.is_dir()}
    assert folders <= rooms


def test_linked_and_named_files_exist() -> None:
    pages = [PAGE, *(ROOT / "docs" / "adr").glob("*.md")]
    assert len(pages) > 1
    linked = [
        (page.parent / target).resolve()
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    ]
    named = [
        ROOT / path
        for page in pages
        for path in re.findall(r"`((?:cpp|tests|docs|bench)/[\w/.]+\.\w+)`", page.read_text())
    ]
    assert linked
    assert named
    assert [str(path) for path in linked + named if not path.exists()] == []
