"""DNA around splice junctions: the log-likelihood of 60 sites of four letters.

    python -m benchmarks.units.dna
    python -m benchmarks.units.dna --choose --hidden 30 100 --decay 0.002 0.004

The table's 180 bits are three a site, 000 being the fourth letter. The first 2,000 cases train, the
last 1,186 test. `--choose` trains on the first 1,400, prints the log-likelihood of the next 600 and
saves nothing: hidden units, penalty and number of epochs were chosen so. Beside the machine: a
model of independent sites, and a mixture of three, one for each class.
"""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
import tyro
from torch import Tensor

from benchmarks.estimators import Found, measure
from benchmarks.units.training import Likelihood, both_ways, log_likelihood, trained
from wakesleep.data.table_files import read_table
from wakesleep.foundation.rng import generator
from wakesleep.learning import cd
from wakesleep.learning.cd import CDConfig
from wakesleep.models.rbm import RBM
from wakesleep.units import Bernoulli, Categorical

SITES, LETTERS = 60, 4
TRAIN, VALIDATION = 2000, 600


@dataclass(frozen=True)
class DNAOptions:
    """Train on DNA and save the rows."""

    data: Path = Path(os.environ.get("WAKESLEEP_DATA", "data"))
    """Folder with tables/dna.csv.gz."""
    hidden: tuple[int, ...] = (100,)
    """Hidden units; several only to choose from."""
    decay: tuple[float, ...] = (0.004,)
    """L2 penalty of the weights; several only to choose from."""
    epochs: int = 240
    """Epochs of PCD."""
    seeds: int = 3
    """How many machines, which differ by their random numbers."""
    choose: bool = False
    """Judge on the last 600 training cases, not trained on, and save nothing."""
    folder: Path = Path("runs/units")
    """Where machines lie once they are trained."""
    out: Path = Path("results/units.json")
    """Where the rows go."""


def read(data: Path) -> tuple[Tensor, np.ndarray]:
    """Return the letters of each case, (N, 240), one 1 a site, and its class, (N,)."""
    table = read_table(data / "tables/dna.csv.gz")
    bits = table.drop(columns="class").to_numpy(dtype=np.float32).reshape(-1, SITES, LETTERS - 1)
    last = 1 - bits.sum(2, keepdims=True)
    letters = np.concatenate([bits, last], 2).reshape(-1, SITES * LETTERS)
    return torch.from_numpy(letters), table["class"].to_numpy()


def independent(train: Tensor, test: Tensor) -> Tensor:
    """Return log p of each test case under independent sites that fit `train`, one case more of
    each letter, (N,), nats.
    """
    counts = train.view(-1, SITES, LETTERS).sum(0) + 1
    shares = counts / counts.sum(1, keepdim=True)
    return test @ shares.log().flatten()


def component_a_class(train: Tensor, classes: np.ndarray, test: Tensor) -> Tensor:
    """Return log p of each test case under a mixture of independent sites, one component a class,
    (N,), nats.
    """
    logs = []
    for each in np.unique(classes):
        members = torch.from_numpy(classes == each)
        logs.append(independent(train[members], test) + members.double().mean().log())
    return torch.logsumexp(torch.stack(logs), 0)


def machine(train: Tensor, hidden: int, decay: float, seed: int, options: DNAOptions) -> RBM:
    """Return the machine once it has learned `train`."""
    rbm, config = untrained(train, hidden, decay, seed, options.epochs)
    path = options.folder / f"dna-{len(train)}-{hidden}-{decay}-{options.epochs}-{seed}"
    return trained(path, rbm, train, [config], seed=seed)


def untrained(
    train: Tensor, hidden: int, decay: float, seed: int, epochs: int
) -> tuple[RBM, CDConfig]:
    """Return an RBM of categorical sites and binary hidden units, and how it learns `train` by PCD:
    centred, for letters are rarely on.
    """
    rbm = RBM(Categorical(LETTERS, SITES), Bernoulli(hidden), rng=generator(seed), weight_std=0.01)
    cd.init_visible_bias(rbm, train)
    config = CDConfig(
        epochs=epochs,
        learning_rate=0.05,
        final_learning_rate=0.005,
        momentum=0.0,
        initial_momentum=0.0,
        weight_decay=decay,
        persistent=True,
        centred=True,
    )
    return rbm, config


def judge(rbm: RBM, train: Tensor, test: Tensor, seed: int) -> Likelihood:
    """Return the mean log-likelihood of `test`, log Z to 0.02 nats either way."""
    return log_likelihood(rbm, train, test, rng=generator(seed), chains=500, target_error=0.02)


def figures(options: DNAOptions) -> Found:
    """Yield log-likelihoods of the test cases, nats a case."""
    cases, classes = read(options.data)
    train, test = cases[:TRAIN], cases[TRAIN:]
    machines = [
        machine(train, options.hidden[0], options.decay[0], seed, options)
        for seed in range(options.seeds)
    ]
    judged = [judge(rbm, train, test, seed) for seed, rbm in enumerate(machines)]
    yield from both_ways("dna", "test_log_likelihood", judged)
    beside = {
        "independent-sites": independent(train, test),
        "component-a-class": component_a_class(train, classes[:TRAIN], test),
    }
    for name, logs in beside.items():
        yield f"dna-{name}", "test_log_likelihood", [float(logs.mean())], {}


def choose(options: DNAOptions) -> None:
    """Print the log-likelihood of the validation cases under each choice of settings."""
    cases = read(options.data)[0][:TRAIN]
    train, validation = cases[:-VALIDATION], cases[-VALIDATION:]
    for hidden, decay in product(options.hidden, options.decay):
        rbm = machine(train, hidden, decay, 0, options)
        judged = judge(rbm, train, validation, 0)
        print(hidden, decay, options.epochs, round(judged.lower, 3), flush=True)


def main(argv: list[str]) -> None:
    """Train, and save the rows, or print what is chosen by."""
    options = tyro.cli(DNAOptions, description=__doc__, args=argv)
    if options.choose:
        choose(options)
        return
    command = shlex.join(["python", "-m", "benchmarks.units.dna", *argv])
    for _ in measure(
        "units", [partial(figures, options)], out=options.out, command=command, threads=1
    ):
        pass


if __name__ == "__main__":
    main(sys.argv[1:])
