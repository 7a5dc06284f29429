"""Depth: one to four hidden layers, pretrained or not, and how good the generative model of each
depth is.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from wakesleep.evaluation import likelihood
from wakesleep.foundation import files
from wakesleep.foundation.rng import generator
from wakesleep.learning import backprop, greedy
from wakesleep.learning.greedy import GreedyConfig, GreedyState
from wakesleep.learning.records import EpochResult
from wakesleep.models.dbn import DBN
from wakesleep.paper.pretraining import parts_of
from wakesleep.paper.results import Row, row
from wakesleep.paper.runs import Done, TableSetup, collect, fine_tune, learn, take_layers
from wakesleep.sources.arrays import draw_binary

TABLE = "depth"
WIDTH = 500
DEPTHS = (1, 2, 3, 4)
EPOCHS = 15
"""Epochs a layer and epochs of backpropagation: half of the recipe's, because every depth is
trained from the start.
"""


def rows(setup: TableSetup) -> Iterator[Row]:
    """Yield validation and test errors for each depth, the 50,000 first cases learned from, with
    and without pretraining.
    """
    for depth in DEPTHS:
        for generated_first in (True, False):
            done = [one(setup, depth, seed, generated_first) for seed in setup.seeds]
            yield from collect(
                setup, f"depth-{depth}" if generated_first else f"depth-{depth}-random", done
            )
        yield from bounds(setup, depth)


def bounds(setup: TableSetup, depth: int) -> Iterator[Row]:
    """Yield the lower bound on log p of binary test cases under the stack of `depth` layers, with
    log Z from either side, nats a case.
    """
    train, _ = parts_of(setup, all_cases=False)
    bounds_by_seed = [
        _bound(setup, _stack(setup, _sizes(setup, depth), seed, train.images), seed, train.images)
        for seed in setup.seeds
    ]
    for metric in ("test_bound", "test_bound_reverse"):
        values = [one[metric] for one in bounds_by_seed]
        minutes = round(sum(one["minutes"] for one in bounds_by_seed) / len(bounds_by_seed), 2)
        yield row(
            setup.dataset.name,
            f"depth-{depth}",
            metric,
            values,
            seeds=setup.seeds,
            command=setup.command,
            minutes=minutes,
            **setup.where,
        )


def _bound(setup: TableSetup, stack: Done[DBN], seed: int, images: Tensor) -> dict[str, float]:
    """Return the bounds of one stack: read, or estimated and written down; pixels are drawn with
    their intensities as probabilities.
    """
    path = setup.folder / f"{setup.dataset.name}-bound-seed-{seed}-{stack.digest}.json"
    if not path.exists():
        assert setup.dataset.test is not None
        began, rng = time.perf_counter(), generator(seed, setup.device)
        cases, tested = (
            draw_binary(images, rng),
            draw_binary(setup.dataset.test.images, rng).to(setup.device),
        )
        below = draw_binary(greedy.features(stack.net, cases, stack.net.depth - 1), rng)
        log_z = likelihood.log_partition(
            stack.net.memory,
            below,
            rng=rng,
            limit=200 if setup.smoke else 10_000,
            reverse_steps=setup.epochs(1000),
        )
        estimate = likelihood.score(
            stack.net, tested, log_z, rng=rng, samples=1 if setup.smoke else 10
        )
        assert estimate.reverse is not None
        minutes = round((time.perf_counter() - began) / 60, 3)
        files.write_json(
            path,
            {
                "test_bound": estimate.conservative,
                "test_bound_reverse": estimate.reverse,
                "minutes": minutes,
            },
        )
    return files.read_json(path)


def _sizes(setup: TableSetup, depth: int) -> tuple[int, ...]:
    return (setup.dataset.train.images.shape[1], *[min(WIDTH, setup.config.hidden[0])] * depth)


def one(setup: TableSetup, depth: int, seed: int, generated_first: bool) -> Done[nn.Sequential]:
    """Return the finished net of `depth` hidden layers of equal width."""
    train, validation = parts_of(setup, all_cases=False)
    sizes, classes = _sizes(setup, depth), len(setup.dataset.classes)
    base = setup.config.backprop if generated_first else setup.config.random
    first = _stack(setup, sizes, seed, train.images) if generated_first else None

    def make(rng: torch.Generator) -> nn.Sequential:
        if first is None:
            return backprop.random_classifier((*sizes, classes), rng=rng)
        return backprop.classifier(first.net, classes, rng=rng, start="small")

    name = f"{setup.dataset.name}-depth-{depth}{'' if generated_first else '-random'}"
    origin = {"from": None if first is None else first.digest, "sizes": sizes}
    return fine_tune(
        setup,
        name,
        seed,
        replace(base, epochs=setup.epochs(EPOCHS)),
        train,
        make,
        origin,
        validation,
    )


def _stack(setup: TableSetup, sizes: tuple[int, ...], seed: int, images: Tensor) -> Done[DBN]:
    """Return a stack pretrained without labels, each layer on the one below it that the shallower
    stack ended with.
    """
    below = _stack(setup, sizes[:-1], seed, images) if len(sizes) > 2 else None
    layer = replace(setup.config.greedy.layer, epochs=setup.epochs(EPOCHS))
    config, top = GreedyConfig(layer, layer), len(sizes) - 2

    def make(rng: torch.Generator) -> DBN:
        dbn = DBN(sizes, rng=rng)
        if below is not None:
            take_layers(dbn, below.net, top)
        return dbn

    def loop(dbn: DBN, rng: torch.Generator, state: Any) -> Iterator[EpochResult]:
        from_top = GreedyState(top) if state is None else state
        return greedy.epochs(dbn, images, config=config, rng=rng, state=from_top, dtype=setup.dtype)

    return learn(
        setup,
        f"{setup.dataset.name}-stack-{len(sizes) - 1}",
        seed,
        {"from": None if below is None else below.digest, "sizes": sizes, "greedy": config},
        make=make,
        loop=loop,
    )
