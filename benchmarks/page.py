"""Figures of the page in a real browser, and its pictures for the README.

    python -m benchmarks.page
    python -m benchmarks.page --no-figures --screenshot docs/page.png --gif docs/page.gif

The page is the folder that `wakesleep page` writes, served by `python -m http.server`. Run nothing
else beside it: milliseconds are wall-clock time.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from playwright.sync_api import Browser, FloatRect, Page, Response, ViewportSize, sync_playwright
from tyro.conf import Positional

from benchmarks import browser as browsing
from benchmarks.browser import DIGITS
from wakesleep.app import examples, site
from wakesleep.app.loaded_model import open_model
from wakesleep.data import load
from wakesleep.evaluation import classify
from wakesleep.paper import results
from wakesleep.sources.arrays import as_probs

WIDE: ViewportSize = {"width": 1440, "height": 900}


@dataclass(frozen=True)
class PageMeasureOptions:
    """Measure the page in a browser, and take its pictures."""

    run: Positional[Path | None] = None
    """A run folder or model file to show; by default the model that ships with wakesleep."""
    figures: bool = True
    """Measure, and save the rows."""
    seconds: float = 10.0
    """How long steps are counted."""
    strokes: int = 12
    """How often each of the digits is drawn; every movement of the pen is a question."""
    starts: int = 5
    """How often the page is opened anew; the median counts."""
    cases: int = 1000
    """Test cases of MNIST on which Python and browser are compared."""
    data_folder: Path | None = None
    """Where mnist lies, as in wakesleep train."""
    screenshot: Path | None = None
    """Write a picture of the page here."""
    gif: Path | None = None
    """Write a movie of the page dreaming here."""
    out: Path = Path("results/page.json")
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
    result: list[float] = page.evaluate(
        "performance.getEntriesByName('stroke-to-answer').map((entry) => entry.duration)"
    )
    return result


def steps_shown(page: Page) -> int:
    """Return how many Gibbs steps the dream on show has made."""
    text = page.text_content("#dream-title") or ""
    result = re.search(r"after ([\d,]+) step", text)
    return int(result[1].replace(",", "")) if result else 0


def steps_a_second(page: Page, seconds: float) -> float:
    """Return how many Gibbs steps a second ten labels side by side make, as fast as it goes."""
    page.locator("#dream-labels input").last.check()
    page.locator("#dream-speed").fill("10")
    page.wait_for_timeout(1000)
    before, began = steps_shown(page), time.perf_counter()
    page.wait_for_timeout(1000 * seconds)
    return (steps_shown(page) - before) / (time.perf_counter() - began)


def largest_difference(page: Page, images: torch.Tensor) -> float:
    """Return the largest difference of a label's log-probability between the page and Python, over
    images (N, pixels) as bytes of the shipped model's size, nats.
    """
    cases = (as_probs(images) * 255).round().to(torch.uint8)
    reply = page.evaluate(
        """async (cases) => {
            const { ask } = await import(new URL("link.js", document.baseURI).href), said = [];
            for (const pixels of cases) {
                const { logProbs } = await ask("recognize", { pixels });
                said.push([...logProbs]);
            }
            return said;
        }""",
        cases.tolist(),
    )
    expected = classify.log_probs(open_model().dbn, cases.float() / 255)
    return float((torch.tensor(reply, dtype=torch.float64) - expected.double()).abs().max())


def mean_dream(page: Page, options: dict[str, Any], steps: int) -> list[float]:
    """Return the mean picture of dreams that the page's network makes, (pixels,)."""
    result: list[float] = page.evaluate(
        """async ([options, steps]) => {
            const { ask } = await import(new URL("link.js", document.baseURI).href);
            await ask("begin", { dream: "mean", ...options });
            const frame = await ask("advance", { dream: "mean", steps, focus: 0 });
            const { chains, units, values: bytes } = frame.layers[0];
            const mean = new Array(units).fill(0);
            bytes.forEach((value, at) => (mean[at % units] += value / 255 / chains));
            return mean;
        }""",
        [options, steps],
    )
    return result


