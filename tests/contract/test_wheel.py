"""A wheel is built, installed into a clean environment, and its main job run there."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from helpers import SMALL_ARGUMENTS

ROOT = Path(__file__).parents[2]
IMPORT_NAMES = {
    "sklearn": "scikit-learn",
    "PIL": "pillow",
    "axe_playwright_python": "axe-playwright-python",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(ROOT)],
        check=True,
        capture_output=True,
    )
    return next(out.glob("*.whl"))


def test_the_wheel_holds_the_package_and_its_types(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*.py")}
    page = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src/wakesleep/app").rglob("*.*")
        if "__pycache__" not in path.parts
    }
    assert {"wakesleep/app/static/index.html", "wakesleep/app/model/model.safetensors"} <= page
    assert (
        sources
        | page
        | {"wakesleep/py.typed", "wakesleep/compute/csrc/kernels.c", "wakesleep/compute/csrc/amx.c"}
        <= names
    )
    assert not [
        name for name in names if name.startswith(("tests", "docs", "results", "benchmarks"))
    ]


RIVALS = {"rbms", "learnergy"}
"""What the bench measures in an environment of their own, where there is one: no part of ours."""


def test_the_metadata_names_every_import_without_pins() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    required = {re.split(r"[<>=!\[ ]", line)[0] for line in lines}
    assert not [line for line in lines if "==" in line.partition(";")[0]], (
        "a marker may ask for a platform, a requirement for no single version"
    )
    imported = set()
    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.split(".")[0])
    foreign = imported - set(sys.stdlib_module_names) - {"wakesleep", "benchmarks"} - RIVALS
    assert {IMPORT_NAMES.get(name, name) for name in foreign} <= required


def install_lines() -> list[str]:
    """What README and docs tell a person to give to pip install."""
    text = "\n".join(
        page.read_text(encoding="utf-8")
        for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    )
    actual = re.findall(r"^pip install '([^']+)'|`pip install '([^']+)'`", text, re.MULTILINE)
    return sorted({"".join(names) for names in actual})


def test_the_pages_say_how_to_install_what_no_index_serves() -> None:
    version = re.search(r'__version__ = "(.*)"', (ROOT / "src/wakesleep/__init__.py").read_text())
    assert version is not None
    assert install_lines() == [".[app]", f"dist/wakesleep-{version[1]}-py3-none-any.whl[app]"]


@pytest.mark.slow
@pytest.mark.parametrize("line", install_lines())
def test_the_main_job_runs_from_what_the_pages_say(line: str, wheel: Path, tmp_path: Path) -> None:
    """Where WAKESLEEP_CLEAN_INSTALL is set everything is installed anew; otherwise the dependencies
    are borrowed from this environment.
    """
    venv.create(tmp_path / "env", with_pip=True)
    scripts = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin")
    pip = [scripts / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    line = line.replace("dist/", f"{wheel.parent}/")
    if os.environ.get("WAKESLEEP_CLEAN_INSTALL"):
        subprocess.run([*pip, "-c", str(ROOT / "constraints.txt"), line], check=True, cwd=ROOT)
    else:
        subprocess.run([*pip, "--no-deps", line], check=True, cwd=ROOT)
        paths = sysconfig.get_paths(
            vars={"base": str(tmp_path / "env"), "platbase": str(tmp_path / "env")}
        )
        (Path(paths["purelib"]) / "borrowed.pth").write_text(
            sysconfig.get_paths()["purelib"] + "\n"
        )
    alone = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        "OMP_NUM_THREADS": "1",
    }
    train = [scripts / "wakesleep", "train", "--out", str(tmp_path / "run"), *SMALL_ARGUMENTS]
    shown = subprocess.run(
        train, check=True, capture_output=True, text=True, cwd=tmp_path, env=alone
    )
    assert "random weights" in shown.stdout
    where = subprocess.run(
        [scripts / "python", "-c", "import wakesleep; print(wakesleep.__file__)"],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=alone,
    )
    assert str(tmp_path / "env") in where.stdout
