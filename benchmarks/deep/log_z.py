"""log Z of an RBM 784 x 500 three ways: annealed importance sampling forward and in reverse, and
replica exchange along the checkpoints of its own training.

    python -m benchmarks.deep.log_z --folder runs/deep

The machine and its checkpoints are those that benchmarks.deep.density left in the folder. Reverse
annealing begins with the replicas of the machine itself, which mix better than Gibbs chains. What
is estimated is kept in the folder: stopped, the run goes on with the next way.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from safetensors.torch import load_file, save_file

from benchmarks.deep import density
from benchmarks.likelihood import read_mat
from wakesleep.evaluation import ais, bennett
from wakesleep.foundation.files import write_json
from wakesleep.foundation.rng import generator
from wakesleep.paper import results

STRETCH = 100
"""Steps between two looks at log Z while the replicas settle."""


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
    """Of forward annealing."""
    replicas: int = 300
    """Chains of each machine along training, and of reverse annealing, which begins with them.
    Chains that hardly ever come round tell log Z by their number, not by their steps.
    """
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


def along_training(options: LogZOptions) -> dict[str, Any]:
    """Return log Z along the checkpoints; the replicas of the machine itself are left in the
    folder.
    """
    rng = generator(options.seed)
    cases = read_mat(options.mat)[0]
    replicas = density.ladder(
        options.folder, cases, options.rate, rng, options.epoch, options.replicas
    )
    assert replicas.visible is not None
    print(f"{len(replicas.machines)} machines", flush=True)
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
    """Return log Z by annealing back from the replicas, through the temperatures of `forward`."""
    rbm, rng = density.checkpoints(options.folder, options.epoch)[-1], generator(options.seed + 2)
    base = ais.base_model(rbm, read_mat(options.mat)[0])
    betas = load_file(options.path("betas.safetensors"))["betas"].sort().values
    start = ais.init_reverse(betas, load_file(options.path("replicas.safetensors"))["visible"])
    *_, chains = ais.anneal(rbm, base, start, rng=rng)
    estimate = ais.estimate(rbm, base, chains)
    return {**estimate._asdict(), "standard_error": estimate.standard_error}


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
