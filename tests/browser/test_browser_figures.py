"""The figures of the page and its pictures, at smoke size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

pytest.importorskip(
    "playwright", reason="no browser tests: Playwright's Python package is not installed"
)

from benchmarks import browser as browsing
from benchmarks import fuzz

pytestmark = pytest.mark.slow


def test_figures_are_measured(browser, page) -> None:
    from benchmarks import page as figures

    taken = figures.latencies(page, 1)
    assert len(taken) > 20
    assert all(milliseconds > 0 for milliseconds in taken)
    page.click("#tab-dream")
    assert figures.steps_a_second(page, 2) > 0
    images = torch.rand(3, 784, generator=torch.Generator().manual_seed(1))
    assert 0 < figures.largest_difference(page, images) < 1e-3


def test_pictures_are_taken(browser, server, tmp_path: Path) -> None:
    from benchmarks import page as figures

    figures.take_screenshot(browser, server.url, tmp_path / "page.png")
    figures.take_movie(browser, server.url, tmp_path / "page.gif", frames=4)
    with Image.open(tmp_path / "page.png") as picture, Image.open(tmp_path / "page.gif") as movie:
        assert picture.width == 1280
        assert movie.n_frames >= 2


def test_noise_is_recorded(tmp_path: Path) -> None:
    fuzz.main(["--seconds", "2", "--out", str(tmp_path / "app.json")])
    rows = {row["metric"]: row["value"] for row in json.loads((tmp_path / "app.json").read_text())}
    assert rows["still_serving"] == 1
    assert rows["server_errors"] == 0
    assert rows["requests"] > 3


def test_a_browser_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAKESLEEP_BROWSER", "/somewhere/chromium")
    assert browsing.find_browser() == "/somewhere/chromium"
    monkeypatch.delenv("WAKESLEEP_BROWSER")
    monkeypatch.setenv("PATH", "")
    assert browsing.find_browser() is None
