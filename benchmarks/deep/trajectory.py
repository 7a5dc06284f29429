"""Replica exchange in learning: the chains of PCD trade places with replicas at earlier checkpoints
of the same machine, beside plain PCD of the same minutes.

    python -m benchmarks.deep.trajectory --mat randomly_binarized_mnist.mat --folder runs/deep

Both go on from one RBM 784 x 500 and its checkpoints, which benchmarks.deep.density left in the
folder, for the same processor time, the rate falling in a straight line. With exchange, the chains
move on after each epoch, for some steps, beside chains at fixed machines that lead from independent
units through the checkpoints; where the learning machine has gone so far from the last of these
that they hardly swap, its mean is put between. Source: Bereux, Decelle, Furtlehner, Rosset & Seoane
(2024).
"""

from __future__ import annotations

import copy
import shlex
import sys
import time
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
import tyro
from torch import Tensor

from benchmarks.deep import density
from benchmarks.deep.density import DensityOptions
from benchmarks.likelihood import centred_pcd
from wakesleep.compute.select import pick_precision
from wakesleep.evaluation import likelihood
from wakesleep.foundation.rng import generator
from wakesleep.learning import cd
from wakesleep.learning.cd import CDConfig, CDState
from wakesleep.models.rbm import RBM
from wakesleep.paper import results
from wakesleep.runs import checkpoint, progress
from wakesleep.samplers.replica_exchange import ReplicaExchange
from wakesleep.sources.arrays import draw_binary

Way = Literal["pcd", "exchange"]
ROWS = {"pcd": "rbm-500-pcd", "exchange": "rbm-500-trajectory"}


@dataclass(frozen=True)
class TrajectoryOptions:
    """Go on with one RBM both ways, score both, save the rows."""

    data: DensityOptions = field(default_factory=DensityOptions)
    """Where data, RBM and checkpoints lie, and how closely log Z is estimated."""
    ways: tuple[Way, ...] = ("pcd", "exchange")
    """Which."""
    epochs: tuple[int, int] = (120, 80)
    """Epochs without and with exchange: as many as take the same minutes, which the rows give."""
    config: CDConfig = field(default_factory=lambda: centred_pcd(0.02, epochs=0))
    """How both learn, for the `epochs` above."""
    steps: int = 20
    """Steps of replica exchange after each epoch."""
    rate: float = 0.2
    """Wanted swap rate of neighbouring replicas."""
    average: float = 0.9
    """Decay of the running mean of the weights over epochs, which is scored."""


class Ladder:
    """Chains at fixed machines on the way to the one that learns."""

    def __init__(self, replicas: ReplicaExchange, rate: float) -> None:
        self.machines, self.rate = replicas.machines, rate
        assert replicas.visible is not None
        self.visible = replicas.visible

    def exchange(
        self, rbm: RBM, mean: RBM, chains: Tensor, steps: int, rng: torch.Generator
    ) -> float:
        """Move the hidden states `chains` (N, hidden) of `rbm` on, in place, in exchange with those
        of the ladder, and return at what rate they swap with its last machine; where that is too
        low, `mean` joins the ladder.
        """
        own = rbm.sample_visible(chains.to(rbm.weight.dtype), rng)
        replicas = ReplicaExchange([*self.machines, rbm])
        replicas.begin(torch.cat([self.visible, own[None]]))
        for _ in range(steps):
            replicas.step(rng)
        assert replicas.visible is not None
        chains.copy_(rbm.sample_hidden(replicas.visible[-1], rng))
        self.visible, rate = replicas.visible[:-1], float(replicas.swap_rates[-1])
        if rate < self.rate / 2:
            self.machines = [*self.machines, copy.deepcopy(mean)]
            self.visible = replicas.visible
        return rate


def learn(options: TrajectoryOptions, way: Way, cases: Tensor) -> tuple[RBM, float, dict[str, Any]]:
    """Return the mean of a machine that went on learning, the minutes of processor time, and what
    there is to say of the ladder.
    """
    path, device = options.data.folder / "rbm-training.safetensors", torch.device("cpu")
    begun, parts = progress.read(path, device, "training")
    rng, machines = generator(options.data.seed + 3), density.checkpoints(options.data.folder)
    rbm, mean = copy.deepcopy(machines[-1]), machines[-1]
    checkpoint.fill(rbm, parts["rbm"], [], path)
    state, ladder, rate = CDState.from_tensors(begun.state | {"epoch": 0}), None, 0.0
    config = replace(options.config, epochs=options.epochs[way == "exchange"])
    dtype = pick_precision(options.data.precision, device)
    began = time.process_time()
    if way == "exchange":
        replicas = density.ladder(options.data.folder, cases, options.rate, rng)
        ladder = Ladder(replicas, options.rate)
    shown = draw_binary(cases, rng)
    for record in cd.epochs(rbm, shown, config=config, rng=rng, state=state, dtype=dtype):
        for ours, learned in zip(mean.parameters(), rbm.parameters(), strict=True):
            ours.lerp_(learned, 1 - options.average)
        if ladder is not None:
            rate = ladder.exchange(rbm, mean, record.state.chains, options.steps, rng)
        if options.data.drawn_anew:
            shown.copy_(draw_binary(cases, rng))
        minutes = (time.process_time() - began) / 60
        rungs = 0 if ladder is None else len(ladder.machines)
        print(f"{way} {record.epoch}/{record.epochs} {minutes:.2f} min {rungs} {rate:.2f}")
    notes = {} if ladder is None else {"machines": len(ladder.machines), "last_swap_rate": rate}
    return mean, (time.process_time() - began) / 60, notes


def main(argv: list[str]) -> None:
    """Learn, score, print and save."""
    options = tyro.cli(TrajectoryOptions, description=__doc__, args=argv)
    torch.set_num_threads(options.data.threads)
    cases, scored = density.cases_of(options.data)
    for way in options.ways:
        rbm, minutes, notes = learn(options, way, cases)
        checkpoint.save(rbm, options.data.folder / f"{ROWS[way]}.safetensors")
        rng = generator(options.data.seed + 4)
        log_z = likelihood.log_partition(
            rbm,
            draw_binary(cases[:20_000], rng),
            rng=rng,
            target_error=options.data.target_error,
            limit=options.data.limit,
        )
        assert log_z.reverse is not None
        mean = float(-rbm.free_energy(scored.float()).double().mean())
        values = {
            "log_likelihood": mean - log_z.forward.high,
            "log_likelihood_at_log_z_estimate": mean - log_z.forward.log_z,
            "log_likelihood_reverse": mean - log_z.reverse.log_z,
        }
        part = "held_out" if options.data.hold_out else "test"
        rows = [
            results.row(
                "deep",
                ROWS[way],
                f"{part}_{name}",
                [value],
                seeds=[options.data.seed],
                command=shlex.join(["python", "-m", "benchmarks.deep.trajectory", *argv]),
                minutes=round(minutes, 2),
                log_z=log_z.as_json(),
                epochs=options.epochs[way == "exchange"],
                drawn_anew=options.data.drawn_anew,
                **notes,
            )
            for name, value in values.items()
        ]
        for row in rows:
            print(row["row"], row["metric"], row["value"], flush=True)
        if not options.data.hold_out:
            results.save(options.data.out, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
