"""The messages that docs/what-went-wrong.md explains are those that the source has."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = re.findall(r"^\| `(.+?)` \|", (ROOT / "docs/what-went-wrong.md").read_text(), re.MULTILINE)


def messages() -> str:
    """Return every string of the source, a line each; what is filled in is left out."""
    actual = []
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [
                    part.value if isinstance(part, ast.Constant) else "" for part in node.values
                ]
                actual.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                actual.append(node.value)
    return "\n".join(actual)


SOURCE = messages()


def test_there_are_rows() -> None:
    assert len(ROWS) >= 15


@pytest.mark.parametrize("message", ROWS)
def test_the_source_has_the_message(message: str) -> None:
    assert message in SOURCE
