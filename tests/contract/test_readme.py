"""What README and docs tell a person to type works, and their tables say what results/ holds."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tyro
from PIL import Image

from benchmarks import bench, docs_tables
from wakesleep import cli

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def pages(*long: str) -> list[Any]:
    """Return the pages as parameters; tests of those that are `long` are slow ones."""
    return [
        pytest.param(page, id=page.name, marks=[pytest.mark.slow] if page.name in long else [])
        for page in PAGES
    ]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


@pytest.fixture
def workplace(tmp_path: Path, run_folder: Path, digits, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a finished run called runs/digits, a picture of a digit and a small folder of
    shards.
    """
    shutil.copytree(run_folder, tmp_path / "runs" / "digits")
    (tmp_path / "FOLDER-OF-SHARDS").mkdir()
    for part, array in (
        ("images", digits.train.images[:200]),
        ("labels", digits.train.labels[:200]),
    ):
        np.save(tmp_path / "FOLDER-OF-SHARDS" / f"{part}-0.npy", array.numpy())
    pixels = (digits.test.images[0].reshape(8, 8).numpy() * 255).astype("uint8")
    Image.fromarray(pixels).resize((200, 200)).save(tmp_path / "digit.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", pages(*(page.name for page in PAGES[1:])))
def test_python_blocks_run(page: Path, workplace: Path) -> None:
    names: dict[str, object] = {}
    for block in blocks(page, "python"):
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(block, f"{page.name}", "exec"), names)


def write_patients() -> None:
    """Write a table, new rows of it, and a run that learned it."""
    coughs = np.array(["yes", "no"] * 40)
    table = pd.DataFrame({"coughs": coughs, "pulse": np.arange(80), "grade": np.arange(80) % 3})
    table.to_csv("patients.csv", index=False)
    table.drop(columns="coughs").head(5).to_csv("new.csv", index=False)
    assert cli.main(["train", "--data", "patients.csv", "--label", "coughs", "--hidden", "3"]) == 0


@pytest.mark.parametrize("page", pages(*(page.name for page in PAGES[1:])))
def test_commands_run(page: Path, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        line for block in blocks(page, "sh") for line in block.replace("\\\n", " ").splitlines()
    ]
    if any("patients.csv" in line for line in lines):
        write_patients()
    for line in lines:
        words = shlex.split(line, comments=True)
        if words[:3] == ["python", "-m", "benchmarks.bench"]:  # run by test_bench.py
            assert tyro.cli(bench.BenchOptions, args=words[3:])
        if words[:1] != ["wakesleep"]:
            continue
        if "--resume" in words and not Path(words[words.index("--resume") + 1]).exists():
            shutil.copytree("runs/digits", words[words.index("--resume") + 1])
        # minutes of work, or a download, or for ever: the call must parse
        if words[1] in ("train", "finetune", "serve") or "mnist" in words:
            assert cli.parse(words[1:]).args is not None
        else:
            assert cli.main(words[1:]) == 0, f"{line}\n{capsys.readouterr().err}"


def test_make_targets_named_in_the_pages_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        named = {
            word
            for block in blocks(page, "sh")
            for word in re.findall(r"^make ([a-z-]+)", block, re.MULTILINE)
        }
        assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tables_say_what_results_hold(page: Path) -> None:
    for actual in docs_tables.MARK.finditer(page.read_text(encoding="utf-8")):
        assert actual[0] == f"{actual[1]}{docs_tables.render(actual[2], ROOT)}{actual[3]}", (
            f"stale table in {page.name}: make tables"
        )


def test_links_and_pictures_exist() -> None:
    for page in [*PAGES, *ROOT.glob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name} points to {target}"
