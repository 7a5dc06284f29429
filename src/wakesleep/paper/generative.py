"""Generative fine-tuning: greedy pretraining alone, contrastive wake-sleep, the hybrid, and nets of
several seeds combined.
"""

from __future__ import annotations

from collections.abc import Iterator

from wakesleep.paper.pretraining import mnist_rows
from wakesleep.paper.results import Row
from wakesleep.paper.runs import TableSetup

TABLE = "generative"


def rows(setup: TableSetup) -> Iterator[Row]:
    """Yield the rows of the generative model by itself, asked for the label by its free
    energies.
    """
    yield from mnist_rows(
        setup, ("pretrain-50k", "long-50k", "updown-50k", "updown-60k", "hybrid-60k")
    )
