"""Seconds until the command line answers where no network is needed: its help, each command's help,
an error in a call.

python -m benchmarks.defaults.startup results/defaults-startup.json
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from wakesleep import cli
from wakesleep.paper import results

CALLS = (
    ["--help"],
    *([name, "--help"] for name in sorted(cli.COMMANDS)),
    ["trian"],
    ["dream", "--no-such-option"],
)
ROUNDS = 7


def measure(rounds: int = ROUNDS) -> dict[str, float]:
    """Return the median seconds of each call over `rounds` in which all take turns, in processes of
    their own, after a first round.
    """
    taken: dict[str, list[float]] = {" ".join(words): [] for words in CALLS}
    for number in range(rounds + 1):
        for words in CALLS:
            began = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "wakesleep", *words], capture_output=True, check=False
            )
            if number:
                taken[" ".join(words)].append(time.perf_counter() - began)
    return {call: statistics.median(seconds) for call, seconds in taken.items()}


def main(path: Path) -> None:
    """Measure, and put the slowest call's seconds as a row into the file at `path`."""
    result = measure()
    for call, seconds in result.items():
        print(f"wakesleep {call:<28} {seconds:.2f} s")
    command = "python -m benchmarks.defaults.startup results/defaults-startup.json"
    row = results.row(
        "defaults", "cli-help", "seconds", list(result.values()), seeds=[0], command=command
    )
    each = {call: round(seconds, 3) for call, seconds in result.items()}
    results.save(
        path,
        [
            {
                **row,
                "value": row["high"],
                "what": f"the slowest of {len(result)} calls, each a median of {ROUNDS}",
                "each": each,
            }
        ],
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
