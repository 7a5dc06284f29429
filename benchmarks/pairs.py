"""Is a change slower? Two checkouts do the same work in turns on the same machine.

    python -m benchmarks.pairs OLD NEW [--rounds 20] [--seconds 5] [--threads 2] [--dtype bfloat16]
    [--only CD-1 ...] [--out FILE]

A worker process a checkout stays alive while a workload is timed, so that both are warm; they never
run at the same time. In each round both work for the given seconds, in an order that alternates,
and the ratio of their rates is one number. Printed are the median ratio of times, new over old, and
its 95 % interval by the bootstrap: slower means that the lower end is above 1.05, in two runs. With
--out the rows go into a file of results, and with them the row `slowest-over-before`: of all pairs
in the file the one whose lower end is the largest, which is what that rule looks at.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wakesleep.paper import results

TIMED = ("CD-1", "PCD", "up-down, K = 3", "backprop", "dreaming", "AIS")


def worker(name: str, dtype: str, threads: int) -> None:
    """Answer each line on standard input, a number of seconds, with the minibatches a second done
    in that time.
    """
    import torch

    from benchmarks.workloads import PAPER, WORKLOADS

    torch.set_num_threads(threads)
    work = WORKLOADS[name](
        replace(PAPER, dtype=None if dtype == "float32" else getattr(torch, dtype))
    )
    next(work)  # libraries set themselves up, and kernels are built
    print("ready", flush=True)
    for line in sys.stdin:
        wanted, done, began = float(line), 0, time.perf_counter()
        while (taken := time.perf_counter() - began) < wanted:
            done += next(work)[1]
        print(done / taken, flush=True)


class Worker:
    """A checkout's worker process for one workload."""

    def __init__(self, checkout: Path, name: str, dtype: str, threads: int) -> None:
        paths = os.pathsep.join(
            [str(checkout.resolve() / "src"), str(checkout.resolve())]
        )  # each with its own workloads, for names of settings change
        call = (
            f"import runpy; runpy.run_path({str(Path(__file__).resolve())!r})['worker']({name!r}, "
            f"{dtype!r}, {threads})"
        )
        environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", call],
            env=environment,
            cwd=checkout,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._read()

    def rate(self, seconds: float) -> float:
        """Return the minibatches a second over `seconds`."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        return float(self._read())

    def _read(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the worker ended; its error stands above")
        return line

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def compare(old: Path, new: Path, name: str, args: argparse.Namespace) -> results.Row:
    """Return the median of the ratios of times, new over old, with its interval, and both rates."""
    from wakesleep.paper import results  # not above: the old checkout's worker reads this file too

    workers = (
        Worker(old, name, args.dtype, args.threads),
        Worker(new, name, args.dtype, args.threads),
    )
    rates: list[tuple[float, float]] = []
    for number in range(args.rounds):
        first = number % 2
        one = workers[first].rate(args.seconds)
        other = workers[1 - first].rate(args.seconds)
        rates.append((other, one) if first else (one, other))
    for each in workers:
        each.close()
    ratios = [before / after for before, after in rates]
    low, high = interval(ratios)
    return {
        **results.row(
            "architecture",
            f"{name}, {args.dtype}",
            "time_over_before",
            ratios,
            seeds=[0],
            command=f"python -m benchmarks.pairs OLD NEW --dtype {args.dtype} "
            f"--threads {args.threads} --only {name!r}",
            threads=args.threads,
            rounds=args.rounds,
            old_per_second=round(statistics.median(before for before, _ in rates), 2),
            new_per_second=round(statistics.median(after for _, after in rates), 2),
        ),
        "low": round(low, 4),
        "high": round(high, 4),
    }


def slowest(rows: list[results.Row]) -> results.Row:
    """Return the row of the pair with the largest lower end of its interval, which is its value;
    its median and interval beside.
    """
    pair = max(
        (row for row in rows if row["metric"] == "time_over_before"), key=lambda row: row["low"]
    )
    return {
        **pair,
        "row": "slowest-over-before",
        "metric": "times",
        "value": pair["low"],
        "pair": pair["row"],
        "median": pair["value"],
    }


def interval(ratios: list[float]) -> tuple[float, float]:
    """Return the 95 % interval of the median of `ratios` by the bootstrap."""
    import numpy as np

    draws = np.random.default_rng(0).choice(ratios, (10_000, len(ratios)))
    low, high = np.quantile(np.median(draws, 1), (0.025, 0.975))
    return float(low), float(high)


def main() -> int:
    """Time the workloads and print a line each."""
    from wakesleep.paper import results

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--only", nargs="+", default=TIMED)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    for name in args.only:
        row = compare(args.old, args.new, name, args)
        interval_text = f"({row['low']:.3f} to {row['high']:.3f})"
        rates = f"{row['old_per_second']} -> {row['new_per_second']} a second"
        print(f"{row['row']:28} {row['value']:6.3f}  {interval_text}  {rates}")
        if args.out:
            results.save(args.out, [row])
            results.save(args.out, [slowest(json.loads(args.out.read_text(encoding="utf-8")))])
    return 0


if __name__ == "__main__":
    sys.exit(main())
