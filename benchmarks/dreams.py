"""What dreams are worth: label-clamped dreams of a run, judged by a classifier that never saw the
model.

    python -m benchmarks.dreams runs/mnist-figures/seed-1-updown-50k

A hundred dreams a class from random top states, a thousand Gibbs iterations each. Do they carry the
label that was clamped, do they differ from each other as real digits do, and are they more than
copies of training images?
"""

from __future__ import annotations

import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from tyro.conf import Positional

from benchmarks import judge
from wakesleep.data import load
from wakesleep.foundation.errors import ConfigError
from wakesleep.foundation.rng import generator
from wakesleep.paper import results
from wakesleep.runs import checkpoint
from wakesleep.samplers import dreams


@dataclass(frozen=True)
class DreamsMeasureOptions:
    """Judge the label-clamped dreams of a run."""

    run: Positional[Path]
    """The run folder or model file."""
    table: str = "dreams"
    """The table of the rows."""
    row: str = "clamped-label"
    """The name of the rows."""
    agreement: str = "agreement_percent"
    """The metric's name for the share of dreams that carry the clamped label."""
    count: int = 100
    """Dreams a class."""
    steps: int = 1000
    """Gibbs iterations from random top states."""
    judge: Path = Path("runs/judge.safetensors")
    """The judge; trained and kept here if it is not there."""
    judge_epochs: int = 5
    """Epochs over the training pictures the judge learns by."""
    seed: int = 0
    """Seed of the dreams."""
    out: Path | None = Path("results/dreams.json")
    """Where the rows go; None only prints."""


def main(argv: list[str]) -> None:
    """Dream, judge, and save the rows."""
    options = tyro.cli(DreamsMeasureOptions, description=__doc__, args=argv)
    model = checkpoint.load_model(options.run)
    if not model.dbn.labels:
        raise ConfigError(
            f"{options.run} holds no labels, so none can be clamped; train with a label memory"
        )
    dataset = load(str(model.header.get("data_path", "digits")))
    assert dataset.train.labels is not None
    assert dataset.test is not None
    options.judge.parent.mkdir(parents=True, exist_ok=True)
    net = judge.get(
        options.judge,
        dataset.train.images,
        dataset.train.labels,
        dataset.shape,
        epochs=options.judge_epochs,
    )
    clamped = torch.arange(model.dbn.labels).repeat_interleave(options.count)
    began = time.perf_counter()
    fantasies = dreams.dream(
        model.dbn, labels=clamped, steps=options.steps, rng=generator(options.seed)
    ).pixels
    minutes = round((time.perf_counter() - began) / 60, 2)
    result = judge.judge_dreams(net, fantasies, clamped, dataset.train.images, dataset.test)
    print(result)
    if options.out is None:
        return
    command = shlex.join(["python", "-m", "benchmarks.dreams", *argv])
    metrics = {
        options.agreement: result["agreement_percent"],
        "spread_over_real_digits": result["spread_over_real_digits"],
    }
    rows = [
        results.row(
            options.table,
            options.row,
            metric,
            [value],
            seeds=[options.seed],
            command=command,
            minutes=minutes,
            steps=options.steps,
            **result,
        )
        for metric, value in metrics.items()
        if options.table == "dreams" or metric == options.agreement
    ]
    results.save(options.out, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
