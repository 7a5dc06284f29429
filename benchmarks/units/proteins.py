"""Protein families: do samples of a machine have the pair correlations of sequences it never saw?

    python -m benchmarks.units.proteins

The alignment of the WW domain: 31 sites of 20 amino acids or a gap. Sequences that come twice are
dropped; the rest is clustered by single linkage at 80 % identity, and each sequence weighs one
over the size of its cluster. A fifth of the clusters is held out, in three random splits. Judged is
the correlation of connected two-site correlations

    C_ij(a, b) = <v_ia v_jb> - <v_ia> <v_jb>,  i < j

between samples of the machine (categorical x dReLU) and held-out sequences, divided by that between
training and held-out sequences. `--choose` splits a fifth off the training clusters again, judges
by it, and saves nothing.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import tyro
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from benchmarks.estimators import Found, measure
from benchmarks.units.training import trained
from wakesleep.foundation.rng import generator
from wakesleep.learning import cd
from wakesleep.learning.cd import CDConfig
from wakesleep.models.rbm import RBM
from wakesleep.samplers import gibbs
from wakesleep.units import Categorical, DReLU

LETTERS = "ACDEFGHIKLMNPQRSTVWY-"
"""The amino acids, and the gap of an alignment."""


@dataclass(frozen=True)
class ProteinsOptions:
    """Train on the WW domain and save the rows."""

    data: Path = Path(os.environ.get("WAKESLEEP_DATA", "data"))
    """Folder with proteins/WW_domain_MSA.fasta."""
    hidden: int = 50
    """DReLU hidden units."""
    penalty: float = 0.1
    """L2-L1 penalty."""
    epochs: int = 100
    """Epochs of PCD."""
    splits: int = 3
    """How many splits into training and held-out clusters."""
    choose: bool = False
    """Judge on clusters split off the training clusters, and save nothing."""
    folder: Path = Path("runs/units")
    """Where machines lie once they are trained."""
    out: Path = Path("results/units.json")
    """Where the rows go."""


class Alignment(NamedTuple):
    """Sequences, each once, with what they count."""

    sequences: Tensor
    """(N, sites x 21), one 1 a site."""
    weights: Tensor
    """One over the size of the sequence's cluster, (N,)."""
    clusters: Tensor
    """The number of the cluster, (N,)."""

    def part(self, chosen: Tensor) -> Alignment:
        """Return the sequences that are `chosen` (N,), bool."""
        return Alignment(*(values[chosen] for values in self))

    @property
    def sites(self) -> int:
        """How many sites a sequence has."""
        return self.sequences.shape[1] // len(LETTERS)


def read(path: Path) -> Alignment:
    """Return the sequences of a FASTA file of aligned sequences."""
    records = path.read_text(encoding="ascii").split(">")
    texts = dict.fromkeys("".join(record.split("\n")[1:]) for record in records if "\n" in record)
    numbers = torch.tensor([[LETTERS.index(letter) for letter in text] for text in texts if text])
    sequences = torch.nn.functional.one_hot(numbers, len(LETTERS)).flatten(1).float()
    clusters = linked(sequences, 0.8 * numbers.shape[1])
    return Alignment(sequences, 1 / clusters.bincount()[clusters].float(), clusters)


def linked(sequences: Tensor, least: float) -> Tensor:
    """Return the cluster of each sequence (N,), single linkage: two with at least so many sites
    alike are in one.
    """
    pairs = []
    for start in range(0, len(sequences), 1000):
        alike = sequences[start : start + 1000] @ sequences.t() >= least
        pairs.append(alike.nonzero() + torch.tensor([start, 0]))
    row, column = torch.cat(pairs).t().numpy()
    shape = (len(sequences), len(sequences))
    _, clusters = connected_components(coo_matrix((np.ones(len(row)), (row, column)), shape=shape))
    return torch.from_numpy(clusters).long()


