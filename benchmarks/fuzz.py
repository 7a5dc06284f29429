"""Random bytes at every endpoint, for minutes, and afterwards the server answers as before.

    python -m benchmarks.fuzz --seconds 600

Half of it is noise on the bare connection; half is nearly right: known paths with bodies of noise,
JSON whose parts were swapped for something else.
"""

from __future__ import annotations

import contextlib
import json
import random
import shlex
import socket
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import tyro

from benchmarks import browser as browsing
from benchmarks.browser import Server
from wakesleep.paper import results

PATHS = (
    "/ /index.html /style.css /api.html /openapi.json /examples.json /api/model /api/run "
    "/api/fields/1 /api/units/1/0"
).split()
ASKED: dict[str, dict[str, Any]] = {
    "recognize": {"pixels": [0] * 784},
    "dream": {"held": 3, "steps": 2, "count": 1},
    "imagine": {"picture": {"pixels": [9] * 784}, "steps": 2},
    "fill": {"picture": {"pixels": [9] * 784}, "known": [1] * 784, "sweeps": 2},
}
STRANGE: list[Any] = [
    None,
    -1,
    0,
    1e308,
    float("nan"),
    "",
    "x" * 5000,
    [],
    {},
    [[]],
    True,
    2**70,
    "\x00",
    {"4": float("inf")},
    [0] * 784,
    "all",
]


@dataclass(frozen=True)
class FuzzMeasureOptions:
    """Throw random bytes at a server for some minutes."""

    seconds: float = 600.0
    """How long."""
    seed: int = 0
    """Seed of the noise."""
    out: Path | None = Path("results/app.json")
    """Where the rows go; None only prints."""


def noise(rng: random.Random, most: int = 3000) -> bytes:
    """Return random bytes, at times as text."""
    content = rng.randbytes(rng.randrange(most))
    return content if rng.random() < 0.5 else bytes(byte % 95 + 32 for byte in content)


def twisted(rng: random.Random, content: dict[str, Any]) -> Any:
    """Return JSON whose parts were dropped, or swapped for something strange."""
    result = {
        name: rng.choice(STRANGE) if rng.random() < 0.4 else value
        for name, value in content.items()
        if rng.random() < 0.9
    }
    return rng.choice(
        [
            result,
            result,
            result,
            [result],
            rng.choice(STRANGE),
            {**result, "more": rng.choice(STRANGE)},
        ]
    )


def raw(rng: random.Random, host: str, port: int) -> str:
    """Send one request over a bare connection, more or less wrong; return the kind of answer."""
    with socket.create_connection((host, port), timeout=5) as connection:
        connection.settimeout(2)
        path = rng.choice(
            [
                *PATHS,
                *(f"/api/{name}" for name in ASKED),
                "/" + noise(rng, 200).decode("latin-1").replace(" ", ""),
            ]
        )
        kind = rng.randrange(4)
        if kind == 0:
            content = noise(rng)
        else:
            body = (
                noise(rng)
                if kind == 1
                else json.dumps(twisted(rng, rng.choice(list(ASKED.values())))).encode()
            )
            length = (
                len(body) if rng.random() < 0.8 else rng.choice(["-1", "x", 10**12, len(body) // 2])
            )
            method = rng.choice(["GET", "POST", "POST", "POST", "PUT", "HEAD", "OPTIONS", "XYZ"])
            head = [
                f"{method} {path} HTTP/1.1",
                f"Host: localhost:{port}",
                "Content-Type: application/json",
                f"Content-Length: {length}",
            ]
            if rng.random() < 0.3:
                head.append(
                    f"{noise(rng, 30).decode('latin-1')}: {noise(rng, 300).decode('latin-1')}"
                )
            if rng.random() < 0.2:
                head.append(rng.choice(["Origin: http://[", "Host: [", "Sec-Fetch-Site: x"]))
            content = "\r\n".join([*head, "", ""]).encode("latin-1", "replace") + body
        connection.sendall(content)
        if rng.random() < 0.3:
            return "hung up"
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(64)
        return answer[9:12].decode("latin-1") if answer.startswith(b"HTTP/") else "closed"


def question(rng: random.Random, url: str) -> str:
    """Ask a twisted question properly; return the status."""
    name = rng.choice(list(ASKED))
    body = json.dumps(twisted(rng, ASKED[name])).encode()
    request = urllib.request.Request(f"{url}api/{name}", body, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            return str(reply.status)
    except urllib.error.HTTPError as error:
        with error:
            reported = json.loads(error.read())
        if error.code >= 500 and error.code != 503:
            print(f"{name} {body[:300]!r}: {reported}", file=sys.stderr)
        return str(error.code)


def throw(server: Server, seconds: float, seed: int) -> Counter[str]:
    """Throw noise at a server; return how often each kind of answer came."""
    rng, counts, ends = random.Random(seed), Counter[str](), time.perf_counter() + seconds
    host, port = str(urlsplit(server.url).hostname), int(urlsplit(server.url).port or 80)
    while time.perf_counter() < ends:
        try:
            half = rng.random() < 0.5
            counts[raw(rng, host, port) if half else question(rng, server.url)] += 1
        except (OSError, EOFError) as error:
            counts[type(error).__name__] += 1
    return counts


def serves(server: Server) -> bool:
    """Return whether the server runs and answers a question."""
    body = json.dumps({"held": 3, "steps": 20}).encode()
    request = urllib.request.Request(
        f"{server.url}api/dream", body, {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=20) as reply:
        answer = json.loads(reply.read())
    return server.process.poll() is None and answer["labels"] == [3]


def main(argv: list[str]) -> None:
    """Throw, look whether it still serves, and save what was found."""
    options = tyro.cli(FuzzMeasureOptions, description=__doc__, args=argv)
    with browsing.serving() as server:
        assert serves(server)
        # what is loaded once and stays, is loaded
        with urllib.request.urlopen(f"{server.url}examples.json", timeout=60) as reply:
            reply.read()
        throw(server, min(10.0, options.seconds / 4), options.seed + 1)
        before = server.memory_mb()
        counts = throw(server, options.seconds, options.seed)
        served, growth = serves(server), server.memory_mb() - before
    print(dict(counts), "still serving" if served else "DOWN", f"{growth:.1f} MB more")
    if options.out is not None:
        command = shlex.join(["python", "-m", "benchmarks.fuzz", *argv])
        notes: dict[str, Any] = {"minutes": round(options.seconds / 60, 2), "answers": dict(counts)}
        rows = [
            results.row(
                "app", "fuzz", metric, [value], seeds=[options.seed], command=command, **notes
            )
            for metric, value in (
                ("still_serving", float(served)),
                ("memory_growth_mb", growth),
                ("requests", float(counts.total())),
                ("server_errors", float(counts["500"])),
            )
        ]
        results.save(options.out, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
