"""What a minibatch costs with other units than bits: CD-1, 100 cases, 500 binary hidden units.

    python -m benchmarks.units.cost

Each kind of visible layer takes turns with binary units of the same number of columns, in one
process; a turn is an epoch of 20 minibatches, and each round of two turns gives one ratio of times.
Run nothing else beside it.
"""

from __future__ import annotations

import shlex
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import tyro

from benchmarks.estimators import Found, measure
from wakesleep.foundation.rng import generator
from wakesleep.learning import cd
from wakesleep.learning.cd import CDConfig
from wakesleep.models.rbm import RBM
from wakesleep.units import Bernoulli, Categorical, Gaussian, Groups, Units

CASES, HIDDEN = 2000, 500
ROUNDS_UNCOUNTED = 3


@dataclass(frozen=True)
class CostOptions:
    """Time minibatches and save the rows."""

    rounds: int = 60
    """Pairs of turns of each kind."""
    threads: int = 1
    """CPU threads."""
    out: Path = Path("results/units.json")
    """Where the rows go."""


def layers() -> dict[str, Units]:
    """Return the visible layers that are timed."""
    mixed = Groups(bits=Bernoulli(392), numbers=Gaussian(196), letters=Categorical(4, 49))
    return {"gaussian": Gaussian(784), "categorical": Categorical(21, 31), "mixed": mixed}


def turns(units: Units, *, sample_visible: bool) -> Iterator[float]:
    """Yield the seconds of one epoch after the other; the cases are states of independent units."""
    rng = generator(0)
    rbm = RBM(units, HIDDEN, rng=rng, weight_std=0.01)
    cases = units.sample(torch.zeros(CASES, units.size), rng)
    config = CDConfig(
        epochs=10**6,
        learning_rate=1e-3,
        final_learning_rate=1e-3,
        sample_visible=sample_visible,
    )
    records = cd.epochs(rbm, cases, config=config, rng=rng)
    while True:
        began = time.perf_counter()
        next(records)
        yield time.perf_counter() - began


def ratios(units: Units, rounds: int, **settings: Any) -> list[float]:
    """Return the time of `units` over that of as many binary ones, of each round; who begins
    alternates.
    """
    ours, theirs = turns(units, **settings), turns(Bernoulli(units.size), **settings)
    times = []
    for number in range(rounds + ROUNDS_UNCOUNTED):
        if number % 2:
            one, other = next(ours), next(theirs)
        else:
            other, one = next(theirs), next(ours)
        times.append(one / other)
    return times[ROUNDS_UNCOUNTED:]


def figures(options: CostOptions) -> Found:
    """Yield the median ratio of each kind, with and without sampled visible states, and the largest
    of those with the defaults.
    """
    defaults = []
    for name, units in layers().items():
        for sampled in (False, True):
            times = ratios(units, options.rounds, sample_visible=sampled)
            quarters = statistics.quantiles(times, n=4)
            notes = {"quarters": [round(quarters[0], 3), round(quarters[2], 3)]}
            median = statistics.median(times)
            yield f"cost-{name}" + "-sampled" * sampled, "times", [median], notes
            defaults += [] if sampled else [median]
    yield "cost-over-bernoulli", "times", [max(defaults)], {}


def main(argv: list[str]) -> None:
    """Time, and save the rows."""
    options = tyro.cli(CostOptions, description=__doc__, args=argv)
    command = shlex.join(["python", "-m", "benchmarks.units.cost", *argv])
    parts = [partial(figures, options)]
    for _ in measure("units", parts, out=options.out, command=command, threads=options.threads):
        pass


if __name__ == "__main__":
    main(sys.argv[1:])
