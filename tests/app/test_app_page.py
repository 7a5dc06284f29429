"""`wakesleep page`: the folder it writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from wakesleep.app import site
from wakesleep.cli import main
from wakesleep.evaluation import classify
from wakesleep.runs.checkpoint import load_model


def test_a_run_becomes_a_folder_and_again(
    run_folder: Path, tmp_path: Path, digits, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "site"
    for _ in range(2):
        assert main(["page", str(run_folder), "--out", str(out)]) == 0
    assert "http.server" in capsys.readouterr().out
    assert {path.name for path in site.STATIC.iterdir()} <= {path.name for path in out.iterdir()}
    assert json.loads((out / site.ABOUT).read_text()) == {"version": 1}
    own, written = load_model(run_folder), load_model(out / site.MODEL)
    assert written.header["classes"] == own.header["classes"]
    torch.testing.assert_close(
        classify.log_probs(written.dbn, digits.test.images),
        classify.log_probs(own.dbn, digits.test.images),
        rtol=0,
        atol=0.05,
    )
    examples = json.loads((out / site.EXAMPLES).read_text())
    assert len(examples["labels"]) == site.MOST_EXAMPLES


def test_addresses_in_the_page_are_relative() -> None:
    """So that it works under any path."""
    for path in site.STATIC.iterdir():
        if path.suffix in (".html", ".css", ".js"):
            text = path.read_text(encoding="utf-8")
            assert '="/' not in text, path
            assert "url(/" not in text, path
            assert 'fetch("/' not in text, path


def test_a_file_is_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "page").write_text("mine")
    assert main(["page", "--out", str(tmp_path / "page")]) == 1
    assert "expected a folder" in capsys.readouterr().err
