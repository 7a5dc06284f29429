"""The page audited on every screen, and used at random: violations of accessibility, and errors on
the console.

    python -m benchmarks.random_use

The audit is axe-core's, moderate violations and worse, on every screen by day and by night, wide
and as a phone. The random visitor clicks, drags, types and goes back, on screens of both sizes:
half of the time on the page of the net that ships with the package, half of it on that of a net of
images and sounds, where it opens sound files too. That net has random weights: what is measured is
the page.
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

import numpy as np
import tyro
from playwright.sync_api import Browser, Error, Page, ViewportSize, sync_playwright

import wakesleep as ws
from benchmarks import browser as browsing
from wakesleep.app import examples, site
from wakesleep.app.loaded_model import SHIPPED, open_model
from wakesleep.app.loaded_senses import LoadedSenses
from wakesleep.data import from_header
from wakesleep.data.sound import LogMel, save_wav
from wakesleep.paper import results
from wakesleep.runs.checkpoint import load_model
from wakesleep.runs.senses import Several

SIZES: dict[str, ViewportSize] = {
    "wide": {"width": 1280, "height": 800},
    "phone": {"width": 390, "height": 844},
}
IMPACTS = ("moderate", "serious", "critical")
REFUSED = ("The recording is silent", "text.wav cannot be read as a sound")
"""How the page rightly begins of what the visitor opens."""
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
class Shown:
    """A page that is visited."""

    name: str
    """Of its folder."""
    screens: tuple[str, ...]
    pad: str
    """The selector of the pad that a seven is drawn on before the audit."""
    tour: bool
    sounds: tuple[Path, ...] = ()
    """Files that the visitor opens."""


PICTURES = Shown("page", ("draw", "dream", "mix", "inside", "race"), "#pad canvas", tour=True)


@dataclass(frozen=True)
class RandomUseOptions:
    """Audit the page, use it at random, and save the rows."""

    minutes: float = 15.0
    """How long both pages are used at random, half of it as a phone."""
    seed: int = 0
    """The seed of the random visitor."""
    out: Path = Path("results/page.json")
    """Where the rows go."""


def of_senses(folder: Path) -> Shown:
    """Write the page of a net of images and sounds, and sound files: a tone, silence, no sound."""
    layers: dict[str, Any] = {"image": (784, 60, 50), "sound": (ws.units.Gaussian(576), 60)}
    net: Any = ws.DBN(senses=layers, labels=10, top=100, rng=ws.generator(0), weight_std=0.1)
    prepared: dict[str, Any] = {
        "image": from_header(load_model(SHIPPED).header),
        "sound": LogMel(),
    }
    model = LoadedSenses(Several(net, prepared, tuple("0123456789")))
    site.write(folder / "listen", model)
    seconds = np.arange(3200) / 8000
    save_wav(folder / "tone.wav", 0.5 * np.sin(2000 * seconds * (1 + seconds)) * np.hanning(3200))
    save_wav(folder / "silence.wav", np.zeros(3200))
    (folder / "text.wav").write_text("this is no sound", encoding="utf-8")
    sounds = tuple(folder / f"{name}.wav" for name in ("tone", "silence", "text"))
    return Shown("listen", ("listen", "race"), "#listen-pad canvas", tour=False, sounds=sounds)


def violations(browser: Browser, url: str, shown: Shown) -> list[str]:
    """Return what the audit finds on every screen and every step of the tour."""
    lines = []
    for name, size in SIZES.items():
        for scheme in ("light", "dark"):
            context = browser.new_context(viewport=size, color_scheme=scheme)
            page = browsing.open_page(context, url, shown.screens[0])
            browsing.draw(page, "7", shown.pad)
            for screen in shown.screens:
                page.click(f"#tab-{screen}")
                page.wait_for_timeout(1500)
                lines += [
                    f"{name} {scheme} {screen}: {one}" for one in browsing.audit(page, IMPACTS)
                ]
            if shown.tour:
                lines += violations_of_tour(page, f"{name} {scheme} tour")
            context.close()
    return lines


def violations_of_tour(page: Page, where: str) -> list[str]:
    """Return what the audit finds on every step of the tour."""
    lines = []
    page.click("#open-tour")
    for step in range(page.locator("#tour-dots i").count()):
        page.wait_for_timeout(1500)
        lines += [f"{where} {step + 1}: {one}" for one in browsing.audit(page, IMPACTS)]
        page.click("#tour-next")
    return lines


def act(page: Page, chance: random.Random, size: ViewportSize, shown: Shown) -> None:
    """Do one thing that a visitor might."""
    points = [
        (chance.uniform(1, size["width"] - 1), chance.uniform(1, size["height"] - 1))
        for _ in range(4)
    ]
    what = chance.random()
    if what < 0.15:
        page.evaluate(
            "(name) => document.querySelector(`#tab-${name}`).click()",
            chance.choice(shown.screens),
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
    elif shown.sounds:
        page.set_input_files("#listen-file", chance.choice(shown.sounds))
    else:
        label, seed = chance.randrange(12), chance.randrange(-5, 100)
        page.evaluate("(hash) => (location.hash = hash)", f"dream?label={label}&seed={seed}")
    page.wait_for_timeout(chance.uniform(0, 120))


def once(page: Page, url: str, shown: Shown, chance: random.Random, errors: list[str]) -> None:
    """Do one thing, come back to the page where that led away, and note what it says went wrong;
    that a file is no sound is no error of the page's.
    """
    size, context = page.viewport_size, page.context
    assert size is not None
    act(page, chance, size, shown)
    if len(context.pages) > 1:  # a link was followed into a window of its own
        context.pages[-1].close()
    if not page.url.startswith(url):
        page.goto(f"{url}#{shown.screens[0]}")
    complaints = page.locator("#trouble:not([hidden])").all_text_contents()
    if complaints:
        errors += [f"shown: {text}" for text in complaints if not text.startswith(REFUSED)]
        page.goto(f"{url}#{shown.screens[0]}")


def use(
    browser: Browser, url: str, shown: Shown, options: RandomUseOptions
) -> tuple[int, list[str]]:
    """Use a page at random; return how many things were done, and the errors."""
    chance, done, wrong = random.Random(options.seed), 0, []
    for size in SIZES.values():
        context = browser.new_context(viewport=size, accept_downloads=True)
        errors = browsing.complaints(context, kinds=("error",))
        page = browsing.open_page(context, url, shown.screens[0])
        until = time.perf_counter() + 15 * options.minutes
        while time.perf_counter() < until:
            try:
                once(page, url, shown, chance, errors)
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
        lines, wrong, done = list[str](), list[str](), 0
        with browsing.hosting(Path(folder)) as host:
            for shown in (PICTURES, of_senses(Path(folder))):
                url = f"{host}{shown.name}/"
                lines += violations(browser, url, shown)
                print(*lines, sep="\n", flush=True)
                actions, errors = use(browser, url, shown, options)
                done, wrong = done + actions, wrong + errors
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
