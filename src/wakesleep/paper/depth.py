"""Depth: one to four hidden layers, pretrained or not, and how good the generative model of each depth is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from wakesleep import checkpoint
from wakesleep.foundation.rng import generator
from wakesleep.judging import likelihood
from wakesleep.learning import backprop, greedy
from wakesleep.learning.greedy import GreedyConfig, GreedyState
from wakesleep.learning.records import Pass
from wakesleep.model.dbn import DBN
from wakesleep.paper.pretraining import parts_of
from wakesleep.paper.results import Row, row
from wakesleep.paper.runs import Bench, Done, collect, fine_tune, learn, take_layers
from wakesleep.sources.cases import draw_binary

TABLE = "depth"
WIDTH = 500
DEPTHS = (1, 2, 3, 4)
PASSES = 15
"""Passes a layer and passes of backpropagation: half of the recipe's, because every depth is trained from the start."""


def rows(bench: Bench) -> Iterator[Row]:
    """Yield validation and test errors for each depth, the 50,000 first cases learned from, with and without pretraining."""
    for depth in DEPTHS:
        for generated_first in (True, False):
            done = [one(bench, depth, seed, generated_first) for seed in bench.seeds]
            yield from collect(bench, f"depth-{depth}" if generated_first else f"depth-{depth}-random", done)
        yield from bounds(bench, depth)


def bounds(bench: Bench, depth: int) -> Iterator[Row]:
    """Yield the lower bound on log p of binary test cases under the stack of `depth` layers, with log Z from either side, nats a case."""
    train, _ = parts_of(bench, all_cases=False)
    found = [_bound(bench, _stack(bench, _sizes(bench, depth), seed, train.images), seed, train.images) for seed in bench.seeds]
    for metric in ("test_bound", "test_bound_reverse"):
        values = [one[metric] for one in found]
        minutes = round(sum(one["minutes"] for one in found) / len(found), 2)
        yield row(
            bench.dataset.name, f"depth-{depth}", metric, values, seeds=bench.seeds, command=bench.command, minutes=minutes, **bench.where
        )


def _bound(bench: Bench, stack: Done[DBN], seed: int, images: Tensor) -> dict[str, float]:
    """Return the bounds of one stack: read, or estimated and written down; pixels are drawn with their intensities as probabilities."""
    place = bench.folder / f"{bench.dataset.name}-bound-seed-{seed}-{stack.digest}.json"
    if not place.exists():
        assert bench.dataset.test is not None
        began, rng = time.perf_counter(), generator(seed, bench.device)
        cases, tested = draw_binary(images, rng), draw_binary(bench.dataset.test.images, rng).to(bench.device)
        below = draw_binary(greedy.features(stack.net, cases, stack.net.depth - 1), rng)
        log_z = likelihood.log_partition(
            stack.net.memory, below, rng=rng, limit=200 if bench.smoke else 10_000, reverse_steps=bench.passes(1000)
        )
        found = likelihood.score(stack.net, tested, log_z, rng=rng, samples=1 if bench.smoke else 10)
        assert found.reverse is not None
        minutes = round((time.perf_counter() - began) / 60, 3)
        checkpoint.write_json(place, {"test_bound": found.conservative, "test_bound_reverse": found.reverse, "minutes": minutes})
    return checkpoint.read_json(place)


def _sizes(bench: Bench, depth: int) -> tuple[int, ...]:
    return (bench.dataset.train.images.shape[1], *[min(WIDTH, bench.config.hidden[0])] * depth)


def one(bench: Bench, depth: int, seed: int, generated_first: bool) -> Done[nn.Sequential]:
    """Return the finished net of `depth` hidden layers of equal width."""
    train, validation = parts_of(bench, all_cases=False)
    sizes, classes = _sizes(bench, depth), len(bench.dataset.classes)
    base = bench.config.backprop if generated_first else bench.config.random
    first = _stack(bench, sizes, seed, train.images) if generated_first else None

    def make(rng: torch.Generator) -> nn.Sequential:
        if first is None:
            return backprop.random_classifier((*sizes, classes), rng=rng)
        return backprop.classifier(first.net, classes, rng=rng, start="small")

    name = f"{bench.dataset.name}-depth-{depth}{'' if generated_first else '-random'}"
    made = {"from": None if first is None else first.digest, "sizes": sizes}
    return fine_tune(bench, name, seed, replace(base, passes=bench.passes(PASSES)), train, make, made, validation)


def _stack(bench: Bench, sizes: tuple[int, ...], seed: int, images: Tensor) -> Done[DBN]:
    """Return a stack pretrained without labels, each layer on the one below it that the shallower stack ended with."""
    below = _stack(bench, sizes[:-1], seed, images) if len(sizes) > 2 else None
    layer = replace(bench.config.greedy.layer, passes=bench.passes(PASSES))
    config, top = GreedyConfig(layer, layer), len(sizes) - 2

    def make(rng: torch.Generator) -> DBN:
        dbn = DBN(sizes, rng=rng)
        if below is not None:
            take_layers(dbn, below.net, top)
        return dbn

    def loop(dbn: DBN, rng: torch.Generator, state: Any) -> Iterator[Pass]:
        from_top = GreedyState(top) if state is None else state
        return greedy.epochs(dbn, images, config=config, rng=rng, state=from_top, dtype=bench.dtype)

    return learn(
        bench,
        f"{bench.dataset.name}-stack-{len(sizes) - 1}",
        seed,
        {"from": None if below is None else below.digest, "sizes": sizes, "greedy": config},
        make=make,
        loop=loop,
    )
