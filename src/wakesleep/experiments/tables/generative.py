"""Generative fine-tuning: greedy pretraining alone, contrastive wake-sleep, the hybrid, and nets of several seeds combined."""

from __future__ import annotations

from collections.abc import Iterator

from wakesleep.experiments.results import Row
from wakesleep.experiments.tables.pretraining import mnist_rows
from wakesleep.experiments.tables.runs import Bench

TABLE = "generative"


def rows(bench: Bench) -> Iterator[Row]:
    """Yield the rows of the generative model by itself, asked for the label by its free energies."""
    yield from mnist_rows(bench, ("pretrain-50k", "long-50k", "updown-50k", "updown-60k", "hybrid-60k"))
