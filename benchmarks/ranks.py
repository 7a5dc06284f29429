"""What several ranks are worth on one machine: N ranks of one thread against one process of N
threads, the same global batch.

    python -m benchmarks.ranks

The two settings take turns. A figure is the median over the rounds of (seconds of one process) /
(seconds of N ranks): 1 says that ranks cost nothing. CD-1, 784-500, float32, random pixels.
"""

from __future__ import annotations

import json
import os
import shlex
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import tyro

from wakesleep.compute import distributed
from wakesleep.foundation.rng import generator
from wakesleep.learning import cd
from wakesleep.learning.cd import CDConfig
from wakesleep.models.rbm import RBM
from wakesleep.paper import results


@dataclass(frozen=True)
class RanksMeasureOptions:
    """Measure ranks against threads."""

    ranks: int = 2
    """How many ranks, and how many threads the one process has."""
    batches: tuple[int, ...] = (100, 200, 500, 1000)
    """Global batch sizes."""
    cases: int = 20_000
    """Cases in an epoch."""
    epochs: int = 3
    """Measured epochs a round; their median is the round's."""
    rounds: int = 3
    """How often the two settings take turns."""
    hidden: int = 500
    """Hidden units."""
    threads: int = 0
    """Set for the processes that are measured: threads of each. 0 starts the measurement."""
    out: Path | None = Path("results/ranks.json")
    """Where the rows go; None only prints."""


def seconds(options: RanksMeasureOptions) -> dict[int, float]:
    """Return the median seconds of an epoch for each batch size, as this rank sees it: all ranks
    finish together.
    """
    torch.set_num_threads(options.threads)
    distributed.setup(torch.device("cpu"))
    rng = generator(distributed.rank())
    pixels = torch.randint(0, 256, (options.cases, 784), generator=generator(0), dtype=torch.uint8)
    result = {}
    for batch in options.batches:
        config = CDConfig(epochs=options.epochs + 1, batch_size=distributed.part_of_batch(batch))
        records = cd.epochs(
            RBM(784, options.hidden, rng=generator(0)),
            distributed.share(pixels),
            config=config,
            rng=rng,
        )
        next(records)  # the first epoch warms up
        times = [time.perf_counter()]
        times += [time.perf_counter() for _ in records]
        result[batch] = statistics.median(after - before for before, after in pairwise(times))
    return result


def launch(options: RanksMeasureOptions, argv: list[str], count: int) -> dict[int, float]:
    """Return what `count` ranks measure, with as many threads together as there are ranks."""
    torchrun = (
        ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
        if count > 1
        else []
    )
    threads = options.ranks // count
    words = [sys.executable, *torchrun, "-m", "benchmarks.ranks", *argv, "--threads", str(threads)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    reply = subprocess.run(
        words, check=True, stdout=subprocess.PIPE, text=True, env=environment
    ).stdout
    return {
        int(batch): float(value)
        for batch, value in json.loads(reply.strip().splitlines()[-1]).items()
    }


def main(argv: list[str]) -> None:
    """Measure and save, or be measured."""
    options = tyro.cli(RanksMeasureOptions, description=__doc__, args=argv)
    if options.threads:
        result = seconds(options)
        if distributed.rank() == 0:
            print(json.dumps(result), flush=True)
        distributed.shutdown()
        return
    one, many = [], []
    for _ in range(options.rounds):
        one.append(launch(options, argv, 1))
        many.append(launch(options, argv, options.ranks))
    command = shlex.join(["python", "-m", "benchmarks.ranks", *argv])
    rows = []
    for batch in options.batches:
        ratios = [alone[batch] / together[batch] for alone, together in zip(one, many, strict=True)]
        rates = [options.cases / together[batch] for together in many]
        name = f"gloo-{options.ranks}-ranks-batch-{batch}"
        notes: dict[str, Any] = {"seeds": [0], "command": command, "threads": options.ranks}
        rows.append(results.row("speed", name, "ratio_to_one_process", ratios, **notes))
        rows.append(results.row("speed", name, "cases_per_second", rates, **notes))
    if options.out is not None:
        results.save(options.out, rows)
    for row in rows:
        print(row["row"], row["metric"], row["value"], f"({row['low']} to {row['high']})")


if __name__ == "__main__":
    main(sys.argv[1:])
