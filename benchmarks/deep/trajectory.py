"""Replica exchange in learning: the chains of PCD trade places with replicas at earlier checkpoints
of the same machine, beside plain PCD of the same minutes.

    python -m benchmarks.deep.trajectory --mat randomly_binarized_mnist.mat --folder runs/deep

Both go on from one RBM 784 x 500 and its checkpoints, which benchmarks.deep.density left in the
folder, for the same processor time, the rate falling in a straight line. With exchange
(`CDConfig.exchange_steps`), the chains move on after each epoch, for some steps, beside chains at
fixed machines that lead from independent units through the checkpoints; where neighbours hardly
swap, a machine is put between. Source: Bereux, Decelle, Furtlehner, Rosset & Seoane (2024).
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
from wakesleep.learning import cd, trajectory
from wakesleep.learning.cd import CDConfig, CDState
from wakesleep.models.rbm import RBM
from wakesleep.paper import results
from wakesleep.runs import checkpoint, progress
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
    """Wanted swap rate of neighbours, where the ladder is chosen."""
    average: float = 0.9
    """Decay of the running mean of the weights over epochs, which is scored."""


def learn(options: TrajectoryOptions, way: Way, cases: Tensor) -> tuple[RBM, float, dict[str, Any]]:
    """Return the mean of a machine that went on learning, the minutes of processor time, and what
    there is to say of the ladder.
    """
    path, device = options.data.folder / "rbm-training.safetensors", torch.device("cpu")
    begun, parts = progress.read(path, device, "training")
    rng, machines = generator(options.data.seed + 3), density.checkpoints(options.data.folder)
    rbm, mean = copy.deepcopy(machines[-1]), machines[-1]
    checkpoint.fill(rbm, parts["rbm"], [], path)
    state = CDState.from_tensors(begun.state | {"epoch": 0})
    config = replace(options.config, epochs=options.epochs[way == "exchange"])
    dtype = pick_precision(options.data.precision, device)
    notes: dict[str, float] = {}
    began = time.process_time()
    if way == "exchange":
        replicas = density.ladder(options.data.folder, cases, options.rate, rng)
        state = replace(state, ladder=trajectory.ladder_of(replicas))
        config = replace(config, exchange_steps=options.steps)
    shown = draw_binary(cases, rng)
    for record in cd.epochs(rbm, shown, config=config, rng=rng, state=state, dtype=dtype):
        for ours, learned in zip(mean.parameters(), rbm.parameters(), strict=True):
            ours.lerp_(learned, 1 - options.average)
        if options.data.drawn_anew:
            shown.copy_(draw_binary(cases, rng))
        minutes = (time.process_time() - began) / 60
        names = ("machines", "lowest_swap_rate")
        notes = {name: record.metrics[name] for name in names if name in record.metrics}
        print(f"{way} {record.epoch}/{record.epochs} {minutes:.2f} min {notes}", flush=True)
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
