"""Figures of the page in a real browser, and its pictures for the README.

    python -m benchmarks.page
    python -m benchmarks.page --no-figures --screenshot docs/page.png --gif docs/page.gif

Run nothing else beside it: milliseconds are wall-clock time, and server and browser share the
cores.
"""

from __future__ import annotations

import io
import re
import shlex
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from playwright.sync_api import Browser, FloatRect, Page, Response, ViewportSize, sync_playwright
from tyro.conf import Positional

from benchmarks import browser as browsing
from benchmarks.browser import DIGITS, Server
from wakesleep.paper import results

IMPORTS = (
    "import time; began = time.perf_counter(); import uvicorn, wakesleep.cli, "
    "wakesleep.app.server; print(time.perf_counter() - began)"
)
WIDE: ViewportSize = {"width": 1440, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}


@dataclass(frozen=True)
class PageMeasureOptions:
    """Measure the page in a browser, and take its pictures."""

    run: Positional[Path | None] = None
    """A run folder or model file to show; by default the model that ships with wakesleep."""
    figures: bool = True
    """Measure, and save the rows."""
    seconds: float = 10.0
    """How long frames are counted."""
    strokes: int = 12
    """How often each of the digits is drawn; every movement of the pen is a question."""
    starts: int = 5
    """How often the server is started; the median counts."""
    pages: int = 20
    """How many pages are open at once."""
    screenshot: Path | None = None
    """Write a picture of the page here."""
    gif: Path | None = None
    """Write a movie of the page dreaming here."""
    out: Path = Path("results/app.json")
    """Where the rows go."""


def latencies(page: Page, times: int) -> list[float]:
    """Draw digits over and over; return the milliseconds from each movement of the pen to the
    answer in the page.
    """
    for _ in range(times):
        for digit in DIGITS:
            page.click("#pad-clear")
            browsing.draw(page, digit)
            page.wait_for_timeout(150)
    found: list[float] = page.evaluate(
        "performance.getEntriesByName('stroke-to-answer').map((entry) => entry.duration)"
    )
    return found


def steps_shown(page: Page) -> int:
    """Return how many Gibbs steps the dream on show has made."""
    text = page.text_content("#dream-title") or ""
    found = re.search(r"after ([\d,]+) step", text)
    return int(found[1].replace(",", "")) if found else 0


def fastest(page: Page, label: int) -> None:
    """Let the page dream as fast as it goes: one Gibbs step a frame, the next as soon as the last
    is drawn.
    """
    page.locator("#dream-labels input").nth(label).check()
    page.locator("#dream-speed").fill("10")
    page.wait_for_timeout(1000)


def frames_a_second(page: Page, label: int, seconds: float) -> float:
    """Return how many frames of a dream the page draws in a second."""
    fastest(page, label)
    before, began = steps_shown(page), time.perf_counter()
    page.wait_for_timeout(1000 * seconds)
    return (steps_shown(page) - before) / (time.perf_counter() - began)


def many_pages(browser: Browser, server: Server, count: int, seconds: float) -> dict[str, float]:
    """Open many pages that dream; return the frames a second of the least and the best served, and
    the server's memory.
    """
    alone = server.memory_mb()
    context = browser.new_context(viewport=WIDE)
    context.set_default_timeout(120_000)
    pages = [browsing.open_page(context, server.url, "dream") for _ in range(count)]
    before, began = [steps_shown(page) for page in pages], time.perf_counter()
    time.sleep(seconds)
    after, took = [steps_shown(page) for page in pages], time.perf_counter() - began
    full = server.memory_mb()
    context.close()
    rates = [(later - sooner) / took for sooner, later in zip(before, after, strict=True)]
    return {
        "least_frames_per_second": min(rates),
        "most_frames_per_second": max(rates),
        "pages_served": sum(rate > 0 for rate in rates),
        "memory_growth_mb": full - alone,
    }


def weight_kb(browser: Browser, url: str) -> float:
    """Return what a browser has to fetch before the page can be used, without what is said of the
    network, kB.
    """
    context = browser.new_context(viewport=WIDE)
    page = context.new_page()
    sizes: list[int] = []

    def count(response: Response) -> None:
        if "/api/" not in response.url:
            sizes.append(len(response.body()))

    page.on("response", count)
    page.goto(url)
    page.wait_for_selector("html[data-ready]")
    page.wait_for_timeout(500)
    context.close()
    return sum(sizes) / 1000


def violations(browser: Browser, url: str) -> list[str]:
    """Audit every screen and every step of the tour, by day and by night, wide and on a phone."""
    found = []
    for colours in ("light", "dark"):
        for size in (WIDE, PHONE):
            context = browser.new_context(
                viewport=size, color_scheme=colours, reduced_motion="reduce"
            )
            page = browsing.open_page(context, url)
            browsing.draw(page, "7")
            for screen in ("draw", "dream", "mix", "inside"):
                page.click(f"#tab-{screen}")
                page.wait_for_timeout(700)
                found += [
                    f"{screen}, {colours}, {size['width']}: {words}"
                    for words in browsing.audit(page)
                ]
            page.click("#open-tour")
            for step in range(5):
                page.wait_for_timeout(500)
                found += [
                    f"tour {step + 1}, {colours}, {size['width']}: {words}"
                    for words in browsing.audit(page)
                ]
                page.click("#tour-next")
            page.goto(f"{url}api.html")
            page.wait_for_selector("#operations article")
            found += [f"api, {colours}, {size['width']}: {words}" for words in browsing.audit(page)]
            context.close()
    return found


