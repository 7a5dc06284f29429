"""Deep Boltzmann machines against enumeration, and replica exchange against Gibbs sampling.

    python -m benchmarks.deep.checks

The machine with two modes learns the digits 0 and 1 of scikit-learn's small digits, 64 binary
pixels, with checkpoints on the way; its Gibbs chains cross from one to the other about once in
10,000 steps. Times are processor times of one thread; for exchange-cost run nothing else beside it.
"""

from __future__ import annotations

import math
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch
import tyro
from torch import Tensor

from benchmarks.estimators import Found, measure
from wakesleep.evaluation import ais, bound, exact, mixing
from wakesleep.foundation.rng import generator
from wakesleep.learning import cd
from wakesleep.learning.cd import CDConfig
from wakesleep.models.dbm import DBM
from wakesleep.models.rbm import RBM
from wakesleep.samplers import gibbs, replica_exchange, tempering

Part = Literal["exact", "two-modes", "cost"]
MACHINES = 20
CHAINS = 100


@dataclass(frozen=True)
class ChecksOptions:
    """Measure and save the rows."""

    parts: tuple[Part, ...] = get_args(Part)
    """Which figures."""
    gibbs_steps: int = 500_000
    """Steps of the Gibbs chains of the machine with two modes."""
    exchange_steps: int = 10_000
    """Steps of its replicas."""
    epochs: int = 8_000
    """For which it learns."""
    rounds: int = 20
    """Pairs of turns for exchange-cost."""
    threads: int = 1
    """CPU threads."""
    out: Path = Path("results/deep.json")
    """Where the rows go."""


