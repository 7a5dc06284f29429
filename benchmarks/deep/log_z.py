"""log Z of an RBM 784 x 500 three ways: annealed importance sampling forward and in reverse, and
replica exchange along the checkpoints of its own training.

    python -m benchmarks.deep.log_z --folder runs/deep

The machine and its checkpoints are those that benchmarks.deep.density left in the folder. Reverse
annealing begins with the replicas of the machine itself, which mix better than Gibbs chains.
"""

from __future__ import annotations

import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

from benchmarks.deep.density import checkpoints
from benchmarks.likelihood import read_mat
from wakesleep.evaluation import ais
from wakesleep.foundation.rng import generator
from wakesleep.paper import results
from wakesleep.samplers import replica_exchange


@dataclass(frozen=True)
class LogZOptions:
    """Estimate log Z three ways and save the row."""

    mat: Path = Path("randomly_binarized_mnist.mat")
    """Binarised MNIST, see benchmarks.likelihood: its base rates are where annealing begins."""
    folder: Path = Path("runs/deep")
    """Where rbm-EPOCH.safetensors and rbm.safetensors lie."""
    chains: int = 200
    """Of each machine and each direction."""
    target_error: float = 0.05
    """Wanted standard error of forward annealing, nats."""
    limit: int = 30_000
    """Most temperatures."""
    rate: float = 0.2
    """Wanted swap rate of neighbouring replicas."""
    steps: int = 2000
    """Steps of the replicas."""
    seed: int = 0
    """Seed of everything random."""
    threads: int = 1
    """CPU threads."""
    out: Path = Path("results/deep.json")
    """Where the row goes."""


def main(argv: list[str]) -> None:
    """Estimate, print and save."""
    options = tyro.cli(LogZOptions, description=__doc__, args=argv)
    torch.set_num_threads(options.threads)
    began, rng = time.process_time(), generator(options.seed)
    machines = checkpoints(options.folder)
    rbm, columns = machines[-1], read_mat(options.mat)[0]
    base = ais.base_model(rbm, columns)

    replicas = replica_exchange.choose(
        machines, rng=rng, base=base, chains=options.chains, rate=options.rate
    )
    print(f"{len(replicas.machines)} machines, {time.process_time() - began:.0f} s", flush=True)
    along = replica_exchange.log_partition(
        replicas, rng=rng, steps=options.steps, burn_in=options.steps // 5
    )
    assert replicas.visible is not None
    print(along, f"{time.process_time() - began:.0f} s", flush=True)

    *_, forward = ais.search(
        rbm,
        base,
        rng=rng,
        chains=options.chains,
        target_error=options.target_error,
        limit=options.limit,
    )
    up = ais.estimate(rbm, base, forward)
    print(up, f"{time.process_time() - began:.0f} s", flush=True)
    *_, reverse = ais.anneal(
        rbm, base, ais.init_reverse(forward.betas, replicas.visible[-1]), rng=rng
    )
    down = ais.estimate(rbm, base, reverse)
    print(down, f"{time.process_time() - began:.0f} s", flush=True)

    found = [along.log_z, up.log_z, down.log_z]
    errors = [along.standard_error, up.standard_error, down.standard_error]
    names = ("along_training", "forward", "reverse")
    row = results.row(
        "deep",
        "log-z-three-ways",
        "largest_difference_nats",
        [max(found) - min(found)],
        seeds=[options.seed],
        command=shlex.join(["python", "-m", "benchmarks.deep.log_z", *argv]),
        minutes=round((time.process_time() - began) / 60, 1),
        log_z=dict(zip(names, found, strict=True)),
        standard_errors={name: round(e, 4) for name, e in zip(names, errors, strict=True)},
        machines=len(replicas.machines),
        swap_rates=[round(float(rate), 3) for rate in replicas.swap_rates],
        round_trips=round(replicas.round_trips, 2),
        temperatures=up.temperatures,
    )
    results.save(options.out, [row])
    print(row["value"], row["standard_errors"])


if __name__ == "__main__":
    main(sys.argv[1:])
