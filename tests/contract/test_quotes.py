"""What the documentation quotes from the source is the source."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import quotes

PAGE = Path(__file__).parents[2] / "docs/architecture.md"


def test_the_page_quotes_the_source_as_it_is() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == quotes.quoted(page), "stale: python -m benchmarks.quotes docs/architecture.md"


def test_a_block_becomes_the_source_of_what_it_names() -> None:
    page = (
        "Before.\n<!-- source: benchmarks.quotes.quoted -->\nstale\n<!-- end source -->\nAfter.\n"
    )
    actual = quotes.quoted(page)
    assert actual.startswith(
        "Before.\n<!-- source: benchmarks.quotes.quoted -->\n```python\ndef quoted(page: "
        "str) -> str:\n"
    )
    assert actual.endswith("```\n<!-- end source -->\nAfter.\n")
    assert "stale" not in actual


def test_a_name_that_is_not_there_is_an_error() -> None:
    with pytest.raises((AttributeError, ModuleNotFoundError)):
        quotes.source("wakesleep.learning.cd.nothing")


@pytest.mark.parametrize(
    "word", ["native", "triton", "mkldnn", "cuda", "ctypes", "bfloat16", "autocast"]
)
def test_the_rules_on_the_page_name_no_hardware(word: str) -> None:
    blocks = quotes.BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    assert len(blocks) >= 6
    for _, name, _ in blocks:
        assert not re.search(rf"\b{word}\b", quotes.source(name), re.IGNORECASE), name
