"""Dreams of a deep Boltzmann machine of MNIST's digits, for docs/deep-boltzmann-machines.md.

    python -m benchmarks.deep.pictures --machine runs/deep/dbm.safetensors

The machine is one that benchmarks.deep.density left in its folder. All that it dreams is shown.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

from wakesleep.foundation.rng import generator
from wakesleep.runs import checkpoint
from wakesleep.runs.grids import save_picture, tile
from wakesleep.samplers import deep


@dataclass(frozen=True)
class PicturesOptions:
    """Dream and save the picture."""

    machine: Path = Path("runs/deep/dbm.safetensors")
    """Of 784 visible units."""
    out: Path = Path("docs/dbm-dreams.png")
    """The picture."""
    count: int = 60
    """Dreams."""
    columns: int = 15
    """Of the picture."""
    steps: int = 500
    """Gibbs steps from random states."""
    seed: int = 0
    """Seed of the dreams."""
    threads: int = 1
    """CPU threads."""


def main(argv: list[str]) -> None:
    """Dream and save."""
    options = tyro.cli(PicturesOptions, description=__doc__, args=argv)
    torch.set_num_threads(options.threads)
    dbm = checkpoint.load(options.machine)
    dreams = deep.dream(dbm, count=options.count, steps=options.steps, rng=generator(options.seed))
    sheet = tile(dreams.numpy(), (28, 28), options.columns, background=0.15)
    print(save_picture(options.out, sheet))


if __name__ == "__main__":
    main(sys.argv[1:])
