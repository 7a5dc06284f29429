"""The page audited on every screen, and used at random: violations of accessibility, and errors on
the console.

    python -m benchmarks.random_use

The audit is axe-core's, moderate violations and worse, on every screen by day and by night, wide
and as a phone. The random visitor clicks, drags, types and goes back, on screens of both sizes.
"""

from __future__ import annotations

import random
import shlex
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from playwright.sync_api import Browser, BrowserContext, Error, Page, ViewportSize, sync_playwright

from benchmarks import browser as browsing
from wakesleep.app import examples, site
from wakesleep.app.loaded_model import open_model
from wakesleep.paper import results

SCREENS = ("draw", "dream", "mix", "inside", "race")
SIZES: dict[str, ViewportSize] = {
    "wide": {"width": 1280, "height": 800},
    "phone": {"width": 390, "height": 844},
}
IMPACTS = ("moderate", "serious", "critical")
KEYS = (
    "Tab",
    "Shift+Tab",
    "ArrowLeft",
    "ArrowRight",
    "ArrowUp",
    "ArrowDown",
    "Enter",
    "Escape",
    "Delete",
    "Control+z",
    " ",
    "7",
)


@dataclass(frozen=True)
class RandomUseOptions:
    """Audit the page, use it at random, and save the rows."""

    minutes: float = 15.0
    """How long it is used at random, half of it as a phone."""
    seed: int = 0
    """The seed of the random visitor."""
    out: Path = Path("results/page.json")
    """Where the rows go."""


def violations(browser: Browser, url: str) -> list[str]:
    """Return what the audit finds on every screen and every step of the tour."""
    lines = []
    for name, size in SIZES.items():
        for scheme in ("light", "dark"):
            context = browser.new_context(viewport=size, color_scheme=scheme)
            page = browsing.open_page(context, url)
            browsing.draw(page, "7")
            for screen in SCREENS:
                page.click(f"#tab-{screen}")
                page.wait_for_timeout(1500)
                lines += [
                    f"{name} {scheme} {screen}: {one}" for one in browsing.audit(page, IMPACTS)
                ]
            page.click("#open-tour")
            for step in range(page.locator("#tour-dots i").count()):
                page.wait_for_timeout(1500)
                where = f"{name} {scheme} tour {step + 1}"
                lines += [f"{where}: {one}" for one in browsing.audit(page, IMPACTS)]
                page.click("#tour-next")
            context.close()
    return lines


def act(page: Page, chance: random.Random, size: ViewportSize) -> None:
    """Do one thing that a visitor might."""
    points = [
        (chance.uniform(1, size["width"] - 1), chance.uniform(1, size["height"] - 1))
        for _ in range(4)
    ]
    what = chance.random()
    if what < 0.15:
        page.evaluate(
            "(name) => document.querySelector(`#tab-${name}`).click()", chance.choice(SCREENS)
        )
    elif what < 0.4:
        page.mouse.click(*points[0])
    elif what < 0.6:
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point, steps=4)
        page.mouse.up()
    elif what < 0.75:
        page.keyboard.press(chance.choice(KEYS))
    elif what < 0.9:
        page.mouse.wheel(0, chance.choice((-600, 300, 600)))
    elif what < 0.93:
        page.evaluate("history.back()")
    else:
        label, seed = chance.randrange(12), chance.randrange(-5, 100)
        page.evaluate("(hash) => (location.hash = hash)", f"dream?label={label}&seed={seed}")
    page.wait_for_timeout(chance.uniform(0, 120))


def once(
    context: BrowserContext, page: Page, url: str, chance: random.Random, errors: list[str]
) -> None:
    """Do one thing, come back to the page where that led away, and note what it says went wrong."""
    size = page.viewport_size
    assert size is not None
    act(page, chance, size)
    if len(context.pages) > 1:  # a link was followed into a window of its own
        context.pages[-1].close()
    if not page.url.startswith(url):
        page.goto(f"{url}#draw")
    shown = page.locator("#trouble:not([hidden])").all_text_contents()
    if shown:
        errors += [f"shown: {text}" for text in shown]
        page.goto(f"{url}#draw")


def use(browser: Browser, url: str, options: RandomUseOptions) -> tuple[int, list[str]]:
    """Use the page at random; return how many things were done, and the errors."""
    chance, done, wrong = random.Random(options.seed), 0, []
    for size in SIZES.values():
        context = browser.new_context(viewport=size, accept_downloads=True)
        errors = browsing.complaints(context, kinds=("error",))
        page = browsing.open_page(context, url)
        until = time.perf_counter() + 30 * options.minutes
        while time.perf_counter() < until:
            try:
                once(context, page, url, chance, errors)
            except Error as error:  # the page was left in the middle of it
                if "navigation" not in str(error) and "interrupted" not in str(error):
                    raise
            done += 1
        wrong += errors
        context.close()
    return done, wrong


def main(argv: list[str]) -> None:
    """Audit, use, and save."""
    options = tyro.cli(RandomUseOptions, description=__doc__, args=argv)
    command = shlex.join(["python", "-m", "benchmarks.random_use", *argv])
    model, began = open_model(), time.perf_counter()
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = browsing.launch(playwright)
        site.write(Path(folder) / "page", model, pictures=examples.find(model))
        with browsing.hosting(Path(folder)) as host:
            lines = violations(browser, f"{host}page/")
            print(*lines, sep="\n", flush=True)
            done, wrong = use(browser, f"{host}page/", options)
        version = browser.version
        browser.close()
    for line in wrong:
        print(line)
    minutes = round((time.perf_counter() - began) / 60, 2)
    more: dict[str, Any] = {"command": command, "minutes": minutes, "browser": version}
    rows = [
        results.row("page", "audit", "violations", [len(lines)], seeds=[0], **more),
        results.row(
            "page",
            "random-use",
            "console_errors",
            [len(wrong)],
            seeds=[options.seed],
            actions=done,
            **more,
        ),
    ]
    for row in rows:
        print(row["row"], row["metric"], row["value"])
    results.save(options.out, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
