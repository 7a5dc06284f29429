"""The race in a real browser: three nets learn, and answer a drawing."""

from __future__ import annotations

import pytest

pytest.importorskip(
    "playwright", reason="no browser tests: Playwright's Python package is not installed"
)

from benchmarks import browser as browsing

pytestmark = pytest.mark.slow


def test_three_nets_learn_and_answer_a_drawing(page) -> None:
    page.click("#tab-race")
    assert page.text_content("#race-says-dreamed") == "?"
    page.locator("#race-labels").fill("6")
    assert page.text_content("#race-labels-value") == "1000"
    page.click("#race-go")
    page.locator("#race-status", has_text="Dreaming: layer 2").wait_for(timeout=120_000)
    page.locator("#race-features").wait_for()
    page.locator("#race-status", has_text="of 500 new pictures").wait_for(timeout=120_000)
    errors = {
        side: float(page.text_content(f"#race-error-{side}").rstrip("%"))
        for side in ("dreamed", "random", "relu")
    }
    assert errors["dreamed"] < 10  # with 1,000 labels
    assert errors["relu"] < 10
    browsing.draw(page, "0", "#race-pad canvas")
    page.locator("#race-says-dreamed", has_text="0").wait_for()
    assert not browsing.audit(page)


def test_nets_learn_from_ones_own_drawings(page) -> None:
    page.click("#tab-race")
    page.click("#race-own summary")
    for digit in "0127":
        browsing.draw(page, digit, "#race-pad canvas")
        page.locator("#race-names button").nth(int(digit)).click()
    assert "4 drawings alone (0, 1, 2, 7)" in page.text_content("#race-own-count")
    page.check("#race-use-own")
    page.click("#race-go")
    page.locator("#race-status", has_text="from your 4 drawings").wait_for(timeout=120_000)
    page.locator("#race-status", has_text="of 500 new pictures").wait_for(timeout=120_000)
    browsing.draw(page, "0", "#race-pad canvas")
    page.locator("#race-says-dreamed", has_text="0").wait_for()


def test_a_race_can_be_started_again_while_it_runs(page) -> None:
    page.click("#tab-race")
    page.click("#race-go")
    page.locator("#race-status", has_text="Dreaming: layer 2").wait_for(timeout=120_000)
    page.click("#race-go")
    page.locator("#race-status", has_text="Dreaming: layer 1").wait_for(timeout=120_000)
    assert page.text_content("#race-error-dreamed") == ""
