"""Every name of the package that an error, a docstring or a page mentions is there."""

from __future__ import annotations

import ast
import importlib.util
import json
import pkgutil
import re
import shlex
from pathlib import Path

import pytest

import wakesleep
from wakesleep import cli

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    [*(ROOT / "src" / "wakesleep").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
)
PAGES = [
    page for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if page.exists()
]
MODULES = [module.name for module in pkgutil.walk_packages(wakesleep.__path__, "wakesleep.")]
SHORT: dict[str, list[str]] = {}
for name in MODULES:
    SHORT.setdefault(name.rsplit(".", 1)[-1], []).append(name)
VARIABLES = {
    "chains",
    "cases",
    "classifier",
    "contrast",
    "data",
    "dbm",
    "dbn",
    "export",
    "files",
    "likelihood",
    "plots",
    "rbm",
    "sound",
    "units",
    "words",
}
"""Names of modules that are also words or variables of a user's program: `cases.bool()`,
`data.npz`.
"""
RUN = re.compile(r"-m ((?:wakesleep|benchmarks)(?:\.\w+)*)")
FULL = re.compile(r"(?<![\w./-])(?:wakesleep|ws)((?:\.[A-Za-z_]\w*)+)")
PART = re.compile(r"(?<![\w./-])([a-z_]+)\.([A-Za-z_]\w*)(?![\w/-])")
ENDINGS = {
    "py",
    "json",
    "jsonl",
    "md",
    "npy",
    "npz",
    "png",
    "safetensors",
    "log",
    "html",
    "js",
    "gif",
    "c",
    "h",
    "csv",
    "tsv",
    "toml",
    "pdf",
    "txt",
    "wav",
    "zip",
}


def resolves(path: list[str]) -> bool:
    """Whether `wakesleep` followed by these names is there; modules are imported on the way."""
    actual: object = wakesleep
    path = path[:-1] if path[-1] == "TOPIC" else path  # stands for any module there
    for depth, name in enumerate(path):
        if not hasattr(actual, name):
            try:
                importlib.import_module(".".join(["wakesleep", *path[: depth + 1]]))
            except ImportError:
                return False
        actual = getattr(actual, name)
    return True


def is_module(name: str) -> bool:
    """Whether a module of this full name is there; it is not imported."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def strings(source: Path) -> list[str]:
    """Return the strings of a module: errors, docstrings, help."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


def missing_names(text: str, *, short: bool) -> list[str]:
    """Return the names of the package in `text` that are not there."""
    lacking = [
        name
        for name in RUN.findall(text)
        if not name.endswith(("NAME", "TOPIC")) and not is_module(name)
    ]
    lacking += [
        f"wakesleep{path}"
        for path in FULL.findall(text)
        if path[1:] not in ENDINGS and not resolves(path[1:].split("."))
    ]
    for module, name in PART.findall(text) if short else []:
        if module in SHORT and module not in VARIABLES and name not in ENDINGS:
            places = [place for place in SHORT[module] if resolves([*place.split(".")[1:], name])]
            if not places:
                lacking.append(f"{module}.{name}")
    return lacking


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_in_errors_and_docstrings_are_there(source: Path) -> None:
    assert not [name for text in strings(source) for name in missing_names(text, short=True)]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_names_on_pages_are_there(page: Path) -> None:
    assert not missing_names(page.read_text(encoding="utf-8"), short=True)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "results").glob("*.json")), ids=lambda path: path.name
)
def test_the_commands_of_the_figures_can_be_called(path: Path) -> None:
    for command in {row["command"] for row in json.loads(path.read_text(encoding="utf-8"))}:
        words = shlex.split(command)
        if words[0] == "wakesleep":
            assert cli.parse(words[1:]).run
        assert not missing_names(command, short=False)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "results").glob("*.json")), ids=lambda path: path.name
)
def test_figures_list_their_seeds(path: Path) -> None:
    rows = json.loads(path.read_text(encoding="utf-8"))
    assert not [row["row"] for row in rows if not isinstance(row["seeds"], list)]


def test_a_name_that_is_not_there_is_found() -> None:
    assert missing_names("estimate log Z by AIS (ais.log_partition)", short=True) == [
        "ais.log_partition"
    ]
    assert missing_names("see ws.nothing.here and wakesleep.cd.epochs", short=False) == [
        "wakesleep.nothing.here"
    ]
    assert missing_names("python -m benchmarks.nothing --seeds 1", short=False) == [
        "benchmarks.nothing"
    ]


OLD = frozenset(
    "about drawn dreamt found heard here lesson place said taught teach told whisper".split()
)
"""Words that name no content, or that only the first version of the package used."""


def identifiers(source: Path) -> set[str]:
    """Return the names of the variables, parameters, attributes and functions of a module."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
    return {name.strip("_") for name in names}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_name_says_what_it_holds(source: Path) -> None:
    assert not OLD & identifiers(source), "name the content, e.g. log_probs in place of found"