def opening(browser: Browser, url: str, times: int) -> tuple[list[float], float]:
    """Return the seconds until the page can be used, each time in a new profile, and the megabytes
    that came.
    """
    seconds, sizes = [], [0]

    def count(reply: Response) -> None:
        sizes[0] += int(reply.headers.get("content-length", 0))

    for _ in range(times):
        context = browser.new_context(viewport=WIDE)
        page, sizes[0] = context.new_page(), 0
        page.on("response", count)
        page.goto(f"{url}#draw")
        page.wait_for_selector("#examples button")
        seconds.append(page.evaluate("performance.getEntriesByName('usable')[0].startTime") / 1000)
        context.close()
    return seconds, sizes[0] / 1e6


def measure(browser: Browser, url: str, options: PageMeasureOptions, command: str) -> list[Any]:
    """Return all rows."""
    rows = []

    def note(name: str, metric: str, value: float, **more: Any) -> None:
        rows.append(results.row("page", name, metric, [value], seeds=[0], command=command, **more))

    seconds, size = opening(browser, url, options.starts)
    note("start", "seconds", statistics.median(seconds), all=[round(one, 3) for one in seconds])
    note("all-bytes", "megabytes", size)
    context = browser.new_context(viewport=WIDE)
    page = browsing.open_page(context, url)
    taken = np.array(latencies(page, options.strokes))
    note("drawing-to-answer", "median_ms", float(np.median(taken)), strokes=len(taken))
    note("drawing-to-answer", "p99_ms", float(np.percentile(taken, 99)), strokes=len(taken))
    page.click("#tab-dream")
    note("dream-ten", "steps_per_second", steps_a_second(page, options.seconds))
    if options.run is None:
        page.click("#tab-draw")
        cases = load("mnist", folder=options.data_folder).test
        assert cases is not None
        apart = largest_difference(page, cases.images[: options.cases])
        rows.append(
            results.row(
                "page",
                "python-against-browser",
                "largest_difference_nats",
                [apart],
                seeds=[0],
                command=command,
                cases=options.cases,
            )
        )
        rows[-1] |= dict.fromkeys(("value", "low", "high"), apart)  # not rounded to 0.0001
    context.close()
    return rows


def take_screenshot(browser: Browser, url: str, path: Path) -> None:
    """Draw a seven and take the picture."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme="dark")
    page = browsing.open_page(context, url)
    browsing.draw(page, "7")
    page.mouse.move(640, 60)
    page.wait_for_selector("#examples button")
    page.wait_for_selector("#spoke button")
    page.wait_for_selector("#draw-machine .features button:not([disabled])")
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
    box = page.locator("#dream").bounding_box()
    assert box is not None
    clip: FloatRect = {
        "x": box["x"] + 340,
        "y": box["y"] - 8,
        "width": box["width"] - 332,
        "height": 560,
    }
    shots, shown = [], -1
    for number in range(frames):
        while (steps := steps_shown(page)) == shown:  # a busy machine
            page.wait_for_timeout(20)
        shown = steps
        # the first steps one by one, then faster until the dreams have settled
        if number == frames // 3:
            page.locator("#dream-speed").fill("7")
        shots.append(Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB"))
    small = [
        shot.resize((760, round(760 * shot.height / shot.width)), Image.Resampling.LANCZOS)
        for shot in shots
    ]
    palette = small[-1].quantize(32)
    quantized = [shot.quantize(palette=palette, dither=Image.Dither.NONE) for shot in small]
    quantized[0].save(
        path, save_all=True, append_images=quantized[1:], duration=120, loop=0, optimize=True
    )
    context.close()


def main(argv: list[str]) -> None:
    """Measure, save, and take pictures."""
    options = tyro.cli(PageMeasureOptions, description=__doc__, args=argv)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = browsing.launch(playwright)
        model = open_model(options.run)
        site.write(Path(folder) / "page", model, pictures=examples.find(model))
        with browsing.hosting(Path(folder)) as host:
            url = f"{host}page/"
            if options.figures:
                began, busy = time.perf_counter(), round(os.getloadavg()[0], 1)
                command = shlex.join(["python", "-m", "benchmarks.page", *argv])
                rows = measure(browser, url, options, command)
                minutes = round((time.perf_counter() - began) / 60, 2)
                for result in rows:
                    result |= {"minutes": minutes, "browser": browser.version, "load": busy}
                    print(result["row"], result["metric"], result["value"])
                results.save(options.out, rows)
            if options.screenshot:
                take_screenshot(browser, url, options.screenshot)
            if options.gif:
                take_movie(browser, url, options.gif)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