def small_dbm(seed: int) -> DBM:
    """Return a machine that can be enumerated: two or three hidden layers, every other one with
    labels, weights of all sizes.
    """
    rng = generator(seed)
    sizes = ((10, 8, 6), (8, 7, 6, 5))[seed // 2 % 2]
    dbm = DBM(sizes, labels=3 * (seed % 2), rng=rng, weight_std=0.3 + 0.1 * (seed % 10)).double()
    for bias in (dbm.rbm.visible_bias, dbm.rbm.hidden_bias):
        bias.normal_(0, 0.5, generator=rng)
    return dbm


def exact_figures(options: ChecksOptions) -> Found:
    """Yield on how many of twenty machines AIS lies within three standard errors of log Z, and on
    how many the bound lies below log p(v) of every state.
    """
    hits, below, errors, gaps = 0, 0, [], []
    for seed in range(MACHINES):
        dbm, rng = small_dbm(seed), generator(1000 + seed)
        visible = dbm.even["visible"].states().double()
        log_z = exact.log_partition(dbm.rbm)
        base = ais.base_model(dbm.rbm, dbm.mean_field(visible).even)
        way = torch.linspace(0, 1, 1000, dtype=torch.float64)
        chains = ais.init_forward(dbm.rbm, base, way, CHAINS, rng)
        *_, ended = ais.anneal(dbm.rbm, base, chains, rng=rng)
        estimate = ais.estimate(dbm.rbm, base, ended)
        errors.append(estimate.standard_error)
        hits += abs(estimate.log_z - log_z) <= 3 * estimate.standard_error
        truth = exact.dbm_log_likelihood(dbm, visible)
        gap = truth - bound.mean_field_bound(dbm, visible, log_z).bound
        below += bool((gap >= -1e-9).all())
        gaps.append(float(gap.mean()))
    notes = {
        "largest_standard_error": round(max(errors), 4),
        "machines_with_bound_below": below,
        "mean_gap_of_bound_nats": [round(min(gaps), 4), round(max(gaps), 4)],
    }
    yield "exact-checks", "hits_of_20", [float(min(hits, below))], notes


def two_modes(epochs: int) -> tuple[list[RBM], Tensor]:
    """Return a machine with two modes, last, after its checkpoints, each after a fifth more epochs
    than the one before, and the cases it learned (N, 64).
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    cases = torch.tensor(digits.data[digits.target < 2] >= 8).float()
    rng, checkpoints, due = generator(0), [], 1.0
    rbm = RBM(64, 40, rng=rng, weight_std=0.01)
    cd.init_visible_bias(rbm, cases)
    config = CDConfig(
        epochs=epochs,
        batch_size=60,
        persistent=True,
        centred=True,
        learning_rate=0.05,
        final_learning_rate=0.005,
        weight_decay=0.0,
        momentum=0.0,
        initial_momentum=0.0,
    )
    for record in cd.epochs(rbm, cases, config=config, rng=rng):
        if record.epoch >= due:
            checkpoints.append(deepcopy(rbm))
            due *= 1.2
    return [*checkpoints, rbm], cases


def effective_per_second(step: Callable[[], Tensor], steps: int) -> tuple[float, float, float]:
    """Return effective samples of the slowest projection a second of processor time, its
    autocorrelation time in steps, and how many such times the run had; the first tenth is left out.

    `step` moves N chains and returns their projections (N, K).
    """
    burn_in, began = steps // 10, 0.0
    for _ in range(burn_in):
        step()
    began = time.process_time()
    projections = torch.stack([step() for _ in range(steps - burn_in)])
    seconds = (time.process_time() - began) / len(projections)
    slowest = max(
        mixing.autocorrelation_time(projections[..., k]) for k in range(projections.shape[2])
    )
    return projections.shape[1] / (slowest * seconds), slowest, len(projections) / slowest


def crossings(first: Tensor) -> float:
    """Return how often chains cross from below -1 to above 1 of a projection (T, N), or back, in
    10,000 steps.
    """
    count, last = 0, torch.zeros_like(first[0])
    for side in torch.sign(first) * (first.abs() > 1):
        count += int(((side * last) < 0).sum())
        last = torch.where(side == 0, last, side)
    return count / first.numel() * 10_000


class Compared(NamedTuple):
    """How the chains of a machine do without replicas and with them."""

    gibbs: float
    """Effective samples of the slowest projection a second of processor time of Gibbs chains."""
    training: float
    """The same of replicas along training."""
    temperature: float
    """The same of replicas on the straight line from independent units."""
    watched: Tensor
    """Projections of the Gibbs chains, (T, N, K)."""
    notes: dict[str, Any]
    """Autocorrelation times in steps, how many of them each run had, machines."""


def compared(
    machines: Sequence[RBM], cases: Tensor, *, gibbs_steps: int, exchange_steps: int, rate: float
) -> Compared:
    """Return how chains of the last of the machines move in the principal directions of `cases` (N,
    visible); the others are its checkpoints, neighbours of replicas exchange at about `rate`.
    """
    rbm, project = machines[-1], mixing.principal_projection(cases, 10)
    rng = generator(1)
    hidden = rbm.sample_hidden(cases[torch.randint(len(cases), (CHAINS,), generator=rng)], rng)
    watched: list[Tensor] = []

    def gibbs_step() -> Tensor:
        nonlocal hidden
        visible, hidden = gibbs.run(rbm, hidden, 1, rng)
        watched.append(project(visible))
        return watched[-1]

    plain, slowest, runs = effective_per_second(gibbs_step, gibbs_steps)
    notes: dict[str, Any] = {
        "gibbs": {"autocorrelation_steps": round(slowest, 1), "times": round(runs)}
    }
    replicated = {}
    for name, way in (("training", machines), ("temperature", [rbm])):
        base = ais.base_model(way[-1], cases)
        replicas = replica_exchange.choose(way, base=base, rng=rng, chains=CHAINS, rate=rate)

        def exchange_step(replicas: replica_exchange.ReplicaExchange = replicas) -> Tensor:
            replicas.step(rng)
            assert replicas.visible is not None
            return project(replicas.visible[-1])

        replicated[name], slowest, runs = effective_per_second(exchange_step, exchange_steps)
        notes[f"along_{name}"] = {
            "autocorrelation_steps": round(slowest, 1),
            "times": round(runs),
            "machines": len(replicas.machines),
        }
    rates = replicated["training"], replicated["temperature"]
    return Compared(plain, *rates, torch.stack(watched), notes)


def two_mode_figures(options: ChecksOptions) -> Found:
    """Yield the effective samples a second of replicas along training over those of Gibbs chains;
    those of replicas on the straight line from independent units stand beside.
    """
    chains = compared(
        *two_modes(options.epochs),
        gibbs_steps=options.gibbs_steps,
        exchange_steps=options.exchange_steps,
        rate=0.15,
    )
    notes = {
        "crossings_in_10000_steps": round(crossings(chains.watched[..., 0]), 2),
        **chains.notes,
        "along_temperature_over_gibbs": round(chains.temperature / chains.gibbs, 2),
    }
    times = [chains.training / chains.gibbs]
    yield "trajectory-tempering", "independent_samples_over_gibbs", times, notes


def cost_figures(options: ChecksOptions) -> Found:
    """Yield the processor time of a step of ten replicas of a 784 x 500 machine that exchange, over
    that of a Gibbs step of as many chains: of replicas whose weights are matrices of their own, and
    of those of parallel tempering, which share one.
    """
    rng = generator(0)
    rbm = RBM(784, 500, rng=rng, weight_std=0.05)
    start = replica_exchange.independent(rbm)
    machines = [start, *(replica_exchange.between(start, rbm, t / 9) for t in range(1, 9)), rbm]
    replicas = replica_exchange.ReplicaExchange(machines)
    states = torch.bernoulli(torch.full((10, CHAINS, 784), 0.1), generator=rng)
    replicas.begin(states)
    hidden = rbm.sample_hidden(states.flatten(0, 1), rng)

    def timed(step: Callable[[], object]) -> float:
        began = time.process_time()
        for _ in range(5):
            step()
        return time.process_time() - began

    def gibbs_step() -> None:
        nonlocal hidden
        visible = rbm.sample_visible(hidden, rng)
        hidden = rbm.sample_hidden(visible, rng)

    none = torch.zeros(9)
    tempered, betas = tempering.Replicas(states, none, none), torch.linspace(0, 1, 10)
    parity = 0

    def tempered_step() -> None:
        nonlocal tempered, parity
        tempered = tempering.step(rbm, rbm.visible_bias, betas, tempered, rng, parity)
        parity = 1 - parity

    steps = {
        "exchange-cost": lambda: replicas.step(rng),
        "exchange-cost-temperatures": tempered_step,
    }
    for row, step in steps.items():
        ratios = [timed(step) / timed(gibbs_step) for _ in range(options.rounds)]
        spread = 2 * statistics.stdev(ratios) / math.sqrt(len(ratios)) if len(ratios) > 1 else 0.0
        yield row, "times_gibbs", [statistics.median(ratios)], {"spread": round(spread, 3)}


PARTS = {"exact": exact_figures, "two-modes": two_mode_figures, "cost": cost_figures}


def main(argv: list[str]) -> None:
    """Measure, and save the rows as they come."""
    options = tyro.cli(ChecksOptions, description=__doc__, args=argv)
    command = shlex.join(["python", "-m", "benchmarks.deep.checks", *argv])
    parts = [partial(PARTS[part], options) for part in options.parts]
    for _ in measure("deep", parts, out=options.out, command=command, threads=options.threads):
        pass


if __name__ == "__main__":
    main(sys.argv[1:])
