"""A real browser and a server of its own process; skipped with the reason where there is none of
either.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


def _missing(reason: str) -> None:
    if os.environ.get("WAKESLEEP_REQUIRE_BROWSER"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    try:
        from playwright.sync_api import sync_playwright

        from benchmarks import browser as browsing
    except ImportError as error:
        _missing(f"no browser tests: {error}")
    if browsing.find_browser() is None:
        _missing(
            "no browser tests: no Chromium is installed (apt-get install chromium), and "
            "WAKESLEEP_BROWSER names none"
        )
    with sync_playwright() as playwright:
        actual = browsing.launch(playwright)
        yield actual
        actual.close()


@pytest.fixture(scope="session")
def server(browser: object) -> Iterator[object]:
    """The page on the model that ships."""
    from benchmarks import browser as browsing

    with browsing.serving() as server:
        yield server


@pytest.fixture
def context(browser) -> Iterator[object]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    yield context
    context.close()


@pytest.fixture
def page(context, server) -> Iterator[object]:
    """The page, opened at Draw; whatever it says on the console or asks of others fails the
    test.
    """
    from benchmarks import browser as browsing

    wrong = browsing.complaints(context, own=server.url)
    yield browsing.open_page(context, server.url)
    assert not wrong
