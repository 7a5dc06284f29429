"""log Z of an RBM 784 x 500 three ways: annealed importance sampling forward and in reverse, and
replica exchange along the checkpoints of its own training.

    python -m benchmarks.deep.log_z --folder runs/deep

The machine and its checkpoints are those that benchmarks.deep.density left in the folder. Its
replicas begin as annealing along the checkpoints leaves them, drawn by their weights within ten
groups of chains that never meet: errors are those of the jackknife over these groups. Reverse
annealing begins with the replicas of the machine itself. What is estimated is kept in the folder:
stopped, the run goes on with the next way.
"""

from __future__ import annotations

import json
import math
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import tyro
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.deep import density
from benchmarks.likelihood import read_mat
from wakesleep.evaluation import ais, bennett
from wakesleep.foundation.files import write_json
from wakesleep.foundation.rng import generator
from wakesleep.models.rbm import RBM
from wakesleep.paper import results
from wakesleep.samplers.replica_exchange import between

STRETCH = 100
"""Steps between two looks at log Z while the replicas settle."""
GROUPS = 10
"""Groups of chains that never meet, as many as `bennett.log_partition` makes."""


@dataclass(frozen=True)
class LogZOptions:
    """Estimate log Z three ways and save the rows."""

    mat: Path = Path("randomly_binarized_mnist.mat")
    """Binarised MNIST, see benchmarks.likelihood: its base rates are where annealing begins."""
    folder: Path = Path("runs/deep")
    """Where rbm-EPOCH.safetensors and rbm.safetensors lie."""
    epoch: int = 0
    """The checkpoint whose log Z is sought; 0: the trained machine."""
    chains: int = 100
    """Of forward and of reverse annealing."""
    replicas: int = 400
    """Chains of each machine along training. Chains that hardly ever come round tell log Z by
    their number, not by their steps.
    """
    ladder_chains: int = 60
    """Chains with which the machines are chosen."""
    annealing_steps: int = 100
    """Steps from one machine to the next in which the replicas are annealed at first."""
    target_error: float = 0.05
    """Wanted standard error of forward annealing, nats."""
    limit: int = 30_000
    """Most temperatures."""
    rate: float = 0.2
    """Wanted swap rate of neighbouring replicas."""
    burn_in: int = 300
    """Steps of the replicas that do not count."""
    steps: int = 1000
    """Steps of the replicas that count."""
    seed: int = 0
    """Seed of everything random."""
    threads: int = 1
    """CPU threads."""
    out: Path = Path("results/deep.json")
    """Where the rows go."""

    def path(self, ending: str) -> Path:
        """Return the file of the folder that keeps a part."""
        return self.folder / f"log-z-{self.epoch:03}.{ending}"


def annealed(
    machines: Sequence[RBM], chains: int, steps: int, rng: torch.Generator, groups: int = GROUPS
) -> Tensor:
    """Return chains of each machine, (R, N, visible): from those of the first, of independent
    units, in `steps` Gibbs steps on the straight line to the next machine, then drawn by their
    weights, each group from its own chains (systematic resampling), and so on.
    """
    first = machines[0].visible_bias.expand(chains, -1).contiguous()
    visible = machines[0].visible.sample(first, rng)
    states = [visible]
    for one, other in pairwise(machines):
        log_weights, now = visible.new_zeros(chains, dtype=torch.float64), one
        for step in range(1, steps + 1):
            after = between(one, other, step / steps)
            log_weights += (now.free_energy(visible) - after.free_energy(visible)).double()
            visible, now = after.sample_visible(after.sample_hidden(visible, rng), rng), after
        members = torch.arange(chains).tensor_split(groups)
        visible = torch.cat([visible[own[resampled(log_weights[own], rng)]] for own in members])
        states.append(visible)
    return torch.stack(states)


def resampled(log_weights: Tensor, rng: torch.Generator) -> Tensor:
    """Return which of N chains are drawn by weights exp(log_weights) (N,), (N,): each as often as
    its share of the weights, rounded up or down.
    """
    shares, count = torch.softmax(log_weights, 0), len(log_weights)
    start = torch.rand((), generator=rng, dtype=torch.float64)
    marks = (torch.arange(count) + start) / count
    return torch.searchsorted(shares.cumsum(0), marks).clamp(max=count - 1)


