"""Another data set: pretraining against none and few labels on Fashion-MNIST, no setting changed,
so that nothing is tuned to MNIST.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from wakesleep.data import load
from wakesleep.paper import few_labels, pretraining
from wakesleep.paper.results import Row
from wakesleep.paper.runs import TableSetup

TABLE = "another"


def rows(setup: TableSetup) -> Iterator[Row]:
    """Yield the rows of pretraining against none and of few labels on the other set; in a smoke run
    on the same one. Where rows are asked for by name, those of few labels alone.
    """
    other = (
        setup
        if setup.smoke
        else replace(setup, dataset=load("fashion-mnist", folder=setup.data_folder))
    )
    if not setup.only:
        yield from pretraining.mnist_rows(
            other, ("pretrain-50k", "pretrain-60k", "backprop-50k", "backprop-60k", "random-50k")
        )
        yield from pretraining.conjugate(other)
    yield from few_labels.rows(other)
