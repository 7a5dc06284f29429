"""DNA and the WW domain: how long chains of their machines remember, and whether replicas help.

    python -m benchmarks.deep.families

The machines learn as those of benchmarks.units.dna and benchmarks.units.proteins do, with
checkpoints on the way. Judged is the slowest of ten principal projections; times are processor
times of one thread.
"""

from __future__ import annotations

import os
import shlex
import sys
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import tyro
from torch import Tensor

from benchmarks.deep.checks import compared
from benchmarks.estimators import Found, measure
from benchmarks.units import dna, proteins
from wakesleep.foundation.rng import generator
from wakesleep.learning import cd
from wakesleep.learning.cd import CDConfig
from wakesleep.models.rbm import RBM

Family = Literal["dna", "ww-domain"]


@dataclass(frozen=True)
class FamiliesOptions:
    """Train, let chains go, save the rows."""

    families: tuple[Family, ...] = get_args(Family)
    """Which ones."""
    data: Path = Path(os.environ.get("WAKESLEEP_DATA", "data"))
    """Folder with tables/dna.csv.gz and proteins/WW_domain_MSA.fasta."""
    gibbs_steps: int = 4000
    """Steps of Gibbs chains."""
    exchange_steps: int = 1500
    """Steps of replicas."""
    rate: float = 0.25
    """Wanted swap rate of neighbours."""
    threads: int = 1
    """CPU threads."""
    out: Path = Path("results/deep.json")
    """Where the rows go."""


def with_checkpoints(rbm: RBM, cases: Tensor, config: CDConfig, **given: Any) -> list[RBM]:
    """Train `rbm`, in place, and return it, last, after its checkpoints, each after a fifth more
    epochs than the one before; what else is `given` goes to `cd.epochs`.
    """
    checkpoints, due = [], 1.0
    for record in cd.epochs(rbm, cases, config=config, rng=generator(1), **given):
        if due <= record.epoch < record.epochs:
            checkpoints.append(deepcopy(rbm))
            due *= 1.2
    return [*checkpoints, rbm]


def machines(family: Family, data: Path) -> tuple[list[RBM], Tensor]:
    """Return the machine of a family after its checkpoints, and the cases it learned, (N,
    visible).
    """
    if family == "dna":
        of_dna = dna.DNAOptions(data=data)
        cases = dna.read(data)[0][: dna.TRAIN]
        rbm, config = dna.untrained(cases, of_dna.hidden[0], of_dna.decay[0], 0, of_dna.epochs)
        return with_checkpoints(rbm, cases, config), cases
    of_ww = proteins.ProteinsOptions(data=data)
    train, _ = proteins.split(proteins.read(data / "proteins/WW_domain_MSA.fasta"), 0)
    rbm, config = proteins.untrained(train, of_ww)
    return with_checkpoints(rbm, train.sequences, config, weights=train.weights), train.sequences


def figures(family: Family, options: FamiliesOptions) -> Found:
    """Yield the effective samples a second of 100 Gibbs chains, and how many times as many replicas
    along training have.
    """
    torch.set_num_threads(options.threads)
    chains = compared(
        *machines(family, options.data),
        gibbs_steps=options.gibbs_steps,
        exchange_steps=options.exchange_steps,
        rate=options.rate,
    )
    notes = {
        **chains.notes,
        "along_temperature_over_gibbs": round(chains.temperature / chains.gibbs, 3),
    }
    row = f"mixing-{family}"
    yield row, "effective_samples_per_second_of_gibbs", [chains.gibbs], chains.notes["gibbs"]
    yield row, "trajectory_tempering_over_gibbs", [chains.training / chains.gibbs], notes


def main(argv: list[str]) -> None:
    """Measure, and save the rows as they come."""
    options = tyro.cli(FamiliesOptions, description=__doc__, args=argv)
    command = shlex.join(["python", "-m", "benchmarks.deep.families", *argv])
    parts = [partial(figures, family, options) for family in options.families]
    for _ in measure("deep", parts, out=options.out, command=command, threads=options.threads):
        pass


if __name__ == "__main__":
    main(sys.argv[1:])
