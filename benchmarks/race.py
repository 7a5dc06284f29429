"""The race of the page, run in a browser: how often the net that dreamed first is ahead.

    python -m benchmarks.race --choose
    python -m benchmarks.race

`--choose` prints the mean error of each side by rate of learning, over ten seeds that are raced by
nobody; the best stand in static/race.js. Without it twenty other seeds are raced, with the page's
own code.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import shlex
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from playwright.sync_api import Page, sync_playwright

from benchmarks import browser as browsing
from wakesleep.paper import results

STATIC = Path(__file__).resolve().parent.parent / "src" / "wakesleep" / "app" / "static"
CHOSEN, RACED = range(1, 11), range(101, 121)
LABELLED = 100

LOAD = """async (url) => {
  window.race = await import(url + "race.js");
  window.digits = race.unpack(await (await fetch(url + "digits.bin")).arrayBuffer());
}"""
ERRORS_BY_RATE = """([seed, labelled]) => {
  const parts = race.split(digits, labelled, seed), sleeping = race.dream(parts, seed);
  let step = sleeping.next();
  while (!step.done) step = sleeping.next();
  const last = (side, rate) => {
    const net = race.starter(side, step.value, seed);
    let error = 0;
    for (const point of race.learn(net, parts, rate, seed)) if (point) error = point.error;
    return error;
  };
  const by = (side) => race.GRID.map((rate) => last(side, rate));
  return Object.fromEntries(Object.keys(race.SIDES).map((side) => [side, by(side)]));
}"""
RACE = """([seed, labelled]) => {
  const began = performance.now();
  let last = null;
  for (const step of race.race(digits, { seed, labelled })) if (step?.errors) last = step.errors;
  return { ...last, seconds: (performance.now() - began) / 1000 };
}"""
LONGER = """([seed, labelled]) => {
  const parts = race.split(digits, labelled, seed), rows = parts.dreamt.labels.length;
  const dreams = race.HIDDEN.length * race.PASSES * Math.floor(rows / race.DREAM_BATCH);
  const net = race.starter("random", null, seed);
  let error = 0;
  for (const point of race.learn(net, parts, race.RATES.random, seed, race.UPDATES + dreams))
    if (point) error = point.error;
  return error;
}"""


@dataclass(frozen=True)
class RaceMeasureOptions:
    """Race in a browser, and save the rows."""

    choose: bool = False
    """Print the mean errors by rate of learning instead."""
    out: Path = Path("results/page.json")
    """Where the rows go."""


@contextlib.contextmanager
def static(folder: Path) -> Iterator[str]:
    """Serve a folder on the loopback address; yield its address."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of requests."""


def choose(page: Page) -> None:
    """Print the mean error of each side by rate."""
    grid: list[float] = page.evaluate("race.GRID")
    result = []
    for seed in CHOSEN:
        result.append(page.evaluate(ERRORS_BY_RATE, [seed, LABELLED]))
        print(f"seed {seed}: {result[-1]}", flush=True)
    for side in result[0]:
        means = [
            statistics.mean(column) for column in zip(*(one[side] for one in result), strict=True)
        ]
        best = grid[means.index(min(means))]
        print(
            side,
            {rate: round(mean, 2) for rate, mean in zip(grid, means, strict=True)},
            "best",
            best,
        )


def measure(page: Page, command: str, version: str) -> list[results.Row]:
    """Return the rows of twenty races."""
    result = []
    for seed in RACED:
        one = page.evaluate(RACE, [seed, LABELLED])
        one["longer"] = page.evaluate(LONGER, [seed, LABELLED])
        result.append(one)
        print(seed, {name: round(value, 2) for name, value in one.items()}, flush=True)
    wins = sum(one["dreamed"] < one["random"] for one in result)

    def row(name: str, metric: str, values: list[float]) -> results.Row:
        return results.row(
            "page", name, metric, values, seeds=RACED, command=command, browser=version
        )

    column = {name: [one[name] for one in result] for name in result[0]}
    return [
        row("race", "wins_of_20", [wins]),
        row("race", "seconds", column["seconds"]),
        row("race-dreamed", "test_error_percent", column["dreamed"]),
        row("race-random", "test_error_percent", column["random"]),
        row("race-relu", "test_error_percent", column["relu"]),
        # as many updates as the other net's dreaming and learning together
        row("race-random-longer", "test_error_percent", column["longer"]),
    ]


def main(argv: list[str]) -> None:
    """Race, and save."""
    options = tyro.cli(RaceMeasureOptions, description=__doc__, args=argv)
    began = time.perf_counter()
    with static(STATIC) as url, sync_playwright() as playwright:
        browser = browsing.launch(playwright)
        page = browser.new_page()
        page.goto(f"{url}icon.svg")
        page.evaluate(LOAD, url)
        if options.choose:
            return choose(page)
        command = shlex.join(["python", "-m", "benchmarks.race", *argv])
        rows = measure(page, command, browser.version)
        browser.close()
    minutes = round((time.perf_counter() - began) / 60, 2)
    for result in rows:
        result["minutes"] = minutes
        print(result["row"], result["metric"], result["value"], result["low"], result["high"])
    results.save(options.out, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
