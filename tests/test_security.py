"""The threat model names its tests, and they are there."""

from __future__ import annotations

import ast
import re

import pytest

from shared.settings import REPOSITORY

PAGE = (REPOSITORY / "docs" / "security.md").read_text("utf-8")
ROWS = re.findall(r"^\| (?!threat|---)(.+?) \| (.+?) \| (.+?) \|$", PAGE, flags=re.MULTILINE)
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)


@pytest.mark.parametrize(("path", "name"), NAMED, ids=[name for _, name in NAMED])
def test_a_named_test_exists(path: str, name: str) -> None:
    tree = ast.parse((REPOSITORY / path).read_text("utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_threat_has_a_guard_and_a_test() -> None:
    assert len(ROWS) >= 30
    for threat, guard, tests in ROWS:
        assert guard, threat
        assert re.fullmatch(r"`tests/[\w/]+\.py::\w+`(, `tests/[\w/]+\.py::\w+`)*", tests), threat
