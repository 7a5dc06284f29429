"""docs/api.md says what the docstrings say, and every public name says something."""

from __future__ import annotations

import inspect
from importlib.metadata import version
from pathlib import Path

import pytest

import wakesleep
from benchmarks import api, commands

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "api.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == api.reference(), (
        "stale: python -m benchmarks.api docs/api.md"
    )


@pytest.mark.parametrize("name", [name for name in wakesleep.__all__ if not name.startswith("_")])
def test_every_public_name_is_there_and_explained(name: str) -> None:
    assert f"### wakesleep.{name}\n" in PAGE.read_text(encoding="utf-8")
    assert inspect.getdoc(getattr(wakesleep, name))


@pytest.mark.parametrize(
    "name", ["BernoulliRBM", "DBNTransformer", "DBNClassifier", "DBNRegressor", "TableRBM"]
)
def test_every_parameter_and_method_of_an_estimator_is_explained(name: str) -> None:
    cls = getattr(wakesleep, name)
    words = inspect.getdoc(cls) or ""
    if "`n_iter` to `random_state`, are those of `DBNTransformer`" in words:
        words += inspect.getdoc(wakesleep.DBNTransformer) or ""
    for parameter in inspect.signature(cls).parameters:
        assert f"\n    {parameter}: " in words, f"{name}({parameter}) is not explained"
    for key, method in inspect.getmembers(cls, inspect.isfunction):
        if not key.startswith("_") and method.__module__.startswith("wakesleep."):
            assert method.__doc__, f"{name}.{key} says nothing"


@pytest.mark.skipif(
    f"tyro=={version('tyro')}\n" not in (ROOT / "constraints.txt").read_text(encoding="utf-8"),
    reason="the page is made with the tyro of constraints.txt; others lay lines out otherwise",
)
def test_the_commands_are_up_to_date() -> None:
    page = PAGE.with_name("commands.md").read_text(encoding="utf-8")
    assert page == commands.reference(), "stale: python -m benchmarks.commands docs/commands.md"
