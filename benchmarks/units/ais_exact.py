"""Annealed importance sampling, both ways, against exact log Z: 40 small machines of all families.

    python -m benchmarks.units.ais_exact

Each of ten visible families stands beside three hidden ones, in turn those with which one side can
be listed; then Gaussian beside Gaussian units, and nine layers of mixed families. Weights, biases
and the families' own parameters are random. AIS goes from the independent model that matches 2,000
samples and back from samples; a machine is hit where both estimates lie within three of their
standard errors of log Z, and those are 0.1 nats at most. Three times, with other numbers.
"""

from __future__ import annotations

import math
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import tyro

from benchmarks.estimators import Found, measure
from wakesleep.evaluation import exact, likelihood
from wakesleep.evaluation.ais import Estimate
from wakesleep.foundation.rng import generator
from wakesleep.models import normalisable
from wakesleep.models.rbm import RBM
from wakesleep.units import (
    Bernoulli,
    Binomial,
    Categorical,
    Context,
    DReLU,
    Gaussian,
    Groups,
    Multinomial,
    Ordinal,
    Poisson,
    ReLU,
    Spin,
    Units,
)
from wakesleep.units.ordinal import without_line

FINITE: dict[str, Callable[[], Units]] = {
    "Bernoulli": lambda: Bernoulli(8),
    "Spin": lambda: Spin(8),
    "Categorical": lambda: Categorical(3, sites=4),
    "Binomial": lambda: Binomial(4, trials=3),
    "Ordinal": lambda: Ordinal(4, levels=4),
}
"""Families whose states can be listed, at sizes of 81 to 256 states."""
ENDLESS: dict[str, Callable[[], Units]] = {
    "Poisson": lambda: Poisson(4),
    "Gaussian": lambda: Gaussian(6),
    "ReLU": lambda: ReLU(6),
    "DReLU": lambda: DReLU(6),
}
WORDS: dict[str, Callable[[], Units]] = {"Multinomial": lambda: Multinomial(5)}
"""Documents of six words."""
VISIBLE = {**FINITE, **WORDS, **ENDLESS}
HIDDEN = {**FINITE, **ENDLESS}
BESIDE = 3
"""Hidden families for each visible one."""


@dataclass(frozen=True)
class AISExactOptions:
    """Measure and save the rows."""

    times: int = 3
    """How often all 40 are made anew."""
    chains: int = 200
    """Chains of each direction."""
    target_error: float = 0.03
    """Wanted standard error, nats."""
    quick: bool = False
    """Four machines and few steps: a check that everything runs, no figures."""
    out: Path = Path("results/units.json")
    """Where the rows go."""


def pairs() -> Iterator[tuple[str, Units, Units]]:
    """Yield the names and the layers of the 40 machines."""
    for number, (name, visible) in enumerate(VISIBLE.items()):
        allowed = list(FINITE if name in ENDLESS else HIDDEN)
        for step in range(BESIDE):
            other = allowed[(BESIDE * number + step) % len(allowed)]
            yield f"{name} x {other}", visible(), HIDDEN[other]()
    yield "Gaussian x Gaussian", Gaussian(6), Gaussian(4)
    kinds = list(VISIBLE)
    for number in range(9):
        some = [kinds[(number + step) % len(kinds)] for step in (0, 3, 7)]
        parts = {name.lower(): VISIBLE[name]() for name in some}
        hidden: Units = Bernoulli(8) if number % 2 else Groups(bits=5, kind=Categorical(4))
        yield f"{' + '.join(some)} x {hidden.family}", Groups(**parts), hidden


def machine(visible: Units, hidden: Units, seed: int) -> RBM:
    """Return a machine of random parameters, scaled back where it has no normaliser."""
    rng = generator(seed)
    rbm = RBM(visible, hidden, rng=rng, weight_std=0.4)
    for bias in (rbm.visible_bias, rbm.hidden_bias):
        bias.normal_(0.0, 0.5, generator=rng)
    for units in (rbm.visible, rbm.hidden):
        for name, parameter in units.named_parameters():
            parameter.normal_(0.0, 0.3, generator=rng)
            if name.endswith("level_bias"):
                parameter.copy_(without_line(parameter))
    if (norm := normalisable.spectral_norm(rbm)) > 0.9:
        rbm.weight.mul_(0.9 / norm)
    return rbm


def errors(rbm: RBM, seed: int, options: AISExactOptions) -> list[tuple[float, float]]:
    """Return error and standard error of each direction, nats."""
    rng = generator(seed)
    context = Context(count=torch.tensor([6.0])) if rbm.visible.needs_count else None
    cases = exact.sample(rbm, 2000, rng, _each(context, 2000))
    estimates = likelihood.log_partition(
        rbm,
        cases,
        rng=rng,
        chains=options.chains,
        target_error=options.target_error,
        limit=100 if options.quick else 20_000,
        reverse_steps=100,
        context=context,
    )
    log_z = exact.log_partition(rbm, context)
    both: list[Estimate | None] = [estimates.forward, estimates.reverse]
    return [(one.log_z - log_z, one.standard_error) for one in both if one is not None]


def _each(context: Context | None, cases: int) -> Context | None:
    """Return the context of that many cases."""
    return None if context is None else context.repeat(cases)


def hits(options: AISExactOptions) -> Found:
    """Yield how many of 40 machines are hit, the largest error and the largest standard error."""
    counts, largest, widest = [], [], []
    for seed in range(1 if options.quick else options.times):
        good, worst, width = 0, 0.0, 0.0
        for number, (name, visible, hidden) in enumerate(pairs()):
            if options.quick and number % 10:
                continue
            both = errors(machine(visible, hidden, 100 * seed + number), number, options)
            hit = all(abs(e) <= 3 * error <= 0.3 for e, error in both)
            good += hit
            worst = max([worst, *(abs(e) for e, _ in both)])
            width = max([width, *(error for _, error in both)])
            text = ", ".join(f"{e:+.3f} +- {error:.3f}" for e, error in both)
            print(f"{seed} {name}: {text}{'' if hit else '   MISSED'}", flush=True)
        counts.append(float(good))
        largest.append(worst)
        widest.append(width)
    yield "ais-against-exact", "hits_of_40", counts, {}
    yield "ais-against-exact", "largest_error_nats", largest, {}
    yield "ais-against-exact", "largest_standard_error_nats", widest, {}


def main(argv: list[str]) -> None:
    """Measure, and save the rows unless it is a quick check."""
    options = tyro.cli(AISExactOptions, description=__doc__, args=argv)
    if options.quick:
        assert all(math.isfinite(x) for _, _, values, _ in hits(options) for x in values)
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    command = shlex.join(["python", "-m", "benchmarks.units.ais_exact", *argv])
    parts = [partial(hits, options)]
    for _ in measure("units", parts, out=options.out, command=command, threads=1):
        pass


if __name__ == "__main__":
    main(sys.argv[1:])