def starting(browser: Browser, words: list[str], times: int) -> tuple[list[float], list[float]]:
    """Return, of each start, the seconds from the command to a page that can be used, and the
    seconds that imports alone take.
    """
    whole, imports = [], []
    for _ in range(times):
        told = subprocess.run(
            [sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True
        ).stdout
        imports.append(float(told))
        context = browser.new_context(viewport=WIDE)
        began = time.perf_counter()
        server = browsing.start(*words)
        browsing.open_page(context, server.url)
        whole.append(time.perf_counter() - began)
        context.close()
        server.stop()
    return whole, imports


def measure(browser: Browser, options: PageMeasureOptions, command: str) -> list[results.Row]:
    """Return all rows."""
    words = [] if options.run is None else [str(options.run)]
    rows = []

    def note(name: str, metric: str, value: float, **more: Any) -> None:
        rows.append(results.row("app", name, metric, [value], seeds=[0], command=command, **more))

    whole, imports = starting(browser, words, options.starts)
    note("start", "seconds", statistics.median(whole), all=[round(one, 3) for one in whole])
    note(
        "start",
        "import_seconds",
        statistics.median(imports),
        all=[round(one, 3) for one in imports],
    )
    with browsing.serving(*words) as server:
        context = browser.new_context(viewport=WIDE)
        page = browsing.open_page(context, server.url)
        taken = np.array(latencies(page, options.strokes))
        note("stroke-to-answer", "median_ms", float(np.median(taken)), strokes=len(taken))
        note("stroke-to-answer", "p99_ms", float(np.percentile(taken, 99)), strokes=len(taken))
        page.click("#tab-dream")
        for name, label in (("dream-one", 4), ("dream-ten", 11)):
            note(name, "frames_per_second", frames_a_second(page, label, options.seconds))
        context.close()
        for metric, value in many_pages(browser, server, options.pages, options.seconds).items():
            note(f"pages-{options.pages}", metric, value)
        note("page-weight", "kilobytes", weight_kb(browser, server.url))
        wrong = violations(browser, server.url)
        for words_of_it in wrong:
            print(words_of_it)
        note("audit", "serious_violations", len(wrong))
    return rows


def take_screenshot(browser: Browser, url: str, path: Path) -> None:
    """Draw a seven and take the picture."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme="dark")
    page = browsing.open_page(context, url)
    browsing.draw(page, "7")
    page.mouse.move(640, 60)
    page.wait_for_selector("#examples button")
    page.wait_for_selector("#spoke button")
    page.wait_for_timeout(500)
    page.screenshot(path=path, full_page=True)
    context.close()


def take_movie(browser: Browser, url: str, path: Path, frames: int = 40) -> None:
    """Let ten labels settle side by side and film the page: slowly at first, then faster."""
    from PIL import Image

    context = browser.new_context(viewport={"width": 1200, "height": 760}, color_scheme="dark")
    page = browsing.open_page(context, url, "dream")
    page.locator("#dream-labels input").last.check()
    page.locator("#dream-speed").fill("3")
    page.click("#dream-again")
    place = page.locator("#dream").bounding_box()
    assert place is not None
    clip: FloatRect = {
        "x": place["x"] + 340,
        "y": place["y"] - 8,
        "width": place["width"] - 332,
        "height": 560,
    }
    shots = []
    for number in range(frames):
        # the first steps one by one, then faster until the dreams have settled
        if number == frames // 3:
            page.locator("#dream-speed").fill("7")
        shots.append(Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB"))
    small = [
        shot.resize((760, round(760 * shot.height / shot.width)), Image.Resampling.LANCZOS)
        for shot in shots
    ]
    palette = small[-1].quantize(64)
    drawn = [shot.quantize(palette=palette, dither=Image.Dither.NONE) for shot in small]
    drawn[0].save(path, save_all=True, append_images=drawn[1:], duration=120, loop=0, optimize=True)
    context.close()


def main(argv: list[str]) -> None:
    """Measure, save, and take pictures."""
    options = tyro.cli(PageMeasureOptions, description=__doc__, args=argv)
    with sync_playwright() as playwright:
        browser = browsing.launch(playwright)
        if options.figures:
            began = time.perf_counter()
            rows = measure(browser, options, shlex.join(["python", "-m", "benchmarks.page", *argv]))
            minutes = round((time.perf_counter() - began) / 60, 2)
            for found in rows:
                found |= {"minutes": minutes, "browser": browser.version}
                print(found["row"], found["metric"], found["value"])
            results.save(options.out, rows)
        if options.screenshot or options.gif:
            with browsing.serving(*([] if options.run is None else [str(options.run)])) as server:
                if options.screenshot:
                    take_screenshot(browser, server.url, options.screenshot)
                if options.gif:
                    take_movie(browser, server.url, options.gif)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
