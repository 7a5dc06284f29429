"""What tests and figures of the page share: a server of its own process, a browser, digits drawn
with the mouse, the audit.

Needs Playwright's Python package and a Chromium on this machine (Debian's `chromium` will do); no
browser is ever downloaded.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wakesleep.foundation.errors import ConfigError

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page, Playwright

ARGUMENTS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync --hide-scrollbars"
).split()
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DIGITS: dict[str, list[list[tuple[float, float]]]] = {
    "0": [
        [
            (0.5, 0.18),
            (0.32, 0.3),
            (0.28, 0.55),
            (0.38, 0.78),
            (0.55, 0.8),
            (0.7, 0.62),
            (0.7, 0.35),
            (0.58, 0.2),
            (0.5, 0.18),
        ]
    ],
    "1": [[(0.52, 0.15), (0.5, 0.85)]],
    "2": [
        [(0.32, 0.32), (0.42, 0.2), (0.6, 0.2), (0.67, 0.35), (0.55, 0.55), (0.33, 0.8)],
        [(0.33, 0.8), (0.72, 0.78)],
    ],
    "4": [[(0.35, 0.2), (0.32, 0.5), (0.68, 0.5)], [(0.66, 0.2), (0.62, 0.85)]],
    "7": [[(0.28, 0.22), (0.72, 0.22)], [(0.72, 0.22), (0.58, 0.5), (0.46, 0.85)]],
}
"""How some digits are drawn, stroke by stroke, in parts of the pad's side."""


def find_browser() -> str | None:
    """Return the path of a Chromium: what WAKESLEEP_BROWSER names, or the first that is
    installed.
    """
    named = os.environ.get("WAKESLEEP_BROWSER")
    return named or next((result for name in NAMES if (result := shutil.which(name))), None)


def launch(playwright: Playwright) -> Browser:
    """Start the browser.

    Raises:
        ConfigError: there is none.
    """
    path = find_browser()
    if path is None:
        raise ConfigError(
            "no browser was found; install one (apt-get install chromium), or name it in "
            "WAKESLEEP_BROWSER"
        )
    return playwright.chromium.launch(executable_path=path, args=ARGUMENTS)


@dataclass
class Server:
    """A server in a process of its own."""

    process: subprocess.Popen[str]
    url: str
    seconds: float
    """From the command to the line that says where the page is."""

    def memory_mb(self) -> float:
        """Return its resident memory now, MB; 0 where the system does not say."""
        with contextlib.suppress(OSError):
            pages = int(
                Path(f"/proc/{self.process.pid}/statm").read_text(encoding="utf-8").split()[1]
            )
            return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
        return 0.0

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def start(*words: str, port: int = 0) -> Server:
    """Start `wakesleep serve` with these words and wait until it answers.

    Raises:
        ConfigError: it ended instead.
    """
    began = time.perf_counter()
    command = [sys.executable, "-m", "wakesleep", "serve", *words, "--no-open", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    if "http://" not in line:
        process.wait()
        process.stdout.close()
        raise ConfigError(f"the server did not start: {line.strip() or 'it said nothing'}")
    return Server(
        process,
        next(word for word in line.split() if word.startswith("http://")),
        time.perf_counter() - began,
    )


@contextlib.contextmanager
def serving(*words: str) -> Iterator[Server]:
    """Start a server, and stop it afterwards."""
    server = start(*words)
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def hosting(folder: Path) -> Iterator[str]:
    """Serve a folder as any static host does, with `python -m http.server`; yield its address."""
    words = ["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(folder)]
    process = subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    try:
        port = process.stdout.readline().partition(" port ")[2].split()[0]
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def until(page: Page, condition: str, timeout: float = 10_000) -> None:
    """Wait until a condition holds in the page. Playwright's own wait evaluates strings there,
    which the page's policy forbids.

    Raises:
        TimeoutError: it never did.
    """
    deadline = time.perf_counter() + timeout / 1000
    while not page.evaluate(condition):
        if time.perf_counter() > deadline:
            raise TimeoutError(f"it never came to {condition}")
        page.wait_for_timeout(30)


def open_page(context: BrowserContext, url: str, screen: str = "draw") -> Page:
    """Open the page at one of its screens and wait until it can be used."""
    page = context.new_page()
    page.goto(f"{url}#{screen}")
    page.wait_for_selector("html[data-ready]")
    return page


def complaints(
    context: BrowserContext, kinds: Sequence[str] = ("error", "warning"), own: str = ""
) -> list[str]:
    """Return a list that fills with what the context's pages complain about: console messages of
    these kinds, errors that nothing caught and, where `own` is given, requests to other addresses.
    """
    wrong: list[str] = []
    context.on(
        "console", lambda message: wrong.append(message.text) if message.type in kinds else None
    )
    context.on("weberror", lambda error: wrong.append(str(error.error)))
    if own:
        allowed = (own, "data:", "blob:")
        context.on(
            "request",
            lambda request: None if request.url.startswith(allowed) else wrong.append(request.url),
        )
    return wrong


def draw(page: Page, digit: str, pad: str = "#pad canvas", steps: int = 12) -> None:
    """Draw a digit with the mouse."""
    box = page.locator(pad).bounding_box()
    assert box is not None
    for stroke in DIGITS[digit]:
        (x, y), *rest = [
            (box["x"] + across * box["width"], box["y"] + down * box["height"])
            for across, down in stroke
        ]
        page.mouse.move(x, y)
        page.mouse.down()
        for x, y in rest:
            page.mouse.move(x, y, steps=steps)
        page.mouse.up()


def audit(page: Page, impacts: Sequence[str] = ("serious", "critical")) -> list[str]:
    """Return what axe-core finds wrong with the page as it stands: rule, and where."""
    from axe_playwright_python.sync_playwright import Axe

    result: dict[str, Any] = Axe().run(page).response
    return [
        f"{violation['id']}: {violation['help']} at "
        f"{', '.join(str(node['target'][0]) for node in violation['nodes'])}"
        for violation in result["violations"]
        if violation["impact"] in impacts
    ]
