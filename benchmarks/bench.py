"""How fast this machine trains, against baselines and against the bare matrix products.

python -m benchmarks.bench --smoke
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

from benchmarks import bench_measure, bench_quality
from wakesleep.cli import machine, shared
from wakesleep.compute.machine import processor_name
from wakesleep.compute.select import pick_device, pick_precision
from wakesleep.foundation import files
from wakesleep.foundation.errors import ConfigError
from wakesleep.paper import results


@dataclass(frozen=True)
class BenchOptions:
    """Measure cases per second, the share of what bare matrix products allow, and memory: wakesleep
    and its baselines, taking turns.
    """

    threads: int = 0
    """CPU threads of every contestant; 0 takes as many as there are processors this process may
    use.
    """
    rounds: int = 5
    """Epochs that each contestant makes of each piece of work; the median counts."""
    batches: tuple[int, ...] = (10, 100, 1000)
    """Sizes of minibatches of the single machine; figures are those at 100."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Beside float32, which is always measured: auto adds bfloat16 where the processor is fast at
    it, bfloat16 adds it in any case.
    """
    peers: Path | None = None
    """The Python executable of an environment that holds rbms and learnergy; the docs page on speed
    says how to make one. Without it they are skipped.
    """
    data: str = "random"
    """random pixels, which cost the same as any, or a data set or path as for wakesleep train, e.g.
    mnist; pictures must have 784 pixels.
    """
    data_folder: Path | None = None
    """Where mnist and fashion-mnist lie; otherwise the variable WAKESLEEP_DATA, the user's cache,
    and only then a download.
    """
    growth: bool = False
    """Measure, too, how the cost of an epoch grows with cases (to a million), units (to 4096),
    Gibbs steps and layers: minutes more.
    """
    quality: bool = False
    """Measure, too, how well each contestant learns by CD-1 and PCD, outside the clock: the
    reconstruction error and log-likelihood of machines it trained, on cases none has seen. Minutes
    more.
    """
    out: Path | None = None
    """Put the figures as rows into this JSON file, in place of older rows of the same name."""
    machine: str = ""
    """A name for this machine in small letters, e.g. laptop: the tables of --out end with it, and
    so stand beside another machine's.
    """
    plot: Path | None = None
    """Draw the figures into this picture file, .png or .svg, in place of an older one; growth into
    a second one, NAME-growth.
    """
    smoke: bool = False
    """Measure very small nets instead, in seconds, to see that everything works; the figures mean
    nothing.
    """
    json: bool = False
    """Print the rows as JSON instead of a table."""


def main(argv: list[str]) -> int:
    """Measure, save and print; return the exit status."""
    args = tyro.cli(BenchOptions, description=BenchOptions.__doc__, args=argv)
    command = shlex.join(["python", "-m", "benchmarks.bench", *argv])
    machine.check_threads(args.threads)
    if args.rounds < 1:
        raise ConfigError(f"--rounds {args.rounds}: expected at least 1")
    if args.plot is not None and args.plot.suffix not in (".png", ".svg"):
        raise ConfigError(f"--plot {args.plot}: expected a name that ends in .png or .svg")
    if args.smoke:
        shared.tell_unused(args, dict.fromkeys(("threads", "rounds", "batches"), "with --smoke"))
    if args.out is None:
        shared.tell_unused(args, {"machine": "without --out"})
    if not re.fullmatch("[a-z0-9-]*", args.machine):
        raise ConfigError(
            f"--machine {args.machine!r}: expected small letters, digits and dashes, e.g. laptop-2"
        )
    size = bench_measure.BenchPlan(
        threads=args.threads or machine.processors(), rounds=args.rounds, batches=args.batches
    )
    plan = bench_measure.SMOKE if args.smoke else size
    reduced = (
        args.precision != "float32"
        and str(pick_precision(args.precision, pick_device("cpu"))) == "torch.bfloat16"
    )
    dtypes = ["float32", "bfloat16"] if reduced else ["float32"]
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    with ExitStack() as stack:
        data = None
        if args.data != "random":
            images = shared.load_set(args.data, args.data_folder).train.images.numpy()
            if images.shape[1] != plan.visible:
                raise ConfigError(
                    f"--data {args.data} has pictures of {images.shape[1]} pixels; expected "
                    f"{plan.visible}, as mnist has"
                )
            data = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "pixels.npy"
            np.save(
                data, images if images.dtype == np.uint8 else np.rint(images * 255).astype(np.uint8)
            )
        who = bench_measure.contestants(dtypes, args.peers)
        cells, versions = bench_measure.measure(plan, who, data, tell)
        judged, unjudged = (
            bench_measure.quality(plan, who, data, tell) if args.quality else ([], {})
        )
    versions |= unjudged
    if args.peers is None:
        versions |= dict.fromkeys(
            ("rbms", "learnergy"),
            "skipped: no --peers, the Python of an environment that holds them",
        )
    grown = bench_measure.growth(plan, dtypes[-1], tell) if args.growth else None
    rows = bench_measure.rows(cells, versions, plan, command) + (
        bench_measure.growth_rows(grown, plan, command) if grown else []
    )
    notes = {
        "command": command,
        "threads": plan.threads,
        "seeds": [0],
        "passes": plan.quality_epochs,
        "held_out": plan.held_out,
    }
    rows += bench_quality.rows(judged, dtypes[-1], notes)
    rows = [{**row, "load_before": load, "data": args.data} for row in rows]
    if args.out is not None:
        results.save(args.out, bench_measure.of_machine(rows, args.machine))
    if args.plot is not None:
        bench_measure.draw(args.plot, cells)
    if args.plot is not None and grown:
        bench_measure.draw_growth(args.plot.with_stem(f"{args.plot.stem}-growth"), grown)
    if args.json:
        print(
            files.to_json(
                {"threads": plan.threads, "load_before": load, "about": versions, "rows": rows}
            )
        )
        return 0
    print(
        f"{processor_name()}, {plan.threads} threads, load before "
        f"{load if load is not None else 'unknown'}"
    )
    for line in bench_measure.table(cells, judged):
        print(line)
    for row in rows:
        if row["table"] in ("speed", "growth"):
            print(
                f"{row['row']}: {row['metric'].replace('_', ' ')} {row['value']:g} "
                f"({row['low']:g} to {row['high']:g})"
            )
    for name, reply in versions.items():
        print(f"{name}: {reply}")
    return 0


def tell(what: str) -> None:
    """Say on the error stream what is being measured."""
    print(f"{what} ...", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