def split(alignment: Alignment, seed: int) -> tuple[Alignment, Alignment]:
    """Return the sequences of four fifths of the clusters, and those of the others."""
    names = torch.from_numpy(np.unique(alignment.clusters.numpy()))
    order = torch.randperm(len(names), generator=generator(seed))
    held_out = torch.isin(alignment.clusters, names[order[: len(names) // 5]])
    return alignment.part(~held_out), alignment.part(held_out)


def connected(sequences: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return C_ij(a, b) of all pairs of sites i < j and letters a, b, a vector."""
    count = len(sequences)
    weights = torch.ones(count) if weights is None else weights
    shares = (weights / weights.sum())[:, None]
    mean = (shares * sequences).sum(0)
    covariance = sequences.t() @ (shares * sequences) - mean[:, None] * mean
    site = torch.arange(sequences.shape[1]) // len(LETTERS)
    return covariance[site[:, None] < site]


def correlation(one: Tensor, other: Tensor) -> float:
    """Return Pearson's correlation of two vectors."""
    return float(torch.corrcoef(torch.stack([one, other]).double())[0, 1])


def machine(train: Alignment, name: str, options: ProteinsOptions) -> RBM:
    """Return the machine once it has learned the alignment, sequences shown as often as they
    weigh.
    """
    rbm, config = untrained(train, options)
    path = options.folder / f"ww-{name}-{options.hidden}-{options.penalty}-{options.epochs}"
    return trained(path, rbm, train.sequences, [config], seed=1, weights=train.weights)


def untrained(train: Alignment, options: ProteinsOptions) -> tuple[RBM, CDConfig]:
    """Return an RBM of categorical sites and DReLU hidden units, and how it learns the alignment by
    PCD.
    """
    rbm = RBM(
        Categorical(len(LETTERS), train.sites),
        DReLU(options.hidden),
        rng=generator(0),
        weight_std=0.01,
    )
    cd.init_visible_bias(rbm, train.sequences, train.weights)
    config = CDConfig(
        epochs=options.epochs,
        learning_rate=0.02,
        final_learning_rate=0.001,
        momentum=0.0,
        initial_momentum=0.0,
        weight_decay=0.0,
        l2l1_penalty=options.penalty,
        persistent=True,
        centred=True,
    )
    return rbm, config


def samples(rbm: RBM, chains: int = 1000, draws: int = 20) -> Tensor:
    """Return states of the model (chains x draws, visible): chains begin at random, and after 300
    steps give a state every 10.
    """
    rng = generator(2)
    state = gibbs.run(rbm, gibbs.random_hidden(rbm, chains, rng), 300, rng)
    states = []
    for _ in range(draws):
        state = gibbs.run(rbm, state.hidden, 10, rng)
        states.append(state.visible)
    return torch.cat(states)


class Correlations(NamedTuple):
    """Pearson's correlations of connected two-site correlations with the held-out sequences'."""

    model: float
    train: float


def judge(
    train: Alignment, held_out: Alignment, name: str, options: ProteinsOptions
) -> Correlations:
    """Return how the machine's and the training sequences' correlations agree with those held
    out.
    """
    rbm = machine(train, name, options)
    truth = connected(held_out.sequences, held_out.weights)
    return Correlations(
        correlation(connected(samples(rbm)), truth),
        correlation(connected(train.sequences, train.weights), truth),
    )


def judged(options: ProteinsOptions) -> Iterator[Correlations]:
    """Yield what each split gives."""
    alignment = read(options.data / "proteins/WW_domain_MSA.fasta")
    for seed in range(options.splits):
        train, held_out = split(alignment, seed)
        name = f"split-{seed}"
        if options.choose:
            train, held_out = split(train, seed)
            name += "-choose"
        yield judge(train, held_out, name, options)


def figures(options: ProteinsOptions) -> Found:
    """Yield the ratio of both correlations, and each, a value a split."""
    splits = list(judged(options))
    ratios = [each.model / each.train for each in splits]
    yield "ww-domain", "pair_correlation_over_training", ratios, {}
    yield "ww-domain", "pair_correlation_with_held_out", [each.model for each in splits], {}
    yield "ww-domain-train", "pair_correlation_with_held_out", [each.train for each in splits], {}


def main(argv: list[str]) -> None:
    """Train, and save the rows, or print what is chosen by."""
    options = tyro.cli(ProteinsOptions, description=__doc__, args=argv)
    if options.choose:
        for correlations in judged(options):
            print(
                f"{correlations}, ratio {correlations.model / correlations.train:.3f}", flush=True
            )
        return
    command = shlex.join(["python", "-m", "benchmarks.units.proteins", *argv])
    for _ in measure(
        "units", [partial(figures, options)], out=options.out, command=command, threads=1
    ):
        pass


if __name__ == "__main__":
    main(sys.argv[1:])
