"""The 2-D Ising model on a torus of 8 x 8, learned from samples of itself, beside the exact one.

    python -m benchmarks.units.ising

A machine of spins with at most 128 hidden spins learns 100,000 exact samples (`lattice`) at each of
two temperatures. Judged are KL(exact || machine), in nats, at T = 2.27, over 10,000 other samples,

    KL = mean of -E(v)/T - log Z_T + F(v) + log Z_machine

with AIS both ways; and how far energy and |m| of samples of both machines lie from the exact ones.
`--choose` prints the KL over samples of a third seed, with log Z_machine by importance sampling
from the exact model, log mean exp(-F(v) + E(v)/T) + log Z_T, and saves nothing.
"""

from __future__ import annotations

import math
import shlex
import sys
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
import tyro
from torch import Tensor

from benchmarks.estimators import Found, measure
from benchmarks.units import lattice
from benchmarks.units.training import trained
from wakesleep.evaluation import likelihood
from wakesleep.foundation.rng import generator
from wakesleep.learning.cd import CDConfig
from wakesleep.models.rbm import RBM
from wakesleep.samplers import gibbs
from wakesleep.units import Spin

SPINS = lattice.SIDE**2
TEMPERATURES = (2.27, 3.5)
TRAIN, TEST, CHOOSE = 0, 1, 2
"""The seeds of the samples that train, that judge, and by which settings were chosen."""


@dataclass(frozen=True)
class IsingOptions:
    """Train on samples of the Ising model and save the rows."""

    parts: tuple[str, ...] = ("kl", "observables")
    """What to judge: kl (at the first temperature), observables (at both)."""
    hidden: int = 128
    """Hidden spins."""
    cases: int = 100_000
    """Samples that the machine learns from."""
    epochs: tuple[int, ...] = (60, 100, 60)
    """Epochs of the stages."""
    penalties: tuple[float, ...] = (0.256, 0.0128, 0.0064)
    """L2-L1 penalty of each: a strong one first, so that every hidden unit finds few spins of its
    own, then a weak one, which hardly holds the weights back.
    """
    rates: tuple[float, ...] = (0.1, 0.1, 0.005, 0.0003)
    """Learning rates: at the start of each stage, and at the end of the last; they fall in straight
    lines.
    """
    choose: bool = False
    """Judge by samples that no row is made of, and save nothing."""
    folder: Path = Path("runs/units")
    """Where machines lie once they are trained."""
    out: Path = Path("results/units.json")
    """Where the rows go."""


def machine(temperature: float, options: IsingOptions) -> RBM:
    """Return an RBM of spins that has learned samples at a temperature, by CD-1.

    A machine of 128 hidden spins, one a bond, is the Ising model exactly, and there CD-1 has its
    fixed point too; unlike chains that persist, its negative phase begins at independent samples,
    so that the noise of slow modes cancels.
    """
    cases = lattice.sample(temperature, options.cases, generator(TRAIN))
    rbm = RBM(Spin(SPINS), Spin(options.hidden), rng=generator(0), weight_std=0.05)
    stages = [
        CDConfig(
            epochs=epochs,
            batch_size=500,
            learning_rate=rate,
            final_learning_rate=final,
            momentum=0.0,
            initial_momentum=0.0,
            weight_decay=0.0,
            l2l1_penalty=penalty,
            sample_visible=True,
        )
        for epochs, penalty, (rate, final) in zip(
            options.epochs, options.penalties, pairwise(options.rates), strict=True
        )
    ]
    epochs = "-".join(map(str, options.epochs))
    path = options.folder / f"ising-{temperature}-{options.hidden}-{epochs}"
    return trained(path, rbm, cases, stages, seed=1)


def log_ratios(rbm: RBM, temperature: float, spins: Tensor) -> Tensor:
    """Return log p(v) + F(v) of spins (N, SPINS), p the exact law, (N,), nats."""
    exact = -lattice.energies(spins).double() / temperature - lattice.log_partition(temperature)
    return exact + rbm.free_energy(spins).double()


def chosen_by(rbm: RBM, temperature: float) -> float:
    """Return KL, nats, over samples that only choose, log Z by importance sampling from the exact
    model.
    """
    ratios = log_ratios(rbm, temperature, lattice.sample(temperature, 20_000, generator(CHOOSE)))
    return float(ratios.mean() + torch.logsumexp(-ratios, 0)) - math.log(len(ratios))


def observables(rbm: RBM, *, chains: int = 2000, steps: int = 3000) -> lattice.Expectations:
    """Return mean energy a spin and mean |m| of the machine's samples.

    Chains begin at random, and after `steps` steps give a hundred samples each, twenty apart.
    """
    rng = generator(3)
    state = gibbs.run(rbm, gibbs.random_hidden(rbm, chains, rng), steps, rng)
    energy, magnetisation = [], []
    for _ in range(100):
        state = gibbs.run(rbm, state.hidden, 20, rng)
        energy.append(lattice.energies(state.visible).mean() / SPINS)
        magnetisation.append(state.visible.mean(1).abs().mean())
    return lattice.Expectations(
        float(torch.stack(energy).mean()), float(torch.stack(magnetisation).mean())
    )


def divergence(options: IsingOptions) -> Found:
    """Yield KL at the first temperature, nats, with the larger of both readings of log Z, and each
    reading beside it.
    """
    temperature = TEMPERATURES[0]
    rbm = machine(temperature, options)
    test = lattice.sample(temperature, 10_000, generator(TEST))
    log_z = likelihood.log_partition(
        rbm, test, rng=generator(4), chains=1000, target_error=0.003, limit=5000
    )
    assert log_z.reverse is not None
    ratios = log_ratios(rbm, temperature, test)
    ways = {"-forward": log_z.forward.log_z, "-reverse": log_z.reverse.log_z}
    error = float(ratios.std()) / math.sqrt(len(ratios))
    for way, reading in {"": max(ways.values()), **ways}.items():
        notes = {"standard_error": round(error, 5), "hidden": options.hidden}
        yield f"ising-2d{way}", "kl_nats", [float(ratios.mean()) + reading], notes
    importance = float(torch.logsumexp(-ratios, 0)) - math.log(len(ratios))
    yield "ising-2d-importance", "kl_nats", [float(ratios.mean()) + importance], {}


def two_temperatures(options: IsingOptions) -> Found:
    """Yield how far energy and |m| of both machines' samples lie from the exact ones, percent."""
    errors = {}
    for temperature in TEMPERATURES:
        exact, sampled = (
            lattice.expectations(temperature),
            observables(machine(temperature, options)),
        )
        for name, ours, theirs in zip(exact._fields, sampled, exact, strict=True):
            errors[f"{name}-{temperature}"] = 100 * abs(ours / theirs - 1)
    yield "ising-2d", "observables_relative_error_percent", [max(errors.values())], {}
    for name, error in errors.items():
        yield f"ising-2d-{name}", "relative_error_percent", [error], {}


def main(argv: list[str]) -> None:
    """Train, and save the rows, or print what is chosen by."""
    options = tyro.cli(IsingOptions, description=__doc__, args=argv)
    if options.choose:
        for temperature in TEMPERATURES:
            print(temperature, round(chosen_by(machine(temperature, options), temperature), 5))
        return
    command = shlex.join(["python", "-m", "benchmarks.units.ising", *argv])
    figures = {"kl": divergence, "observables": two_temperatures}
    parts = [partial(figures[part], options) for part in options.parts]
    for _ in measure("units", parts, out=options.out, command=command, threads=1):
        pass


if __name__ == "__main__":
    main(sys.argv[1:])
