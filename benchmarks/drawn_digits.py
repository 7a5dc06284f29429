"""Digits drawn with the mouse on the page, eleven conditions of forty: how many it names rightly.

    python -m benchmarks.drawn_digits

The drawings are those of `benchmarks.drawings`; what counts is the label with the longest bar.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import tyro
from playwright.sync_api import Page, sync_playwright

from benchmarks import browser as browsing
from benchmarks import drawings
from wakesleep.paper import results

PAUSE_MS, SAME = 150, 3
"""The answer to the last movement is there once so many looks, so far apart, have shown the same
bars: a busy machine answers late.
"""


@dataclass(frozen=True)
class DrawnDigitsOptions:
    """Draw digits on the page, and save the row."""

    out: Path = Path("results/page.json")
    """Where the row goes."""


def draw(page: Page, strokes: list[drawings.Stroke]) -> None:
    """Draw strokes, in parts of the pad's side, with the mouse."""
    box = page.locator("#pad canvas").bounding_box()
    assert box is not None
    for stroke in strokes:
        points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(*points[0])
        page.mouse.down()
        for x, y in points[1:]:
            page.mouse.move(x, y)
        page.mouse.up()


def named(page: Page, strokes: list[drawings.Stroke]) -> str:
    """Return what the page names a drawing, "" where it has no answer."""
    page.click("#pad-clear")
    draw(page, strokes)
    seen = [""]
    while len(seen) < SAME or len(set(seen[-SAME:])) > 1:
        page.wait_for_timeout(PAUSE_MS)
        seen.append(page.locator("#bars").inner_text())
    best = page.locator("#bars .bar.best span").first
    return (best.text_content() or "") if best.count() else ""


def main(argv: list[str]) -> None:
    """Draw, and save."""
    options = tyro.cli(DrawnDigitsOptions, description=__doc__, args=argv)
    right: Counter[str] = Counter(dict.fromkeys(drawings.CONDITIONS, 0))
    count, began = 0, time.perf_counter()
    with browsing.serving() as server, sync_playwright() as playwright:
        browser = browsing.launch(playwright)
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        page = browsing.open_page(context, server.url)
        for condition, digit, strokes in drawings.digits():
            count += 1
            result = named(page, strokes)
            right[condition] += result == digit
            if result != digit:
                print(f"{condition}: a {digit} is named {result or 'nothing'}", flush=True)
        version = browser.version
        browser.close()
    found_row = results.row(
        "page",
        "drawn-digits",
        "accuracy_percent",
        [100 * right.total() / count],
        seeds=[drawings.SEEDS["digits"]],
        command=shlex.join(["python", "-m", "benchmarks.drawn_digits", *argv]),
        minutes=round((time.perf_counter() - began) / 60, 2),
        browser=version,
        right=dict(right),
    )
    print(found_row["value"], dict(right))
    results.save(options.out, [found_row])


if __name__ == "__main__":
    main(sys.argv[1:])