def along_training(options: LogZOptions) -> dict[str, Any]:
    """Return log Z along the checkpoints; the replicas of the machine itself are left in the
    folder.
    """
    rng = generator(options.seed)
    cases = read_mat(options.mat)[0]
    replicas = density.ladder(
        options.folder, cases, options.rate, rng, options.epoch, options.ladder_chains
    )
    print(f"{len(replicas.machines)} machines", flush=True)
    replicas.begin(annealed(replicas.machines, options.replicas, options.annealing_steps, rng))
    assert replicas.visible is not None
    settling = []
    for _ in range(options.burn_in // STRETCH):
        part = bennett.log_partition(replicas, rng=rng, steps=STRETCH, burn_in=0)
        settling.append(round(part.log_z, 2))
        print(f"settling: {part.log_z:.2f}, s.e. {part.standard_error:.2f}", flush=True)
    estimate = bennett.log_partition(replicas, rng=rng, steps=options.steps, burn_in=0)
    save_file({"visible": replicas.visible[-1].contiguous()}, options.path("replicas.safetensors"))
    return {
        **estimate._asdict(),
        "settling": settling,
        "machines": len(replicas.machines),
        "swap_rates": [round(float(rate), 3) for rate in replicas.swap_rates],
        "round_trips": round(replicas.round_trips, 2),
    }


def forward(options: LogZOptions) -> dict[str, Any]:
    """Return log Z by forward annealing; its temperatures are left in the folder."""
    rbm, rng = density.checkpoints(options.folder, options.epoch)[-1], generator(options.seed + 1)
    base = ais.base_model(rbm, read_mat(options.mat)[0])
    *_, chains = ais.search(
        rbm,
        base,
        rng=rng,
        chains=options.chains,
        target_error=options.target_error,
        limit=options.limit,
    )
    save_file({"betas": chains.betas}, options.path("betas.safetensors"))
    estimate = ais.estimate(rbm, base, chains)
    return {**estimate._asdict(), "standard_error": estimate.standard_error}


def reverse(options: LogZOptions) -> dict[str, Any]:
    """Return log Z by annealing back from replicas, through the temperatures of `forward`."""
    rbm, rng = density.checkpoints(options.folder, options.epoch)[-1], generator(options.seed + 2)
    base = ais.base_model(rbm, read_mat(options.mat)[0])
    betas = load_file(options.path("betas.safetensors"))["betas"].sort().values
    visible = load_file(options.path("replicas.safetensors"))["visible"]
    start = ais.init_reverse(betas, visible[:: max(1, len(visible) // options.chains)])
    *_, chains = ais.anneal(rbm, base, start, rng=rng)
    estimate = ais.estimate(rbm, base, chains)
    error = max(estimate.standard_error, jackknife_error(chains.log_weights[-1]))
    return {**estimate._asdict(), "standard_error": error}


def jackknife_error(log_weights: Tensor, groups: int = GROUPS) -> float:
    """Return the standard error of log mean exp(log_weights) (N,) over groups of chains of common
    descent.
    """
    rows = torch.arange(len(log_weights)).tensor_split(groups)
    rest = [torch.cat([*rows[:group], *rows[group + 1 :]]) for group in range(groups)]
    without = torch.stack([log_weights[r].logsumexp(0) - math.log(len(r)) for r in rest])
    return (groups - 1) * float(without.std()) / math.sqrt(groups)


PARTS = {"along_training": along_training, "forward": forward, "reverse": reverse}


def main(argv: list[str]) -> None:
    """Estimate what is not there yet, print, and save the rows once all three are there."""
    options = tyro.cli(LogZOptions, description=__doc__, args=argv)
    torch.set_num_threads(options.threads)
    path = options.path("json")
    estimates = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for part, estimate in PARTS.items():
        if part not in estimates:
            began = time.process_time()
            estimates[part] = estimate(options)
            estimates[part]["minutes"] = round((time.process_time() - began) / 60, 2)
            write_json(path, estimates)
        print(part, estimates[part], flush=True)
    log_z = [estimates[part]["log_z"] for part in PARTS]
    values = {
        "largest_difference_nats": max(log_z) - min(log_z),
        "largest_standard_error_nats": max(estimates[part]["standard_error"] for part in PARTS),
    }
    rows = [
        results.row(
            "deep",
            "log-z-three-ways",
            metric,
            [value],
            seeds=[options.seed],
            command=shlex.join(["python", "-m", "benchmarks.deep.log_z", *argv]),
            minutes=round(sum(estimates[part]["minutes"] for part in PARTS), 1),
            epoch=options.epoch,
            each=estimates,
        )
        for metric, value in values.items()
    ]
    results.save(options.out, rows)
    print(values)


if __name__ == "__main__":
    main(sys.argv[1:])
