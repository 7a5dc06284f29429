"""Does the greedy stage alone dream? MNIST at default settings, pretrained and nothing else; its
dreams go to the judge.

    python -m benchmarks.defaults.greedy_dreams

A hundred dreams a class, as in `benchmarks.dreams`; beside them the test errors by label free
energies.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import tyro

from benchmarks import dreams
from wakesleep.data import load
from wakesleep.foundation import files
from wakesleep.paper import results
from wakesleep.runs import training
from wakesleep.runs.settings import preset


@dataclass(frozen=True)
class GreedyDreamsMeasureOptions:
    """Pretrain on MNIST at default settings, then judge the label-clamped dreams."""

    seed: int = 0
    """Seed of the run."""
    folder: Path = Path("runs/mnist-greedy")
    """Where runs and the judge go; a run that is there is read."""
    out: Path = Path("results/defaults-greedy-dreams.json")
    """Where the rows go."""


def main(argv: list[str]) -> None:
    """Train, dream, judge, and save the rows."""
    options = tyro.cli(GreedyDreamsMeasureOptions, description=__doc__, args=argv)
    run = options.folder / f"seed-{options.seed}"
    command = shlex.join(["python", "-m", "benchmarks.defaults.greedy_dreams", *argv])
    if not (run / "model.safetensors").exists():
        config = replace(preset("mnist"), stages=("pretrain",), seed=options.seed)
        for record in training.train(
            training.new_run(run, config, load("mnist"), torch.device("cpu"), command)
        ):
            print(record.stage, record.epoch, record.metrics, flush=True)
    (row,) = files.read_json(run / "evaluation.json")["rows"]
    minutes = files.read_json(run / "provenance.json")["minutes"]["pretrain"]
    notes = {"seeds": [options.seed], "command": command, "minutes": minutes}
    results.save(
        options.out,
        [
            results.row(
                "defaults",
                "mnist-greedy",
                "test_error_percent",
                [row["test_error_percent"]],
                **notes,
            )
        ],
    )
    names = ["--table", "defaults", "--row", "mnist-greedy", "--agreement", "dreams_agree_percent"]
    dreams.main(
        [
            str(run),
            *names,
            "--judge",
            str(options.folder / "judge.safetensors"),
            "--out",
            str(options.out),
        ]
    )


if __name__ == "__main__":
    main(sys.argv[1:])
