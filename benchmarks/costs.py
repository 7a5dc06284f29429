"""What it costs: minutes and memory of finished runs, and how the time of an epoch grows with the
number of cases.

    wakesleep train --data mnist --stages pretrain backprop --out runs/recipe
    wakesleep train --out runs/digits
    python -m benchmarks.costs --recipe runs/recipe --digits runs/digits

Run nothing else beside it: minutes are wall-clock time.
"""

from __future__ import annotations

import shlex
import statistics
import sys
import time
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
import tyro

from wakesleep.compute.select import pick_precision
from wakesleep.foundation import files
from wakesleep.foundation.rng import generator
from wakesleep.learning import cd, up_down
from wakesleep.learning.cd import CDConfig
from wakesleep.models.dbn import DBN
from wakesleep.models.rbm import RBM
from wakesleep.paper import results
from wakesleep.runs.settings import preset


@dataclass(frozen=True)
class CostsMeasureOptions:
    """Turn finished runs into rows of results/costs.json, and measure how an epoch grows with the
    cases.
    """

    recipe: Path | None = None
    """A finished run of the whole recipe on MNIST: 30 epochs a layer and 30 of backpropagation."""
    digits: Path | None = None
    """A finished run of what `make train` does."""
    updown: bool = True
    """Measure an epoch of contrastive wake-sleep over 50,000 cases at K = 3, 784-500-500-2000 with
    10 labels.
    """
    growth: bool = True
    """Measure an epoch of CD-1 on 10,000 and on 60,000 cases."""
    repeats: int = 5
    """Measured epochs of each size; the median counts."""
    out: Path = Path("results/costs.json")
    """Where the rows go."""


def run_rows(folder: Path, table: str, name: str, reported: str) -> list[results.Row]:
    """Return minutes (from the first to the last word of the run), peak memory, and the errors of
    backpropagation, of a finished run.
    """
    provenance = files.read_json(folder / "provenance.json")
    took = datetime.fromisoformat(provenance["finished"]) - datetime.fromisoformat(
        provenance["started"]
    )
    minutes = round(took.total_seconds() / 60, 2)
    threads = int(provenance["device"].split()[1]) if provenance["device"].startswith("cpu") else 0
    notes: dict[str, Any] = {
        "seeds": [provenance["seed"]],
        "command": provenance["command"],
        "run_device": provenance["device"],
        "stages": provenance["minutes"],
    }
    notes |= {"threads": threads, "minutes": minutes}
    tested = next(
        row
        for row in files.read_json(folder / "evaluation.json")["rows"]
        if row["method"] == "backprop"
    )
    picked = [
        line["validation_errors"]
        for line in files.read_metrics(folder)
        if line["stage"] == "backprop" and "validation_errors" in line
    ]
    rows = [
        results.row(table, name, "minutes", [minutes], reported=reported, **notes),
        results.row(table, name, "peak_memory_gb", [provenance["peak_memory_gb"]], **notes),
        results.row(table, name, "test_error_percent", [tested["test_error_percent"]], **notes),
    ]
    if picked:
        rows.append(results.row(table, name, "validation_errors", [min(picked)], **notes))
    return rows


def seconds_a_case(cases: int, repeats: int) -> float:
    """Return the median seconds a case of an epoch of CD-1, 784-500, batch 100, on random
    pixels.
    """
    rng = generator(0)
    pixels = torch.randint(0, 256, (cases, 784), generator=rng, dtype=torch.uint8)
    seconds, began = [], 0.0
    for number, _ in enumerate(
        cd.epochs(RBM(784, 500, rng=rng), pixels, config=CDConfig(epochs=repeats + 1), rng=rng)
    ):
        now = time.perf_counter()
        if number:  # the first epoch warms up
            seconds.append(now - began)
        began = now
    return statistics.median(seconds) / cases


def updown_seconds(cases: int, repeats: int, precision: str) -> list[float]:
    """Return the seconds of each of `repeats` epochs of contrastive wake-sleep at K = 3, settings
    as for MNIST, on random pixels.
    """
    rng, device = generator(0), torch.device("cpu")
    pixels = torch.randint(0, 256, (cases, 784), generator=rng, dtype=torch.uint8)
    labels = torch.arange(cases) % 10
    config = replace(preset("mnist").updown, epochs=repeats + 1, gibbs_steps=(3,))
    dbn, seconds, began = DBN((784, 500, 500, 2000), labels=10, rng=rng), [], 0.0
    for number, _ in enumerate(
        up_down.epochs(
            dbn, pixels, labels, config=config, rng=rng, dtype=pick_precision(precision, device)
        )
    ):
        now = time.perf_counter()
        if number:  # the first epoch warms up
            seconds.append(now - began)
        began = now
    return seconds


def main(argv: list[str]) -> None:
    """Collect the rows and save them."""
    options = tyro.cli(CostsMeasureOptions, description=__doc__, args=argv)
    rows: list[results.Row] = []
    if options.recipe is not None:
        rows += run_rows(options.recipe, "mnist", "recipe-2-cores", "a week (2006)")
    if options.digits is not None:
        rows += run_rows(options.digits, "digits", "make-train", "")
    command = shlex.join(["python", "-m", "benchmarks.costs", *argv])
    if options.updown:
        precision = (
            "bfloat16"
            if pick_precision("auto", torch.device("cpu")) == torch.bfloat16
            else "float32"
        )
        seconds = updown_seconds(50_000, options.repeats, precision)
        notes: dict[str, Any] = {
            "minutes": round(sum(seconds) / 60, 2),
            "precision": precision,
            "each": [round(second, 2) for second in seconds],
        }
        rows.append(
            results.row(
                "speed",
                "updown-k3-50k-2-cores",
                "seconds",
                seconds,
                seeds=[0],
                command=command,
                **notes,
            )
        )
    if options.growth:
        ratio = seconds_a_case(60_000, options.repeats) / seconds_a_case(10_000, options.repeats)
        rows.append(
            results.row(
                "cost",
                "60k-over-10k-cases",
                "ratio_of_seconds_a_case",
                [ratio],
                seeds=[0],
                command=command,
            )
        )
    results.save(options.out, rows)
    for row in rows:
        print(row["table"], row["row"], row["metric"], row["value"])


if __name__ == "__main__":
    main(sys.argv[1:])
